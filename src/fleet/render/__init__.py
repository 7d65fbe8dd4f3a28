"""Views -> text for a person: tables, bars, exports. Nothing is decided and nothing is read here.

Whatever a file, an agent or a person named is hostile until it is cleaned here. Plain text is the
norm, colour an addition on a terminal; rich is imported inside functions, for colour only.
"""
