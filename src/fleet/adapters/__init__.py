"""Adapters: the hands of fleet, one outside tool each (git, tmux, processes, SQLite, ports).

An adapter knows its tool and nothing of plans, steps or runs: it takes plain values, returns plain
values, and decides no policy. What the world refuses is a value or a `ToolFailed` with its
evidence; what the caller may not do is `Rejected` with the cure. Adapters never import each other;
only `crash` (the named crash points) is shared by all.
"""
