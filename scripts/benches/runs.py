"""What the engine costs: runs of in-process steps, every event journaled with synchronous=FULL.

    main([-n=ROUNDS])

Runs of kind `set` are given to a live coordinator at once; a run takes from the first command
taken to its last event. The floor of 1,000 runs is SQLite alone writing as many rows of that size
in as many commits as the coordinator made, through the same disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import scenes

from fleet.core.plan import Need, Plan, Step

RUNS, STEPS, CHAIN = 1_000, 5, 100


def plan_of(name: str, count: int) -> Plan:
    """Returns a chain of steps."""
    steps = {}
    for number in range(count):
        needs = (Need(step=f"s{number - 1}"),) if number else ()
        steps[f"s{number}"] = Step(
            id=f"s{number}", kind="set", params={"value": number}, needs=needs
        )
    return Plan(name=name, steps=steps)


def fleet_at(folder: Path) -> Path:
    """Returns the root of a fleet without tasks that matter."""
    return scenes.write_fleet(scenes.make_repository(folder, 3), 1, "true")


def post(root: Path, names: Sequence[str], steps: int) -> None:
    """Puts a StartRun for each name into the mailbox, without waking anybody before the last."""
    from fleet.app.place import FleetPlace
    from fleet.app.telling import post as post_commands
    from fleet.core.messages import StartRun

    for name in names:
        post_commands(FleetPlace(root), [StartRun(run=name, plan=plan_of(name, steps))], run=name)


def ended(root: Path, count: int) -> bool:
    """Returns whether so many runs have ended."""
    with sqlite3.connect(f"file:{root}/.fleet/journal.db?mode=ro", uri=True) as db:
        return (
            db.execute("select count(*) from runs where state != 'running'").fetchone()[0] >= count
        )


def span_s(root: Path, like: str) -> tuple[float, int]:
    """Returns the seconds from the first to the last event of runs, and how many events."""
    with sqlite3.connect(f"file:{root}/.fleet/journal.db?mode=ro", uri=True) as db:
        low, high, count = db.execute(
            "select min(at_ms), max(at_ms), count(*) from events where run like ?", (like,)
        ).fetchone()
    return (high - low) / 1000, count


def measure(folder: Path) -> dict[str, float]:
    """Returns the figures of one round."""
    root = fleet_at(folder)
    found: dict[str, float] = {}
    (root / ".fleet").mkdir(mode=0o700, exist_ok=True)
    with scenes.coordinator(root) as pid:
        post(root, ["chain"], CHAIN)
        scenes.until(lambda: ended(root, 1))
        found["chain"] = span_s(root, "chain")[0]
        os.kill(pid, 19)  # SIGSTOP: so that all of them wait together
        post(root, [f"r{number}" for number in range(RUNS)], STEPS)
        began = time.perf_counter()
        os.kill(pid, 18)
        scenes.until(lambda: ended(root, RUNS + 1))
        found["whole"] = time.perf_counter() - began
        found["runs"], found["events"] = span_s(root, "r%")
    found["floor"] = floor(root / ".fleet/floor.db", int(found["events"]))
    return found


def floor(path: Path, events: int) -> float:
    """Returns the seconds in which SQLite alone takes the events, 1,000 a commit, FULL."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute(
        "create table e (run text, seq integer, at integer, sum text, body text,"
        " primary key (run, seq)) without rowid"
    )
    body, began = "x" * 90, time.perf_counter()
    for first in range(0, events, 1000):
        db.execute("begin immediate")
        db.executemany(
            "insert into e values (?, ?, ?, ?, ?)",
            [
                (f"r{n % RUNS}", n // RUNS, n, "s" * 32, body)
                for n in range(first, min(first + 1000, events))
            ],
        )
        db.execute("commit")
    took = time.perf_counter() - began
    db.close()
    return took


def recovery(folder: Path) -> dict[str, float]:
    """Returns how long 1,000 live runs take to be served again, and what each costs in memory."""
    root = fleet_at(folder)
    (root / ".fleet").mkdir(mode=0o700, exist_ok=True)
    say = [sys.executable, "-c", "import runs, sys; runs.work(*sys.argv[1:])", str(root / ".fleet")]
    subprocess.run([*say, "make"], check=True)
    loaded = subprocess.run([*say, "load"], check=True, capture_output=True)
    took, memory = json.loads(loaded.stdout)
    return {"recovery": took, "memory": memory}


def work(folder: str, what: str) -> None:
    """Makes live runs that wait at their third step, or loads them and prints [s, bytes a run]."""
    from fleet.adapters.journal import Journal, Reader
    from fleet.core import messages as m
    from fleet.runtimes.runs import Runs, Told

    place = Path(folder)
    journal = Journal.open(place)
    runs = Runs(journal, Reader(place), lambda *_, **__: None)
    if what == "make":
        done = m.Outcome(ending=m.Ending.SUCCEEDED, output=1)
        for number in range(RUNS):
            name = f"w{number}"
            runs.tell(Told(name, m.StartRun(run=name, plan=plan_of(name, STEPS))))
            for step in ("s0", "s1"):
                runs.tell(Told(name, m.ReportOutcome(step=step, attempt=1, outcome=done)))
        runs.commit()
        return
    before, began = _resident_bytes(), time.perf_counter()
    runs.recover()
    took = time.perf_counter() - began
    assert len(runs.states) == RUNS
    print(json.dumps([took, (_resident_bytes() - before) / RUNS]))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 3)
    with scenes.scratch() as folder:
        found = [
            measure(folder / f"m{number}") | recovery(folder / f"v{number}")
            for number in range(rounds)
        ]
    least = {name: min(one[name] for one in found) for name in found[0]}
    figures = [
        _seconds(
            f"{RUNS:,} runs of {STEPS} steps, {least['events']:,.0f} events",
            least["runs"],
            1.0,
            f"{least['runs'] / least['floor']:.1f}x the rows alone in SQLite;"
            f" with the mailbox {least['whole'] * 1000:.0f} ms",
        ),
        _seconds(f"a chain of {CHAIN} steps", least["chain"], 0.05),
        _seconds(f"recovery of {RUNS:,} live runs", least["recovery"], 0.5),
        scenes.Figure("memory of a run that waits", f"{least['memory'] / 1024:.1f} KiB"),
    ]
    return scenes.show("runs", "scripts/bench runs", figures)


def _seconds(name: str, took: float, target: float, note: str = "") -> scenes.Figure:
    return scenes.Figure(
        name, f"{took * 1000:.0f} ms", f"<= {target * 1000:g} ms", took <= target, note
    )
