"""Removing a worktree: what speaks against it, the proof that nothing is lost, the removal.

`remove` takes a `Proof`, and only a check here can make one: either everything in the worktree is
committed and contained in the base, or a rescue snapshot holds it. Commits that only the worktree's
own logs and marks still know are given refs first. The folder is renamed away before it is deleted;
the branch stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.crash import crash_point
from fleet.adapters.git import containment, locks, refs, registration, trash
from fleet.adapters.git.claims import Worktree
from fleet.adapters.git.command import Site, decode, encode
from fleet.adapters.git.registration import PREFIX
from fleet.adapters.git.repository import Repository
from fleet.adapters.git.snapshot import REMADE, extra_files, head, keep, rescue
from fleet.errors import Rejected

_MADE_HERE: Final = object()
_MARKS: Final = (
    *("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "ORIG_HEAD", "REBASE_HEAD", "AUTO_MERGE"),
    *("rebase-merge/onto", "rebase-merge/orig-head", "rebase-merge/stopped-sha"),
    *("rebase-apply/onto", "rebase-apply/orig-head", "rebase-merge/autostash"),
)
"""Files of a worktree's git folder that may name a commit which nothing else knows."""


@dataclass(frozen=True, slots=True)
class NotRemovable:
    """Why a worktree must stay, one sentence each."""

    reasons: tuple[str, ...]


class Proof:
    """That nothing would be lost with a worktree; made by `prove_removable` and `prove_rescued`
    only.
    """

    __slots__ = ("path", "ref", "sha", "state")

    def __init__(
        self, made: object, path: Path, sha: str | None, state: str, *, ref: str = ""
    ) -> None:
        assert made is _MADE_HERE, "a proof is made by a check, not by hand"
        self.path, self.sha, self.state, self.ref = path, sha, state, ref


def dirty(worktree: Worktree) -> tuple[str, ...]:
    """Returns the paths that are staged, changed or untracked (not ignored), sorted.

    Files that were hidden from git with assume-unchanged or skip-worktree count as changed when
    they differ.
    """
    site = worktree.site
    fields = site.git(
        *("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"),
        "--ignore-submodules=none",
    ).fields
    return tuple(sorted({line[3:] for line in fields} | set(_hidden(site, worktree))))


def prove_removable(repo: Repository, worktree: Worktree, base_sha: str) -> Proof | NotRemovable:
    """Returns the proof that the worktree is clean, unused and contained in `base_sha`, or what
    speaks against it.

    Contained is what `containment` can show. Ignored files are allowed; `remove` rescues them
    first.
    """
    reasons = in_use(worktree)
    reasons += [f"{name} is under way in it" for name in registration.under_way(worktree.admin)]
    at, changed = head(worktree), dirty(worktree)
    if changed:
        shown = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        count = f"{len(changed)} file{'s' * (len(changed) != 1)}"
        reasons.append(f"uncommitted work in {count}: {shown}")
    tips = {at.sha, repo.heads([worktree.branch]).get(worktree.branch)} - {None}
    for tip in sorted(t for t in tips if t):
        if not containment.how_merged(repo, tip, base_sha):
            ahead = repo.ahead_behind(tip, base_sha)[0]
            told = f"{ahead} commit{'s' * (ahead != 1)}"
            reasons.append(f"commit {tip[:12]} is not in the base: {told}")
    if at.sha is None:
        reasons.append("its HEAD names no commit")
    if reasons:
        return NotRemovable(tuple(reasons))
    return Proof(_MADE_HERE, worktree.path, at.sha, _state(worktree.site, worktree.path))


def prove_rescued(worktree: Worktree, name: str) -> Proof | NotRemovable:
    """Takes a rescue snapshot under `name` and returns the proof that all of the worktree is in
    it.
    """
    reasons = in_use(worktree) + _changed_submodules(worktree)
    if reasons:
        return NotRemovable(tuple(reasons))
    before = _state(worktree.site, worktree.path)
    ref = rescue(worktree, name)
    return Proof(_MADE_HERE, worktree.path, head(worktree).sha, before, ref=ref)


def remove(
    repo: Repository, worktree: Worktree, proof: Proof, *, name: str, wait: bool = True
) -> tuple[str, ...]:
    """Removes the worktree's folder and registration; its branch stays. Returns the rescue refs
    that now hold what was in it and nowhere else; new ones begin with `name`.

    Without `wait` the folder is deleted by a process that outlives this one. Raises Rejected when
    the proof is another worktree's, or the worktree has changed since, or is not ours.
    """
    if proof.path != worktree.path:
        raise Rejected(f"the proof is for {proof.path}, not for {worktree.path}")
    with locks.repository_lock(repo.common):
        found = registration.read(worktree.admin)
        if not (found.reason or "").startswith(PREFIX) or worktree.path == repo.root:
            raise Rejected(f"{worktree.path} is not fleet's to remove")
        site = worktree.site
        if in_use(worktree) or _state(site, worktree.path) != proof.state:
            raise Rejected(f"{worktree.path} has changed since it was checked", hint="check again")
        kept = [proof.ref] if proof.ref else []
        if not proof.ref and extra_files(site, worktree.path):
            kept.append(rescue(worktree, name))
        kept += keep_loose(repo, found.admin, name)
        crash_point("git.remove.after_rescue")

        def unchanged(tree: Path) -> bool:
            moved = Site(worktree.admin, worktree.common, tree)
            return _state(moved, tree) == proof.state

        slot = trash.throw(repo.common, worktree.path, unchanged)
        crash_point("git.remove.after_check")
        registration.drop(found)
        crash_point("git.remove.after_admin")
    trash.delete([slot], wait=wait)
    return tuple(kept)


def keep_loose(repo: Repository, admin: Path, name: str) -> list[str]:
    """Gives refs to commits that only a worktree's own logs and marks still know, for these go
    with it; returns the refs.
    """
    known = {sha for mark in _MARKS for sha in _shas(admin / mark)}
    known |= {sha for log in _logs(admin) for sha in _shas(log)}
    own = Site(admin, repo.common)
    for space in ("refs/worktree", "refs/bisect", "refs/rewritten"):
        known |= set(refs.snapshot(own, space).values())
    return [keep(repo, f"{name}-log/{one[:12]}", one) for one in _ends(repo, known)]


def keep_log(repo: Repository, branch: str, name: str) -> list[str]:
    """Gives refs to commits that only a branch's log still knows; returns the refs."""
    known = set(_shas(repo.common / "logs" / refs.HEADS / branch))
    return [keep(repo, f"{name}-log/{one[:12]}", one) for one in _ends(repo, known)]


def in_use(worktree: Worktree) -> list[str]:
    """Returns who is in a worktree, and what would be torn out of it, one sentence each."""
    reasons = [
        f"process {pid} ({name}) works in it" for pid, name in locks.inhabitants(worktree.path)
    ]
    reasons += [f"{place} is mounted in it" for place in locks.mounts(worktree.path)]
    for inner in sorted((worktree.admin / "modules").glob("**/HEAD")):
        folder = inner.parent
        if (folder / "objects").is_dir() and (count := _unpushed(folder)):
            name = folder.relative_to(worktree.admin / "modules")
            told = f"{count} commit{'s' * (count != 1)} that no remote has"
            reasons.append(f"its submodule {name} holds {told}: push them first")
    return reasons


def _changed_submodules(worktree: Worktree) -> list[str]:
    """Returns the submodules whose own checkout differs from what is recorded: no snapshot of the
    worktree holds that.
    """
    asked = ("status", "--porcelain=v2", "-z", "--untracked-files=no", "--no-renames")
    rows = worktree.site.git(*asked, "--ignore-submodules=none").fields
    changed = [row.split(" ", 8) for row in rows if row.startswith("1 ")]
    return [
        f"its submodule {parts[8]} has changes of its own: commit and push them first"
        for parts in changed
        if parts[2].startswith("S") and parts[2] != "S..."
    ]


def _unpushed(module: Path) -> int:
    """Returns how many commits the git folder of a submodule has that none of its remotes has."""
    site = Site(module, module)
    asked = ("rev-list", "--count", "--all", "--reflog", "HEAD", "--not", "--remotes")
    told = site.git(*asked, accept=(0, 128))
    return int(told.line) if told.code == 0 else 1


def _ends(repo: Repository, known: set[str]) -> list[str]:
    """Returns those commits of a set that no ref leads to and none of the others contains."""
    loose = containment.unreachable(repo, known)
    if len(loose) < 2:
        return loose
    asked = encode("".join(f"{one}\n" for one in loose))
    rows = repo.site.git("rev-list", "--no-walk", "--parents", "--stdin", stdin=asked).lines
    inner = {parent for row in rows for parent in row.split()[1:]}
    return [one for one in loose if one not in inner]


def _logs(admin: Path) -> Iterator[Path]:
    yield admin / "logs" / "HEAD"
    yield from sorted(p for p in (admin / "logs" / "refs").glob("**/*") if p.is_file())


def _shas(file: Path) -> list[str]:
    """Returns every object id that stands in a log or a mark."""
    try:
        words = decode(file.read_bytes()).split()
    except OSError:
        return []
    return [word for word in words if refs.is_sha(word)]


def _state(site: Site, root: Path) -> str:
    """Returns what would change if anybody wrote into a worktree: HEAD, status, and size, time and
    inode of each file that differs from HEAD or is not tracked.
    """
    told = site.git(
        *("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignored"),
        *("--no-renames", "--ignore-submodules=all"),
    )
    at = site.git("rev-parse", "--verify", "--quiet", "HEAD", accept=(0, 1, 128)).line
    before_path = {"1": 8, "u": 10}
    seen = []
    for row in told.fields:
        name = row.split(" ", before_path.get(row[:1], 1))[-1]
        if REMADE & set(Path(name).parts):
            continue
        try:
            found = (root / name).lstat()
        except OSError:
            continue
        seen.append(f"{found.st_size} {found.st_mtime_ns} {found.st_ino}")
    return "\n".join((at, decode(told.out), *seen))


def _hidden(site: Site, worktree: Worktree) -> Sequence[str]:
    """Returns files flagged so that git does not look at them, and whose content differs all the
    same.
    """
    flagged = [
        line[2:]
        for line in site.git("ls-files", "-v", "-z").fields
        if line[0] == "S" or line[0].islower()
    ]
    found = []
    for path in flagged:
        place = worktree.path / path
        entry = site.git("ls-files", "-s", "-z", "--", path).fields[0].split()[1]
        if not os.path.lexists(place):
            continue
        content = encode(os.readlink(place)) if place.is_symlink() else None  # noqa: PTH115
        if content is not None:
            real = site.git("hash-object", "--stdin", stdin=content).line
        else:
            real = site.git("hash-object", "--path", path, "--", str(place)).line
        if real != entry:
            found.append(path)
    return found
