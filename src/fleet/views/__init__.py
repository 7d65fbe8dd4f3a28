"""State and plans -> rows: plain dataclasses that the command line, the web and MCP all show.

Pure functions: no clock, no files, no dates other than those handed in, no third-party package.
What is shown is decided here once; how it looks is `render`'s.
"""
