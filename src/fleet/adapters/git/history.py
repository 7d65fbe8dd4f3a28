"""What the past tells: which files were changed together. Bounded; changes nothing."""

from __future__ import annotations

from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.repository import Repository

COMMITS: Final = 500
WIDE: Final = 100
"""A commit of more files (a move, a new format) says nothing about any two of them."""


def changed_together(repo: Repository, tip: str) -> tuple[frozenset[str], ...]:
    """Returns the files of each of the last commits behind `tip`, newest first, merges left out."""
    assert refs.is_sha(tip), tip
    listed = repo.site.git(
        *("log", "--no-merges", f"--max-count={COMMITS}", "--format=%x00", "--name-only", "-z"),
        *("--no-renames", "--no-ext-diff", tip, "--"),
    ).fields
    found: list[set[str]] = []
    for field in listed:
        if not field:
            found.append(set())
        elif found:
            found[-1].add(field.removeprefix("\n"))
    return tuple(frozenset(paths) for paths in found if paths and len(paths) <= WIDE)
