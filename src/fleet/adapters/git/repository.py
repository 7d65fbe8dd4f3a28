"""Reading a repository: what is where, and what contains what. Nothing here changes anything.

Names are resolved by full refs, so that a tag, a branch and an abbreviated id of one spelling are
never mistaken for each other; questions about commits take object ids only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.command import (
    Finished,
    Site,
    decode,
    neutral,
    require_version,
    run,
)
from fleet.errors import FleetError, ToolFailed
from fleet.records import record

_ABBREVIATED: Final = re.compile(r"[0-9a-f]{7,64}")


@record(kw_only=False)
class Change:
    """One path that differs between two commits; `status` is git's letter: A, M, D or T."""

    status: str
    path: str


@record(kw_only=False)
class WorktreeInfo:
    """One line of `git worktree list`: `branch` is None when detached or bare."""

    path: Path
    head: str
    branch: str | None
    bare: bool
    locked: str | None
    prunable: bool


@record(kw_only=False)
class Repository:
    """A repository: the root of its main worktree and the git directory that all worktrees
    share; `work_tree` is where merges find the attributes of files, for as long as they do.
    """

    root: Path
    common: Path
    work_tree: Path | None = None

    @classmethod
    def at(cls, root: Path) -> Repository:
        """Returns the repository whose checkout is at `root`.

        Raises FleetError with the cure when there is none, when it is bare, has no commit, or git
        is too old. This is the only place that lets git discover anything, so git's own check of
        the owner is made here.
        """
        require_version()
        if not root.is_dir():
            raise FleetError(f"{root} is no folder", hint="name the root of a git repository")
        common = Path(_discover(root, "--path-format=absolute", "--git-common-dir"))
        try:
            top = Path(_discover(root, "--path-format=absolute", "--show-toplevel"))
        except FleetError:
            raise _bare(root, common) from None
        own = Path(_discover(root, "--path-format=absolute", "--absolute-git-dir"))
        found = cls(top.resolve(), common.resolve())
        if own.resolve() != found.common:
            first = found.worktrees()[0]
            found = found if first.bare else cls(first.path.resolve(), found.common)
        if not found.site.git("rev-list", "-n1", "--all", "HEAD", accept=(0, 128)).out:
            raise FleetError(
                f"{root} has no commit yet, so there is nothing to branch from",
                hint="git commit --allow-empty -m 'first commit'",
            )
        return found

    @property
    def site(self) -> Site:
        """Where questions about refs and objects are asked."""
        return Site(self.common, self.common, self.work_tree)

    def current_branch(self) -> str | None:
        """Returns the branch that the main worktree is on, or None when its HEAD is detached."""
        said = self.site.git("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
        return said.line.removeprefix(refs.HEADS) if said.code == 0 else None

    def resolve(self, name: str) -> str | None:
        """Returns the commit that `name` means, or None.

        A full object id is itself; `HEAD` the main worktree's; then `refs/...`, a branch, a tag, an
        abbreviated object id, in this order. Revision syntax (`a~1`, `a..b`) is not understood.
        """
        if not name or "\0" in name:
            return None
        if refs.is_sha(name) or name == "HEAD" or name.startswith("refs/"):
            return self._commit(name)
        if set(name) & set("~^:?*[\\ ") or ".." in name or "@{" in name:
            return None
        found = self._commit(refs.HEADS + name) or self._commit("refs/tags/" + name)
        if found is None and _ABBREVIATED.fullmatch(name):
            return self._commit(name)
        return found

    def heads(self, branches: Iterable[str]) -> dict[str, str]:
        """Returns the tips of those of `branches` that exist, read by one process."""
        wanted = set(branches)
        listed = refs.snapshot(self.site, refs.HEADS)
        tips = {ref.removeprefix(refs.HEADS): sha for ref, sha in listed.items()}
        return {name: sha for name, sha in tips.items() if name in wanted}

    def is_ancestor(self, a: str, b: str) -> bool:
        """Returns whether commit `a` is contained in commit `b`. Raises ToolFailed for a missing
        commit.
        """
        # `--is-ancestor` walks all of a long history that has no commit-graph; this does not.
        return self.merge_base(a, b) == a

    def ahead_behind(self, branch_sha: str, base_sha: str) -> tuple[int, int]:
        """Returns how many commits `branch_sha` has that `base_sha` lacks, and the reverse."""
        pair = f"{_object(branch_sha)}...{_object(base_sha)}"
        ahead, behind = self.site.git("rev-list", "--left-right", "--count", pair).line.split()
        return int(ahead), int(behind)

    def tips_that_hold(self, sha: str) -> set[str]:
        """Returns the tips of those branches that contain a commit."""
        asked = ("for-each-ref", "--format=%(objectname)", f"--contains={_object(sha)}", refs.HEADS)
        return set(self.site.git(*asked).lines)

    def tips_held_by(self, sha: str) -> set[str]:
        """Returns the tips of those branches that a commit contains."""
        asked = ("for-each-ref", "--format=%(objectname)", f"--merged={_object(sha)}", refs.HEADS)
        return set(self.site.git(*asked).lines)

    def merge_base(self, a: str, b: str) -> str | None:
        """Returns the best common ancestor of two commits, or None when they share none."""
        asked = self.site.git("merge-base", _object(a), _object(b), accept=(0, 1))
        return asked.line or None

    def changed(self, old: str, new: str) -> tuple[Change, ...]:
        """Returns the paths that differ from commit or tree `old` to `new`, sorted; renames are
        two changes.
        """
        fields = self.site.git(
            *("diff-tree", "-r", "-z", "--no-renames", "--name-status", "--no-ext-diff"),
            *("--ignore-submodules=none", _object(old), _object(new)),
        ).fields
        return tuple(Change(s, p) for s, p in zip(fields[::2], fields[1::2], strict=True))

    def tree(self, commit: str) -> str:
        """Returns the id of a commit's tree."""
        return self.site.git(
            "rev-parse", "--verify", "--end-of-options", f"{_object(commit)}^{{tree}}"
        ).lines[-1]

    def tag_commit(self, name: str) -> str | None:
        """Returns the commit that the tag `name` leads to, or None."""
        return self._commit(f"refs/tags/{name}") if "\0" not in name else None

    def worktrees(self) -> tuple[WorktreeInfo, ...]:
        """Returns all worktrees, the main one first, as `git worktree list` sees them."""
        return tuple(_infos(_list_worktrees(self.site).out))

    def holders(self, branch: str) -> tuple[Path, ...]:
        """Returns every worktree that has `branch` checked out or is rebasing it."""
        held = [w.path for w in self.worktrees() if w.branch == branch]
        for place, admin in self._admins():
            if place not in held and branch in _rebasing(admin):
                held.append(place)
        return tuple(held)

    def git_dir_of(self, place: Path) -> Path | None:
        """Returns the git directory of the worktree at `place`, or None when there is none."""
        wanted = Path(os.path.realpath(place))
        for path, admin in self._admins():
            if Path(os.path.realpath(path)) == wanted:
                return admin
        return None

    def _admins(self) -> Iterable[tuple[Path, Path]]:
        yield self.root, self.common
        folder = self.common / "worktrees"
        for admin in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                pointer = decode((admin / "gitdir").read_bytes()).rstrip("\n")
            except OSError:
                continue
            yield (admin / pointer).parent, admin

    def _commit(self, name: str) -> str | None:
        asked = self.site.git(
            *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"),
            accept=(0, 1, 128),
        )
        # Some versions repeat the option itself before the answer.
        last = asked.lines[-1] if asked.code == 0 and asked.lines else ""
        return last if refs.is_sha(last) else None


def _discover(root: Path, *what: str) -> str:
    asked = run([*neutral(), "rev-parse", *what], cwd=root, accept=(0, 128))
    if asked.code == 0:
        return asked.line
    if "dubious ownership" in asked.err:
        raise FleetError(
            f"{root} belongs to another user, so git does not trust it",
            hint=f"git config --global --add safe.directory {root}",
        )
    if "bare repository" in asked.err:
        raise _bare(root, root)
    raise FleetError(f"{root} is not in a git repository", hint=f"git init {root}")


def _bare(root: Path, common: Path) -> FleetError:
    if common.name == ".git" and (common.parent / ".git").exists():
        return FleetError(
            f"the configuration of {common.parent} calls it bare, though it has a checkout",
            hint=f"git --git-dir={common} config core.bare false",
        )
    return FleetError(
        f"{root} is a bare repository; a fleet needs a checkout to read its files from",
        hint=f"git --git-dir={common} worktree add <folder> <branch>, then use that folder",
    )


def _object(sha: str) -> str:
    assert refs.is_sha(sha), f"not a full object id: {sha!r}"
    return sha


def _list_worktrees(site: Site) -> Finished:
    # A neighbour that is just being registered makes the listing fail now and then.
    for _ in range(4):
        try:
            return site.git("worktree", "list", "--porcelain", "-z")
        except ToolFailed as failed:
            if "commondir" not in failed.stderr:
                raise
    return site.git("worktree", "list", "--porcelain", "-z")


def _infos(raw: bytes) -> Iterable[WorktreeInfo]:
    for block in decode(raw).split("\0\0"):
        if not block:
            continue
        facts = {k: v for k, _, v in (line.partition(" ") for line in block.split("\0"))}
        yield WorktreeInfo(
            path=Path(facts["worktree"]),
            head=facts.get("HEAD", ""),
            branch=facts["branch"].removeprefix(refs.HEADS) if "branch" in facts else None,
            bare="bare" in facts,
            locked=facts.get("locked"),
            prunable="prunable" in facts,
        )


def _rebasing(admin: Path) -> set[str]:
    found = set()
    for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
        try:
            text = decode((admin / name).read_bytes()).strip()
        except OSError:
            continue
        found.add(text.removeprefix(refs.HEADS))
    return found
