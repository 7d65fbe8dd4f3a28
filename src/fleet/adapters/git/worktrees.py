"""Making worktrees: adopt or create, so that a second call after any crash finds the first one's work.

For each request: look (refs, registrations), refuse what is not ours, then refs -> registration -> link ->
files -> copies -> ready mark, each step repeatable. Branch and start record appear in one ref transaction; the
registrations are made under the repository's lock, the files are written outside it, a few trees at a time,
and each tree is handed out as soon as it is whole. Nothing that an agent could have written is overwritten:
files are written only into a tree that was never handed out, or that has vanished.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from fleet.adapters.crash import crash_point
from fleet.adapters.git import copies, locks, merging, refs, registration
from fleet.adapters.git.command import Identity, Site, encode
from fleet.adapters.git.registration import PREFIX, READY, Registration
from fleet.adapters.git.repository import Repository
from fleet.errors import FleetError, Rejected, ToolFailed

LOOKS = 4


@dataclass(frozen=True, slots=True)
class Request:
    """A worktree that is wanted: `start` and `merge` are commit ids, `key` says whose it is.

    `owned` says that the caller knows from its own journal that branch and path were made for this task
    before, so their commits are no reason to refuse.
    """

    path: Path
    branch: str
    start: str
    key: str
    merge: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    owned: bool = False


@dataclass(frozen=True, slots=True)
class Worktree:
    """A worktree that is whole; `start` is the commit that its branch began at."""

    path: Path
    branch: str
    start: str
    key: str
    admin: Path
    common: Path
    adopted: bool = False

    @property
    def site(self) -> Site:
        """Where git works for it, its pointers compared first. Raises Rejected when they were changed."""
        return registration.site_of(self.common, self.admin, self.path)


@dataclass(frozen=True, slots=True)
class StartConflict:
    """The dependencies of a worktree do not merge: the paths, and the two commits that clash."""

    paths: tuple[str, ...]
    commits: tuple[str, str]
    text: str


Outcome = Worktree | StartConflict | FleetError


@dataclass(slots=True)
class _Making:
    """One request on its way: what was found, and what is still to be done."""

    request: Request
    path: Path
    start: str = ""
    lines: list[bytes] = field(default_factory=list)
    admin: Path | None = None
    populate: bool = True
    adopted: bool = False
    made_branch: bool = False
    outcome: Outcome | None = None


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

    Raises Rejected, naming what stands in the way and how many commits it holds, with the cure; ToolFailed
    when git fails, after what was half made has been withdrawn.
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
    """Returns an outcome for each request, in order; one that is refused does not hold up the others.

    `ready` is called, from several threads, with each outcome as soon as it is known.
    """
    tell = ready or (lambda _request, _outcome: None)
    jobs = [_Making(r, Path(os.path.realpath(r.path))) for r in requests]
    with locks.repository_lock(repo.common) as lock:
        shared = _arrange(repo, jobs, lock)
    for job in jobs:
        if job.outcome is not None:
            tell(job.request, job.outcome)
    rest = [job for job in jobs if job.outcome is None]

    def finish(job: _Making) -> None:
        job.outcome = _finish(repo, job, shared)
        tell(job.request, job.outcome)

    if len(rest) < 2:
        for job in rest:
            finish(job)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(workers, len(rest))) as pool:
            list(pool.map(finish, rest))
    return tuple(job.outcome for job in jobs if job.outcome is not None)


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
    repo: Repository, jobs: list[_Making], lock: int
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Decides and registers every job; returns the files to copy, by the requests' lists of names."""
    for look in range(LOOKS):
        waiting = [job for job in jobs if job.outcome is None]
        _decide(repo, waiting)
        lines = [line for job in waiting if job.outcome is None for line in job.lines]
        try:
            if lines:
                refs.transact(repo.site, lines, why="fleet: worktree", keep=[lock])
            break
        except ToolFailed as failed:
            # Somebody else moved a ref between the look and the transaction, or holds its lock.
            for job in waiting:
                _clear_ref_locks(repo, job)
            if look == LOOKS - 1:
                for job in waiting:
                    job.outcome = job.outcome or failed
    crash_point("git.create.after_refs")
    going = [job for job in jobs if job.outcome is None]
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    if not going:
        return shared
    copies.exclude(repo, [job.path for job in going])
    known = registration.layout_is_known(repo.site)
    found = registration.scan(repo.common)
    taken = [r.path for r in found if r.path is not None]
    halves = [r for r in found if not r.whole]
    for job in going:
        try:
            _check_space(repo, job, len(going))
            names = job.request.copy
            if names not in shared:
                shared[names] = copies.wanted(repo, names, taken)
            _register(repo, job, lock, halves, known=known)
        except (FleetError, OSError) as failed:
            job.outcome = _as_error(failed, job)
    return shared


def _decide(repo: Repository, jobs: list[_Making]) -> None:
    snapshot = refs.snapshot(repo.site, refs.HEADS, refs.START)
    known = refs.starts(snapshot)
    registered = registration.scan(repo.common)
    for job in jobs:
        job.lines, job.admin, job.populate, job.adopted = [], None, True, False
        try:
            if (problem := refs.branch_name_problem(job.request.branch)) is not None:
                raise Rejected(problem)
            _check_path(repo, job, registered)
            _decide_one(repo, job, snapshot, known, registered)
        except FleetError as refused:
            job.outcome = refused


def _decide_one(
    repo: Repository,
    job: _Making,
    snapshot: dict[str, str],
    known: dict[str, list[refs.Start]],
    registered: Sequence[Registration],
) -> None:
    wish = job.request
    tip = snapshot.get(refs.HEADS + wish.branch)
    records = known.get(refs.component(wish.branch), [])
    mine = next((s for s in records if s.key == refs.component(wish.key)), None)
    here = next((r for r in registered if r.path == job.path), None)
    elsewhere = repo.holders(wish.branch) if tip else ()
    if any(Path(os.path.realpath(p)) != job.path for p in elsewhere):
        raise Rejected(
            f"branch {wish.branch!r} is already checked out at {elsewhere[0]}",
            hint="give the task another branch, or free it there: git switch --detach",
        )
    if mine is not None:
        job.start = mine.sha
    else:
        start = _start(repo, wish)
        if isinstance(start, StartConflict):
            job.outcome = start
            return
        job.start = start
    ours = here is not None and here.reason == PREFIX + wish.key
    if here is not None and not ours and here.whole:
        _check_foreign(repo, job, here, tip)
    elif here is None and job.path.exists() and not _is_leftover(repo, job.path):
        raise Rejected(
            f"{job.path} exists and is not empty, and fleet did not make it",
            hint=f"move it away, or give the task {wish.branch!r} another worktree",
        )
    if here is not None:
        job.admin, job.adopted = here.admin, True
        intact = here.whole and registration.links_problem(repo.common, here.admin, job.path)
        job.populate = (ours and not here.ready) or not here.whole or intact is not None
    _claim_branch(repo, job, tip, mine, snapshot)


def _claim_branch(
    repo: Repository,
    job: _Making,
    tip: str | None,
    mine: refs.Start | None,
    snapshot: dict[str, str],
) -> None:
    wish, branch = job.request, refs.HEADS + job.request.branch
    if tip is None:
        _check_nesting(wish.branch, snapshot)
        job.lines.append(refs.create(branch, job.start))
        job.made_branch = True
    elif mine is None:
        if tip != job.start and not wish.owned:
            count = repo.ahead_behind(tip, job.start)[0]
            raise Rejected(
                f"branch {wish.branch!r} exists with {count} commit{'s' * (count != 1)} of its own "
                f"and is not this task's (worktree {job.path})",
                hint=f"keep it: git branch -m {wish.branch} {wish.branch}-old",
            )
        job.lines.append(refs.verify(branch, tip))
    if mine is None:
        job.lines.append(refs.create(refs.start_ref(wish.branch, wish.key), job.start))


def _check_foreign(repo: Repository, job: _Making, here: Registration, tip: str | None) -> None:
    """Refuses a registered worktree that is not this key's, unless it is owned or clean at the start."""
    wish = job.request
    if wish.owned:
        return
    site = registration.site_of(repo.common, here.admin, job.path)
    changed = site.git("status", "--porcelain", "-z", "--untracked-files=all").fields
    on_it = here.head == f"ref: {refs.HEADS}{wish.branch}"
    if on_it and tip == job.start and not changed:
        return
    count = repo.ahead_behind(tip, job.start)[0] if tip else 0
    raise Rejected(
        f"{job.path} is another worktree ({here.head.removeprefix('ref: ')}): {count} commits of its "
        f"own on {wish.branch!r}, {len(changed)} uncommitted changes",
        hint=f"give the task another path, or remove it: git worktree remove {job.path}",
    )


def _check_path(repo: Repository, job: _Making, registered: Sequence[Registration]) -> None:
    path = job.path
    if path == repo.root or path in repo.root.parents:
        raise Rejected(f"a worktree cannot be at {path}: the repository itself is there")
    if path.is_relative_to(repo.common):
        raise Rejected(f"a worktree cannot be inside git's own folder: {path}")
    if str(path) != str(path).rstrip():
        raise Rejected(f"a worktree's path cannot end with white space: {str(path)!r}")
    for other in registered:
        if other.path and path != other.path and path.is_relative_to(other.path):
            raise Rejected(f"{path} is inside the worktree {other.path}")


def _check_nesting(branch: str, snapshot: dict[str, str]) -> None:
    parts = branch.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    clash = next((a for a in above if refs.HEADS + a in snapshot), None)
    if clash is None:
        below = f"{refs.HEADS}{branch}/"
        clash = next((r.removeprefix(refs.HEADS) for r in snapshot if r.startswith(below)), None)
    if clash is not None:
        raise Rejected(
            f"branch {branch!r} cannot exist beside branch {clash!r}: one is a folder of the other",
            hint=f"rename one: git branch -m {clash} {clash}-old",
        )


def _start(repo: Repository, wish: Request) -> str | StartConflict:
    """Returns the start with the dependencies merged in; the same inputs give the same commit."""
    current = _commit_at(repo, wish.start)
    if current is None:
        raise Rejected(f"the start point {wish.start!r} of {wish.branch!r} is no commit here")
    for dependency in wish.merge:
        if repo.is_ancestor(dependency, current):
            continue
        merged = merging.merge(repo, current, dependency)
        if isinstance(merged, merging.Clash):
            return StartConflict(merged.paths, (current, dependency), merged.text)
        stamps = repo.site.git("show", "-s", "--format=%ct", current, dependency).lines
        who = Identity("fleet", "fleet@localhost", max(map(int, stamps)))
        text = f"Merge {dependency[:12]} into the start of {wish.branch}"
        current = merging.commit(repo, merged.oid, (current, dependency), text, who)
    return current


@lru_cache(maxsize=256)
def _commit_at(repo: Repository, sha: str) -> str | None:
    return repo.resolve(sha) if refs.is_sha(sha) else None


def _is_leftover(repo: Repository, path: Path) -> bool:
    """Whether a folder is empty or holds only a `.git` file that points to a vanished registration of ours."""
    if path.is_symlink() or not path.is_dir():
        return False
    names = [entry.name for entry in path.iterdir()]
    if not names:
        return True
    dot = path / ".git"
    if names != [".git"] or not dot.is_file():
        return False
    target = dot.read_bytes().removeprefix(b"gitdir: ").rstrip(b"\n")
    admin = Path(os.fsdecode(target))
    return admin.parent == repo.common / "worktrees" and not admin.exists()


def _register(
    repo: Repository, job: _Making, lock: int, halves: Sequence[Registration], *, known: bool
) -> None:
    wish = job.request
    if job.admin is not None:
        found = registration.read(job.admin)
        if found.whole:
            _take_over(repo, job, found)
            return
        if found.reason != PREFIX + wish.key:
            raise Rejected(f"{found.admin} is half a registration that is not fleet's")
        registration.drop(found)
    for other in halves:
        if other.reason == PREFIX + wish.key and other.admin.exists():
            registration.drop(other)
    if known:
        job.admin = registration.write(
            repo.common, job.path, f"ref: {refs.HEADS}{wish.branch}", wish.key
        )
    else:
        job.admin = registration.write_by_git(repo.site, job.path, wish.branch, wish.key, [lock])
    crash_point("git.create.after_admin")
    registration.link(registration.read(job.admin))
    crash_point("git.create.after_link")


def _take_over(repo: Repository, job: _Making, found: Registration) -> None:
    if (found.reason or PREFIX).startswith(PREFIX) and found.reason != PREFIX + job.request.key:
        (found.admin / "locked").write_bytes(encode(PREFIX + job.request.key))
    if registration.links_problem(repo.common, found.admin, job.path) is not None:
        if job.path.exists() and not _is_empty_but_link(job.path):
            registration.site_of(repo.common, found.admin, job.path)
        _rescue_index(repo, found)
        registration.link(found)


def _is_empty_but_link(path: Path) -> bool:
    return path.is_dir() and all(e.name.startswith(".git") and e.is_file() for e in path.iterdir())


def _rescue_index(repo: Repository, found: Registration) -> None:
    """Keeps what was staged in a worktree whose folder has vanished, before its index is written anew."""
    if not (found.admin / "index").exists():
        return
    site = Site(found.admin, repo.common)
    staged = site.git("write-tree", accept=(0, 128), writes=True).line
    head = repo.resolve(found.head.removeprefix("ref: "))
    if head and refs.is_sha(staged) and staged != repo.tree(head):
        who = Identity("fleet", "fleet@localhost", 0)
        kept = merging.commit(repo, staged, [head], "what was staged in a lost worktree", who)
        name = refs.RESCUE + refs.component(f"{found.admin.name}-index-{kept[:12]}")
        refs.transact(repo.site, [refs.put(name, kept)], why="fleet: rescue")


def _clear_ref_locks(repo: Repository, job: _Making) -> None:
    """Waits for the locks of the refs that this job writes; stale ones of ours are removed."""
    branch = refs.HEADS + job.request.branch
    for ref in (branch, refs.start_ref(job.request.branch, job.request.key)):
        try:
            locks.wait_for(repo.common / f"{ref}.lock", ours=True, common=repo.common, wait_s=15)
            locks.wait_for(
                repo.common / "packed-refs.lock", ours=False, common=repo.common, wait_s=15
            )
        except Rejected as held:
            job.outcome = held


@lru_cache(maxsize=64)
def _weight(repo: Repository, commit: str) -> tuple[int, int]:
    """Returns how many files and bytes a checkout of `commit` writes."""
    listed = repo.site.git("ls-tree", "-r", "-l", "-z", "--full-tree", commit).fields
    sizes = [line.split("\t", 1)[0].split()[3] for line in listed]
    return len(sizes), sum(int(size) for size in sizes if size != "-")


def _check_space(repo: Repository, job: _Making, count: int) -> None:
    if not job.populate:
        return
    parent = next(p for p in job.path.parents if p.is_dir())
    files, size_bytes = _weight(repo, job.start)
    disk = os.statvfs(parent)
    free_bytes, reserve = disk.f_bavail * disk.f_frsize, 64 << 20
    needed = (size_bytes + files * 4096) * count
    if needed + reserve > free_bytes:
        raise FleetError(
            f"{parent} has {free_bytes >> 20} MB free; {count} worktrees need {needed >> 20} MB",
            hint="free some space, or put the worktrees on another disk",
        )
    if disk.f_files and disk.f_favail < files * count + 1000:
        raise FleetError(
            f"{parent} has {disk.f_favail} inodes free; {count} worktrees need {files * count}",
            hint="remove many small files there, or put the worktrees on another disk",
        )


# ------------------------------------------------------------------ outside the lock


def _finish(
    repo: Repository, job: _Making, shared: dict[tuple[str, ...], tuple[str, ...]]
) -> Outcome:
    assert job.admin is not None
    wish = job.request
    try:
        site = registration.site_of(repo.common, job.admin, job.path)
        if job.populate:
            index_lock = job.admin / "index.lock"
            locks.wait_for(index_lock, ours=True, common=repo.common)
            site.git("read-tree", "--reset", "-u", "HEAD", writes=True, timeout_s=600)
            crash_point("git.create.after_files")
        if job.populate or not (job.admin / READY).exists():
            copies.copy(repo.root, job.path, shared.get(wish.copy, ()))
            crash_point("git.create.after_copies")
            (job.admin / READY).write_bytes(encode(job.start + "\n"))
        crash_point("git.create.after_ready")
    except (FleetError, OSError) as failed:
        return _withdraw(repo, job, _as_error(failed, job))
    return Worktree(job.path, wish.branch, job.start, wish.key, job.admin, repo.common, job.adopted)


def _withdraw(repo: Repository, job: _Making, failed: FleetError) -> FleetError:
    """Takes back what this call has made and nobody has seen; the failure stays the answer."""
    if job.adopted or job.admin is None or (job.admin / READY).exists():
        return failed
    try:
        with locks.repository_lock(repo.common) as lock:
            shutil.rmtree(job.path, ignore_errors=True)
            registration.drop(registration.read(job.admin))
            gone = [refs.delete(refs.start_ref(job.request.branch, job.request.key), job.start)]
            if job.made_branch:
                gone.append(refs.delete(refs.HEADS + job.request.branch, job.start))
            refs.transact(repo.site, gone, why="fleet: withdrawn", keep=[lock])
    except (FleetError, OSError) as left:
        failed.add_note(f"what was half made stays for the next try: {left}")
    return failed


def _as_error(failed: FleetError | OSError, job: _Making) -> FleetError:
    if isinstance(failed, FleetError):
        return failed
    return FleetError(f"the worktree {job.path} cannot be made: {failed.strerror or failed}")
