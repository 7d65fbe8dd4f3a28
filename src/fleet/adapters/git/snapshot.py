"""A snapshot of everything in a worktree as a commit, byte for byte, touching nothing in it.

Its first parent is HEAD; what was staged is a second one. Tracked, untracked and ignored files are
taken as they are on disk, through no filter and no conversion of line ends, so that what is
restored is what was there. Left out are folders that any build makes again, and pipes, sockets and
devices, which hold nothing. Repositories inside the worktree cannot be held, and are refused.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.git import merging, refs
from fleet.adapters.git.claims import Worktree
from fleet.adapters.git.command import Identity, Site, encode
from fleet.adapters.git.repository import Repository
from fleet.errors import Rejected

RESCUE_LIMIT_BYTES: Final = 512 * 1024 * 1024
REMADE: Final = frozenset(
    {"node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a worktree's HEAD is; `branch` is None when it is detached, `sha` None when unborn."""

    branch: str | None
    sha: str | None


def head(worktree: Worktree) -> Head:
    """Returns the branch and commit that the worktree is at, whatever it was made for."""
    return head_at(worktree.site)


def tip(worktree: Worktree) -> str | None:
    """Returns the commit that the worktree is at, None for none: `head` without a process where
    HEAD names a branch whose ref is a file of its own, as it is after a commit.
    """
    named = _line_of(worktree.admin / "HEAD")
    name = named.removeprefix("ref: ")
    if named != name and name.startswith(refs.HEADS) and ".." not in name.split("/"):
        found = _line_of(worktree.common / name)
        if refs.is_sha(found):
            return found
    return head(worktree).sha


def _line_of(path: Path) -> str:
    """Returns a short file's text without its last newline, nothing for a link or for no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(handle, 4096).decode("utf-8", "replace").removesuffix("\n")
        finally:
            os.close(handle)
    except OSError:
        return ""


def head_at(site: Site) -> Head:
    """Returns where the HEAD of a git directory is; one process tells where there is a commit."""
    both = site.git(
        *("rev-parse", "--quiet", "HEAD^{commit}", "--symbolic-full-name", "HEAD"),
        accept=(0, 1, 128),
    )
    if both.code == 0 and len(both.lines) == 2:
        sha, name = both.lines
        return Head(name.removeprefix(refs.HEADS) if name != "HEAD" else None, sha)
    named = site.git("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
    at = site.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", accept=(0, 1, 128))
    branch = named.line.removeprefix(refs.HEADS) if named.code == 0 else None
    return Head(branch, at.line if at.code == 0 else None)


def rescue(worktree: Worktree, name: str) -> str:
    """Returns the ref of a snapshot of everything in the worktree: `name` under refs/fleet/rescue,
    with a number behind it when that is taken.

    Raises Rejected when the files are too large together or hold a repository of their own.
    """
    site, at = worktree.site, head(worktree)
    repo = Repository(worktree.path, worktree.common)
    extra = extra_files(site, worktree.path)
    scratch = worktree.common / "fleet"
    scratch.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rescue-", dir=scratch) as folder:
        index = Path(folder) / "index"
        if (worktree.admin / "index").exists():
            shutil.copyfile(worktree.admin / "index", index)
        else:
            site.git("read-tree", at.sha or "--empty", index=index, writes=True)
        staged = site.git("write-tree", index=index, writes=True, accept=(0, 128)).line
        paths = {*_changed(site, index, worktree.path), *_staged(site, index, at.sha), *extra}
        _take_in(site, index, worktree.path, sorted(paths))
        tree = site.git("write-tree", index=index, writes=True).line
    parents = [at.sha] if at.sha else []
    who = Identity("fleet", "fleet@localhost", int(time.time()))
    if refs.is_sha(staged) and at.sha and staged not in {tree, repo.tree(at.sha)}:
        parents.append(merging.commit(repo, staged, [at.sha], "index", who))
    facts = {"worktree": str(worktree.path), "branch": at.branch, "task": worktree.key}
    text = f"Rescued from {worktree.path.name} ({at.branch or 'detached'})"
    # No line of a hostile name may look like another line of the message.
    message = f"{' '.join(text.split())}\n\n{json.dumps(facts)}\n"
    kept = merging.commit(repo, tree, parents, message, who)
    return keep(repo, name, kept)


def keep(repo: Repository, name: str, commit: str) -> str:
    """Gives a commit a ref under refs/fleet/rescue and returns it; none is ever overwritten."""
    wanted = refs.RESCUE + "/".join(refs.component(part) for part in name.split("/"))
    taken = refs.snapshot(repo.site, refs.RESCUE)
    number, ref = 1, wanted
    while taken.get(ref, commit) != commit:
        number += 1
        ref = f"{wanted}.{number}"
    if ref not in taken:
        refs.transact(repo.site, [refs.create(ref, commit)], why="fleet: rescue")
    if repo.resolve(ref) != commit:
        raise Rejected(f"the rescue ref {ref} does not read back as {commit}")
    return ref


def extra_files(site: Site, root: Path) -> list[str]:
    """Returns the untracked and ignored files worth keeping. Raises Rejected when they cannot be
    kept.
    """
    names = site.git("ls-files", "-z", "--others").fields
    kept = [n for n in names if not REMADE & set(Path(n).parts)]
    nested = [n for n in kept if n.endswith("/")]
    if nested:
        raise Rejected(
            f"{root / nested[0]} is a repository of its own, which a snapshot cannot hold",
            hint="move it away first",
        )
    size_bytes = sum((root / n).lstat().st_size for n in kept)
    if size_bytes > RESCUE_LIMIT_BYTES:
        raise Rejected(
            f"{root} holds {size_bytes >> 20} MB outside git, more than a snapshot may take "
            f"({RESCUE_LIMIT_BYTES >> 20} MB)",
            hint="move the largest files away first",
        )
    return kept


def _changed(site: Site, index: Path, root: Path) -> list[str]:
    """Returns the tracked paths that differ on disk from a copy of the index; git's flags that
    hide a path are taken off, but from those that a sparse checkout left out.
    """
    flagged = site.git("ls-files", "-v", "-z", index=index).fields
    hidden = [line[2:] for line in flagged if line[0].islower()]
    skipped = [p[2:] for p in flagged if p[0] in "Ss" and os.path.lexists(root / p[2:])]
    for flag, paths in (("--no-assume-unchanged", hidden), ("--no-skip-worktree", skipped)):
        if paths:
            names = _fields(paths)
            update = ("update-index", flag, "-z", "--stdin")
            site.git(*update, index=index, writes=True, stdin=names)
    refresh = ("update-index", "-q", "--really-refresh")
    site.git(*refresh, index=index, writes=True, accept=(0, 1))
    differs = ("diff-files", "-z", "--name-only", "--no-renames", "--ignore-submodules=all")
    return sorted(set(site.git(*differs, index=index).fields))


def _staged(site: Site, index: Path, sha: str | None) -> list[str]:
    """Returns the paths that are staged: what git calls unchanged on disk may have other line ends
    than what it has staged.
    """
    if sha is None:
        return site.git("ls-files", "-z", index=index).fields
    differs = ("diff-index", "--cached", "-z", "--name-only", "--no-renames")
    return site.git(*differs, "--ignore-submodules=all", sha, index=index).fields


def _take_in(site: Site, index: Path, root: Path, paths: Sequence[str]) -> None:
    """Brings paths into an index as they are on disk: files and links by their bytes, what is gone
    as gone.
    """
    modes = {path: _mode(root / path) for path in paths}
    files = [path for path, mode in modes.items() if mode in {"100644", "100755"}]
    found = _written(site, files)
    for path, mode in modes.items():
        if mode == "120000":
            link = os.fsencode(os.readlink(root / path))  # noqa: PTH115
            found[path] = site.git("hash-object", "-w", "--stdin", stdin=link, writes=True).line
    gone = [path for path, mode in modes.items() if not mode]
    # What is gone goes first: a folder may stand now where a file was.
    nothing = "0" * len(site.git("hash-object", "--stdin").line)
    lines = [f"0 {nothing}\t{path}" for path in gone]
    lines += [f"{modes[path]} {oid}\t{path}" for path, oid in found.items()]
    taken = ("update-index", "-z", "--replace", "--index-info")
    site.git(*taken, index=index, writes=True, stdin=_fields(lines))


def _mode(place: Path) -> str:
    """Returns git's mode of what is at `place`; empty where there is nothing that a blob holds."""
    try:
        found = place.lstat().st_mode
    except OSError:
        return ""
    if stat.S_ISLNK(found):
        return "120000"
    if not stat.S_ISREG(found):
        return ""
    return "100755" if found & stat.S_IXUSR else "100644"


def _written(site: Site, files: Sequence[str]) -> dict[str, str]:
    """Writes files as blobs, unfiltered; returns the ids by path."""
    if not files:
        return {}
    names = b"".join(_quoted(path) + b"\n" for path in files)
    write = ("hash-object", "-w", "--no-filters", "--stdin-paths")
    made = site.git(*write, stdin=names, writes=True, timeout_s=600).lines
    return dict(zip(files, made, strict=True))


def _quoted(path: str) -> bytes:
    """Returns a path in git's C style, for input that is read by lines."""
    plain: Mapping[int, bytes] = {0x22: rb"\"", 0x5C: rb"\\"}
    return b'"' + b"".join(_sign(sign, plain) for sign in encode(path)) + b'"'


def _sign(sign: int, plain: Mapping[int, bytes]) -> bytes:
    return plain.get(sign) or (bytes([sign]) if 0x20 <= sign < 0x7F else b"\\%03o" % sign)


def _fields(texts: Iterable[str]) -> bytes:
    return b"".join(encode(text) + b"\0" for text in texts)
