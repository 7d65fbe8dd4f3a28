"""What the machine offers: git, tmux, Python, SQLite, which `fleet` is called, the repository and
its disk.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fleet.app.diagnosing.findings import Finding, finding

OLDEST_PYTHON: Final = (3, 11)
LEAST_FREE_BYTES: Final = 1 << 30
FULL_BYTES: Final = 64 << 20  # with less no worktree is made
LEAST_FREE_INODES: Final = 50_000
LEAST_SHARE: Final = 0.02  # of the inodes, where the file system counts them
_WAL_FIXED: Final = ((3, 44, 6), (3, 50, 7))  # releases of older lines that have the repair too
_WAL_FIXED_FROM: Final = (3, 51, 3)


def git() -> Finding:
    """Asks git for its version."""
    from fleet.adapters.git.command import require_version, version

    require_version()
    return finding("git", "ok", f"{'.'.join(map(str, version()))} (2.38 or later)")


def tmux() -> Finding:
    """Asks tmux for its version."""
    from fleet.adapters.tmux import OLDEST_TMUX, Tmux

    oldest = ".".join(map(str, OLDEST_TMUX))
    return finding("tmux", "ok", f"{Tmux('fleet-doctor').version()} ({oldest} or later)")


def python() -> Finding:
    """Looks which Python runs this."""
    shown = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return finding("python", "error", shown, "install Python 3.11 or later")
    return finding("python", "ok", shown)


def sqlite(version: str = "") -> Finding:
    """Looks whether SQLite (of this process, or `version`) has the repair of its WAL."""
    shown = version or sqlite3.sqlite_version
    have = tuple(map(int, shown.split(".")))
    fixed = have >= _WAL_FIXED_FROM or any(
        have[:2] == line[:2] and have >= line for line in _WAL_FIXED
    )
    if fixed:
        return finding("sqlite", "ok", shown)
    return finding(
        "sqlite",
        "warning",
        f"{shown} has the WAL-reset bug: two programs that write one database can damage it; "
        "fleet has one writer, so its journal is safe from it",
        "do not write to .fleet/journal.db with other programs; SQLite 3.51.3 is repaired",
    )


def command() -> Finding:
    """Finds which `fleet` a shell would run: this one, another installation, another program."""
    here = {Path(sysconfig.get_path("scripts")), Path(sys.executable).parent}
    found = [
        path
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if folder and os.access(path := Path(folder) / "fleet", os.X_OK) and path.is_file()
    ]
    if not found:
        return finding(
            "fleet",
            "warning",
            "no `fleet` is on PATH; you and your agents cannot call it by name",
            f"add {sysconfig.get_path('scripts')} to PATH",
        )
    first = found[0]
    if first.parent in here or first.resolve().parent in here:
        return finding("fleet", "ok", str(first))
    what = "another installation of fleet" if _is_fleet(first) else "another program"
    return finding(
        "fleet",
        "warning",
        f"`fleet` on PATH is {first}, {what}",
        f"put {sysconfig.get_path('scripts')} before {first.parent} in PATH",
    )


def _is_fleet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            text = file.read(2048)
    except OSError:
        return False
    return b"from fleet" in text or b"-m fleet" in text


def repository(root: Path) -> Finding:
    """Looks for the repository around `root`."""
    from fleet.adapters.git import Repository

    repo = Repository.at(root.resolve())
    branch = repo.current_branch()
    return finding("repository", "ok", f"{repo.root} on {branch or 'no branch'}")


def identity(root: Path) -> Iterator[Finding]:
    """Looks whether commits there would bear a name; nothing to say outside a repository."""
    from fleet.adapters.git.command import run

    asked = ["-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]
    found = run(asked, cwd=root.resolve(), accept=(0, 128))
    if found.code == 0:
        yield finding("identity", "ok", found.line.rpartition(" <")[0])
    else:
        yield finding(
            "identity",
            "warning",
            "git knows no name and e-mail address, so agents' commits may be refused",
            "git config user.name NAME; git config user.email ADDRESS",
        )


def disk(root: Path) -> Iterator[Finding]:
    """Looks how much room is left below `root`."""
    space = os.statvfs(root)
    free = space.f_bavail * space.f_frsize
    level = "error" if free < FULL_BYTES else "warning" if free < LEAST_FREE_BYTES else "ok"
    cure = "free some space: each worktree is a whole checkout" if level != "ok" else ""
    yield finding("disk", level, f"{free / (1 << 30):.1f} GiB free", cure)
    if space.f_files:  # some file systems do not count them
        few = space.f_favail < min(LEAST_FREE_INODES, space.f_files * LEAST_SHARE)
        cure = "remove many small files, such as old build folders" if few else ""
        level = "warning" if few else "ok"
        yield finding("inodes", level, f"{space.f_favail} free", cure)
