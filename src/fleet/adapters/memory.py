"""What workflows keep across runs: values by key and notes by category, in SQLite with full-text
search.

One file in the state folder, a namespace a row, written in whole transactions. A note that an
attempt adds carries the attempt's key, so that the attempt that is run again after a crash adds
nothing twice. Words to be searched for are data, never a query of SQLite's own.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from fleet.errors import FleetError

FILE: Final = "memory.db"
VALUE_BYTES: Final = 1 << 20
"""A value or note at most."""
ENTRIES: Final = 100_000
"""Entries of a namespace at most."""
FOUND: Final = 20
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key TEXT, category TEXT NOT NULL,
    content TEXT NOT NULL, origin TEXT, UNIQUE (namespace, key), UNIQUE (origin));
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text);
"""


class Memory:
    """The memory of one fleet; each call opens and closes it, so that any thread may."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE

    def call(self, tool: str, told: Mapping[str, Any], *, key: str) -> Any:
        """Returns what a tool answers; raises FleetError for an unknown one or bad parameters."""
        tools: dict[str, tuple[Callable[..., Any], frozenset[str], frozenset[str]]] = {
            "save": (self.save, frozenset({"key", "value"}), frozenset()),
            "get": (self.get, frozenset({"key"}), frozenset()),
            "add": (self.add, frozenset({"category", "content"}), frozenset()),
            "search": (self.search, frozenset({"query"}), frozenset({"category", "limit"})),
        }
        if tool not in tools:
            raise FleetError(f"no tool 'memory.{tool}'", hint=f"one of: {', '.join(tools)}")
        function, needed, more = tools[tool]
        extra = sorted(told.keys() - needed - more - {"namespace"})
        wrong = [f"takes no {name!r}" for name in extra]
        wrong += [f"needs {name!r}" for name in sorted(needed - told.keys())]
        if wrong:
            raise FleetError(f"memory.{tool} {', '.join(wrong)}")
        words = {**told, "origin": key} if tool == "add" else dict(told)
        return function(**words)

    def save(self, key: str, value: Any, namespace: str = "") -> dict[str, Any]:
        """Keeps a value under a key, in the place of the one before."""
        self._keep(namespace, str(key), "", value, None)
        return {"success": True, "key": str(key)}

    def get(self, key: str, namespace: str = "") -> dict[str, Any]:
        """Returns {found, value}."""
        with self._open() as db:
            query = "SELECT content FROM entries WHERE namespace = ? AND key = ?"
            row = db.execute(query, (namespace, str(key))).fetchone()
        return {"found": row is not None, "value": json.loads(row[0]) if row else None}

    def add(
        self, category: str, content: Any, namespace: str = "", origin: str | None = None
    ) -> dict[str, Any]:
        """Adds a note; returns {success, id}."""
        return {
            "success": True,
            "id": self._keep(namespace, None, str(category), content, origin),
        }

    def search(
        self, query: str, category: str = "", limit: int = FOUND, namespace: str = ""
    ) -> dict[str, Any]:
        """Returns {results: [{key, category, content}]}: what holds all words, the best first."""
        words = re.findall(r"\w+", str(query))
        if not words:
            return {"results": []}
        asked = " ".join(f'"{word}"' for word in words)
        sql = (
            "SELECT key, category, content FROM words JOIN entries ON entries.id = words.rowid"
            " WHERE words MATCH ? AND namespace = ? AND (? = '' OR category = ?)"
            " ORDER BY rank, entries.id LIMIT ?"
        )
        most = min(max(int(limit), 1), 1_000)
        with self._open() as db:
            rows = db.execute(sql, (asked, namespace, category, category, most)).fetchall()
        return {
            "results": [
                {"key": k, "category": c, "content": json.loads(text)} for k, c, text in rows
            ]
        }

    def entries(self) -> list[dict[str, Any]]:
        """Returns all that is kept, as `restore` takes it."""
        with self._open() as db:
            sql = "SELECT namespace, key, category, content FROM entries ORDER BY id"
            rows = db.execute(sql).fetchall()
        names = ("namespace", "key", "category")
        return [
            {**dict(zip(names, row[:3], strict=True)), "content": json.loads(row[3])}
            for row in rows
        ]

    def restore(self, entries: list[Mapping[str, Any]]) -> int:
        """Keeps entries that were exported beside what is there, all or none; returns how many.

        The same key is replaced, and a note that was there before is not added once more.
        """
        with self._open() as db:
            sql = "SELECT namespace, category, content FROM entries WHERE key IS NULL"
            notes = set(db.execute(sql))
            for one in entries:
                namespace, category = (str(one.get(k) or "") for k in ("namespace", "category"))
                key = None if one.get("key") is None else str(one["key"])
                text = _text(one["content"])
                if key is not None or (namespace, category, text) not in notes:
                    _put(db, namespace, key, category, text)
        return len(entries)

    def _keep(
        self, namespace: str, key: str | None, category: str, content: Any, origin: str | None
    ) -> int:
        text = _text(content)
        with self._open() as db:
            return _put(db, namespace, key, category, text, origin=origin)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as db:
                db.executescript(_SCHEMA)
                db.execute("BEGIN IMMEDIATE")
                with db:
                    yield db
        except sqlite3.Error as error:
            raise FleetError(f"{self.path} cannot be used: {error}") from error
        except UnicodeEncodeError as error:
            raise FleetError("a memory holds no halves of surrogate pairs") from error


def _text(content: Any) -> str:
    """Returns a value or note as it is kept; raises FleetError for one that is too large."""
    text = json.dumps(content, ensure_ascii=False)
    if len(text.encode(errors="surrogatepass")) > VALUE_BYTES:
        raise FleetError(f"a memory holds {VALUE_BYTES >> 20} MiB at most")
    return text


def _put(
    db: sqlite3.Connection,
    namespace: str,
    key: str | None,
    category: str,
    text: str,
    *,
    origin: str | None = None,
) -> int:
    """Keeps one entry within the transaction that is open, and returns its number."""
    there = db.execute(
        "SELECT id FROM entries WHERE (namespace = ? AND key = ?) OR origin = ?",
        (namespace, key, origin),
    ).fetchone()
    if there is not None:
        number = int(there[0])
        db.execute("UPDATE entries SET content = ? WHERE id = ?", (text, number))
        db.execute("DELETE FROM words WHERE rowid = ?", (number,))
    else:
        count = "SELECT count(*) FROM entries WHERE namespace = ?"
        if db.execute(count, (namespace,)).fetchone()[0] >= ENTRIES:
            raise FleetError(f"the memory {namespace!r} is full: {ENTRIES} entries")
        made = db.execute(
            "INSERT INTO entries (namespace, key, category, content, origin)"
            " VALUES (?, ?, ?, ?, ?)",
            (namespace, key, category, text, origin),
        )
        number = int(made.lastrowid or 0)
    told = f"{key or ''} {category} {text}"
    db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, told))
    return number
