"""What was rescued, listed and brought back: never over anything that is there.

`restore` writes a snapshot into a folder that did not exist, whole or not at all;
`restore_worktree` gives it a branch and a worktree of the user's, with what was staged staged and
the rest as it was on disk. Files are written by their bytes, through no filter.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.crash import crash_point
from fleet.adapters.git import locks, refs
from fleet.adapters.git.command import Site, decode, encode
from fleet.adapters.git.repository import Change, Repository
from fleet.errors import NotFound, Rejected

SUBMODULE: Final = "160000"
LINK: Final = "120000"
CHUNK_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Rescue:
    """One rescue ref. `kind` is files (a snapshot of a worktree), index (what was staged in one) or
    commits (history that nothing else leads to).

    `files` and `size_bytes` are of what differs from the commit that the worktree was at; `staged`
    is how many files were staged otherwise than they were on disk.
    """

    name: str
    ref: str
    commit: str
    kind: str
    at_s: int
    worktree: str
    branch: str
    files: int
    size_bytes: int
    staged: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of a commit."""

    mode: str
    oid: str
    size: str
    path: str


def all_rescues(repo: Repository) -> tuple[Rescue, ...]:
    """Returns every rescue, latest first."""
    form = "%(objectname)%00%(refname)%00%(parent)%00%(committerdate:unix)%00%(contents)%00%01"
    told = repo.site.git("for-each-ref", f"--format={form}", refs.RESCUE).out
    rows = [row.lstrip("\n").split("\0") for row in decode(told).split("\x01") if row.strip()]
    found = [_rescue(repo, row[0], row[1], row[2:5]) for row in rows]
    return tuple(sorted(found, key=lambda one: (-one.at_s, one.name)))


def find_rescue(repo: Repository, name: str) -> Rescue:
    """Returns the rescue that a name, a whole ref or a unique beginning means; raises NotFound."""
    known = all_rescues(repo)
    wanted = name.removeprefix(refs.RESCUE)
    exact = [one for one in known if one.name == wanted]
    close = exact or [one for one in known if one.name.startswith(wanted)]
    if len(close) != 1:
        raise NotFound("rescue", name, [one.name for one in close or known])
    return close[0]


def restore(repo: Repository, found: Rescue, target: Path) -> Path:
    """Writes all files of a rescue into the new folder `target` and returns it.

    Raises Rejected when anything is there but an empty folder.
    """
    path = Path(os.path.realpath(target))
    _refuse_taken(path)
    # Named after the target, so that what a killed call left is found and made anew.
    staging = path.with_name(f".fleet-restore-{path.name}")
    with locks.repository_lock(repo.common):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            _write_tree(repo, found.commit, staging)
            crash_point("git.restore.after_files")
            if path.exists():
                path.rmdir()
            staging.rename(path)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return path


def restore_worktree(repo: Repository, found: Rescue, branch: str, target: Path) -> Path:
    """Makes `branch` where the worktree was, checked out at the new folder `target`, with staged
    and other changes as they were; returns the folder. Both are the user's from then on.

    Raises Rejected when branch or folder are there already.
    """
    path = Path(os.path.realpath(target))
    _refuse_taken(path)
    if (problem := refs.branch_name_problem(branch)) is not None:
        raise Rejected(problem)
    if repo.resolve(refs.HEADS + branch) is not None:
        raise Rejected(f"branch {branch!r} exists", hint="name another one")
    parents = _parents(repo, found.commit)
    at = found.commit if found.kind == "commits" or not parents else parents[0]
    with locks.repository_lock(repo.common) as lock:
        add = ("worktree", "add", "--no-track", "-b", branch, "--", str(path), at)
        repo.site.git(*add, writes=True, keep=[lock], timeout_s=600)
    if at == found.commit:
        return path
    admin = repo.git_dir_of(path)
    assert admin is not None, path
    site = Site(admin, repo.common, path)
    changes = repo.changed(at, found.commit)
    _apply(repo, found.commit, path, changes)
    staged = parents[1] if len(parents) > 1 else (found.commit if found.kind == "index" else at)
    site.git("read-tree", staged, writes=True)
    site.git("update-index", "-q", "--refresh", writes=True, accept=(0, 1))
    return path


def _rescue(repo: Repository, commit: str, ref: str, told: Sequence[str]) -> Rescue:
    parent, at, text = told
    name, parents = ref.removeprefix(refs.RESCUE), parent.split()
    kind = "files" if text.startswith("Rescued from ") else "commits"
    kind = "index" if text.startswith("what was staged") else kind
    facts = _facts(text)
    files = size = staged = 0
    if kind != "commits":
        base = parents[0] if parents else _empty_tree(repo)
        changes = repo.changed(base, commit)
        files, size = len(changes), _size(repo, commit, changes)
        staged = len(repo.changed(base, parents[1])) if len(parents) > 1 else 0
    return Rescue(
        name=name,
        ref=ref,
        commit=commit,
        kind=kind,
        at_s=int(at or 0),
        worktree=str(facts.get("worktree") or ""),
        branch=str(facts.get("branch") or ""),
        files=files,
        size_bytes=size,
        staged=staged,
    )


def _facts(text: str) -> dict[str, object]:
    try:
        found = json.loads(text.split("\n\n", 1)[1])
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _empty_tree(repo: Repository) -> str:
    return repo.site.git("hash-object", "-t", "tree", "-w", "--stdin", writes=True).line


def _parents(repo: Repository, commit: str) -> list[str]:
    return repo.site.git("rev-list", "--parents", "-n1", commit).line.split()[1:]


def _size(repo: Repository, commit: str, changes: Sequence[Change]) -> int:
    wanted = {change.path for change in changes if change.status != "D"}
    return sum(int(size) for _, _, size, path in _entries(repo, commit) if path in wanted)


def _entries(repo: Repository, commit: str) -> Iterator[tuple[str, str, str, str]]:
    """Yields mode, object id, size in bytes (0 for a submodule) and path of each file."""
    listed = ("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
    for row in repo.site.git(*listed).fields:
        facts, path = row.split("\t", 1)
        mode, _, oid, size = facts.split()
        yield mode, oid, "0" if size == "-" else size, path


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path) and (not path.is_dir() or path.is_symlink() or any(path.iterdir())):
        raise Rejected(f"{path} is there already", hint="name a folder that is not: --to DIR")


def _write_tree(repo: Repository, commit: str, root: Path) -> None:
    _write_all(repo, root, [_Entry(*one) for one in _entries(repo, commit)])


def _apply(repo: Repository, commit: str, root: Path, changes: Sequence[Change]) -> None:
    """Brings a fresh checkout to a snapshot: what is gone first, then what is new or changed."""
    entries = {one[3]: _Entry(*one) for one in _entries(repo, commit)}
    for change in sorted(changes, key=lambda one: one.path, reverse=True):
        place = root / change.path
        if os.path.lexists(place):
            place.unlink()
        for parent in place.relative_to(root).parents[:-1]:
            if (root / parent).is_dir() and not any((root / parent).iterdir()):
                (root / parent).rmdir()
    _write_all(repo, root, [entries[c.path] for c in changes if c.path in entries])


def _write_all(repo: Repository, root: Path, entries: Sequence[_Entry]) -> None:
    """Writes files where nothing is; their bytes come from one git for every `CHUNK_BYTES`."""
    waiting: list[_Entry] = []
    size_bytes = 0
    for number, entry in enumerate(entries, start=1):
        waiting.append(entry)
        size_bytes += int(entry.size)
        if size_bytes >= CHUNK_BYTES or number == len(entries):
            for one, content in zip(waiting, _blobs(repo, waiting), strict=True):
                _write(root, one, content)
            waiting, size_bytes = [], 0


def _blobs(repo: Repository, entries: Sequence[_Entry]) -> Iterator[bytes]:
    """Yields the content of each entry, nothing for a submodule."""
    asked = encode("".join(f"{one.oid}\n" for one in entries if one.mode != SUBMODULE))
    told = repo.site.git("cat-file", "--batch", stdin=asked, timeout_s=600).out if asked else b""
    at = 0
    for one in entries:
        if one.mode == SUBMODULE:
            yield b""
            continue
        end = told.index(b"\n", at)
        size_bytes = int(told[at:end].split(b" ")[2])
        yield told[end + 1 : end + 1 + size_bytes]
        at = end + 2 + size_bytes


def _write(root: Path, entry: _Entry, content: bytes) -> None:
    """Writes one file where nothing is; folders are made, links are never followed."""
    parts = entry.path.split("/")
    assert not {"", ".", "..", ".git"} & {part.lower() for part in parts}, entry.path
    place = root / entry.path
    place.parent.mkdir(parents=True, exist_ok=True)
    assert place.parent.resolve() == root.resolve() / Path(entry.path).parent, entry.path
    if entry.mode == SUBMODULE:
        place.mkdir(exist_ok=True)
        return
    if entry.mode == LINK:
        os.symlink(content, os.fsencode(place))  # noqa: PTH211 - a link's text is bytes
        return
    mode = 0o755 if entry.mode == "100755" else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(place, flags, mode), "wb") as file:
        file.write(content)
