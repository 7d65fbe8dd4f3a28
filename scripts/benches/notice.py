"""Noticing the end of an agent, and what live agents cost while nothing happens.

    main([SECONDS])   SECONDS over which the processor time of an idle coordinator is taken (20)

An agent's last act is to note the time; it is noticed when the end of its attempt is journaled.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import scenes

ENDING, LIVING = 50, 200


def lags_ms(folder: Path) -> list[float]:
    """Returns how long after its agent's last act each end was journaled, sorted."""
    root, notes = scenes.make_repository(folder / "ending", 100), folder / "ends"
    notes.mkdir()
    agent = (
        f"sleep $((2 + ${{FLEET_TASK#t}} / 12)).${{FLEET_TASK#t}}; date +%s%N >{notes}/$FLEET_TASK"
    )
    scenes.write_fleet(root, ENDING, agent)
    try:
        subprocess.run(
            scenes.fleet("-C", str(root), "launch", "--all"), check=True, capture_output=True
        )
        scenes.until(lambda: len(_ends(root)) == ENDING)
        ends = _ends(root)
    finally:
        scenes.end_fleet(root)
    return sorted(ends[path.name] - int(path.read_text()) / 1e6 for path in notes.iterdir())


def _ends(root: Path) -> dict[str, float]:
    with sqlite3.connect(f"file:{root}/.fleet/journal.db?mode=ro", uri=True) as db:
        rows = db.execute(
            "select at_ms, cast(body as text) from events where body like '%attempt-ended%'"
        )
        told = [(at_ms, json.loads(body)["step"]) for at_ms, body in rows]
    return {step.removesuffix("/work"): at_ms for at_ms, step in told if step.endswith("/work")}


def idle_share(folder: Path, seconds: float) -> float:
    """Returns the share of one processor that a coordinator of live agents takes."""
    root, notes = scenes.make_repository(folder / "living", 100), folder / "lives"
    notes.mkdir()
    scenes.write_fleet(root, LIVING, f"date +%s%N >{notes}/$FLEET_TASK; exec sleep 900")
    try:
        subprocess.run(
            scenes.fleet("-C", str(root), "launch", "--all"), check=True, capture_output=True
        )
        scenes.until(lambda: len(list(notes.iterdir())) == LIVING)
        time.sleep(3)
        pid = json.loads((root / ".fleet/coordinator.json").read_text())["pid"]
        before = _processor_s(pid)
        time.sleep(seconds)
        return (_processor_s(pid) - before) / seconds
    finally:
        scenes.end_fleet(root)


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    seconds = float(argv[0]) if argv else 20.0
    with scenes.scratch() as folder:
        lags = lags_ms(folder)
        share = idle_share(folder, seconds)
    middle, high = lags[len(lags) // 2], lags[round(len(lags) * 0.95) - 1]
    figures = [
        scenes.Figure(f"end of an agent noticed, {ENDING} agents, P50", f"{middle:.1f} ms"),
        scenes.Figure("P95", f"{high:.1f} ms", "<= 50 ms", high <= 50, f"worst {lags[-1]:.1f} ms"),
        scenes.Figure(
            f"{LIVING} live agents, share of one processor",
            f"{share * 100:.2f} %",
            "< 2 %",
            share < 0.02,
        ),
    ]
    return scenes.show("notice", "scripts/bench notice", figures)
