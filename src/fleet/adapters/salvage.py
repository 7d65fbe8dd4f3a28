"""Salvage: what is whole in a damaged journal is kept, what is not is named; backup and restore.

Law: nothing here trusts SQLite to read a damaged file. Pages of the file and of its log are read as
bytes (SQLite's documented file format), and a row counts only when its checksum proves it. The
damaged file is never changed and stays beside the new one. SCHEMA, link and seal are the journal's
on-disk form once more; a test holds the two copies together.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from fleet.errors import FleetError, Rejected

NAME: Final = "journal.db"
LOCK: Final = "coordinator.lock"
VERSION: Final = 1
APPLICATION_ID: Final = 0x464C4554
PAGE_BYTES: Final = 4096
LEAF: Final = 0x0D
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


@dataclass(frozen=True, slots=True)
class Damage:
    """One finding: what is wrong, and for which events where that is known (0: not known)."""

    text: str
    run: str = ""
    first_seq: int = 0
    last_seq: int = 0


@dataclass(slots=True)
class RepairReport:
    """What a repair kept (events by run), what it could not, and where the old file lies now."""

    kept: dict[str, int] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    aside: Path | None = None
    salvage: Path | None = None


@dataclass(slots=True)
class _Rows:
    events: dict[str, dict[int, list[tuple[int, bytes, str]]]] = field(default_factory=dict)
    single: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)


def link(before: bytes, seq: int, at_ms: int, body: bytes) -> bytes:
    """Returns the 8-byte checksum of an event, chained to the one `before` it."""
    return blake2b(b"%b%d,%d,%b" % (before, seq, at_ms, body), digest_size=8).digest()


def seal(table: str, *columns: str | int) -> bytes:
    """Returns the 8-byte checksum of a row that stands alone, and the start of a run's chain."""
    text = "\0".join((table, *map(str, columns)))
    return blake2b(text.encode(), digest_size=8).digest()


def verify(path: Path) -> list[Damage]:
    """Returns all that is wrong with the journal, in order of runs.

    An empty list when it is whole.
    """
    if not path.exists() or not path.stat().st_size:
        return [Damage(f"{path.name} is missing or empty")]
    damage: list[Damage] = []
    db = None
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
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
    run, last, before, broken = b"", 0, b"", False
    query = "SELECT run, seq, at_ms, sum, body FROM events ORDER BY run, seq"
    for name, seq, at_ms, total, body in db.execute(query):
        if name != run:
            run, last, before, broken = name, 0, seal("events", name.decode()), False
        if broken:
            continue
        if seq != last + 1:
            broken = True
            yield Damage(f"run {run.decode()}: events are missing", run.decode(), last + 1, seq - 1)
        elif link(before, seq, at_ms, body) != total:
            broken = True
            yield Damage(f"run {run.decode()}: event {seq} was changed", run.decode(), seq, seq)
        last, before = seq, total


def _broken_seals(db: sqlite3.Connection) -> Iterator[Damage]:
    for table, columns in (
        ("snapshots", "run, seq, body"),
        ("runs", "run, state, summary"),
        ("handled", "command, at_ms, result"),
    ):
        for first, second, third, total in db.execute(f"SELECT {columns}, sum FROM {table}"):  # noqa: S608
            middle = second.decode() if isinstance(second, bytes) else second
            if seal(table, first.decode(), middle, third.decode()) != total:
                yield Damage(f"the {table} row of {first.decode()} was changed")


def repair(folder: Path) -> RepairReport:
    """Rebuilds the journal from what is whole; a whole one is left as it is.

    Keeps of each run the longest prefix whose checksums chain. Readable events beyond it go to
    journal.salvage-<n>.jsonl, the old file to journal.db.damaged-<n>. Raises Rejected when a
    coordinator lives.
    """
    path = folder / NAME
    report = RepairReport()
    with _alone(folder / LOCK):
        report.damage = verify(path)
        if not report.damage:
            return report
        number = next(n for n in range(1, 1 << 20) if not _aside(path, n).exists())
        rows = _collect(_versions(path))
        new = path.with_name(f"{NAME}.repairing")
        _clear(new)
        beyond = _rebuild(new, rows, report)
        if beyond:
            report.salvage = folder / f"journal.salvage-{number}.jsonl"
            _write(report.salvage, "".join(json.dumps(row) + "\n" for row in beyond))
        report.aside = _swap(path, new, number)
    return report


def backup(journal: Path, target: Path) -> None:
    """Writes one consistent file with all that is committed, while the coordinator may go on.

    Raises Rejected when the target exists: no backup is ever overwritten.
    """
    if target.exists():
        raise Rejected(f"{target} exists already", hint="name a new file")
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)
            ) as source,
            contextlib.closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        _sync(draft)
        draft.rename(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise FleetError(f"the journal {journal} could not be backed up: {error}") from error
    finally:
        _clear(draft)


def restore(source: Path, folder: Path, lock: Path) -> Path | None:
    """Puts a backup in the journal's place; returns where the old journal lies now, if there was one.

    Raises Rejected when a coordinator holds `lock`, or when the backup itself is not whole.
    """
    path = folder / NAME
    with _alone(lock):
        damage = verify(source)
        if damage:
            raise Rejected(f"{source} is no whole backup: {damage[0].text}")
        new = path.with_name(f"{NAME}.restoring")
        _clear(new)
        shutil.copyfile(source, new)
        new.chmod(0o600)
        _sync(new)
        number = next(n for n in range(1, 1 << 20) if not _aside(path, n, "replaced").exists())
        return _swap(path, new, number, "replaced")


def _aside(path: Path, number: int, why: str = "damaged") -> Path:
    return path.with_name(f"{path.name}.{why}-{number}")


def _swap(path: Path, new: Path, number: int, why: str = "damaged") -> Path | None:
    # The old log goes before the new file comes: SQLite would play it into whatever bears the name.
    aside = _aside(path, number, why)
    for suffix in ("", "-wal"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            os.link(old, aside.with_name(aside.name + suffix))
    _sync(path.parent)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    new.replace(path)
    _sync(path.parent)
    return aside if aside.exists() or aside.with_name(aside.name + "-wal").exists() else None


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Rejected(
                "a coordinator is using this journal", hint="`fleet down` first"
            ) from error
        yield
    finally:
        os.close(handle)


def _clear(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor, for the mode
        file.write(text)
        file.flush()
        os.fsync(handle)


# ------------------------------------------------------------------ rows out of raw pages


def _versions(path: Path) -> list[dict[int, bytes]]:
    """Returns the pages by number: those of the file, then with each readable page of its log."""
    old, log = path, path.with_name(path.name + "-wal")
    if not log.exists() and old.exists():
        # A repair that was killed half way has only linked its log aside.
        for twin in path.parent.glob(f"{path.name}.damaged-*-wal"):
            linked = twin.with_name(twin.name.removesuffix("-wal"))
            if linked.exists() and linked.samefile(old):
                log = twin
    raw = old.read_bytes() if old.exists() else b""
    base = {n // PAGE_BYTES + 1: raw[n : n + PAGE_BYTES] for n in range(0, len(raw), PAGE_BYTES)}
    frames = log.read_bytes() if log.exists() else b""
    salts, latest = frames[16:24], dict(base)
    changed: list[dict[int, bytes]] = []
    size = PAGE_BYTES + 24
    for at in range(32, len(frames) - size + 1, size):
        if frames[at + 8 : at + 16] == salts:
            page = struct.unpack_from(">I", frames, at)[0]
            latest[page] = frames[at + 24 : at + size]
            changed.append({page: latest[page]})
    return [base, *changed, latest]


def _collect(versions: list[dict[int, bytes]]) -> _Rows:
    rows, latest = _Rows(), versions[-1]
    for pages in versions:
        for page in pages.values():
            for record in _leaf(page, latest):
                with contextlib.suppress(UnicodeDecodeError):
                    _sort_in(rows, record)
    return rows


def _sort_in(rows: _Rows, record: list[Any]) -> None:
    match record:
        case [None, bytes(run), int(seq), int(at_ms), bytes(total), bytes(body)]:
            found = rows.events.setdefault(run.decode(), {}).setdefault(seq, [])
            found.append((at_ms, total, body.decode()))
        case [bytes(first), int() | bytes() as second, bytes(total), bytes(third)]:
            middle = second.decode() if isinstance(second, bytes) else second
            key, value = first.decode(), third.decode()
            for table in ("snapshots", "runs", "handled"):
                if seal(table, key, middle, value) == total:
                    rows.single.setdefault(table, {})[key] = (key, middle, total, value)


def _leaf(page: bytes, pages: dict[int, bytes]) -> Iterator[list[Any]]:
    for head in (0, 100):  # the first page of a file begins with the file's own head
        if len(page) < PAGE_BYTES or page[head] != LEAF:
            continue
        count = struct.unpack_from(">H", page, head + 3)[0]
        for n in range(min(count, PAGE_BYTES // 4)):
            with contextlib.suppress(IndexError, struct.error, KeyError, OverflowError):
                at = struct.unpack_from(">H", page, head + 8 + 2 * n)[0]
                yield _record(_payload(page, at, pages))


def _payload(page: bytes, at: int, pages: dict[int, bytes]) -> bytes:
    size, at = _varint(page, at)
    _, at = _varint(page, at)
    most, least = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23
    if size <= most:
        return page[at : at + size]
    local = least + (size - least) % (PAGE_BYTES - 4)
    local = local if local <= most else least
    parts, follow = [page[at : at + local]], struct.unpack_from(">I", page, at + local)[0]
    left = size - local
    for _ in range(len(pages)):
        if left <= 0:
            break
        more = pages[follow]
        parts.append(more[4 : 4 + left])
        left -= PAGE_BYTES - 4
        follow = struct.unpack_from(">I", more, 0)[0]
    return b"".join(parts)


def _record(raw: bytes) -> list[Any]:
    end, at = _varint(raw, 0)
    kinds: list[int] = []
    while at < end and len(kinds) < 8:
        kind, at = _varint(raw, at)
        kinds.append(kind)
    values: list[Any] = []
    at = end
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]
        part = raw[at : at + size]
        if len(part) < size:
            raise IndexError
        at += size
        if kind >= 12:
            values.append(part)
        elif kind in {8, 9}:
            values.append(kind - 8)
        else:
            values.append(int.from_bytes(part, "big", signed=True) if kind else None)
    return values


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(9):
        byte = raw[at + n]
        if n == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    raise AssertionError("a varint has nine bytes at most")


def _rebuild(new: Path, rows: _Rows, report: RepairReport) -> list[dict[str, Any]]:
    """Writes what is whole into `new`; returns the readable events that stand beyond a hole."""
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    beyond: list[dict[str, Any]] = []
    whole: list[tuple[Any, ...]] = []
    for run, found in sorted(rows.events.items()):
        seq, before = 1, seal("events", run)
        while (row := _next(found.get(seq, []), before, seq)) is not None:
            at_ms, before, body = row
            whole.append((run, seq, at_ms, before, body))
            seq += 1
        report.kept[run] = seq - 1
        later = sorted(n for n in found if n >= seq)
        for n in later:
            for at_ms, _, body in dict.fromkeys(found[n]):
                beyond.append({"run": run, "seq": n, "at_ms": at_ms, "body": body})
        if later:
            text = f"run {run}: kept up to event {seq - 1}, not from there to event {later[-1]}"
            report.damage.append(Damage(text, run, seq, later[-1]))
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("BEGIN")
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.executemany("INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?)", whole)
        for table, single in rows.single.items():
            kept = [
                r
                for r in single.values()
                if table != "snapshots" or r[1] <= report.kept.get(r[0], 0)
            ]
            db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", kept)  # noqa: S608
        lost = [(run, "damaged", seal("runs", run, "damaged", "{}"), "{}") for run in report.kept]
        db.executemany("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?)", lost)
        db.execute("COMMIT")
    _sync(new)
    return beyond


def _next(
    found: list[tuple[int, bytes, str]], before: bytes, seq: int
) -> tuple[int, bytes, str] | None:
    for row in found:
        if link(before, seq, row[0], row[2].encode()) == row[1]:
            return row
    return None
