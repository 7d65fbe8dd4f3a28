"""Taking back what others may have built on: a commit on top that reverts a move, made in memory.

The change from where a branch went to where it had been is applied to where it is now, as `git
revert -m 1` does for a merge, and in one for a whole range. Nothing is moved here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.adapters.git import merging, refs
from fleet.adapters.git.attributes import as_declared
from fleet.adapters.git.repository import Repository


@dataclass(frozen=True, slots=True)
class Reverted:
    """A commit that reverts a move, anchored as a candidate; `known` says that its tree is the very
    tree that was there before the move, which needs no new judgement.
    """

    commit: str
    tree: str
    known: bool


def revert(
    repo: Repository,
    onto: str,
    ranges: Sequence[tuple[str, str]],
    *,
    name: str,
    message: Callable[[str], str],
) -> Reverted | merging.Clash:
    """Returns a commit on `onto` that takes moves from old to new back, in the order of `ranges`,
    each by a commit of its own with the `message` of its new one; or the first conflict.
    """
    assert ranges, "nothing to revert"
    sign = merging.signs(repo)
    with as_declared(repo, onto) as declared:
        for old, new in ranges:
            made = merging.pick(declared, onto, old, new, None)
            if isinstance(made, merging.Clash):
                return made
            onto = merging.commit(repo, made.oid, [onto], message(new), None, sign=sign)
    tree = repo.tree(onto)
    anchor = refs.CANDIDATE + "/".join(refs.component(part) for part in name.split("/"))
    refs.transact(repo.site, [refs.put(anchor, onto)], why="fleet: candidate")
    return Reverted(onto, tree, known=len(ranges) == 1 and tree == repo.tree(ranges[0][0]))


def followers(
    repo: Repository, commit: str, branch: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns what contains a commit beside `branch`: remote-tracking branches, and other branches
    and starts of tasks.
    """
    form = ("for-each-ref", "--format=%(refname)", f"--contains={commit}")
    remote = repo.site.git(*form, "refs/remotes").lines
    local = repo.site.git(*form, refs.HEADS, refs.START).lines
    starts = [ref.removeprefix(refs.START) for ref in local if ref.startswith(refs.START)]
    built = {refs.plain(start.split("/")[0]) for start in starts}
    built |= {ref.removeprefix(refs.HEADS) for ref in local if ref.startswith(refs.HEADS)}
    pushed = tuple(sorted(ref.removeprefix("refs/remotes/") for ref in remote))
    return pushed, tuple(sorted(built - {branch}))


@dataclass(frozen=True, slots=True)
class Way:
    """How a move of a branch can be taken back: by moving it (`reverts` false), or by a commit on
    top, and why the latter.
    """

    reverts: bool
    why: str = ""


def way_back(repo: Repository, branch: str, *, old: str, new: str) -> Way:
    """Returns how the move of `branch` from `old` to `new` is taken back now.

    Back to a commit that the branch contains only where nobody has seen the new one: no remote has
    it, no other branch or task began there, and nothing was committed since.
    """
    now = repo.resolve(refs.HEADS + branch)
    if now != new:
        return Way(reverts=True, why=f"{branch} has moved on since")
    if repo.is_ancestor(new, old):
        return Way(reverts=False)
    pushed, built = followers(repo, new, branch)
    if pushed:
        return Way(reverts=True, why=f"it was pushed: {', '.join(pushed)} has it")
    if built:
        return Way(reverts=True, why=f"it was built upon: {', '.join(built)}")
    return Way(reverts=False)
