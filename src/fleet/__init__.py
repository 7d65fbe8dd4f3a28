"""`fleet` coordinates the agents of one repository; this module is only a name and a version.

It imports nothing when it is imported, because every command, hook and worker pays for it. The
version stands in one place, the distribution's metadata, and is read when somebody asks.
"""

from __future__ import annotations

DISTRIBUTION = "worktree-fleet"


def __getattr__(name: str) -> str:
    """Returns the installed version for `__version__`; raises AttributeError for other names."""
    if name != "__version__":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+source"
