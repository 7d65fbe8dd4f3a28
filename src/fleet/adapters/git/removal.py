"""What a worktree holds, keeping it, and removing the worktree.

`remove` takes a `Proof`, and only a check here can make one: either everything in the worktree is
committed and contained in the base, or a rescue snapshot holds it. The folder is renamed away
before it is deleted; the branch stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.crash import crash_point
from fleet.adapters.git import locks, merging, refs, registration
from fleet.adapters.git.claims import Worktree
from fleet.adapters.git.command import Identity, Site, decode, encode
from fleet.adapters.git.registration import PREFIX
from fleet.adapters.git.repository import Repository
from fleet.errors import Rejected

RESCUE_LIMIT_BYTES: Final = 512 * 1024 * 1024
REMADE: Final = frozenset(
    {"node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True)
class Head:
    """Where a worktree's HEAD is; `branch` is None when it is detached, `sha` None when unborn."""

    branch: str | None
    sha: str | None


@dataclass(frozen=True, slots=True)
class NotRemovable:
    """Why a worktree must stay, one sentence each."""

    reasons: tuple[str, ...]


class Proof:
    """That nothing would be lost with a worktree; made by `prove_removable` and `prove_rescued`
    only.
    """

    __slots__ = ("path", "rescued", "sha", "state")

    def __init__(
        self, made: object, path: Path, sha: str | None, state: str, *, rescued: bool
    ) -> None:
        assert made is _MADE_HERE, "a proof is made by a check, not by hand"
        self.path, self.sha, self.state, self.rescued = path, sha, state, rescued


def head(worktree: Worktree) -> Head:
    """Returns the branch and commit that the worktree is at, whatever it was made for."""
    site = worktree.site
    named = site.git("symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
    at = site.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", accept=(0, 1, 128))
    branch = named.line.removeprefix(refs.HEADS) if named.code == 0 else None
    return Head(branch, at.line if at.code == 0 else None)


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


def rescue(worktree: Worktree, name: str) -> str:
    """Returns the ref of a snapshot of everything in the worktree, tracked, untracked and ignored.

    Its first parent is HEAD; what was staged is a second one. Caches that any build makes again
    are left out. Raises Rejected when the files are too large together or hold a repository of
    their own.
    """
    site, at = worktree.site, head(worktree)
    scratch = worktree.common / "fleet"
    scratch.mkdir(mode=0o700, exist_ok=True)
    who = Identity("fleet", "fleet@localhost", int(time.time()))
    repo = Repository(worktree.path, worktree.common)
    extra = _extra_files(site, worktree.path)
    with tempfile.TemporaryDirectory(prefix="rescue-", dir=scratch) as folder:
        index = Path(folder) / "index"
        if (worktree.admin / "index").exists():
            shutil.copyfile(worktree.admin / "index", index)
        else:
            site.git("read-tree", at.sha or "--empty", index=index, writes=True)
        staged = site.git("write-tree", index=index, writes=True, accept=(0, 128)).line
        for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
            site.git(
                "update-index",
                flag,
                "-z",
                "--stdin",
                index=index,
                writes=True,
                stdin=site.git("ls-files", "-z", index=index).out,
            )
        site.git("add", "-u", index=index, writes=True)
        names = b"".join(encode(path) + b"\0" for path in extra)
        site.git("update-index", "--add", "-z", "--stdin", index=index, writes=True, stdin=names)
        tree = site.git("write-tree", index=index, writes=True).line
    parents = [at.sha] if at.sha else []
    if refs.is_sha(staged) and at.sha and staged not in {tree, repo.tree(at.sha)}:
        parents.append(merging.commit(repo, staged, [at.sha], "index", who))
    text = f"Rescued from {worktree.path.name} ({at.branch or 'detached'})"
    kept = merging.commit(repo, tree, parents, text, who)
    ref = refs.RESCUE + "/".join(refs.component(part) for part in name.split("/"))
    refs.transact(repo.site, [refs.put(ref, kept)], why="fleet: rescue")
    if repo.resolve(ref) != kept:
        raise Rejected(f"the rescue ref {ref} does not read back as {kept}")
    return ref


def prove_removable(repo: Repository, worktree: Worktree, base_sha: str) -> Proof | NotRemovable:
    """Returns the proof that the worktree is clean, unused and contained in `base_sha`, or what
    speaks against it.

    Contained means that its commits are ancestors of the base, or that merging them would change
    nothing. Ignored files are allowed; `remove` rescues them first.
    """
    reasons = _in_use(worktree)
    at, changed = head(worktree), dirty(worktree)
    if changed:
        reasons.append(f"uncommitted work in {len(changed)} files: {', '.join(changed[:5])}")
    tips = {at.sha, repo.heads([worktree.branch]).get(worktree.branch)} - {None}
    reasons += [
        f"commit {tip[:12]} is not in the base: {repo.ahead_behind(tip, base_sha)[0]} commits"
        for tip in sorted(t for t in tips if t)
        if not contained(repo, tip, base_sha)
    ]
    if at.sha is None:
        reasons.append("its HEAD names no commit")
    if reasons:
        return NotRemovable(tuple(reasons))
    return Proof(_MADE_HERE, worktree.path, at.sha, _state(worktree), rescued=False)


def prove_rescued(worktree: Worktree, name: str) -> Proof | NotRemovable:
    """Takes a rescue snapshot under `name` and returns the proof that all of the worktree is in
    it.
    """
    reasons = _in_use(worktree)
    if reasons:
        return NotRemovable(tuple(reasons))
    before = _state(worktree)
    rescue(worktree, name)
    return Proof(_MADE_HERE, worktree.path, head(worktree).sha, before, rescued=True)


def contained(repo: Repository, tip: str, base_sha: str) -> bool:
    """Returns whether a commit's work is in the base: as an ancestor, or by content (squashed)."""
    if repo.is_ancestor(tip, base_sha):
        return True
    if repo.merge_base(tip, base_sha) is None:
        return False
    merged = merging.merge(repo, base_sha, tip)
    return isinstance(merged, merging.Tree) and merged.oid == repo.tree(base_sha)


def remove(repo: Repository, worktree: Worktree, proof: Proof) -> None:
    """Removes the worktree's folder and registration; its branch stays.

    Raises Rejected when the proof is another worktree's, or the worktree has changed since, or is
    not ours.
    """
    if proof.path != worktree.path:
        raise Rejected(f"the proof is for {proof.path}, not for {worktree.path}")
    name = f"{refs.component(worktree.branch)}/removed-{int(time.time() * 1000)}"
    with locks.repository_lock(repo.common):
        found = registration.read(worktree.admin)
        if not (found.reason or "").startswith(PREFIX) or worktree.path == repo.root:
            raise Rejected(f"{worktree.path} is not fleet's to remove")
        if _in_use(worktree) or head(worktree).sha != proof.sha or _state(worktree) != proof.state:
            raise Rejected(f"{worktree.path} has changed since it was checked", hint="check again")
        if not proof.rescued and _extra_files(worktree.site, worktree.path):
            rescue(worktree, name)
        _keep_reflog(repo, worktree, name)
        crash_point("git.remove.after_rescue")
        trash = Path(tempfile.mkdtemp(prefix=".fleet-trash-", dir=worktree.path.parent))
        worktree.path.rename(trash / "tree")
        crash_point("git.remove.after_trash")
        registration.drop(found)
        crash_point("git.remove.after_admin")
    shutil.rmtree(trash, ignore_errors=True)


def _state(worktree: Worktree) -> str:
    site = worktree.site
    status = site.git("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignored").out
    return decode(status)


def _in_use(worktree: Worktree) -> list[str]:
    reasons = [f"process {pid} works in it" for pid in locks.inhabitants(worktree.path)]
    reasons += [f"{name} is under way in it" for name in registration.under_way(worktree.admin)]
    return reasons


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


def _extra_files(site: Site, root: Path) -> list[str]:
    """Returns the untracked and ignored files worth keeping. Raises Rejected when they cannot be
    kept.
    """
    names = site.git("ls-files", "-z", "--others").fields
    kept = [n for n in names if not REMADE & set(Path(n).parts)]
    nested = [n for n in kept if n.endswith("/")]
    if nested:
        raise Rejected(
            f"{root / nested[0]} is a repository of its own, which a snapshot cannot hold",
            hint="move it away first",
        )
    size_bytes = sum((root / n).lstat().st_size for n in kept)
    if size_bytes > RESCUE_LIMIT_BYTES:
        raise Rejected(
            f"{root} holds {size_bytes >> 20} MB outside git, more than a snapshot may take "
            f"({RESCUE_LIMIT_BYTES >> 20} MB)",
            hint="move the largest files away first",
        )
    return kept


def _keep_reflog(repo: Repository, worktree: Worktree, name: str) -> None:
    """Anchors commits that only this worktree's HEAD log still knows, for the log goes with it."""
    log = worktree.admin / "logs" / "HEAD"
    if not log.exists():
        return
    known = {line.split(b" ")[1].decode() for line in log.read_bytes().splitlines()}
    shas = sorted(s for s in known if refs.is_sha(s) and set(s) != {"0"} and repo.resolve(s))
    if not shas:
        return
    asked = encode("\n".join(shas) + "\n")
    loose = set(repo.site.git("rev-list", "--stdin", "--not", "--all", stdin=asked).lines)
    lines = [refs.put(f"{refs.RESCUE}{name}-log/{sha[:12]}", sha) for sha in shas if sha in loose]
    if lines:
        refs.transact(repo.site, lines, why="fleet: rescue")
