"""Moving the base to a judged commit, or back, with the checkout that has it following, so that
nothing is lost.

The order, under the repository's lock: undo ref -> record -> the checkout's `index.lock` -> ref
prepared (locked, the user's reference-transaction hook asked) -> files -> index -> ref committed
-> unlock -> record gone. The index is replaced before the ref moves, so a kill never leaves a
staged reversal; it leaves `index.lock`, which stops anybody from committing, and the record, from
which the next call rolls back (files not all there) or forward. A checkout's uncommitted changes
stay where the landing does not touch their files; else it is refused.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.crash import crash_point
from fleet.adapters.git import following, locks, moves, refs
from fleet.adapters.git.following import Follow
from fleet.adapters.git.repository import Repository
from fleet.adapters.git.transaction import Prepared
from fleet.errors import FleetError, Rejected


@dataclass(frozen=True, slots=True)
class Landed:
    """The base contains the commit; `undo_ref` holds where it stood before."""

    undo_ref: str
    head: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class BaseMoved:
    """Somebody else moved the base; `actual` is where it is now (None: it is gone)."""

    actual: str | None


@dataclass(frozen=True, slots=True)
class WouldOverwrite:
    """The checkout at `checkout` has uncommitted work in files that the landing touches."""

    paths: tuple[str, ...]
    checkout: Path
    why: str = "uncommitted changes"


@dataclass(frozen=True, slots=True)
class HookFailed:
    """The user's own hook refused the move; `text` is what it said."""

    text: str


Outcome = Landed | BaseMoved | WouldOverwrite | HookFailed


def land(
    repo: Repository,
    base_branch: str,
    old_sha: str,
    new_sha: str,
    *,
    name: str | None = None,
    message: str = "fleet: land",
    hooks: bool = True,
) -> Outcome:
    """Moves `base_branch` from exactly `old_sha` to `new_sha` and says what came of it.

    A base that already contains `new_sha` is Landed. `name` is the act under which the move is
    recorded. Raises Rejected when `new_sha` does not contain `old_sha`, when the base is checked
    out more than once, when its checkout cannot be written, or a lock there is not released; other
    FleetErrors and OSError when the disk is full. Nothing has moved then.
    """
    ref, act = refs.HEADS + base_branch, name or f"{base_branch}/{new_sha}"
    with locks.repository_lock(repo.common) as lock:
        following.recover(repo)
        actual = repo.resolve(ref)
        if actual is None:
            return BaseMoved(None)
        if repo.is_ancestor(new_sha, actual):
            known = moves.last_move(repo, act, new_sha)
            return Landed(known.undo_ref if known else "", actual, already=True)
        if actual != old_sha:
            return BaseMoved(actual)
        if not repo.is_ancestor(old_sha, new_sha):
            raise Rejected(
                f"{new_sha[:12]} does not contain {old_sha[:12]}: the base only moves forward"
            )
        step = _Step(base_branch, old_sha, new_sha, act, message)
        return _record_and_move(repo, step, lock, hooks=hooks)


def take_back(
    repo: Repository,
    base_branch: str,
    old_sha: str,
    new_sha: str,
    *,
    name: str,
    message: str = "fleet: undo",
    hooks: bool = True,
) -> Outcome:
    """Moves `base_branch` from exactly `old_sha` back to `new_sha`, where it was before a move.

    The caller knows from the record of that move that the base was there, and that nobody has
    built on it since. Raises what `land` does, and Rejected when `old_sha` does not contain
    `new_sha`.
    """
    ref = refs.HEADS + base_branch
    with locks.repository_lock(repo.common) as lock:
        following.recover(repo)
        actual = repo.resolve(ref)
        known = moves.last_move(repo, name, new_sha)
        if known is not None and actual is not None and moves.stands(repo, known):
            return Landed(known.undo_ref, actual, already=True)
        if actual is None or actual != old_sha:
            return BaseMoved(actual)
        if not repo.is_ancestor(new_sha, old_sha):
            raise Rejected(f"{old_sha[:12]} does not contain {new_sha[:12]}: that is no way back")
        step = _Step(base_branch, old_sha, new_sha, name, message)
        return _record_and_move(repo, step, lock, hooks=hooks)


def move(
    repo: Repository, branch: str, old_sha: str, new_sha: str, *, name: str, message: str
) -> Outcome:
    """Moves a branch of fleet's own from exactly `old_sha` to any other commit, as a base is moved,
    its checkout with it; a user's hook is not asked. Raises what `land` does.
    """
    with locks.repository_lock(repo.common) as lock:
        following.recover(repo)
        actual = repo.resolve(refs.HEADS + branch)
        if actual == new_sha:
            known = moves.last_move(repo, name, new_sha)
            return Landed(known.undo_ref if known else "", new_sha, already=True)
        if actual is None or actual != old_sha:
            return BaseMoved(actual)
        step = _Step(branch, old_sha, new_sha, name, message)
        return _record_and_move(repo, step, lock, hooks=False)


def recover_landings(repo: Repository) -> str | None:
    """Finishes or takes back a landing that was killed; returns what it did in a sentence, or
    None.
    """
    with locks.repository_lock(repo.common):
        return following.recover(repo)


def what_blocks(
    repo: Repository, base_branch: str, old_sha: str, new_sha: str
) -> WouldOverwrite | None:
    """Returns what in the base's checkout keeps a move from being made now; changes nothing."""
    place = _checkout(repo, base_branch)
    if place is None:
        return None
    follow = following.plan(repo, place, refs.HEADS + base_branch, old_sha, new_sha)
    blocked = following.obstacles(repo, follow)
    return WouldOverwrite(blocked.paths, follow.place, blocked.why) if blocked else None


def _checkout(repo: Repository, branch: str) -> Path | None:
    places = repo.holders(branch)
    if len(places) > 1:
        raise Rejected(
            f"branch {branch!r} is checked out {len(places)} times: {', '.join(map(str, places))}",
            hint="free it in all but one: git switch --detach",
        )
    if places and not places[0].is_dir():
        raise Rejected(
            f"branch {branch!r} is checked out at {places[0]}, which is gone",
            hint="git worktree prune, after git worktree unlock where it is locked",
        )
    return places[0] if places else None


@dataclass(frozen=True, slots=True)
class _Step:
    """A move of a branch that has been found fit."""

    branch: str
    old: str
    new: str
    act: str
    message: str

    @property
    def ref(self) -> str:
        return refs.HEADS + self.branch


def _record_and_move(repo: Repository, step: _Step, lock: int, *, hooks: bool) -> Outcome:
    place = _checkout(repo, step.branch)
    follow = following.plan(repo, place, step.ref, step.old, step.new) if place else None
    if follow is not None and (blocked := following.obstacles(repo, follow)):
        return WouldOverwrite(blocked.paths, follow.place, blocked.why)
    undo = moves.note(
        repo,
        path=moves.path_of(step.act),
        target=step.ref,
        old=step.old,
        new=step.new,
        act=step.act,
        why=step.message,
        keep=[lock],
    )
    crash_point("git.land.after_undo")
    try:
        outcome = _move(repo, follow, undo, step, lock, hooks=hooks)
    except (FleetError, OSError):
        if repo.resolve(step.ref) == step.old:
            _forget(repo, undo)
        raise
    if not isinstance(outcome, Landed):
        _forget(repo, undo)
    return outcome


def _forget(repo: Repository, undo: str) -> None:
    # What went wrong before is what is told; a record of a move that was not made misleads nobody.
    with suppress(FleetError):
        moves.forget(repo, undo)


def _move(
    repo: Repository, follow: Follow | None, undo: str, step: _Step, lock: int, *, hooks: bool
) -> Outcome:
    ref, old, new = step.ref, step.old, step.new
    if follow is not None:
        following.record(follow)
        crash_point("git.land.after_record")
        following.take_index_lock(follow)
        crash_point("git.land.after_lock")
    site = follow.site if follow else repo.site
    with Prepared(site, ref, new, old, why=step.message, lock=lock, hooks=hooks) as prepared:
        try:
            refused = prepared.refused()
            if refused is not None:
                actual = repo.resolve(ref)
                if actual != old:
                    return BaseMoved(actual)
                if prepared.stopped_by_hook:
                    return HookFailed(refused)
                raise FleetError(f"{step.branch} cannot be moved: {refused}")
            crash_point("git.land.after_prepare")
            if follow is not None and (blocked := following.write_files(repo, follow, lock)):
                return WouldOverwrite(blocked.paths, follow.place, blocked.why)
            prepared.commit()
            crash_point("git.land.after_ref")
        finally:
            prepared.close()
            if follow is not None:
                following.recover(repo, forward=False)
    actual = repo.resolve(ref)
    if actual is None or not repo.is_ancestor(new, actual):
        return BaseMoved(actual)
    return Landed(undo, actual)
