"""What must hold of a repository after each act of fleet, looked up by git itself, not by fleet."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from support.git_repo import GitRepo

REMADE = {"node_modules"}
Entry = tuple[str, str]
"""Mode and blob id of a file."""


@dataclass(frozen=True)
class Seen:
    """A worktree before an act: its HEAD, its files on disk, what is staged."""

    head: str
    files: dict[bytes, Entry]
    staged: dict[bytes, Entry]
    plain: dict[bytes, Entry]
    """The files whose line ends git converts, as they would be committed."""


@dataclass
class Memory:
    """All that ever was: commits made in worktrees, trees that the base may hold, a person's
    commits, refs that are not fleet's.
    """

    commits: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    persons: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)


def blob_of(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def disk(root: Path) -> dict[bytes, Entry]:
    """Returns every file below a folder, by its bytes; folders that any build makes again apart."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [one for one in folders if one not in REMADE | {".git", ".fleet"}]
        for name in [*names, *folders]:
            place = Path(folder, name)
            mode = place.lstat().st_mode
            here = os.fsencode(place.relative_to(root))
            if here == b".git":
                continue
            if stat.S_ISLNK(mode):
                found[here] = ("120000", blob_of(os.fsencode(place.readlink())))
            elif stat.S_ISREG(mode):
                kind = "100755" if mode & stat.S_IXUSR else "100644"
                found[here] = (kind, blob_of(place.read_bytes()))
    return found


def look(user: GitRepo, tree: Path) -> Seen:
    staged = {}
    for row in _rows(user.git("ls-files", "-s", "-z", cwd=tree)):
        facts, path = row.split("\t", 1)
        mode, oid, stage = facts.split(" ")
        if stage == "0":
            staged[os.fsencode(path)] = (mode, oid)
    files, plain = disk(tree), {}
    for path, (mode, _) in files.items():
        if path.endswith(b".txt") and mode != "120000":
            content = (tree / os.fsdecode(path)).read_bytes().replace(b"\r\n", b"\n")
            plain[path] = (mode, blob_of(content))
    return Seen(user.head(tree), files, staged, plain)


def entries(user: GitRepo, commit: str) -> dict[bytes, Entry]:
    found = {}
    for row in _rows(user.git("ls-tree", "-r", "-z", "--full-tree", commit)):
        facts, path = row.split("\t", 1)
        mode, _, oid = facts.split(" ")
        found[os.fsencode(path)] = (mode, oid)
    return found


def kept(user: GitRepo) -> list[dict[bytes, Entry]]:
    """Returns the files of everything that was rescued, staged states too."""
    rows = user.git("for-each-ref", "--format=%(objectname) %(parent)", "refs/fleet/rescue")
    commits = {sha for row in rows.split("\n") for sha in row.split()}
    return [entries(user, sha) for sha in sorted(commits)]


def reachable(user: GitRepo) -> set[str]:
    return set(user.git("rev-list", "--all", "--reflog").split())


def lost_commits(user: GitRepo, memory: Memory) -> set[str]:
    return memory.commits - reachable(user)


def lost_files(user: GitRepo, before: Seen) -> list[bytes]:
    """Returns the paths of a removed worktree whose bytes are nowhere any more.

    A file that git calls unchanged may differ in its line ends from what is committed.
    """
    head, *rescued = entries(user, before.head), *kept(user)
    lost = [
        path
        for path, entry in before.files.items()
        if not any(one.get(path) == entry for one in (head, *rescued))
        and head.get(path) != before.plain.get(path, ("", ""))
    ]
    lost += [
        b"staged " + path
        for path, entry in before.staged.items()
        if not any(one.get(path) == entry for one in (head, *rescued))
    ]
    return lost


def _rows(told: str) -> list[str]:
    return [row for row in told.split("\0") if row]
