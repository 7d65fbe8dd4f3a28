"""Locks: our one file lock for each repository, and git's own lock files.

All changes to worktrees' registrations and to refs that decide by a look first are made under
`<common>/fleet.lock`. The descriptor is handed to the git that works under it, so the lock lasts
until that git has ended even if its fleet was killed. A lock file of git's is waited for; it is
broken only where the caller knows it to be in fleet's own territory, when nobody holds it open and
no git is at work in the repository.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fleet.errors import Rejected

WAIT_S: Final = 60.0
STALE_S: Final = 10.0
_PAUSE_S: Final = 0.02


@contextmanager
def repository_lock(common: Path, *, wait_s: float = WAIT_S) -> Iterator[int]:
    """Holds the repository's lock and yields its descriptor.

    Raises Rejected, naming the holder, when it is not free within `wait_s`.
    """
    path = common / "fleet.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, wait_s)
        with suppress(OSError):  # who holds it is only told, and the disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
                raise Rejected(
                    f"another fleet holds {path} for more than {wait_s:g} s (process {holder})",
                    hint=f"see what it does: ps -fp {holder}",
                ) from None
            time.sleep(_PAUSE_S / 4)


def take(lock: Path, mark: bytes) -> None:
    """Makes git's lock file `lock` with `mark` in it, at once or not at all, so that whoever finds
    it after a kill or a full disk knows whose it is. Raises FileExistsError, OSError.
    """
    staged = lock.with_name(f"{lock.name}.fleet")
    staged.unlink(missing_ok=True)  # of a process that was killed here; it may be linked already
    try:
        with staged.open("wb") as file:
            file.write(mark)
            file.flush()
            os.fsync(file.fileno())
        try:
            lock.hardlink_to(staged)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with lock.open("xb") as file:
                file.write(mark)
    finally:
        staged.unlink(missing_ok=True)


def wait_for(lock: Path, *, ours: bool, common: Path, wait_s: float = WAIT_S) -> None:
    """Waits until git's lock file `lock` is gone; with `ours`, removes it once it is proven stale.

    Raises Rejected, naming the lock, its age and its holder, when it is still there after `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    while lock.exists():
        if ours and is_stale(lock, common):
            lock.unlink(missing_ok=True)
            return
        if time.monotonic() > deadline:
            raise Rejected(described(lock), hint=f"if no git is at work there: rm {lock}")
        time.sleep(_PAUSE_S)


def described(lock: Path) -> str:
    """Returns a sentence on who holds `lock` and since when."""
    who = holders(lock)
    by = f"held open by process {', '.join(map(str, who))}" if who else "held open by nobody"
    return f"git's lock file {lock} is {age_s(lock):.0f} s old and {by}"


def is_stale(lock: Path, common: Path) -> bool:
    """Returns whether nobody can still be working under `lock`.

    No process has it open and, unless it is older than `STALE_S`, no git works in this repository.
    """
    if holders(lock):
        return False
    return age_s(lock) > STALE_S or not gits_at_work(common)


def age_s(lock: Path) -> float:
    """Returns the age of a lock file in seconds (0 when it is gone or from the future)."""
    try:
        return max(0.0, time.time() - lock.stat().st_mtime)
    except OSError:
        return 0.0


def holders(lock: Path) -> tuple[int, ...]:
    """Returns the processes that have `lock` open, as far as /proc shows them."""
    try:
        wanted = lock.stat()
    except OSError:
        return ()
    found = []
    for process in _processes():
        try:
            opened = [entry.stat() for entry in (process / "fd").iterdir() if entry.exists()]
        except OSError:
            continue
        if any((s.st_dev, s.st_ino) == (wanted.st_dev, wanted.st_ino) for s in opened):
            found.append(int(process.name))
    return tuple(found)


def gits_at_work(common: Path) -> tuple[int, ...]:
    """Returns the git processes whose command line or current folder lies in this repository."""
    own, root = os.fsencode(common), os.fsencode(common.parent)
    found = []
    for process in _processes():
        try:
            name = (process / "comm").read_bytes()
            if not name.startswith(b"git"):
                continue
            line = (process / "cmdline").read_bytes()
            folder = os.fsencode(os.readlink(process / "cwd"))  # noqa: PTH115
        except OSError:
            continue
        if own in line or folder == root or folder.startswith(root + b"/"):
            found.append(int(process.name))
    return tuple(found)


def inhabitants(folder: Path) -> tuple[tuple[int, str], ...]:
    """Returns pid and name of the processes that are in `folder`: their current folder or an open
    file is it or lies in it, as far as /proc shows them.
    """
    root = os.path.realpath(folder)
    found = []
    for process in _processes():
        if any(at == root or at.startswith(root + "/") for at in _places(process)):
            try:
                name = os.fsdecode((process / "comm").read_bytes()).strip()
            except OSError:
                continue
            found.append((int(process.name), name))
    return tuple(found)


def mounts(folder: Path) -> tuple[str, ...]:
    """Returns what is mounted in `folder` or below it."""
    root = os.path.realpath(folder)
    rows = Path("/proc/self/mountinfo").read_bytes().splitlines()
    octal = rb"\\([0-7]{3})"
    places = [
        os.fsdecode(re.sub(octal, lambda sign: bytes([int(sign[1], 8)]), row.split(b" ")[4]))
        for row in rows
    ]
    return tuple(at for at in places if at == root or at.startswith(root + "/"))


def _places(process: Path) -> Iterator[str]:
    """Yields where a process is and what it has open."""
    try:
        yield os.readlink(process / "cwd")  # noqa: PTH115 - no object for each
        with os.scandir(process / "fd") as opened:
            for entry in opened:
                yield os.readlink(entry.path)  # noqa: PTH115
    except OSError:
        return


def _processes() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield entry
