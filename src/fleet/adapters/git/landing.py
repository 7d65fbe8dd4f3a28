"""Moving the base to a judged commit, with the checkout that has it following, so that nothing is
lost.

The order, under the repository's lock: undo ref -> record -> the checkout's `index.lock` -> ref
prepared (locked, the user's reference-transaction hook asked) -> files -> index -> ref committed
-> unlock -> record gone. The index is replaced before the ref moves, so a kill never leaves a
staged reversal; it leaves `index.lock`, which stops anybody from committing, and the record, from
which the next call rolls back (files not all there) or forward. A checkout's uncommitted changes
stay where the landing does not touch their files; else it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.crash import crash_point
from fleet.adapters.git import following, locks, refs
from fleet.adapters.git.following import Follow
from fleet.adapters.git.repository import Repository
from fleet.adapters.git.transaction import Prepared
from fleet.errors import Rejected, ToolFailed


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

    A base that already contains `new_sha` is Landed. Raises Rejected when `new_sha` does not
    contain `old_sha`, when the base is checked out more than once, or a lock of the checkout is
    not released.
    """
    ref = refs.HEADS + base_branch
    undo = refs.UNDO + "/".join(
        refs.component(p) for p in (name or f"{base_branch}/{new_sha}").split("/")
    )
    with locks.repository_lock(repo.common) as lock:
        following.recover(repo)
        actual = repo.resolve(ref)
        if actual is None:
            return BaseMoved(None)
        if repo.is_ancestor(new_sha, actual):
            return Landed(undo, actual, already=True)
        if actual != old_sha:
            return BaseMoved(actual)
        if not repo.is_ancestor(old_sha, new_sha):
            raise Rejected(
                f"{new_sha[:12]} does not contain {old_sha[:12]}: the base only moves forward"
            )
        place = _checkout(repo, base_branch)
        follow = following.plan(repo, place, ref, old_sha, new_sha) if place else None
        if follow is not None and (blocked := following.obstacles(repo, follow)):
            return WouldOverwrite(blocked.paths, follow.place, blocked.why)
        refs.transact(repo.site, [refs.put(undo, old_sha)], why=message, keep=[lock])
        crash_point("git.land.after_undo")
        outcome = _move(
            repo,
            follow,
            undo,
            ref=ref,
            old=old_sha,
            new=new_sha,
            message=message,
            lock=lock,
            hooks=hooks,
        )
        if not isinstance(outcome, Landed):
            refs.transact(repo.site, [refs.delete(undo, old_sha)], why=message)
        return outcome


def recover_landings(repo: Repository) -> str | None:
    """Finishes or takes back a landing that was killed; returns what it did in a sentence, or
    None.
    """
    with locks.repository_lock(repo.common):
        return following.recover(repo)


def tag(repo: Repository, name: str, sha: str) -> str:
    """Creates the tag `name` at `sha` and returns its ref; the same tag at the same commit is fine.

    Raises Rejected when it exists elsewhere, or git refuses the name.
    """
    if (problem := refs.branch_name_problem(name)) is not None:
        raise Rejected(problem.replace("branch", "tag"))
    ref = f"refs/tags/{name}"
    try:
        refs.transact(repo.site, [refs.create(ref, sha)], why="fleet: tag")
    except ToolFailed:
        found = repo.resolve(ref)
        if found is None:
            raise
        if found != sha:
            raise Rejected(
                f"tag {name!r} exists at {found[:12]}, not at {sha[:12]}",
                hint=f"name another tag, or: git tag -d {name}",
            ) from None
    return ref


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


def _move(
    repo: Repository,
    follow: Follow | None,
    undo: str,
    *,
    ref: str,
    old: str,
    new: str,
    message: str,
    lock: int,
    hooks: bool,
) -> Outcome:
    if follow is not None:
        following.record(follow)
        crash_point("git.land.after_record")
        following.take_index_lock(follow)
        crash_point("git.land.after_lock")
    site = follow.site if follow else repo.site
    with Prepared(site, ref, new, old, why=message, lock=lock, hooks=hooks) as prepared:
        try:
            refused = prepared.refused()
            if refused is not None:
                actual = repo.resolve(ref)
                return BaseMoved(actual) if actual != old else HookFailed(refused)
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
