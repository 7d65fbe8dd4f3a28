"""Whose word a file is: what a person has left in the checkout, or what a recorded move brought.

Content decides, not time: a file came with a move when it is as the move left it, and was another
before. What a person has changed since is the person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.command import encode
from fleet.adapters.git.moves import recorded_moves
from fleet.adapters.git.repository import Repository

LATEST: Final = 100
"""How many of a branch's latest moves are looked at."""


def brought(
    repo: Repository, branch: str, files: Mapping[str, bytes | None]
) -> dict[str, list[bytes | None]]:
    """Returns which files, by path from the top of the repository, came with a recorded move of a
    branch, and what each was before such moves; each is given with what it holds now, None where it
    is gone. Line ends do not count.
    """
    moves = [one for one in recorded_moves(repo) if one.target == refs.HEADS + branch and one.new]
    ends = {(one.old or "", one.new or "") for one in moves[-LATEST:]}
    wanted = [f"{commit}:{path}" for path in files for both in ends for commit in both if commit]
    held = _contents(repo, wanted)
    return {
        path: [held.get(f"{old}:{path}") for old, _ in ends]
        for path, now in files.items()
        if any(
            _plain(held.get(f"{new}:{path}")) == _plain(now) != _plain(held.get(f"{old}:{path}"))
            for old, new in ends
        )
    }


def _contents(repo: Repository, wanted: Sequence[str]) -> dict[str, bytes]:
    """Returns what `commit:path` holds, by that; files that are not there are left out."""
    asked = [one for one in dict.fromkeys(wanted) if "\n" not in one]
    lines = encode("".join(f"{one}\n" for one in asked))
    told = repo.site.git("cat-file", "--batch", stdin=lines).out if asked else b""
    found, at = dict[str, bytes](), 0
    for one in asked:
        end = told.index(b"\n", at)
        size = told[at:end].rpartition(b" ")[2]
        at = end + 1
        if size.isdigit():  # else it is said to be missing
            found[one] = told[at : at + int(size)]
            at += int(size) + 1
    return found


def _plain(content: bytes | None) -> bytes | None:
    return None if content is None else content.replace(b"\r\n", b"\n")
