"""Salvage: what is whole in a damaged journal is kept, what is not is named.

Law: nothing here trusts SQLite to read a damaged file, and an event counts only when its checksum
follows from all events before it. The damaged file is never changed and stays beside the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.adapters.journal.exchange import LOCK, alone, clear, exchange, free_number
from fleet.adapters.journal.pages import Found, collect
from fleet.adapters.journal.place import NAME, beside, connect, sync
from fleet.adapters.journal.proof import Damage, verify
from fleet.adapters.journal.schema import ADD_EVENT, ADD_ROW, create, link, origin, seal


@dataclass(slots=True)
class RepairReport:
    """What a repair kept (events by run), what it could not, and where the old file lies now."""

    kept: dict[str, int] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    aside: Path | None = None
    salvage: Path | None = None


def repair(folder: Path) -> RepairReport:
    """Rebuilds the journal of this state folder from what is whole; a whole one is left as it is.

    Keeps of each run the longest prefix whose checksums chain. Readable events beyond it go to
    journal.salvage-<n>.jsonl, the old file to journal.db.damaged-<n>. Raises Rejected when a
    coordinator lives.
    """
    path = folder / NAME
    report = RepairReport()
    with alone(folder / LOCK):
        report.damage = verify(path)
        if not report.damage:
            return report
        found = collect(path)
        number = free_number(path, "damaged")
        events, beyond = _chained(found, report)
        if beyond:
            report.salvage = folder / f"journal.salvage-{number}.jsonl"
            _write(report.salvage, "".join(json.dumps(row) + "\n" for row in beyond))
        new = beside(path, ".repairing")
        clear(new)
        _rebuild(new, events, found, report.kept)
        report.aside = exchange(path, new, "damaged", number)
    return report


def _chained(
    found: Found, report: RepairReport
) -> tuple[list[tuple[str, int, int, bytes, str]], list[dict[str, Any]]]:
    """Returns the events that chain, as rows, and the readable ones that stand beyond a hole."""
    whole: list[tuple[str, int, int, bytes, str]] = []
    beyond: list[dict[str, Any]] = []
    for run, claims in sorted(found.events.items()):
        seq, before = 1, origin(run)
        while (event := _next(claims.get(seq, []), before, seq)) is not None:
            at_ms, before, body = event
            whole.append((run, seq, at_ms, before, body))
            seq += 1
        report.kept[run] = seq - 1
        later = sorted(n for n in claims if n >= seq)
        for n in later:
            for at_ms, _, body in dict.fromkeys(claims[n]):
                beyond.append({"run": run, "seq": n, "at_ms": at_ms, "body": body})
        if later:
            text = f"run {run}: kept up to event {seq - 1}, not from there to event {later[-1]}"
            report.damage.append(Damage(text, run, seq, later[-1]))
    return whole, beyond


def _next(
    claims: list[tuple[int, bytes, str]], before: bytes, seq: int
) -> tuple[int, bytes, str] | None:
    for event in claims:
        if link(before, seq, event[0], event[2].encode()) == event[1]:
            return event
    return None


def _rebuild(
    new: Path,
    events: list[tuple[str, int, int, bytes, str]],
    found: Found,
    kept: dict[str, int],
) -> None:
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    lost = {run: seal("runs", run, "damaged", "{}") for run in kept}
    early = {
        run: row
        for run, row in found.rows["snapshots"].items()
        if isinstance(row[1], int) and row[1] <= kept.get(run, 0)
    }
    rows = found.rows | {"snapshots": early, "runs": lost | found.rows["runs"]}
    with contextlib.closing(connect(new, "rw")) as db:
        create(db)
        db.execute("BEGIN")
        db.executemany(ADD_EVENT, events)
        for table, singles in rows.items():
            db.executemany(ADD_ROW[table], singles.values())
        db.execute("COMMIT")
    sync(new)


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor, for the mode
        file.write(text)
        file.flush()
        os.fsync(handle)
