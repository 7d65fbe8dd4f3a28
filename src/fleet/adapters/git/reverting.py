"""Taking back what others may have built on: a commit on top that reverts a move, made in memory.

The change from where a branch went to where it had been is applied to where it is now, as `git
revert -m 1` does for a merge, and in one for a whole range. Nothing is moved here.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.adapters.git import merging, refs
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
    repo: Repository, onto: str, *, old: str, new: str, name: str, message: str
) -> Reverted | merging.Clash:
    """Returns a commit on `onto` that takes the move from `old` to `new` back, or the conflict."""
    made = merging.pick(repo, onto, old, new, None)
    if isinstance(made, merging.Clash):
        return made
    commit = merging.commit(repo, made.oid, [onto], message, None, sign=True)
    anchor = refs.CANDIDATE + "/".join(refs.component(part) for part in name.split("/"))
    refs.transact(repo.site, [refs.put(anchor, commit)], why="fleet: candidate")
    return Reverted(commit, made.oid, known=made.oid == repo.tree(old))


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
