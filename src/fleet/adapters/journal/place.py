"""Where a journal lies: its name, which folders may hold it, and what the disk says of it.

Law: what every part of the journal needs to reach the file stands here, and nothing that knows
what is in it. Each failure of SQLite or of the disk leaves as one sentence with its cure.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fleet.errors import FleetError, Rejected

NAME: Final = "journal.db"
REPAIR: Final = "see what is damaged and mend it with `fleet doctor --repair`"
LEAST_ROOM_BYTES: Final = 64 << 10  # with less, a failed write means a full disk
MOUNTS = Path("/proc/mounts")
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs"})


class Corrupt(FleetError):
    """The journal is damaged or gone, and was not touched."""


class DiskFull(FleetError):
    """Nothing of the batch was written; the same append works once there is space."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Returns a connection to an existing file; `mode` as in SQLite's URIs: ro, rw."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def beside(path: Path, suffix: str) -> Path:
    """Returns the path whose name is this one's with the suffix: SQLite's -wal, -shm, -journal."""
    return path.with_name(path.name + suffix)


def identity(path: Path) -> tuple[int, int] | None:
    """Returns device and inode of the file, None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def sync(path: Path) -> None:
    """Returns when the file, or the folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_folder(folder: Path) -> None:
    """Makes the state folder if there is none; raises Rejected where no journal may live."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise Rejected(
            f"{folder} belongs to another user (uid {found.st_uid})",
            hint="run fleet as that user, or in a clone of your own",
        )
    if found.st_mode & 0o022:
        raise Rejected(f"others may write in {folder}", hint=f"chmod 700 {folder}")
    kind = filesystem(folder)
    if kind in REMOTE:
        raise Rejected(
            f"{folder} lies on a network file system ({kind}),"
            " where locks and shared memory cannot be trusted",
            hint="put the repository on a local disk",
        )


def filesystem(folder: Path) -> str:
    """Returns the type of the folder's file system, an empty text when nobody can say."""
    best, kind = -1, ""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = folder.resolve()
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        depth = len(point.parts)
        if depth >= best and real.is_relative_to(point):
            best, kind = depth, fields[2]
    return kind


# ------------------------------------------------------------------ what SQLite and the disk say


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the disk say into one sentence with its cure."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(path, error) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full(path) from error
        raise FleetError(f"the journal {path} cannot be used: {error.strerror}") from error


def explained(path: Path, error: sqlite3.Error) -> FleetError:
    """Returns what SQLite's error means to a person: DiskFull, Corrupt or a plain FleetError."""
    code, text = _code(error), str(error)
    if code == sqlite3.SQLITE_FULL or (
        code == sqlite3.SQLITE_IOERR and _room_bytes(path) < LEAST_ROOM_BYTES
    ):
        return _full(path)
    unreadable = "decode to UTF-8" in text or "no such table" in text
    if unreadable or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return Corrupt(f"the journal {path} is damaged: {error}", hint=REPAIR)
    if code == sqlite3.SQLITE_BUSY:
        return FleetError(
            f"another process is writing the journal {path}", hint="only one coordinator may"
        )
    return FleetError(
        f"the journal {path} cannot be used: {error}", hint="`fleet doctor` looks for the cause"
    )


def log_unusable(error: sqlite3.Error) -> bool:
    """Returns whether SQLite could not read the file because it cannot write beside its log."""
    return _code(error) in {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
    }


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _full(path: Path) -> DiskFull:
    return DiskFull(
        f"the disk that holds {path} is full; nothing of the last step was recorded",
        hint="free some space; fleet goes on by itself",
    )


def _room_bytes(path: Path) -> int:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return 1 << 62
    return found.f_bavail * found.f_frsize
