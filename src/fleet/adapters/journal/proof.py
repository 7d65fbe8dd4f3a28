"""The proof: whether a journal is whole, row by row, and what is wrong where it is not.

Law: it looks only, and names every finding. A row is whole when its checksum says so, a run when
its events chain from the first one on without a hole; that SQLite can read a row proves nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.journal.place import connect
from fleet.adapters.journal.schema import APPLICATION_ID, ROWS, link, origin, seal


@dataclass(frozen=True, slots=True)
class Damage:
    """One finding: what is wrong, and for which events where that is known (0: not known)."""

    text: str
    run: str = ""
    first_seq: int = 0
    last_seq: int = 0


def verify(path: Path) -> list[Damage]:
    """Returns all that is wrong with the journal, by run; an empty list when it is whole."""
    if not path.exists() or not path.stat().st_size:
        return [Damage(f"{path.name} is missing or empty")]
    damage: list[Damage] = []
    db = None
    try:
        db = connect(path, "ro")
        db.text_factory = bytes
        found = [bytes(row[0]).decode() for row in db.execute("PRAGMA integrity_check(20)")]
        damage += [Damage(text) for text in found if text != "ok"]
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            damage.append(Damage("the head of the file is not a journal's"))
        damage += _broken_chains(db)
        damage += _broken_seals(db)
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        damage.append(Damage(f"SQLite cannot read it: {error}"))
    finally:
        if db is not None:
            db.close()
    return damage


def _broken_chains(db: sqlite3.Connection) -> Iterator[Damage]:
    run, last, before, broken = "", 0, origin(""), False
    query = "SELECT run, seq, at_ms, sum, body FROM events ORDER BY run, seq"
    for name, seq, at_ms, total, body in db.execute(query):
        if name.decode() != run:
            run, last, broken = name.decode(), 0, False
            before = origin(run)
        if broken:
            continue
        if seq != last + 1:
            broken = True
            yield Damage(f"run {run}: events are missing", run, last + 1, seq - 1)
        elif link(before, seq, at_ms, body) != total:
            broken = True
            yield Damage(f"run {run}: event {seq} was changed", run, seq, seq)
        last, before = seq, total


def _broken_seals(db: sqlite3.Connection) -> Iterator[Damage]:
    for table in ROWS:
        for key, value, total, text in db.execute(f"SELECT * FROM {table}"):  # noqa: S608
            told = value.decode() if isinstance(value, bytes) else value
            if seal(table, key.decode(), told, text.decode())[2] != total:
                yield Damage(f"the {table} row of {key.decode()} was changed")
