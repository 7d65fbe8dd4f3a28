"""Rows out of raw pages: what a damaged journal still holds, read without SQLite's help.

Law: pages of the file and of its log are read as bytes, by SQLite's documented file format
("Database File Format", sqlite.org/fileformat2.html), and nothing is written. Other rows than
events count only when their checksum proves them; which events do is the caller's to prove, along
their chain.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.adapters.journal.place import beside
from fleet.adapters.journal.schema import PAGE_BYTES, ROWS, Row, seal

LEAF: Final = 0x0D  # the first byte of a page that holds a table's rows
FILE_HEAD_BYTES: Final = 100  # the first page of a file begins with the file's own head
LOG_HEAD_BYTES: Final = 32
FRAME_HEAD_BYTES: Final = 24
MOST_COLUMNS: Final = 8


@dataclass(slots=True)
class Found:
    """All rows that stand in any version of any page.

    Events by run and number, each (at_ms, checksum, body) that bears it, unproven; rows by table
    and key, the newest that its checksum proves.
    """

    events: dict[str, dict[int, list[tuple[int, bytes, str]]]] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {table: {} for table in ROWS})


def collect(path: Path) -> Found:
    """Returns what the journal's file and log hold, whatever happened to them."""
    found, versions = Found(), _versions(path)
    latest = versions[-1]
    for pages in versions:
        for page in pages.values():
            for record in _records(page, latest):
                with contextlib.suppress(UnicodeDecodeError):
                    _sort_in(found, record)
    return found


def _versions(path: Path) -> list[dict[int, bytes]]:
    # Pages by number: those of the file, then each readable page of its log, then the last of all.
    log = beside(path, "-wal")
    if not log.exists() and path.exists():
        # A repair that was killed half way has only linked its log aside.
        for twin in path.parent.glob(f"{path.name}.damaged-*-wal"):
            linked = twin.with_name(twin.name.removesuffix("-wal"))
            if linked.exists() and linked.samefile(path):
                log = twin
    raw = path.read_bytes() if path.exists() else b""
    base = {n // PAGE_BYTES + 1: raw[n : n + PAGE_BYTES] for n in range(0, len(raw), PAGE_BYTES)}
    frames = log.read_bytes() if log.exists() else b""
    salts, latest = frames[16:24], dict(base)
    changed: list[dict[int, bytes]] = []
    size = FRAME_HEAD_BYTES + PAGE_BYTES
    for at in range(LOG_HEAD_BYTES, len(frames) - size + 1, size):
        if frames[at + 8 : at + 16] == salts:
            page = struct.unpack_from(">I", frames, at)[0]
            latest[page] = frames[at + FRAME_HEAD_BYTES : at + size]
            changed.append({page: latest[page]})
    return [base, *changed, latest]


def _sort_in(found: Found, record: list[Any]) -> None:
    match record:
        case [None, bytes(run), int(seq), int(at_ms), bytes(total), bytes(body)]:
            claims = found.events.setdefault(run.decode(), {}).setdefault(seq, [])
            claims.append((at_ms, total, body.decode()))
        case [bytes(key), int() | bytes() as value, bytes(total), bytes(text)]:
            told = value.decode() if isinstance(value, bytes) else value
            for table, rows in found.rows.items():
                row = seal(table, key.decode(), told, text.decode())
                if row[2] == total:
                    rows[row[0]] = row


def _records(page: bytes, pages: dict[int, bytes]) -> Iterator[list[Any]]:
    for head in (0, FILE_HEAD_BYTES):
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
    while at < end and len(kinds) < MOST_COLUMNS:
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
