"""The writer: appends batches to the journal, makes it where there is none, forgets old runs.

Law: only the process that holds the fleet's lease opens one. A batch is one transaction, on disk
before `append` returns. What opening finds damaged, emptied or newer is refused, never written:
mending is salvage's work.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.crash import crash_point
from fleet.adapters.journal.place import (
    NAME,
    REPAIR,
    Corrupt,
    beside,
    check_folder,
    connect,
    identity,
    sync,
    told,
)
from fleet.adapters.journal.schema import (
    ADD_EVENT,
    ADD_ROW,
    APPLICATION_ID,
    VERSION,
    create,
    link,
    origin,
    seal,
)
from fleet.errors import Rejected

BUSY_MS: Final = 5000
WAL_PAGES: Final = 1000  # the log is copied back when it has grown to so many pages
WAL_BYTES: Final = 16 << 20  # and its file is cut down to this
CHECKED_BYTES: Final = 64 << 20  # up to this size the whole file is checked at each opening


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


class Journal:
    """The open journal of the process that coordinates; one thread at a time calls it."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._heads: dict[str, tuple[int, bytes]] = {}
        self._file = identity(path)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Returns the journal in this state folder, made if there is none.

        Raises Rejected where a journal must not live (network file system, folder that others may
        write) or was written by a newer fleet, Corrupt where it is damaged, DiskFull where there
        is no room.
        """
        check_folder(folder)
        path = folder / NAME
        with told(path):
            if not path.exists():
                _make(path)
            _check_version(path)
            db = connect(path, "rw")
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
            try:
                db.executemany(ADD_ROW["handled"], (seal("handled", *row) for row in batch.handled))
            except sqlite3.IntegrityError as error:
                names = ", ".join(command for command, *_ in batch.handled[:3])
                raise Conflict(f"one of the commands {names} already has a result") from error
            snapshots = (seal("snapshots", *row) for row in batch.snapshots)
            db.executemany(ADD_ROW["snapshots"], snapshots)
            db.executemany(ADD_ROW["runs"], (seal("runs", *row) for row in batch.runs))
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
            db.executemany(ADD_EVENT, rows)
        except sqlite3.IntegrityError as error:
            names = ", ".join(f"{seq} of run {run}" for run, seq, *_ in rows[:3])
            raise Conflict(f"another writer has written one of the events {names}") from error
        return heads

    def _head(self, run: str) -> tuple[int, bytes]:
        if run not in self._heads:
            row = self._db.execute(
                "SELECT seq, sum FROM events WHERE run = ? ORDER BY seq DESC LIMIT 1", (run,)
            ).fetchone()
            self._heads[run] = row or (0, origin(run))
        return self._heads[run]

    def let_go(self, run: str) -> None:
        """Keeps nothing in memory of a run that is not likely to go on; it may all the same."""
        self._heads.pop(run, None)

    def intact(self) -> bool:
        """Returns False when the file was moved, deleted or replaced under this process."""
        return identity(self.path) == self._file

    def checkpoint(self) -> bool:
        """Returns True when all of the log was copied into the file and cut to nothing.

        Never waits for readers. For moments of idleness: it keeps the log small without costing a
        commit.
        """
        with told(self.path):
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        return not busy

    def forget(self, run: str) -> None:
        """Removes everything about one run; which runs ended long enough ago, the caller knows."""
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
        with told(self.path):
            self._db.executescript("PRAGMA incremental_vacuum")  # execute would free one page
        self.checkpoint()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with told(self.path):
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


def _make(path: Path) -> None:
    # Under another name until it is whole: an empty file under the right name is always damage.
    log = beside(path, "-wal")
    if log.exists() and log.stat().st_size:
        raise Corrupt(f"{path} is gone, but its log {log.name} is still there", hint=REPAIR)
    new = beside(path, f".new-{os.getpid()}")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with contextlib.closing(connect(new, "rw")) as db:
            create(db)
            db.execute("PRAGMA journal_mode = WAL")
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
        sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def _check_version(path: Path) -> None:
    if path.stat().st_size == 0:
        raise Corrupt(f"the journal {path} is empty: it was cut off from outside", hint=REPAIR)
    with contextlib.closing(connect(path, "ro")) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise Corrupt(f"{path} is no fleet journal, or its head is damaged", hint=REPAIR)
    if version > VERSION:
        raise Rejected(
            f"the journal {path} has format {version}, this fleet knows {VERSION}",
            hint="install the newer fleet that wrote it, or restore a backup; nothing was changed",
        )


def _prepare(path: Path, db: sqlite3.Connection) -> None:
    for setting in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {WAL_BYTES}",
        f"wal_autocheckpoint = {WAL_PAGES}",
        "secure_delete = ON",  # what was forgotten must not come back from a salvaged file
        "temp_store = MEMORY",
    ):
        db.execute(f"PRAGMA {setting}")
    if path.stat().st_size <= CHECKED_BYTES:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Corrupt(f"the journal {path} is damaged: {found}", hint=REPAIR)
