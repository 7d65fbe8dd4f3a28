"""A very small REST service: users in SQLite, a route is a module, an answer a status and an object.

`python3 service.py METHOD PATH [BODY]` makes one request to a fresh database with one user in it.
"""

import importlib
import json
import re
import sqlite3
import sys
from pathlib import Path

TOP = Path(__file__).parent
ROUTES = [importlib.import_module(f"routes.{path.stem}") for path in TOP.glob("routes/*.py")]


def database():
    """Returns a fresh database in memory with all migrations applied and one user in it."""
    db = sqlite3.connect(":memory:")
    for migration in sorted(TOP.glob("migrations/*.sql")):
        db.executescript(migration.read_text())
    db.execute("INSERT INTO users VALUES (1, 'Ada Lovelace', 'ada@example.org')")
    return db


def handle(db, method, path, body=None):
    """Returns the status and the object with which a request is answered."""
    for route in ROUTES:
        found = re.fullmatch(route.PATH, path)
        if route.METHOD == method and found:
            return route.answer(db, int(found[1]), body)
    return 404, {"error": "no such route"}


if __name__ == "__main__":
    db = database()
    print(*handle(db, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]) if sys.argv[3:] else None))
    for row in db.execute("SELECT field, old_value, new_value FROM profile_updates"):
        print("audit:", *row, sep=" | ")
