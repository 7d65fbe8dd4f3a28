"""The journal: one SQLite file that holds everything a fleet's runs ever were.

Law: one process writes, in one transaction a batch, durable before `append` returns; anybody may
read, briefly, and starts nothing by it. Events are opaque texts, numbered from 1 in their run
without gaps; (run, seq) is the optimistic lock. Each event's checksum covers the one before it, so
an edit, a hole or a flipped byte shows. A damaged or newer file is refused, never written. Mending
is `salvage`'s work, which has its own copy of SCHEMA, link and seal: adapters do not import each
other, and a test holds the copies together.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from fleet.adapters.crash import crash_point
from fleet.errors import FleetError, Rejected

NAME: Final = "journal.db"
VERSION: Final = 1
APPLICATION_ID: Final = 0x464C4554
PAGE_BYTES: Final = 4096
WAL_PAGES: Final = 1000  # the writer copies the log back when it has grown to so many pages
WAL_BYTES: Final = 16 << 20  # and cuts the log's file down to this
CHECKED_BYTES: Final = 64 << 20  # up to this size the whole file is checked at each opening
READ_ROWS: Final = 1000  # a reader's snapshot lasts for so many rows
MOUNTS = Path("/proc/mounts")
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs"})

SCHEMA: Final = """
CREATE TABLE events (id INTEGER PRIMARY KEY, run TEXT NOT NULL, seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, sum BLOB NOT NULL, body TEXT NOT NULL, UNIQUE (run, seq));
CREATE TABLE snapshots (run TEXT PRIMARY KEY, seq INTEGER NOT NULL, sum BLOB NOT NULL,
    body TEXT NOT NULL);
CREATE TABLE runs (run TEXT PRIMARY KEY, state TEXT NOT NULL, sum BLOB NOT NULL,
    summary TEXT NOT NULL);
CREATE TABLE handled (command TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, sum BLOB NOT NULL,
    result TEXT NOT NULL);
"""
_EVENT = "INSERT INTO events (run, seq, at_ms, sum, body) VALUES (?, ?, ?, ?, ?)"
_HANDLED = "INSERT INTO handled (command, at_ms, sum, result) VALUES (?, ?, ?, ?)"
_SNAPSHOT = "INSERT OR REPLACE INTO snapshots (run, seq, sum, body) VALUES (?, ?, ?, ?)"
_RUN = "INSERT OR REPLACE INTO runs (run, state, sum, summary) VALUES (?, ?, ?, ?)"
_REPAIR = "see what is damaged and mend it with `fleet doctor --repair`"


class Corrupt(FleetError):
    """The journal is damaged or gone, and was not touched."""


class DiskFull(FleetError):
    """Nothing of the batch was written; the same append works once there is space."""


class Conflict(Rejected):
    """Somebody has already written this (run, seq) or command; nothing of the batch was written."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes.

    Times are Unix milliseconds, bodies JSON texts that nobody here reads.
    """

    events: Sequence[tuple[str, int, int, str]] = ()  # run, seq, at_ms, body
    handled: Sequence[tuple[str, int, str]] = ()  # command id, at_ms, result
    snapshots: Sequence[tuple[str, int, str]] = ()  # run, seq, body
    runs: Sequence[tuple[str, str, str]] = ()  # run, state, summary


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it was appended."""

    seq: int
    at_ms: int
    body: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """The newest row of one run."""

    run: str
    state: str
    summary: str


def link(before: bytes, seq: int, at_ms: int, body: bytes) -> bytes:
    """Returns the 8-byte checksum of an event, chained to the one `before` it."""
    return blake2b(b"%b%d,%d,%b" % (before, seq, at_ms, body), digest_size=8).digest()


def seal(table: str, *columns: str | int) -> bytes:
    """Returns the 8-byte checksum of a row that stands alone.

    Seal("events", run) begins a run's chain.
    """
    text = "\0".join((table, *map(str, columns)))
    return blake2b(text.encode(), digest_size=8).digest()


class Journal:
    """The writer. Only the process that holds the fleet's lease opens one.

    One thread at a time calls it.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._file = _identity(path)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Returns the journal in this state folder, made if there is none.

        Raises Rejected where a journal must not live (network file system, folder that others may
        write) or
        was written by a newer fleet, Corrupt where it is damaged, DiskFull where there is no room.
        """
        _check_folder(folder)
        path = folder / NAME
        with _told(path):
            if not path.exists():
                _make(path)
            _check_version(path)
            db = _connect(path, "rw")
            try:
                _prepare(path, db)
            except BaseException:
                db.close()
                raise
            return cls(path, db)

    def append(self, batch: Batch) -> None:
        """Writes the batch in one transaction and returns when it is on disk.

        Raises Conflict, DiskFull or Corrupt: nothing of it was written, later appends may work.
        """
        with self._transaction() as db:
            heads = self._insert_events(db, batch.events)
            handled = [(c, t, seal("handled", c, t, r), r) for c, t, r in batch.handled]
            try:
                db.executemany(_HANDLED, handled)
            except sqlite3.IntegrityError as error:
                names = ", ".join(command for command, *_ in batch.handled[:3])
                raise Conflict(f"one of the commands {names} already has a result") from error
            snapshots = [(r, s, seal("snapshots", r, s, b), b) for r, s, b in batch.snapshots]
            db.executemany(_SNAPSHOT, snapshots)
            db.executemany(_RUN, [(r, s, seal("runs", r, s, t), t) for r, s, t in batch.runs])
            crash_point("journal.before_commit")
        self._heads.update(heads)
        crash_point("journal.after_commit")

    def _insert_events(
        self, db: sqlite3.Connection, events: Sequence[tuple[str, int, int, str]]
    ) -> dict[str, tuple[int, bytes]]:
        heads: dict[str, tuple[int, bytes]] = {}
        rows: list[tuple[str, int, int, bytes, str]] = []
        for run, seq, at_ms, body in events:
            last, before = heads.get(run) or self._head(run)
            if seq <= last:
                raise Conflict(f"event {seq} of run {run} is already written; {last} is its last")
            assert seq == last + 1, f"event {seq} of run {run} does not follow {last}"
            total = link(before, seq, at_ms, body.encode())
            heads[run] = (seq, total)
            rows.append((run, seq, at_ms, total, body))
        try:
            db.executemany(_EVENT, rows)
        except sqlite3.IntegrityError as error:
            names = ", ".join(f"{seq} of run {run}" for run, seq, *_ in rows[:3])
            raise Conflict(f"another writer has written one of the events {names}") from error
        return heads

    def _head(self, run: str) -> tuple[int, bytes]:
        if run not in self._heads:
            row = self._db.execute(
                "SELECT seq, sum FROM events WHERE run = ? ORDER BY seq DESC LIMIT 1", (run,)
            ).fetchone()
            self._heads[run] = row or (0, seal("events", run))
        return self._heads[run]

    def intact(self) -> bool:
        """Returns False when the journal's file was moved, deleted or replaced under this
        process.
        """
        return _identity(self.path) == self._file

    def checkpoint(self) -> bool:
        """Returns True when all of the log was copied into the file and cut to nothing; never
        waits for readers.

        For moments of idleness: it keeps the log small without costing a commit.
        """
        with _told(self.path):
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._db.execute("PRAGMA busy_timeout = 5000")
        return not busy

    def forget(self, run: str) -> None:
        """Removes everything about one run. Which runs have ended long enough ago is the caller's
        law.
        """
        with self._transaction() as db:
            for table in ("events", "snapshots", "runs"):
                db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))  # noqa: S608  names from the line above
        self._heads.pop(run, None)

    def forget_handled(self, before_ms: int) -> int:
        """Returns how many command results older than this were removed."""
        with self._transaction() as db:
            return db.execute("DELETE FROM handled WHERE at_ms < ?", (before_ms,)).rowcount

    def compact(self) -> None:
        """Gives the space of forgotten runs back to the disk."""
        with _told(self.path):
            self._db.executescript("PRAGMA incremental_vacuum")  # execute would free one page
        self.checkpoint()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _told(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # What a failed COMMIT left behind is unknown, so the chains are read anew.
                self._heads.clear()
                if self._db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes the file; nothing depends on it having been called."""
        self._db.close()


class Reader:
    """Reads a journal that others may be writing; a fleet without one reads as empty.

    No snapshot outlives a call (or READ_ROWS rows of `events`), so the writer's log can always be
    copied
    back. On a full disk SQLite cannot read beside a log: then the file is read as it stood at the
    last
    checkpoint, and `degraded` says so.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.degraded = ""
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def runs(self) -> list[RunRow]:
        """Returns the newest row of every run, by id."""
        return [
            RunRow(*row) for row in self._rows("SELECT run, state, summary FROM runs ORDER BY run")
        ]

    def snapshot(self, run: str) -> tuple[int, str] | None:
        """Returns (seq, body) of the run's snapshot, if it has one."""
        rows = self._rows("SELECT seq, body FROM snapshots WHERE run = ?", run)
        return (rows[0][0], rows[0][1]) if rows else None

    def events(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[EventRow]:
        """Yields the run's events beyond `after` in order, at most `limit`, as they are when it
        comes to them.
        """
        query = "SELECT seq, at_ms, body FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?"
        left = limit
        while left is None or left > 0:
            size = READ_ROWS if left is None else min(left, READ_ROWS)
            rows = self._rows(query, run, after, size)
            for row in rows:
                yield EventRow(*row)
            if len(rows) < size:
                return
            after = rows[-1][0]
            left = None if left is None else left - size

    def handled(self, command_id: str) -> str | None:
        """Returns the result of a command, once the coordinator has committed it."""
        rows = self._rows("SELECT result FROM handled WHERE command = ?", command_id)
        return str(rows[0][0]) if rows else None

    def last_seq(self, run: str) -> int:
        """Returns the number of the run's newest event, 0 when it has none."""
        return int(
            next(iter(self._rows("SELECT max(seq) FROM events WHERE run = ?", run)), (0,))[0] or 0
        )

    def last_at_ms(self) -> int:
        """Returns the time of the newest event of all, 0 when there is none.

        No later event may be earlier.
        """
        newest = "SELECT at_ms FROM events ORDER BY id DESC LIMIT 1"
        return int(next(iter(self._rows(newest)), (0,))[0])

    def close(self) -> None:
        """Closes the file; the next call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        file = _identity(self.path)
        if file != self._file or self.degraded:
            self.close()
            self._file, self.degraded = file, ""
        if file is None:
            return []
        try:
            return self._ask("ro", query, values)
        except sqlite3.OperationalError as error:
            if not _beside_log(error):
                raise _explained(self.path, error) from error
            self.close()
            self.degraded = f"read as it stood at the last checkpoint, because: {error}"
            with _told(self.path):
                return self._ask("ro&immutable=1", query, values)
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error

    def _ask(self, mode: str, query: str, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
        if self._db is None:
            self._db = _connect(self.path, mode)
        return self._db.execute(query, values).fetchall()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def _make(path: Path) -> None:
    # Under another name until it is whole: an empty file under the right name is always damage.
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise Corrupt(f"{path} is gone, but its log {log.name} is still there", hint=_REPAIR)
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        build(new)
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
        _sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def build(path: Path) -> None:
    """Makes an empty journal in this empty file."""
    db = _connect(path, "rw")
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()


def _prepare(path: Path, db: sqlite3.Connection) -> None:
    for setting in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {WAL_BYTES}",
        f"wal_autocheckpoint = {WAL_PAGES}",
        "secure_delete = ON",  # what was forgotten must not come back when a damaged file is salvaged
        "temp_store = MEMORY",
    ):
        db.execute(f"PRAGMA {setting}")
    if path.stat().st_size <= CHECKED_BYTES:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Corrupt(f"the journal {path} is damaged: {found}", hint=_REPAIR)


def _check_version(path: Path) -> None:
    if path.stat().st_size == 0:
        raise Corrupt(f"the journal {path} is empty: it was cut off from outside", hint=_REPAIR)
    db = _connect(path, "ro")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
    finally:
        db.close()
    if application != APPLICATION_ID:
        raise Corrupt(f"{path} is no fleet journal, or its head is damaged", hint=_REPAIR)
    if version > VERSION:
        raise Rejected(
            f"the journal {path} has format {version}, this fleet knows {VERSION}",
            hint="install the newer fleet that wrote it, or restore a backup; nothing was changed",
        )


def _check_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise Rejected(
            f"{folder} belongs to another user (uid {found.st_uid})",
            hint="run fleet as that user, or in a clone of your own",
        )
    if found.st_mode & 0o022:
        raise Rejected(f"others may write in {folder}", hint=f"chmod 700 {folder}")
    kind = _filesystem(folder)
    if kind in REMOTE:
        raise Rejected(
            f"{folder} lies on a network file system ({kind}), where locks and shared memory cannot be trusted",
            hint="put the repository on a local disk",
        )


def _filesystem(folder: Path) -> str:
    """Returns the type of the file system that holds the folder, an empty text when nobody can
    say.
    """
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


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _beside_log(error: sqlite3.Error) -> bool:
    return _code(error) in {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
    }


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the disk say into one sentence with its cure."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full(path) from error
        raise FleetError(f"the journal {path} cannot be used: {error.strerror}") from error


def _explained(path: Path, error: sqlite3.Error) -> FleetError:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL or (
        code == sqlite3.SQLITE_IOERR and _room(path) < PAGE_BYTES * 16
    ):
        return _full(path)
    undecodable = "decode to UTF-8" in str(error)
    if (
        code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
        or undecodable
        or "no such table" in str(error)
    ):
        return Corrupt(f"the journal {path} is damaged: {error}", hint=_REPAIR)
    if code == sqlite3.SQLITE_BUSY:
        return FleetError(
            f"another process is writing the journal {path}", hint="only one coordinator may"
        )
    return FleetError(
        f"the journal {path} cannot be used: {error}", hint="`fleet doctor` looks for the cause"
    )


def _full(path: Path) -> DiskFull:
    return DiskFull(
        f"the disk that holds {path} is full; nothing of the last step was recorded",
        hint="free some space; fleet goes on by itself",
    )


def _room(path: Path) -> int:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return 1 << 62
    return found.f_bavail * found.f_frsize
