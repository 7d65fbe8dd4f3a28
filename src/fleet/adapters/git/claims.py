"""What a request for a worktree may claim: a look at refs and registrations, then a decision.

An existing branch or worktree is taken only when it is this key's, when the caller owns it, or
when it is clean at the start; everything else is refused, naming branch, path, its own commits,
and the cure. Nothing is changed here, but that the commits of a merged start are written as loose
objects.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from fleet.adapters.git import merging, refs, registration
from fleet.adapters.git.attributes import as_declared
from fleet.adapters.git.command import Identity, Site
from fleet.adapters.git.registration import PREFIX, Registration
from fleet.adapters.git.repository import Repository
from fleet.errors import FleetError, Rejected


@dataclass(frozen=True, slots=True)
class Request:
    """A worktree that is wanted: `start` and `merge` are commit ids, `key` says whose it is.

    `owned` says that the caller knows from its own journal that branch and path were made for this
    task before, so their commits are no reason to refuse.
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
        """Where git works for it, its pointers compared first. Raises Rejected when they were
        changed.
        """
        return registration.site_of(self.common, self.admin, self.path)


@dataclass(frozen=True, slots=True)
class StartConflict:
    """The dependencies of a worktree do not merge: the paths, and the two commits that clash."""

    paths: tuple[str, ...]
    commits: tuple[str, str]
    text: str


Outcome = Worktree | StartConflict | FleetError


@dataclass(slots=True)
class Making:
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


def decide(repo: Repository, makings: list[Making]) -> None:
    """Fills in, for each request, what is to be done, or the outcome that refuses it."""
    snapshot = refs.snapshot(repo.site, refs.HEADS, refs.START)
    known = refs.starts(snapshot)
    registered = registration.scan(repo.common)
    for making in makings:
        making.lines, making.admin, making.populate, making.adopted = [], None, True, False
        try:
            if (problem := refs.branch_name_problem(making.request.branch)) is not None:
                raise Rejected(problem)
            _check_path(repo, making, registered)
            _decide_one(repo, making, snapshot, known, registered)
        except FleetError as refused:
            making.outcome = refused


def _decide_one(
    repo: Repository,
    making: Making,
    snapshot: dict[str, str],
    known: dict[str, list[refs.Start]],
    registered: Sequence[Registration],
) -> None:
    wish = making.request
    tip = snapshot.get(refs.HEADS + wish.branch)
    records = known.get(refs.component(wish.branch), [])
    mine = next((s for s in records if s.key == refs.component(wish.key)), None)
    here = next((r for r in registered if r.path == making.path), None)
    elsewhere = repo.holders(wish.branch) if tip else ()
    if any(Path(os.path.realpath(p)) != making.path for p in elsewhere):
        raise Rejected(
            f"branch {wish.branch!r} is already checked out at {elsewhere[0]}",
            hint="give the task another branch, or free it there: git switch --detach",
        )
    if mine is not None:
        making.start = mine.sha
    else:
        start = start_of(repo, wish.branch, wish.start, wish.merge)
        if isinstance(start, StartConflict):
            making.outcome = start
            return
        making.start = start
    ours = here is not None and here.reason == PREFIX + wish.key
    if here is not None and not ours and here.whole:
        _check_foreign(repo, making, here, tip)
    elif here is None and making.path.exists() and not _is_leftover(repo, making.path):
        raise Rejected(
            f"{making.path} exists and is not empty, and fleet did not make it",
            hint=f"move it away, or give the task {wish.branch!r} another worktree",
        )
    if here is not None:
        making.admin, making.adopted = here.admin, True
        intact = here.whole and registration.links_problem(repo.common, here.admin, making.path)
        making.populate = (ours and not here.ready) or not here.whole or intact is not None
    _claim_branch(repo, making, tip, mine, snapshot)


def _claim_branch(
    repo: Repository,
    making: Making,
    tip: str | None,
    mine: refs.Start | None,
    snapshot: dict[str, str],
) -> None:
    wish, branch = making.request, refs.HEADS + making.request.branch
    if tip is None:
        _check_nesting(wish.branch, snapshot)
        making.lines.append(refs.create(branch, making.start))
        making.made_branch = True
    elif mine is None:
        if tip != making.start and not wish.owned:
            count = repo.ahead_behind(tip, making.start)[0]
            raise Rejected(
                f"branch {wish.branch!r} exists with {count} commit{'s' * (count != 1)} of its own "
                f"and is not this task's (worktree {making.path})",
                hint=f"keep it: git branch -m {wish.branch} {wish.branch}-old",
            )
        making.lines.append(refs.verify(branch, tip))
    if mine is None:
        making.lines.append(refs.create(refs.start_ref(wish.branch, wish.key), making.start))


def _check_foreign(repo: Repository, making: Making, here: Registration, tip: str | None) -> None:
    """Refuses a registered worktree that is not this key's, unless it is owned or clean at the
    start.
    """
    wish = making.request
    if wish.owned:
        return
    site = registration.site_of(repo.common, here.admin, making.path)
    changed = site.git("status", "--porcelain", "-z", "--untracked-files=all").fields
    on_it = here.head == f"ref: {refs.HEADS}{wish.branch}"
    if on_it and tip == making.start and not changed:
        return
    count = repo.ahead_behind(tip, making.start)[0] if tip else 0
    raise Rejected(
        f"{making.path} is another worktree ({here.head.removeprefix('ref: ')}): {count} commits "
        f"of its own on {wish.branch!r}, {len(changed)} uncommitted changes",
        hint=f"give the task another path, or remove it: git worktree remove {making.path}",
    )


def _check_path(repo: Repository, making: Making, registered: Sequence[Registration]) -> None:
    path = making.path
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


def start_of(
    repo: Repository, branch: str, start: str, merge: Sequence[str]
) -> str | StartConflict:
    """Returns where a branch is to begin: `start` with the dependencies merged in. The same inputs
    give the same commit.
    """
    current = _commit_at(repo, start)
    if current is None:
        raise Rejected(f"the start point {start!r} of {branch!r} is no commit here")
    start = current
    for dependency in merge:
        if repo.is_ancestor(dependency, current):
            continue
        with as_declared(repo, start) as declared:
            merged = merging.merge(declared, current, dependency)
        if isinstance(merged, merging.Clash):
            return StartConflict(merged.paths, (current, dependency), merged.text)
        stamps = repo.site.git("show", "-s", "--format=%ct", current, dependency).lines
        who = Identity("fleet", "fleet@localhost", max(map(int, stamps)))
        text = f"Merge {dependency[:12]} into the start of {branch}"
        current = merging.commit(repo, merged.oid, (current, dependency), text, who)
    return current


@lru_cache(maxsize=256)
def _commit_at(repo: Repository, sha: str) -> str | None:
    return repo.resolve(sha) if refs.is_sha(sha) else None


def _is_leftover(repo: Repository, path: Path) -> bool:
    """Whether a folder is empty or holds only a `.git` file that points to a vanished registration
    of ours.
    """
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
