"""A very small notebook: a list of notes in SQLite, behind one function that answers requests."""

import sqlite3
from pathlib import Path

MIGRATIONS = Path(__file__).with_name("migrations")


def database():
    """Returns a fresh database in memory with all migrations applied."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for migration in sorted(MIGRATIONS.glob("*.sql")):
        db.executescript(migration.read_text())
    return db


def notes(db):
    return [text for (text,) in db.execute("SELECT text FROM notes")]
