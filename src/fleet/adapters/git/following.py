"""A checkout that follows its branch: files and index are brought from one commit to the next.

`Follow` is recorded before anything is touched; `recover` reads it after a crash. git's two-way
`read-tree -m -u` moves the files, which keeps what is uncommitted elsewhere; what it would not
protect (ignored files in the way) is looked for before. The index is prepared as a file of its own
and renamed over the old one while `index.lock` is held.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.crash import crash_point
from fleet.adapters.git import locks, refs, registration
from fleet.adapters.git.command import Site, decode, encode, in_one_line
from fleet.adapters.git.repository import Change, Repository
from fleet.errors import Rejected

RECORD: Final = "fleet-landing.json"
_SUBMODULE: Final = "160000"
LOCK_WAIT_S: Final = 5.0

_IN_THE_WAY: Final = ("would be overwritten", "would be removed", "would lose", "not uptodate")
"""What git's two-way merge says of work that it will not touch; all else it says is trouble."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The checkout at `place` (git directory `admin`) is to go from commit `old` to `new` with
    `ref`.
    """

    common: Path
    admin: Path
    place: Path
    ref: str
    old: str
    new: str

    @property
    def site(self) -> Site:
        """Where git works for this checkout."""
        return Site(self.admin, self.common, self.place)

    @property
    def mark(self) -> bytes:
        """What stands in an `index.lock` that is ours."""
        return encode(f"fleet {self.ref} {self.old} {self.new}\n")


@dataclass(frozen=True, slots=True)
class Blocked:
    """Paths that a checkout cannot give up, and why."""

    paths: tuple[str, ...]
    why: str


def plan(repo: Repository, place: Path, ref: str, old: str, new: str) -> Follow:
    """Returns how the checkout at `place` would follow. Raises Rejected when its pointers were
    changed.
    """
    admin = repo.git_dir_of(place)
    assert admin is not None, place
    if admin != repo.common:
        registration.site_of(repo.common, admin, Path(os.path.realpath(place)))
    return Follow(repo.common, admin, Path(os.path.realpath(place)), ref, old, new)


def obstacles(repo: Repository, follow: Follow) -> Blocked | None:
    """Returns what in the checkout the step would overwrite, or None."""
    under_way = registration.under_way(follow.admin)
    site = follow.site
    status = site.git(
        *("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames"),
        "--ignore-submodules=all",
    ).fields
    changes = repo.changed(follow.old, follow.new)
    touched = {change.path for change in changes}
    if replaced := _replaced_submodules(repo, follow, changes):
        return Blocked(replaced, "checked-out submodules")
    changed = {line[3:] for line in status}
    unmerged = {line[3:] for line in status if "U" in line[:2] or line[:2] in {"AA", "DD"}}
    if under_way or unmerged:
        names = tuple(sorted(unmerged or touched))
        return Blocked(names, f"{under_way[0] if under_way else 'a merge'} is under way")
    hit = {p for p in changed if p in touched or _nested(p, touched)}
    flagged = {line[2:]: line[0] for line in site.git("ls-files", "-v", "-z").fields}
    tracked = set(flagged)
    hidden = {p for p in tracked & touched if flagged[p] == "S" or flagged[p].islower()}
    hit |= {p for p in hidden if os.path.lexists(follow.place / p)}
    for change in changes:
        if change.status == "A" and change.path not in tracked:
            hit |= _in_the_way(follow.place, change.path, tracked)
    return Blocked(tuple(sorted(hit)), "uncommitted changes") if hit else None


def record(follow: Follow) -> None:
    """Writes down, durably, what is about to be done."""
    facts = {"admin": follow.admin, "place": follow.place, "ref": follow.ref}
    text = json.dumps(
        {k: str(v) for k, v in facts.items()} | {"old": follow.old, "new": follow.new}
    )
    staged = follow.common / f"{RECORD}.new"
    with staged.open("wb") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())
    staged.rename(follow.common / RECORD)


def take_index_lock(follow: Follow) -> None:
    """Holds the checkout's index, so that nobody commits meanwhile. Raises Rejected when it stays
    taken, OSError when it cannot be written; the record is gone then.
    """
    try:
        while True:
            try:
                return locks.take(follow.admin / "index.lock", follow.mark)
            except FileExistsError:
                lock = follow.admin / "index.lock"
                locks.wait_for(lock, ours=False, common=follow.common, wait_s=LOCK_WAIT_S)
    except (Rejected, OSError):
        (follow.common / RECORD).unlink()
        raise


def write_files(repo: Repository, follow: Follow, lock: int) -> Blocked | None:
    """Brings files, then the index, to the new commit; returns what stands in the way, with
    nothing changed. Raises Rejected when git cannot write them, as on a full disk or where a
    filter fails; `recover` takes back what it has written.
    """
    if (blocked := obstacles(repo, follow)) is not None:
        return blocked
    index = _staged_index(follow)
    refused = _two_way(follow, follow.old, follow.new, index, [lock])
    crash_point("git.land.after_files")
    if refused is not None:
        index.unlink(missing_ok=True)
        if not any(words in refused for words in _IN_THE_WAY):
            why = in_one_line(refused)
            raise Rejected(f"the checkout at {follow.place} cannot follow and is as it was: {why}")
        touched = {change.path for change in repo.changed(follow.old, follow.new)}
        named = tuple(sorted(p for p in touched if p in refused))
        return Blocked(named or tuple(sorted(touched)), "uncommitted changes")
    index.rename(follow.admin / "index")
    crash_point("git.land.after_index")
    return None


def recover(repo: Repository, *, forward: bool = True) -> str | None:
    """Ends a recorded step and releases its lock; returns what it did, or None.

    A step whose index was already replaced goes forward, unless `forward` is false; any other goes
    back.

    Must be called under the repository's lock: then whoever wrote the record, and his git, are
    gone.
    """
    file = repo.common / RECORD
    if not file.exists():
        return None
    facts = json.loads(file.read_bytes().decode("utf-8", "surrogatepass"))
    follow = Follow(
        repo.common,
        Path(facts["admin"]),
        Path(facts["place"]),
        facts["ref"],
        facts["old"],
        facts["new"],
    )
    said = "took back a landing"
    if _lock_is_ours(follow) and follow.place.is_dir():
        actual = repo.resolve(follow.ref)
        # The old commit may contain the new one: a move back goes the other way.
        if actual and actual != follow.old and repo.is_ancestor(follow.new, actual):
            said = "finished a landing"
        elif _index_is_new(repo, follow):
            if forward and actual == follow.old:
                line = refs.update(follow.ref, follow.new, follow.old)
                refs.transact(follow.site, [line], why="fleet: land (recovered)")
                said = "finished a landing"
            else:
                index = _staged_index(follow)
                if _two_way(follow, follow.new, follow.old, index, []) is None:
                    index.rename(follow.admin / "index")
        else:
            _restore_files(repo, follow)
        (follow.admin / "fleet-index").unlink(missing_ok=True)
        (follow.admin / "index.lock").unlink(missing_ok=True)
        crash_point("git.land.after_unlock")
    file.unlink()
    return f"{said}: {follow.ref.removeprefix(refs.HEADS)} to {follow.new[:12]} at {follow.place}"


def _staged_index(follow: Follow) -> Path:
    index = follow.admin / "fleet-index"
    index.with_name("fleet-index.lock").unlink(missing_ok=True)
    index.unlink(missing_ok=True)
    # With the time of the original: what was edited in the very moment in which it was added is
    # told by git from what was not by comparing that time with the file's.
    shutil.copy2(follow.admin / "index", index)
    return index


def _two_way(follow: Follow, old: str, new: str, index: Path, keep: Sequence[int]) -> str | None:
    """Moves files and `index` from `old` to `new`; returns git's words when it refuses (nothing is
    changed).
    """
    site = follow.site
    site.git("update-index", "-q", "--refresh", index=index, writes=True, accept=(0, 1))
    done = site.git(
        *("read-tree", "-m", "-u", old, new),
        index=index,
        writes=True,
        accept=(0, 1, 128),
        timeout_s=600,
        keep=keep,
    )
    return None if done.code == 0 else done.err or "read-tree refused"


def _lock_is_ours(follow: Follow) -> bool:
    try:
        return (follow.admin / "index.lock").read_bytes() == follow.mark
    except OSError:
        return False


def _index_is_new(repo: Repository, follow: Follow) -> bool:
    entries = _entries(follow)
    wanted = _blobs(repo, follow.new)
    touched = [change.path for change in repo.changed(follow.old, follow.new)]
    return bool(touched) and all(entries.get(path) == wanted.get(path) for path in touched)


def _restore_files(repo: Repository, follow: Follow) -> None:
    """Takes half-written files back to the index. They were as in `old` when the record was
    written.

    A file that is neither old nor new nor a beginning of the new one was edited since; a copy of
    it is kept beside.
    """
    old, new, site = _blobs(repo, follow.old), _blobs(repo, follow.new), follow.site
    again = []
    for change in repo.changed(follow.old, follow.new):
        place = follow.place / change.path
        if os.path.lexists(place) and not (place.is_dir() and not place.is_symlink()):
            real = _hash(site, place, change.path)
            before, after = old.get(change.path, ("", "")), new.get(change.path, ("", ""))
            if real == before[1] and after[0] in {"", before[0]}:
                continue
            if real in {before[1], after[1]} or _begins(site, place, new.get(change.path)):
                place.unlink()
            else:
                place.rename(_free_name(place))
        if change.path in old:
            again.append(change.path)
    _drop_empty(follow.place, [p for p in new if p not in old])
    names = b"".join(encode(path) + b"\0" for path in again)
    if names:
        index = _staged_index(follow)
        site.git("checkout-index", "-u", "-z", "--stdin", index=index, stdin=names, writes=True)
        index.rename(follow.admin / "index")


def _entries(follow: Follow) -> dict[str, tuple[str, str]]:
    found = {}
    for line in follow.site.git("ls-files", "-s", "-z").fields:
        facts, path = line.split("\t", 1)
        found[path] = (facts.split()[0], facts.split()[1])
    return found


def _blobs(repo: Repository, commit: str) -> dict[str, tuple[str, str]]:
    found = {}
    for line in repo.site.git("ls-tree", "-r", "-z", "--full-tree", commit).fields:
        facts, path = line.split("\t", 1)
        mode, _, oid = facts.split()
        found[path] = (mode, oid)
    return found


def _hash(site: Site, place: Path, path: str) -> str:
    if place.is_symlink():
        return site.git("hash-object", "--stdin", stdin=os.fsencode(os.readlink(place))).line  # noqa: PTH115
    return site.git("hash-object", f"--path={path}", "--", str(place)).line


def _begins(site: Site, place: Path, entry: tuple[str, str] | None) -> bool:
    """Whether a file is a beginning of a blob, as a killed git leaves it."""
    if entry is None or place.is_symlink():
        return False
    return site.git("cat-file", "blob", entry[1]).out.startswith(place.read_bytes())


def _free_name(place: Path) -> Path:
    number = 1
    while os.path.lexists(found := place.with_name(f"{place.name}.kept-{number}")):
        number += 1
    return found


def _drop_empty(root: Path, paths: Sequence[str]) -> None:
    for path in sorted(paths, reverse=True):
        for parent in (root / path).parents:
            if parent == root or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def _replaced_submodules(
    repo: Repository, follow: Follow, changes: Sequence[Change]
) -> tuple[str, ...]:
    """Returns submodules with anything in their folder for which files are to come: git would take
    the folder away with all that was never committed there.
    """
    gone = [change.path for change in changes if change.status in "TD"]
    new = [change.path for change in changes if change.status in "TA"]
    filled = [
        path
        for path in gone
        if (path in new or any(one.startswith(f"{path}/") for one in new))
        and (follow.place / path).is_dir()
        and any((follow.place / path).iterdir())
    ]
    if not filled:
        return ()
    before = _blobs(repo, follow.old)
    return tuple(path for path in filled if before[path][0] == _SUBMODULE)


def _nested(path: str, touched: set[str]) -> bool:
    """Whether a path lies under a touched one or the reverse (a file that becomes a folder, or
    back).
    """
    parts = path.split("/")
    above = {"/".join(parts[:n]) for n in range(1, len(parts))}
    return bool(above & touched) or any(t.startswith(path + "/") for t in touched)


def _in_the_way(root: Path, path: str, tracked: set[str]) -> set[str]:
    """Returns untracked files, ignored ones too, that a new file at `path` would replace."""
    place = root / path
    for parent in reversed(place.relative_to(root).parents[:-1]):
        above = root / parent
        if (above.is_symlink() or above.is_file()) and str(parent) not in tracked:
            return {str(parent)}
    if place.is_dir() and not place.is_symlink():
        inside = [p for p in place.rglob("*") if not p.is_dir() or p.is_symlink()]
        return {n for p in inside if (n := decode(os.fsencode(p.relative_to(root)))) not in tracked}
    return {path} if os.path.lexists(place) else set()
