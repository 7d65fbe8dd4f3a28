"""The branches that fleet made, and their end: deleted only with a record that leads back to them.

A branch is fleet's where a start record names it; no other is ever deleted. The record of the
deletion holds the last commit, so nothing of it is lost, whatever the base contains; commits that
only the branch's own log still knew get refs of their own.
"""

from __future__ import annotations

from pathlib import Path

from fleet.adapters.crash import crash_point
from fleet.adapters.git import containment, locks, merging, moves, refs, registration, removal
from fleet.adapters.git.claims import Worktree
from fleet.adapters.git.command import Identity, Site
from fleet.adapters.git.refs import Start
from fleet.adapters.git.registration import PREFIX
from fleet.adapters.git.repository import Repository
from fleet.adapters.git.snapshot import head_at, keep
from fleet.errors import Rejected


def started(repo: Repository) -> tuple[Start, ...]:
    """Returns every branch that fleet has started, with the key that it was taken for."""
    known = refs.starts(refs.snapshot(repo.site, refs.START))
    return tuple(start for records in known.values() for start in records)


def owned(repo: Repository) -> tuple[Worktree, ...]:
    """Returns all worktrees that fleet made for a branch, also those whose folder has vanished."""
    starts = {start.key: start for start in started(repo)}
    found = []
    for one in registration.scan(repo.common):
        key = (one.reason or "").removeprefix(PREFIX)
        start = starts.get(refs.component(key))
        if (one.reason or "").startswith(PREFIX) and one.path is not None and start is not None:
            found.append(Worktree(one.path, start.branch, start.sha, key, one.admin, repo.common))
    return tuple(found)


def delete_branch(repo: Repository, start: Start, tip: str, *, name: str) -> tuple[str, ...]:
    """Deletes a branch that fleet started, if it is still at `tip`; returns the refs that lead
    back: the record of the move and, under `name`, what only its log knew.

    A branch that is gone already loses its start record. Raises Rejected when it is checked out, or
    has moved.
    """
    ref = refs.HEADS + start.branch
    with locks.repository_lock(repo.common) as lock:
        mine = refs.delete(refs.start_ref(start.branch, refs.plain(start.key)), start.sha)
        now = repo.resolve(ref)
        if now is None:
            refs.transact(repo.site, [mine], why="fleet: clean", keep=[lock])
            return ()
        if now != tip:
            raise Rejected(f"branch {start.branch!r} has moved to {now[:12]}", hint="try again")
        if places := repo.holders(start.branch):
            raise Rejected(
                f"branch {start.branch!r} is checked out at {places[0]}",
                hint="free it there: git switch --detach",
            )
        kept = removal.keep_log(repo, start.branch, name)
        crash_point("git.branch.after_log")
        undo = moves.note(
            repo,
            path=f"heads/{moves.path_of(start.branch)}",
            target=ref,
            old=tip,
            new=None,
            act=f"clean/{start.branch}",
            why=f"fleet: clean {start.branch}",
            key=refs.plain(start.key),
            start=start.sha,
            with_lines=[refs.delete(ref, tip), mine],
            keep=[lock],
        )
        crash_point("git.branch.after_delete")
    return (undo, *kept)


def drop_vanished(repo: Repository, worktree: Worktree, *, name: str) -> tuple[str, ...]:
    """Removes the registration of a worktree whose folder has gone; returns the rescue refs that
    hold what was staged there, and commits that only its logs knew.

    Raises Rejected when the folder is there.
    """
    with locks.repository_lock(repo.common):
        if worktree.path.exists():
            raise Rejected(f"{worktree.path} is there", hint="try again")
        kept = keep_index(repo, worktree.admin, name)
        at = head_at(Site(worktree.admin, repo.common)).sha
        if at is not None and containment.unreachable(repo, {at}):
            kept.append(keep(repo, f"{name}-log/{at[:12]}", at))
        kept += removal.keep_loose(repo, worktree.admin, name)
        crash_point("git.remove.after_rescue")
        registration.drop(registration.read(worktree.admin))
    return tuple(kept)


def keep_index(repo: Repository, admin: Path, name: str) -> list[str]:
    """Gives a ref to what is staged in a worktree whose files are gone; returns it, or nothing."""
    if not (admin / "index").exists():
        return []
    site = Site(admin, repo.common)
    staged = site.git("write-tree", accept=(0, 128), writes=True).line
    at = head_at(site).sha
    if at is None or not refs.is_sha(staged) or staged == repo.tree(at):
        return []
    who = Identity("fleet", "fleet@localhost", 0)
    kept = merging.commit(repo, staged, [at], "what was staged in a lost worktree", who)
    return [keep(repo, f"{name}-index", kept)]


def restore_branch(repo: Repository, move: moves.Move) -> str:
    """Makes a branch again that `delete_branch` deleted, with its start record; returns its ref.

    Raises Rejected when there is a branch of that name elsewhere.
    """
    assert move.old is not None, "a deleted branch was somewhere"
    branch = move.target.removeprefix(refs.HEADS)
    with locks.repository_lock(repo.common) as lock:
        now = repo.resolve(move.target)
        if now is not None and now != move.old:
            raise Rejected(
                f"branch {branch!r} is there again, at {now[:12]}",
                hint=f"git branch NAME {move.undo_ref}^{{commit}} gives the old one another name",
            )
        if now is None:
            lines = [refs.create(move.target, move.old)]
            start = refs.start_ref(branch, move.key)
            if move.start and repo.resolve(start) is None:
                lines.append(refs.create(start, move.start))
            moves.note(
                repo,
                path=f"heads/{moves.path_of(branch)}",
                target=move.target,
                old=None,
                new=move.old,
                act=f"taken-back/{move.act}",
                why=f"fleet: undo {branch}",
                with_lines=lines,
                keep=[lock],
            )
    return move.target
