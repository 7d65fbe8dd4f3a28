"""A worktree that begins anew, and one into which more has come: its own commits stay in it.

Where one begins anew, the branch goes to the start that it would be given now, with its own commits
applied again; else what has come is merged into it. The files follow as a landing's do, recorded
before anything is touched, so that a move that was killed half way is found and ended. Where the
branch stood before stays recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleet.adapters.git import landing, merging, refs
from fleet.adapters.git.assembly import replay
from fleet.adapters.git.attributes import as_declared
from fleet.adapters.git.claims import StartConflict, Worktree, start_of
from fleet.adapters.git.command import Identity
from fleet.adapters.git.containment import contained
from fleet.adapters.git.repository import Repository
from fleet.adapters.git.snapshot import head
from fleet.errors import FleetError, Rejected


def renew(
    repo: Repository, tree: Worktree, *, start: str, merge: Sequence[str], since: str
) -> Worktree | StartConflict:
    """Returns the worktree with its branch begun anew at `start` with `merge` in it; `since` is
    where it began before. What is there already is left as it is.

    Raises Rejected, with nothing moved, when the worktree is not on its branch, when its own
    commits conflict with the new start, or when uncommitted changes stand in the way.
    """
    landing.recover_landings(repo)
    begun = start_of(repo, tree.branch, start, merge)
    if isinstance(begun, StartConflict):
        return begun
    tip = _tip(repo, tree)
    target = tip if begun == since else replay(repo, begun, tip, tree.key, without=since)
    if isinstance(target, merging.Clash):
        raise Rejected(
            f"what is committed on {tree.branch} conflicts with what it begins with now, in "
            f"{', '.join(target.paths)}",
            hint=f"merge {begun[:12]} there, or take those commits out",
        )
    if target != tip:
        _move(repo, tree, tip, target, f"{tree.branch} begins anew")
    return replace(tree, start=begun)


def bring_in(repo: Repository, tree: Worktree, commits: Mapping[str, str]) -> Worktree:
    """Returns the worktree with commits merged into its branch that it does not hold, each by the
    name of who made it; where it began stays what it was.

    Raises Rejected as `renew` does, naming whose commits conflict and in which files.
    """
    landing.recover_landings(repo)
    tip = current = _tip(repo, tree)
    for name, sha in commits.items():
        if contained(repo, sha, current):
            continue  # also what was squashed: its own history would clash with what came after
        with as_declared(repo, current) as declared:
            merged = merging.merge(declared, current, sha)
        if isinstance(merged, merging.Clash):
            raise Rejected(
                f"what is committed on {tree.branch} conflicts with {name} ({sha[:12]}) in "
                f"{', '.join(merged.paths)}",
                hint=f"git merge {sha[:12]} there, and resolve it",
            )
        stamps = repo.site.git("show", "-s", "--format=%ct", current, sha).lines
        who = Identity("fleet", "fleet@localhost", max(map(int, stamps)))
        text = f"Merge {name} ({sha[:12]}) into {tree.branch}"
        current = merging.commit(repo, merged.oid, (current, sha), text, who)
    if current != tip:
        _move(repo, tree, tip, current, f"more has come into {tree.branch}")
    return tree


def _tip(repo: Repository, tree: Worktree) -> str:
    """Returns the head of a worktree's branch; raises Rejected where it is not checked out."""
    tip, at = repo.resolve(refs.HEADS + tree.branch), head(tree)
    if tip is None or at.branch != tree.branch:
        where = f"is on {at.branch or 'no branch'}" if tip else "has lost its branch"
        raise Rejected(
            f"the worktree {tree.path} {where}, so it cannot be brought up to date",
            hint=f"git switch {tree.branch}",
        )
    return tip


def _move(repo: Repository, tree: Worktree, tip: str, target: str, why: str) -> None:
    name, message = f"{tree.key}/renewed", f"fleet: {why}"
    done = landing.move(repo, tree.branch, tip, target, name=name, message=message)
    if isinstance(done, landing.WouldOverwrite):
        raise Rejected(
            f"{done.why} in {done.checkout} stand in the way of what is to come into it: "
            f"{', '.join(done.paths)}",
            hint="commit them, or move them away",
        )
    if not isinstance(done, landing.Landed):
        raise FleetError(f"{tree.branch} was moved by somebody else meanwhile")
