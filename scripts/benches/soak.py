"""A coordinator under steady work: does its memory, do its descriptors, does its log grow?

    main([MINUTES] [-rate=RUNS_A_SECOND])

Workflows of all kinds of in-process steps are started at a steady rate; memory, descriptors and the
journal's log are looked at all along, and at the end every run has ended. The journal's log
(SQLite's WAL) is copied back and must not grow; what runs leave in the journal stays there until
they are archived, and then its space is given back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import flows
import scenes
import workflows

from fleet.app.archiving import archive
from fleet.app.place import FleetPlace

JUDGED_S = 120.0
"""Shorter than this, memory is told and not judged: it has not come to rest."""

GROWN = 1.1
LOG_BYTES = 32 << 20
LEFT_BYTES, LEFT_SHARE = 1 << 20, 0.02
"""What of a journal may be left: the results of its latest commands stay, whatever they were of."""
SAMPLES = 200


@dataclass(frozen=True)
class Sample:
    """What was seen of the coordinator at one moment."""

    resident: int
    descriptors: int
    log_bytes: int


def look(one: workflows.Engine) -> Sample:
    """Looks once."""
    pages = int(Path(f"/proc/{one.pid}/statm").read_text().split()[1])
    log = one.root / ".fleet/journal.db-wal"
    return Sample(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(list(Path(f"/proc/{one.pid}/fd").iterdir())),
        log.stat().st_size if log.exists() else 0,
    )


def soak(one: workflows.Engine, seconds: float, rate: float) -> tuple[list[Sample], int, float]:
    """Returns what was seen, how many runs were started, and the seconds that the latest was late.

    Who starts them does what `fleet run` does once its program is loaded.
    """
    steps = [
        *flows.chain(3),
        {"id": "if", "type": "condition", "if": "state.n == 3",
         "then": [{"id": "in", "type": "set_state", "updates": {"m": 1}}]},
        {"id": "each", "type": "foreach", "items": [1, 2, 3],
         "steps": [{"id": "one", "type": "set_state", "updates": {"m": "{{ item }}"}}]},
        {"id": "call", "type": "mcp_call", "tool": "bench.double", "parameters": {"value": 1}},
    ]  # fmt: skip
    file, began = one.write(steps), time.monotonic()
    samples, started, late = [look(one)], 0, 0.0
    while (now := time.monotonic() - began) < seconds:
        due = started / rate
        if now < due:
            time.sleep(due - now)
        late = max(late, now - due)
        one.start(file)
        started += 1
        if now * SAMPLES / seconds >= len(samples):
            samples.append(look(one))
    return [*samples, look(one)], started, late


def figures(one: workflows.Engine, seconds: float, rate: float) -> list[scenes.Figure]:
    """Returns the lines of the table."""
    before = one.spent()
    samples, started, late = soak(one, seconds, rate)
    stuck = "select count(*) from runs where state = 'running'"
    scenes.until(lambda: time.sleep(0.05) or not one.rows(stuck)[0][0])
    (failed,) = one.rows("select count(*) from runs where state = 'failed'")[0]
    share = (one.spent() - before) / seconds
    quarter = max(1, len(samples) // 4)
    early, last = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    memory = [median(one.resident for one in some) / 2**20 for some in (early, last)]
    held = [max(one.descriptors for one in some) for some in (early, last)]
    log = max(one.log_bytes for one in samples)
    size = (one.root / ".fleet/journal.db").stat().st_size
    grown = memory[1] / memory[0]
    flat = None if seconds < JUDGED_S else grown <= GROWN
    return [
        scenes.Figure(f"{started:,} runs in {seconds:.0f} s", f"{started / seconds:.1f}/s",
            note=f"{share * 100:.1f} % of a processor; the latest start was {late:.2f} s late"),
        scenes.Figure("not ended, or failed", str(failed), "0", not failed),
        scenes.Figure("memory, late over early", f"{grown:.2f}x", f"<= {GROWN}x", flat,
            f"{memory[0]:.1f} MiB, then {memory[1]:.1f} MiB"),
        scenes.Figure("descriptors", str(held[1]), f"<= {held[0] + 2}", held[1] <= held[0] + 2),
        scenes.Figure("the journal's log at most", f"{log / 2**20:.1f} MiB",
            f"<= {LOG_BYTES >> 20} MiB", log <= LOG_BYTES, f"{size / started:,.0f} bytes a run"),
    ]  # fmt: skip


def archived(root: Path) -> scenes.Figure:
    """Archives what has run, and returns what is left of the journal."""
    journal = root / ".fleet/journal.db"
    size = journal.stat().st_size
    gone = [row for row in archive(FleetPlace(root), 0) if not row.kept]
    left, kept = journal.stat().st_size, sum(row.size_bytes for row in gone) / len(gone)
    told = f"{size / 2**20:.1f} MiB before; {kept:,.0f} bytes a run in the archive"
    most = max(LEFT_BYTES, size * LEFT_SHARE)
    return scenes.Figure("journal once all is archived", f"{left / 2**20:.2f} MiB",
        f"<= {most / 2**20:.1f} MiB", left <= most, told)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when something grew or is stuck."""
    minutes = next((float(word) for word in argv if not word.startswith("-")), 60.0)
    rate = next((float(word[6:]) for word in argv if word.startswith("-rate=")), 10.0)
    with scenes.scratch() as folder:
        with workflows.engine(folder / "fleet") as one:
            os.chdir(one.root)
            found = figures(one, minutes * 60, rate)
        return scenes.show("soak", "scripts/soak", [*found, archived(one.root)])
