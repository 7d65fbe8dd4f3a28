"""How the user has said that files are merged: the `.gitattributes` of a commit, for a merge that
has no checkout to read them from.

They are laid out alone in a folder, which is then the work tree of the gits that merge: so a merge
driver that the user declared runs, and what is declared not to be merged is a conflict, as in a
checkout. Always those of the commit that is merged onto: what a branch says of itself counts once
it has landed. A driver of the user's sees its files and that folder, nothing else of the tree.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.command import decode
from fleet.adapters.git.repository import Repository

NAME: Final = ".gitattributes"
_FOUND: Final = re.compile(
    rb"(?:^|\0)100\d{3} blob ([0-9a-f]+)\t((?:[^\0]*/)?\.gitattributes)(?=\0)"
)
_UNSAFE: Final = frozenset({"", ".", "..", ".git"})


def declarations(repo: Repository, commit: str) -> dict[str, str]:
    """Returns the `.gitattributes` of a commit, path -> object id, from one listing of its tree."""
    assert refs.is_sha(commit), commit
    listed = repo.site.git("ls-tree", "-r", "-z", "--full-tree", commit).out
    found = _FOUND.findall(listed) if NAME.encode() in listed else []
    named = {decode(path): decode(oid) for oid, path in found}
    return {
        path: oid
        for path, oid in named.items()
        if not _UNSAFE & {part.lower() for part in path.split("/")}
    }


@contextmanager
def as_declared(repo: Repository, commit: str) -> Iterator[Repository]:
    """Yields the repository as merges onto `commit` see it."""
    found = declarations(repo, commit)
    if not found:
        yield repo
        return
    with tempfile.TemporaryDirectory(prefix="fleet-attributes-") as scratch:
        for path, oid in found.items():
            place = Path(scratch) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(repo.site.git("cat-file", "blob", oid).out)
        yield replace(repo, work_tree=Path(scratch))
