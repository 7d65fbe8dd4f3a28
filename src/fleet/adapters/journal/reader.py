"""The reader: looks at a journal that others may be writing, and starts nothing by it.

Law: no snapshot of SQLite outlives a call (or READ_ROWS rows of `events`), so the writer's log can
always be copied back. Every command that only looks waits for this module, so it imports little.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from fleet.adapters.journal.place import NAME, connect, explained, identity, log_unusable, told
from fleet.records import record

READ_ROWS: Final = 1000


@record(kw_only=False)
class EventRow:
    """One event as it was appended."""

    seq: int
    at_ms: int
    body: str


@record(kw_only=False)
class RunRow:
    """The newest row of one run."""

    run: str
    state: str
    summary: str


class Reader:
    """Reads the journal of one state folder; a fleet without a journal reads as empty.

    On a full disk SQLite cannot read beside a log: then the file is read as it stood at the last
    checkpoint, and `degraded` says so. Every call raises Corrupt or FleetError where the file
    cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.degraded = ""
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def runs(self) -> list[RunRow]:
        """Returns the newest row of every run, by id."""
        rows = self._rows("SELECT run, state, summary FROM runs ORDER BY run")
        return [RunRow(*row) for row in rows]

    def snapshot(self, run: str) -> tuple[int, str] | None:
        """Returns (seq, body) of the run's snapshot, if it has one."""
        rows = self._rows("SELECT seq, body FROM snapshots WHERE run = ?", run)
        return (rows[0][0], rows[0][1]) if rows else None

    def events(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[EventRow]:
        """Yields the run's events beyond `after` in order, at most `limit`.

        Events that are appended meanwhile are yielded too.
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

    def handled_among(self, commands: Sequence[str]) -> set[str]:
        """Returns those of some commands that have a result, asked for at once."""
        marks = ", ".join("?" * len(commands))
        query = f"SELECT command FROM handled WHERE command IN ({marks})"  # noqa: S608  marks alone
        return {str(row[0]) for row in self._rows(query, *commands)} if commands else set()

    def last_seq(self, run: str) -> int:
        """Returns the number of the run's newest event, 0 when it has none."""
        rows = self._rows("SELECT max(seq) FROM events WHERE run = ?", run)
        return int(rows[0][0] or 0) if rows else 0

    def last_at_ms(self) -> int:
        """Returns the time of the newest event of all, 0 when there is none.

        No later event may be earlier.
        """
        rows = self._rows("SELECT at_ms FROM events ORDER BY id DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Closes the file; the next call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        file = identity(self.path)
        if file != self._file or self.degraded:
            self.close()
            self._file, self.degraded = file, ""
        if file is None:
            return []
        try:
            return self._ask("ro", query, values)
        except sqlite3.OperationalError as error:
            if not log_unusable(error):
                raise explained(self.path, error) from error
            self.close()
            self.degraded = f"read as it stood at the last checkpoint, because: {error}"
            with told(self.path):
                return self._ask("ro&immutable=1", query, values)
        except sqlite3.Error as error:
            raise explained(self.path, error) from error

    def _ask(self, mode: str, query: str, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
        if self._db is None:
            self._db = connect(self.path, mode)
        return self._db.execute(query, values).fetchall()
