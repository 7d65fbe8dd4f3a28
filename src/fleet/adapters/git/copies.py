"""Files that a fresh worktree gets beside what is committed, and what the checkout is to ignore.

`.worktreeinclude` at the root (gitignore syntax) names files such as `.env`: those that match and
that git ignores or does not track are copied, never over an existing file, never from `.git`,
`.fleet` or another worktree, and no more than `LIMIT_BYTES` in all. Worktrees inside the root go
into `.git/info/exclude`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from fleet.adapters.git.command import Site, encode
from fleet.adapters.git.repository import Repository
from fleet.errors import Rejected

INCLUDE: Final = ".worktreeinclude"
LIMIT_BYTES: Final = 256 * 1024 * 1024


def wanted(repo: Repository, named: Sequence[str], worktrees: Iterable[Path]) -> tuple[str, ...]:
    """Returns the files under the root that a new worktree gets, relative to it, sorted.

    `named` are paths asked for by name: files or folders, tracked or not. Raises Rejected for a
    path that leads out of the root, and when the files are larger than `LIMIT_BYTES` together.
    """
    found = set(_included(repo)) | set(_named(repo, named))
    barred = [repo.root / ".git", repo.root / ".fleet", *worktrees]
    kept = sorted(
        p for p in found if not _within(repo.root / p, barred) and _is_file(repo.root / p)
    )
    size_bytes = sum((repo.root / p).lstat().st_size for p in kept)
    if size_bytes > LIMIT_BYTES:
        raise Rejected(
            f"the {len(kept)} files to copy into each worktree are {size_bytes >> 20} MB, "
            f"more than {LIMIT_BYTES >> 20} MB",
            hint=f"narrow {INCLUDE} or the task's list of copies",
        )
    return tuple(kept)


def copy(root: Path, worktree: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Copies `paths` from the root into a worktree where they do not exist; returns those that it
    copied.
    """
    done = []
    for path in paths:
        source, target = root / path, worktree / path
        if os.path.lexists(target) or not _plain_parents(worktree, target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
        done.append(path)
    return tuple(done)


def exclude(repo: Repository, worktrees: Iterable[Path]) -> None:
    """Adds `.fleet/` and the worktrees that lie inside the root to `.git/info/exclude`, each
    once.
    """
    inside = [w.relative_to(repo.root) for w in worktrees if w.is_relative_to(repo.root)]
    lines = [b"/.fleet/", *(b"/" + _escaped(str(p)) + b"/" for p in inside)]
    file = repo.common / "info" / "exclude"
    before = file.read_bytes() if file.exists() else b""
    known = set(before.splitlines())
    missing = [line for line in dict.fromkeys(lines) if line not in known]
    if not missing:
        return
    file.parent.mkdir(exist_ok=True)
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    staged = file.with_name(f"exclude.fleet-{os.getpid()}")
    staged.write_bytes(before + gap + b"".join(line + b"\n" for line in missing))
    staged.rename(file)


def _included(repo: Repository) -> list[str]:
    if not (repo.root / INCLUDE).is_file():
        return []
    listed = Site(repo.common, repo.common, repo.root).git(
        *("ls-files", "-z", "--others", "--ignored"),
        f"--exclude-from={repo.root / INCLUDE}",
    )
    return [path for path in listed.fields if not path.endswith("/")]


def _named(repo: Repository, named: Sequence[str]) -> list[str]:
    found = []
    for name in named:
        place = Path(os.path.realpath(repo.root / name))
        if Path(name).is_absolute() or not place.is_relative_to(repo.root):
            raise Rejected(f"{name!r} is not inside the repository, so it is not copied")
        if not place.exists():
            raise Rejected(f"{name!r} is to be copied into the worktree but does not exist")
        here = repo.root / name
        tree = sorted(here.rglob("*")) if here.is_dir() else [here]
        found += [str(p.relative_to(repo.root)) for p in tree]
    return found


def _is_file(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders) or ".git" in path.parts


def _plain_parents(worktree: Path, target: Path) -> bool:
    """Whether no folder on the way from the worktree to the target is a symlink or a file."""
    for parent in target.parents:
        if parent == worktree:
            return True
        if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
            return False
    return False


def _escaped(path: str) -> bytes:
    """Returns a path as a gitignore pattern; a newline cannot be written, any one byte stands for
    it.
    """
    return re.sub(rb"([\\*?\[\]! #])", rb"\\\1", encode(path)).replace(b"\n", b"?")
