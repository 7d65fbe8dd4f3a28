"""The registration of a linked worktree: its admin folder in the common git directory, and the two
pointers.

A registration is written complete in a folder of its own and renamed into place (layout:
gitrepository-layout of git), so no neighbour ever reads half of one and a killed process leaves
all or nothing. Where the repository uses an extension that this layout does not cover, `git
worktree add --no-checkout` does it. Whose a registration is stands in its lock reason,
`fleet:<key>`; the file `fleet-ready` says that its files were complete once.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.git.command import Site, decode, encode
from fleet.errors import Rejected

PREFIX: Final = "fleet:"
READY: Final = "fleet-ready"
_UNDER_WAY: Final = (
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "rebase-merge",
    "rebase-apply",
)
_KNOWN_EXTENSIONS: Final = frozenset(
    {"objectformat", "noop", "partialclone", "preciousobjects", "worktreeconfig"}
)


@dataclass(frozen=True, slots=True)
class Registration:
    """What an admin folder says: `path` is None and `head` empty where the files are missing."""

    admin: Path
    path: Path | None
    head: str
    reason: str | None
    ready: bool

    @property
    def whole(self) -> bool:
        """Whether git would accept this admin folder."""
        return self.path is not None and bool(self.head) and (self.admin / "commondir").exists()


def scan(common: Path) -> tuple[Registration, ...]:
    """Returns every registration, also half-made ones, in the order of their ids."""
    folder = common / "worktrees"
    if not folder.is_dir():
        return ()
    return tuple(read(admin) for admin in sorted(folder.iterdir()) if admin.is_dir())


def read(admin: Path) -> Registration:
    """Returns what the admin folder `admin` says."""
    pointer = _text(admin / "gitdir")
    path = (admin / pointer).parent if pointer else None
    return Registration(
        admin=admin,
        path=Path(os.path.realpath(path)) if path else None,
        head=_text(admin / "HEAD") or "",
        reason=_text(admin / "locked"),
        ready=(admin / READY).exists(),
    )


def write(common: Path, path: Path, head: str, key: str) -> Path:
    """Registers the worktree `path` with the given HEAD under `fleet:<key>`; returns the admin
    folder.

    `head` is what the HEAD file is to say: `ref: refs/heads/...` or an object id. The folder
    itself is not made.
    """
    home = common / "worktrees"
    home.mkdir(exist_ok=True)
    scratch = common / "fleet"
    scratch.mkdir(mode=0o700, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix="admin-", dir=scratch))
    (staged / "locked").write_bytes(encode(PREFIX + key))
    (staged / "commondir").write_bytes(b"../..\n")
    (staged / "gitdir").write_bytes(encode(f"{path}/.git\n"))
    (staged / "HEAD").write_bytes(encode(head + "\n"))
    staged.chmod(0o755)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name).strip("-")[:100] or "worktree"
    for number in itertools.count():
        admin = home / (f"{name}{number}" if number else name)
        if admin.exists():
            continue
        try:
            staged.rename(admin)
        except OSError:
            if not admin.exists():
                raise
            continue
        return admin
    raise AssertionError


def write_by_git(site: Site, path: Path, branch: str, key: str, keep: Sequence[int]) -> Path:
    """Registers through `git worktree add`, for repositories whose layout `write` does not know."""
    site.git(
        *("worktree", "add", "--no-checkout", "--no-track", "--lock", "--reason", PREFIX + key),
        *("--", str(path), branch),
        writes=True,
        keep=keep,
    )
    return next(r.admin for r in scan(site.common) if r.path == path)


def layout_is_known(site: Site) -> bool:
    """Returns whether admin folders of this repository have the layout that `write` writes."""
    listed = site.git(
        *("config", "--local", "--includes", "-z", "--name-only", "--get-regexp", "^extensions[.]"),
        accept=(0, 1),
    )
    return {name.split(".", 1)[1].lower() for name in listed.fields} <= _KNOWN_EXTENSIONS


def link(registration: Registration) -> None:
    """Makes the worktree's folder and the `.git` file in it that points to its registration."""
    assert registration.path is not None
    registration.path.mkdir(parents=True, exist_ok=True)
    staged = registration.path / f".git.fleet-{os.getpid()}"
    staged.write_bytes(pointer_to(registration.admin))
    staged.rename(registration.path / ".git")


def pointer_to(admin: Path) -> bytes:
    """Returns the content of the `.git` file of the worktree that `admin` registers."""
    return encode(f"gitdir: {admin}\n")


def links_problem(common: Path, admin: Path, path: Path) -> str | None:
    """Returns what is wrong with the pointers between a worktree and its registration, or None.

    An agent can write these files; a git that believed them would work wherever they lead.
    """
    dot = path / ".git"
    if admin.is_symlink() or admin.parent != common / "worktrees" or not admin.is_dir():
        return f"{admin} is no registration of this repository"
    if dot.is_symlink() or not dot.is_file():
        return f"{dot} is missing or is not a plain file"
    said = (_text(dot) or "").removeprefix("gitdir: ")
    if not said or Path(os.path.realpath(path / said)) != Path(os.path.realpath(admin)):
        return f"{dot} points to {said!r} instead of {admin}"
    shared = _text(admin / "commondir") or ""
    if Path(os.path.realpath(admin / shared)) != Path(os.path.realpath(common)):
        return f"{admin / 'commondir'} points to {shared!r} instead of {common}"
    back = _text(admin / "gitdir") or ""
    if Path(os.path.realpath(admin / back)) != Path(os.path.realpath(dot)):
        return f"{admin / 'gitdir'} points to {back!r} instead of {dot}"
    return None


def site_of(common: Path, admin: Path, path: Path) -> Site:
    """Returns where git works for this worktree, after comparing its pointers. Raises Rejected."""
    problem = links_problem(common, admin, path)
    if problem and not os.path.lexists(path) and admin.is_dir():
        branch = (_text(admin / "HEAD") or "").removeprefix("ref: refs/heads/").strip()
        raise Rejected(
            f"the worktree {path} was deleted; what was committed is on its branch {branch!r}",
            hint=f"git --git-dir={common} worktree add --force --force {path} {branch}",
        )
    if problem:
        raise Rejected(
            f"the worktree {path} was tampered with: {problem}",
            hint=f"mend it: git --git-dir={common} worktree repair {path}",
        )
    return Site(admin, common, path)


def under_way(admin: Path) -> list[str]:
    """Returns git's names for the merges, picks and rebases that a worktree is in the middle of."""
    return [name for name in _UNDER_WAY if (admin / name).exists()]


def drop(registration: Registration) -> None:
    """Removes an admin folder, by one rename first, so that git never sees half of it."""
    admin = registration.admin
    scratch = admin.parent.parent / "fleet"
    scratch.mkdir(mode=0o700, exist_ok=True)
    gone = Path(tempfile.mkdtemp(prefix="gone-", dir=scratch))
    admin.rename(gone / admin.name)
    shutil.rmtree(gone, ignore_errors=True)


def _text(path: Path) -> str | None:
    try:
        return decode(path.read_bytes()).removesuffix("\n")
    except OSError:
        return None
