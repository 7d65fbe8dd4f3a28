"""Making worktrees: adopt or create, so that a second call after any crash finds the first one's
work.

For each request: look (refs, registrations), refuse what is not ours, then refs -> registration ->
link -> files -> copies -> ready mark, each step repeatable. Branch and start record appear in one
ref transaction; the registrations are made under the repository's lock, the files are written
outside it, a few trees at a time, and each tree is handed out as soon as it is whole. Nothing that
an agent could have written is overwritten: files are written only into a tree that was never
handed out, or that has vanished.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from fleet.adapters.crash import crash_point
from fleet.adapters.git import branches, claims, copies, locks, refs, registration
from fleet.adapters.git.claims import Making, Outcome, Request, StartConflict, Worktree
from fleet.adapters.git.command import encode
from fleet.adapters.git.registration import PREFIX, READY, Registration
from fleet.adapters.git.repository import Repository
from fleet.errors import FleetError, Rejected, ToolFailed

LOOKS = 4


def create(
    repo: Repository,
    *,
    path: Path,
    branch: str,
    start: str,
    key: str,
    merge: Sequence[str] = (),
    copy: Sequence[str] = (),
    owned: bool = False,
) -> Worktree | StartConflict:
    """Returns the worktree, made or found again.

    Raises Rejected, naming what stands in the way and how many commits it holds, with the cure;
    ToolFailed when git fails, after what was half made has been withdrawn.
    """
    request = Request(path, branch, start, key, tuple(merge), tuple(copy), owned)
    outcome = create_many(repo, [request])[0]
    if isinstance(outcome, FleetError):
        raise outcome
    return outcome


def create_many(
    repo: Repository,
    requests: Sequence[Request],
    *,
    ready: Callable[[Request, Outcome], None] | None = None,
    workers: int = 2,
) -> tuple[Outcome, ...]:
    """Returns an outcome for each request, in order; one that is refused does not hold up the
    others.

    `ready` is called, from several threads, with each outcome as soon as it is known.
    """
    tell = ready or (lambda _request, _outcome: None)
    makings = [Making(r, Path(os.path.realpath(r.path))) for r in requests]
    with locks.repository_lock(repo.common) as lock:
        shared = _arrange(repo, makings, lock)
    for making in makings:
        if making.outcome is not None:
            tell(making.request, making.outcome)
    rest = [making for making in makings if making.outcome is None]

    def finish(making: Making) -> None:
        making.outcome = _finish(repo, making, shared)
        tell(making.request, making.outcome)

    if len(rest) < 2:
        for making in rest:
            finish(making)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(workers, len(rest))) as pool:
            list(pool.map(finish, rest))
    return tuple(making.outcome for making in makings if making.outcome is not None)


def find(repo: Repository, path: Path) -> Worktree | None:
    """Returns fleet's own worktree at `path` as it was registered, or None."""
    wanted = Path(os.path.realpath(path))
    for found in registration.scan(repo.common):
        if found.path == wanted and (found.reason or "").startswith(PREFIX):
            key = (found.reason or "").removeprefix(PREFIX)
            known = refs.starts(refs.snapshot(repo.site, refs.START))
            for records in known.values():
                for record in records:
                    if record.key == refs.component(key):
                        return Worktree(
                            wanted, record.branch, record.sha, key, found.admin, repo.common
                        )
    return None


# ------------------------------------------------------------------ under the lock


def _arrange(
    repo: Repository, makings: list[Making], lock: int
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Decides and registers every making; returns the files to copy, by the requests' lists of
    names.
    """
    for look in range(LOOKS):
        waiting = [making for making in makings if making.outcome is None]
        claims.decide(repo, waiting)
        lines = [line for making in waiting if making.outcome is None for line in making.lines]
        try:
            if lines:
                refs.transact(repo.site, lines, why="fleet: worktree", keep=[lock])
            break
        except ToolFailed as failed:
            # Somebody else moved a ref between the look and the transaction, or holds its lock.
            for making in waiting:
                _clear_ref_locks(repo, making)
            if look == LOOKS - 1:
                for making in waiting:
                    making.outcome = making.outcome or failed
    crash_point("git.create.after_refs")
    going = [making for making in makings if making.outcome is None]
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    if not going:
        return shared
    copies.exclude(repo, [making.path for making in going])
    known = registration.layout_is_known(repo.site)
    found = registration.scan(repo.common)
    taken = [r.path for r in found if r.path is not None]
    halves = [r for r in found if not r.whole]
    for making in going:
        try:
            _check_space(repo, making, len(going))
            names = making.request.copy
            if names not in shared:
                shared[names] = copies.wanted(repo, names, taken)
            _register(repo, making, lock, halves, known=known)
        except (FleetError, OSError) as failed:
            making.outcome = _as_error(failed, making)
    return shared


def _register(
    repo: Repository, making: Making, lock: int, halves: Sequence[Registration], *, known: bool
) -> None:
    wish = making.request
    if making.admin is not None:
        found = registration.read(making.admin)
        if found.whole:
            _take_over(repo, making, found)
            return
        if found.reason != PREFIX + wish.key:
            raise Rejected(f"{found.admin} is half a registration that is not fleet's")
        registration.drop(found)
    for other in halves:
        if other.reason == PREFIX + wish.key and other.admin.exists():
            registration.drop(other)
    if known:
        making.admin = registration.write(
            repo.common, making.path, f"ref: {refs.HEADS}{wish.branch}", wish.key
        )
    else:
        making.admin = registration.write_by_git(
            repo.site, making.path, wish.branch, wish.key, [lock]
        )
    crash_point("git.create.after_admin")
    registration.link(registration.read(making.admin))
    crash_point("git.create.after_link")


def _take_over(repo: Repository, making: Making, found: Registration) -> None:
    if (found.reason or PREFIX).startswith(PREFIX) and found.reason != PREFIX + making.request.key:
        (found.admin / "locked").write_bytes(encode(PREFIX + making.request.key))
    if registration.links_problem(repo.common, found.admin, making.path) is not None:
        if making.path.exists() and not _is_empty_but_link(making.path):
            registration.site_of(repo.common, found.admin, making.path)
        branches.keep_index(repo, found.admin, found.admin.name)
        (found.admin / READY).unlink(missing_ok=True)
        registration.link(found)


def _is_empty_but_link(path: Path) -> bool:
    return path.is_dir() and all(e.name.startswith(".git") and e.is_file() for e in path.iterdir())


def _clear_ref_locks(repo: Repository, making: Making) -> None:
    """Waits for the locks of the refs that this making writes; stale ones of ours are removed."""
    branch = refs.HEADS + making.request.branch
    for ref in (branch, refs.start_ref(making.request.branch, making.request.key)):
        try:
            locks.wait_for(repo.common / f"{ref}.lock", ours=True, common=repo.common, wait_s=15)
            locks.wait_for(
                repo.common / "packed-refs.lock", ours=False, common=repo.common, wait_s=15
            )
        except Rejected as held:
            making.outcome = held


@lru_cache(maxsize=64)
def _weight(repo: Repository, commit: str) -> tuple[int, int]:
    """Returns how many files and bytes a checkout of `commit` writes."""
    listed = repo.site.git("ls-tree", "-r", "-l", "-z", "--full-tree", commit).fields
    sizes = [line.split("\t", 1)[0].split()[3] for line in listed]
    return len(sizes), sum(int(size) for size in sizes if size != "-")


def _check_space(repo: Repository, making: Making, count: int) -> None:
    if not making.populate:
        return
    parent = next(p for p in making.path.parents if p.is_dir())
    files, size_bytes = _weight(repo, making.start)
    disk = os.statvfs(parent)
    free_bytes, reserve = disk.f_bavail * disk.f_frsize, 64 << 20
    needed = (size_bytes + files * 4096) * count
    if needed + reserve > free_bytes:
        raise FleetError(
            f"{parent} has {free_bytes >> 20} MB free; {count} "
            f"worktree{'s' * (count != 1)} would leave less than the {reserve >> 20} MB that are "
            "kept in reserve",
            hint="free some space, or put the worktrees on another disk",
        )
    if disk.f_files and disk.f_favail < files * count + 1000:
        raise FleetError(
            f"{parent} has {disk.f_favail} inodes free; {count} worktrees need {files * count}",
            hint="remove many small files there, or put the worktrees on another disk",
        )


# ------------------------------------------------------------------ outside the lock


def _finish(
    repo: Repository, making: Making, shared: dict[tuple[str, ...], tuple[str, ...]]
) -> Outcome:
    assert making.admin is not None
    wish = making.request
    try:
        site = registration.site_of(repo.common, making.admin, making.path)
        # Whoever comes second waits here, and finds a tree that an agent may be at work in already.
        with locks.repository_lock(making.admin, wait_s=600) as lock:
            if not (making.admin / READY).exists():
                if making.populate:
                    index_lock = making.admin / "index.lock"
                    locks.wait_for(index_lock, ours=True, common=repo.common)
                    populate = ("read-tree", "--reset", "-u", "HEAD")
                    site.git(*populate, writes=True, timeout_s=600, keep=[lock])
                    crash_point("git.create.after_files")
                copies.copy(repo.root, making.path, shared.get(wish.copy, ()))
                crash_point("git.create.after_copies")
                (making.admin / READY).write_bytes(encode(making.start + "\n"))
        crash_point("git.create.after_ready")
    except (FleetError, OSError) as failed:
        return _withdraw(repo, making, _as_error(failed, making))
    return Worktree(
        making.path, wish.branch, making.start, wish.key, making.admin, repo.common, making.adopted
    )


def _withdraw(repo: Repository, making: Making, failed: FleetError) -> FleetError:
    """Takes back what this call has made and nobody has seen; the failure stays the answer."""
    if making.adopted or making.admin is None or (making.admin / READY).exists():
        return failed
    try:
        with locks.repository_lock(repo.common) as lock:
            shutil.rmtree(making.path, ignore_errors=True)
            registration.drop(registration.read(making.admin))
            wish = making.request
            gone = [refs.delete(refs.start_ref(wish.branch, wish.key), making.start)]
            if making.made_branch:
                gone.append(refs.delete(refs.HEADS + wish.branch, making.start))
            refs.transact(repo.site, gone, why="fleet: withdrawn", keep=[lock])
    except (FleetError, OSError) as left:
        failed.add_note(f"what was half made stays for the next try: {left}")
    return failed


def _as_error(failed: FleetError | OSError, making: Making) -> FleetError:
    if isinstance(failed, FleetError):
        return failed
    return FleetError(f"the worktree {making.path} cannot be made: {failed.strerror or failed}")
