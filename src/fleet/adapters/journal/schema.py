"""The journal's form on disk: its tables, its version, and the checksums of its rows.

Law: the form is written here once, for whoever writes, proves or mends a journal. Each of ROWS is
(key, value, checksum, text) and stands alone; events are chained, each checksum over the one
before it. A change of any of this is a new VERSION.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import Final, TypeAlias

VERSION: Final = 1
APPLICATION_ID: Final = 0x464C4554
PAGE_BYTES: Final = 4096
TABLES: Final = """
CREATE TABLE events (id INTEGER PRIMARY KEY, run TEXT NOT NULL, seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, sum BLOB NOT NULL, body TEXT NOT NULL, UNIQUE (run, seq));
CREATE TABLE snapshots (run TEXT PRIMARY KEY, seq INTEGER NOT NULL, sum BLOB NOT NULL,
    body TEXT NOT NULL);
CREATE TABLE runs (run TEXT PRIMARY KEY, state TEXT NOT NULL, sum BLOB NOT NULL,
    summary TEXT NOT NULL);
CREATE TABLE handled (command TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, sum BLOB NOT NULL,
    result TEXT NOT NULL);
"""
ROWS: Final = ("snapshots", "runs", "handled")
ADD_EVENT: Final = "INSERT INTO events (run, seq, at_ms, sum, body) VALUES (?, ?, ?, ?, ?)"
ADD_ROW: Final = {
    "snapshots": "INSERT OR REPLACE INTO snapshots (run, seq, sum, body) VALUES (?, ?, ?, ?)",
    "runs": "INSERT OR REPLACE INTO runs (run, state, sum, summary) VALUES (?, ?, ?, ?)",
    "handled": "INSERT INTO handled (command, at_ms, sum, result) VALUES (?, ?, ?, ?)",
}

Row: TypeAlias = tuple[str, str | int, bytes, str]
"""A row of one of ROWS, as ADD_ROW takes it."""


def create(db: sqlite3.Connection) -> None:
    """Makes the tables of an empty journal in this empty file."""
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def origin(run: str) -> bytes:
    """Returns what a run's first event is chained to."""
    return _checksum("events", run)


def link(before: bytes, seq: int, at_ms: int, body: bytes) -> bytes:
    """Returns the 8-byte checksum of an event, chained to the one `before` it."""
    return blake2b(b"%b%d,%d,%b" % (before, seq, at_ms, body), digest_size=8).digest()


def seal(table: str, key: str, value: str | int, text: str) -> Row:
    """Returns the row of one of ROWS with the 8-byte checksum of all that is in it."""
    return key, value, _checksum(table, key, str(value), text), text


def _checksum(*columns: str) -> bytes:
    return blake2b("\0".join(columns).encode(), digest_size=8).digest()
