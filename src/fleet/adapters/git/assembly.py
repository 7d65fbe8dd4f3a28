"""Putting verified branches together into one candidate commit, in memory, and checking it out for
trial.

Nothing here moves a branch or touches a checkout of the user's. The candidate is anchored under
`refs/fleet/candidate/` before anybody judges it, so no gc can take it away meanwhile.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fleet.adapters.crash import crash_point
from fleet.adapters.git import locks, merging, refs, registration
from fleet.adapters.git.attributes import as_declared
from fleet.adapters.git.command import Identity, in_one_line
from fleet.adapters.git.registration import PREFIX
from fleet.adapters.git.repository import Repository
from fleet.errors import Rejected, ToolFailed

TRIAL: Final = "trial:"
UNRELATED: Final = "unrelated histories"
Strategy = Literal["merge", "squash", "rebase"]


@dataclass(frozen=True, slots=True)
class Part:
    """What a task brings: its branch, and the verified commit on it."""

    task: str
    branch: str
    sha: str


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one part: the commit after it; `contained` says that there was nothing to
    add, `message` is what that commit was given to say (empty: it is not ours).
    """

    task: str
    commit: str
    contained: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A candidate: its commit and tree, and how it came about."""

    commit: str
    tree: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A part that does not merge: its paths, and which earlier tasks (or `base`) touched them."""

    task: str
    paths: tuple[str, ...]
    with_tasks: tuple[str, ...]
    text: str


def assemble(
    repo: Repository,
    base_sha: str,
    parts: Sequence[Part],
    *,
    name: str,
    message: Callable[[Part], str],
    strategy: Strategy = "merge",
    identity: Identity | None = None,
    sign: bool = False,
) -> Assembled | Conflict:
    """Returns `base_sha` with all parts in order, anchored as candidate `name`, or the first
    conflict.

    `merge` makes a merge commit a part, `squash` one plain commit, `rebase` applies each of its
    commits and keeps their authors (a branch that has resolved a conflict in a merge of its own is
    squashed). With `sign` every commit is signed as the user's configuration says. Without
    `identity` the user's own is taken. Raises Rejected for a commit that is missing, has no common
    past with the base, or cannot be signed.
    """
    with as_declared(repo, base_sha) as declared:
        made = _join_all(
            declared,
            base_sha,
            parts,
            message=message,
            strategy=strategy,
            identity=identity,
            sign=sign,
        )
    if isinstance(made, Conflict):
        return made
    current = made[-1].commit if made else base_sha
    anchor = refs.CANDIDATE + "/".join(refs.component(piece) for piece in name.split("/"))
    refs.transact(repo.site, [refs.put(anchor, current)], why="fleet: candidate")
    return Assembled(current, repo.tree(current), tuple(made))


def _join_all(
    repo: Repository,
    base_sha: str,
    parts: Sequence[Part],
    *,
    message: Callable[[Part], str],
    strategy: Strategy,
    identity: Identity | None,
    sign: bool,
) -> list[Step] | Conflict:
    """Returns what became of each part, in order, or the first conflict."""
    current, steps = base_sha, list[Step]()
    new = _beyond(repo, base_sha, parts)
    for at, part in enumerate(parts):
        if part.sha not in new:  # the base or an earlier part holds it, squashed or not
            steps.append(Step(part.task, current, contained=True))
            continue
        _take(new, part.sha)
        after: str | merging.Clash | None = None
        told = ""
        if strategy == "rebase":
            after = replay(repo, current, part.sha, part.task, identity, sign=sign)
        # A conflict that was resolved in a merge of the branch's own cannot be replayed.
        if after is None or (isinstance(after, merging.Clash) and _merges(repo, current, part)):
            squash = strategy != "merge"
            told = message(part)
            after = _join(repo, current, part, told, identity, squash=squash, sign=sign)
        if isinstance(after, merging.Clash):
            others = _touching(repo, base_sha, parts[:at], part, after.paths)
            return Conflict(part.task, after.paths, others, after.text)
        there = after == current
        steps.append(Step(part.task, after, there, "" if there else told))
        current = after
    return steps


def _beyond(repo: Repository, base_sha: str, parts: Sequence[Part]) -> dict[str, list[str]]:
    """Returns the commits of all parts that the base does not hold, each with its parents; raises
    Rejected for a part whose commit is missing.
    """
    asked = "\n".join([*(part.sha for part in parts), f"^{base_sha}", ""])
    try:
        listed = repo.site.git("rev-list", "--parents", "--stdin", stdin=asked.encode()).lines
    except ToolFailed:
        for part in parts:
            if repo.resolve(part.sha) != part.sha:
                text = f"commit {part.sha[:12]} of task {part.task!r} is not in the repository"
                raise Rejected(text) from None
        raise
    return {sha: parents for sha, *parents in (line.split(" ") for line in listed)}


def _take(new: dict[str, list[str]], sha: str) -> None:
    """Takes a commit and all behind it out of those that are new."""
    left = [sha]
    while left:
        left += new.pop(left.pop(), [])


def trial_checkout(repo: Repository, commit: str, folder: Path) -> Path:
    """Returns `folder` as a detached worktree of `commit`, made anew if a trial was there before.

    Raises Rejected when the folder holds anything that is no trial of ours, or when a filter of the
    user's, such as that of git-lfs, cannot make the files.
    """
    path = Path(os.path.realpath(folder))
    remove_trial(repo, path)
    with locks.repository_lock(repo.common):
        if path.exists() and any(path.iterdir()):
            raise Rejected(f"{path} is not empty and no trial of fleet's", hint="move it away")
        admin = registration.write(repo.common, path, commit, f"{TRIAL}{path.name}")
        crash_point("git.trial.after_admin")
        registration.link(registration.read(admin))
    site = registration.site_of(repo.common, admin, path)
    try:
        site.git("read-tree", "--reset", "-u", "HEAD", writes=True, timeout_s=600)
    except ToolFailed as failed:
        remove_trial(repo, path)
        if "filter" not in failed.stderr:
            raise
        raise Rejected(
            f"the combined tree cannot be checked out: {in_one_line(failed.stderr)}",
            hint="install what the filter needs, as git-lfs; see: git config --get-regexp filter",
        ) from None
    crash_point("git.trial.after_files")
    return path


def remove_trial(repo: Repository, folder: Path) -> None:
    """Removes the trial at `folder` with all that its checks wrote there; does nothing if there is
    none.
    """
    path = Path(os.path.realpath(folder))
    with locks.repository_lock(repo.common):
        found = next((r for r in registration.scan(repo.common) if r.path == path), None)
        if found is None or not (found.reason or "").startswith(PREFIX + TRIAL):
            return
        shutil.rmtree(path, ignore_errors=True)
        crash_point("git.trial.after_removal")
        registration.drop(found)


def _join(
    repo: Repository,
    current: str,
    part: Part,
    message: str,
    identity: Identity | None,
    *,
    squash: bool,
    sign: bool,
) -> str | merging.Clash:
    try:
        merged = merging.merge(repo, current, part.sha)
    except ToolFailed as failed:
        if UNRELATED not in failed.stderr:
            raise
        raise Rejected(
            f"{part.branch} of task {part.task!r} has no common past with the base",
            hint="begin the branch anew on the base, and bring its changes there",
        ) from None
    if isinstance(merged, merging.Clash):
        return merged
    if squash and merged.oid == repo.tree(current):
        return current
    parents = [current] if squash else [current, part.sha]
    return merging.commit(repo, merged.oid, parents, message, identity, sign=sign)


def replay(
    repo: Repository,
    current: str,
    tip: str,
    task: str,
    identity: Identity | None = None,
    *,
    sign: bool = False,
    without: str = "",
) -> str | merging.Clash:
    """Returns `current` with each commit up to `tip` that it does not hold applied again, merges
    and what `without` holds left out, or the first conflict. Authors stay; without `identity` they
    are the committers too, so that the same commits become the same again.
    """
    held = [f"^{sha}" for sha in (current, without) if sha]
    listed = repo.site.git("rev-list", "--reverse", "--topo-order", "--no-merges", tip, *held).lines
    for sha in listed:
        facts = _facts(repo, sha)
        if not facts.parents:
            raise Rejected(f"commit {sha[:12]} of task {task!r} has no parent to rebase from")
        picked = merging.pick(repo, current, sha, facts.parents[0], facts.author)
        if isinstance(picked, merging.Clash):
            return picked
        if picked.oid != repo.tree(current):
            who = identity or facts.author
            current = merging.commit(
                repo, picked.oid, [current], facts.message, who, sign=sign, author=facts.author
            )
    return current


def _merges(repo: Repository, current: str, part: Part) -> bool:
    """Returns whether a part has merges of its own."""
    return bool(
        repo.site.git("rev-list", "--merges", "--max-count=1", f"{current}..{part.sha}").line
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    author: Identity
    message: str
    parents: tuple[str, ...]


def _facts(repo: Repository, sha: str) -> _Facts:
    """Reads a commit as an object, through GitPython."""
    from git import Commit, Repo

    with Repo(str(repo.common), search_parent_directories=False) as opened:
        opened.git.update_environment(GIT_DIR=str(repo.common))
        found: Commit = opened.commit(sha)
        who, text = found.author, found.message
        author = Identity(who.name or "", who.email or "", found.authored_date)
        message = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        return _Facts(author, message, tuple(parent.hexsha for parent in found.parents))


def _touching(
    repo: Repository, base_sha: str, earlier: Sequence[Part], part: Part, paths: Sequence[str]
) -> tuple[str, ...]:
    found = []
    for other in earlier:
        fork = repo.merge_base(other.sha, base_sha)
        touched = {c.path for c in repo.changed(fork, other.sha)} if fork else set()
        if touched & set(paths):
            found.append(other.task)
    fork = repo.merge_base(part.sha, base_sha)
    if not found or (fork and {c.path for c in repo.changed(fork, base_sha)} & set(paths)):
        found.append("base")
    return tuple(found)
