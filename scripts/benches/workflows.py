"""What workflows cost: starts, steps, updates of the state, memory, many runs, agents.

    main([-n=ROUNDS] [--peers])

A live coordinator runs workflows of the step dialect; what it spent is the processor time that the
kernel counts for it, so that other work on the machine weighs little. Times within a run are those
of its events, in whole milliseconds. Floors stand in the same run: rows committed by SQLite alone
on the same disk, and the very processes of agents without fleet. `--peers` has other engines do the
same beside it (`peers`), as far as they can be installed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flows
import runs
import scenes

RUNS, STEPS, CHAIN, LONG, NODES, ITEMS, WAITING = 1_000, 5, 100, 1_000, 500, 1_000, 300
AGENTS, AT_ONCE, STARTS, UPDATES = 100, 50, 40, 200


# --- a fleet at work ------------------------------------------------------------------------------


class Engine:
    """A fleet with a live coordinator, told of workflows by this process."""

    def __init__(self, root: Path, pid: int) -> None:
        from fleet.app.place import FleetPlace

        self.root, self.pid = root, pid
        self.place = FleetPlace(root)
        self.names = (f"r{number}" for number in itertools.count())

    def write(self, steps: flows.Steps) -> str:
        """Writes a workflow and returns its path."""
        told = {"name": next(self.names), "initial_state": {"n": 0, "base": 1}, "steps": steps}
        path = self.root / "workflows" / f"{told['name']}.yaml"
        path.write_text(json.dumps(told))
        return str(path)

    def start(self, file: str, **roles: str) -> str:
        """Starts a run as `fleet run` does once its program is loaded; returns its id."""
        from fleet.app.place import FleetPlace
        from fleet.app.workflows import Asked, start_run

        return start_run(FleetPlace(self.root), file, Asked(inputs={}, roles=roles))[0]

    def spent(self) -> float:
        """Returns the processor seconds that the coordinator has taken, with its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rows(self, query: str, *values: object) -> list[Any]:
        """Returns rows of the journal."""
        with sqlite3.connect(f"file:{self.root}/.fleet/journal.db?mode=ro", uri=True) as db:
            return db.execute(query, values).fetchall()

    def finish(self, run: str) -> None:
        """Waits for a run to end, without costing it a processor."""
        query = "select state from runs where run = ?"
        scenes.until(lambda: time.sleep(0.02) or self.rows(query, run)[0][0] != "running")
        (state,) = self.rows(query, run)[0]
        assert state == "succeeded", f"{run} has {state}"

    def begun_ms(self, run: str) -> list[int]:
        """Returns when the attempts of a run were started, in order."""
        query = "select at_ms from events where run = ? and body like '%attempt-started%'"
        return [at_ms for (at_ms,) in self.rows(f"{query} order by seq", run)]

    def play(self, steps: flows.Steps) -> tuple[float, list[int], float]:
        """Runs a workflow; returns its seconds, the gaps between its steps in ms, and what the
        coordinator spent on each of its attempts in ms.
        """
        file, before = self.write(steps), self.spent()
        run = self.start(file)
        self.finish(run)
        spent, begun = self.spent() - before, self.begun_ms(run)
        gaps = sorted(b - a for a, b in itertools.pairwise(begun))
        (last,) = self.rows("select max(at_ms) from events where run = ?", run)[0]
        return (last - begun[0]) / 1000, gaps, spent * 1000 / len(begun)


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Yields a fleet with a function, a folder of workflows and a live coordinator."""
    root = scenes.write_fleet(scenes.make_repository(folder, 3), 1, "true")
    (root / "tools.py").write_text("def double(value):\n    return 2 * value\n")
    (root / "coordination.md").write_text(
        f"---\nfleet: bench\nbase: main\nlimits: {{agents: {AT_ONCE}}}\n"
        "functions: {bench.double: 'tools:double'}\n---\n"
    )
    (root / "workflows").mkdir()
    (root / ".fleet").mkdir(mode=0o700)
    try:
        with scenes.coordinator(root) as pid:
            made = Engine(root, pid)
            for steps in (
                flows.chain(2),
                flows.calls(1),
            ):  # so that all is loaded when it is measured
                made.finish(made.start(made.write(steps)))
            yield made
    finally:
        scenes.end_fleet(root)


def high(values: Sequence[float], share: float = 0.95) -> float:
    """Returns a percentile."""
    return sorted(values)[max(0, round(len(values) * share) - 1)]


# --- what is measured -----------------------------------------------------------------------------


def starts_ms(one: Engine) -> tuple[list[float], list[float]]:
    """Returns from a command to its first step: of a program that is loaded (until the step is
    journaled and that is read back), and of whole `fleet run` processes (until it was decided).
    """
    file = one.write(flows.chain(STEPS))
    loaded, whole = [], []
    for _ in range(STARTS):
        began = time.perf_counter()
        run = one.start(file)
        loaded.append((time.perf_counter() - began) * 1000)
        assert one.begun_ms(run), "the start and its first step share a commit"
        one.finish(run)
    for _ in range(STARTS // 4):
        at_ms = time.time() * 1000
        said = subprocess.run(
            scenes.fleet("-C", str(one.root), "run", file, "--json"),
            check=True,
            capture_output=True,
        )
        whole.append(one.begun_ms(json.loads(said.stdout)["run"])[0] - at_ms)
    return loaded, whole


def updates_ms(one: Engine) -> tuple[list[float], list[float]]:
    """Returns how long commands of a waiting run took from their mail's being there until their
    results were committed, and as many commits of SQLite alone.
    """
    from fleet.app.telling import post
    from fleet.core.messages import HoldStep, ReleaseStep

    waits = {"id": "asked", "type": "prompt", "message": "?"}
    run = one.start(one.write([waits, {"id": "behind", "type": "set_state", "updates": {"n": 1}}]))
    commands = (HoldStep(step="behind", reason="bench"), ReleaseStep(steps=("behind",)))
    reader = one.place.reader()
    assert reader is not None
    found, floor = [], []
    with contextlib.closing(reader), contextlib.closing(_alone(one.root)) as db:
        for number in range(UPDATES):
            (name,) = post(one.place, [commands[number % 2]], run=run)
            began = time.perf_counter()
            while reader.handled(name) is None:
                time.sleep(0)
            found.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            db.execute("insert into e values (?, ?)", (number, "x" * 90))
            floor.append((time.perf_counter() - began) * 1000)
    return found, floor


def _alone(root: Path) -> sqlite3.Connection:
    db = sqlite3.connect(root / ".fleet/floor.db", isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("create table e (n integer primary key, body text)")
    return db


def memory_bytes(one: Engine) -> float:
    """Returns what a run that waits for an answer costs the coordinator in memory."""
    file = one.write([{"id": "asked", "type": "prompt", "message": "?"}, *flows.chain(STEPS)])

    def wait(count: int) -> int:
        asked = 0
        for _ in range(count):
            asked = len(one.begun_ms(one.start(file)))
        assert asked, "it asks"
        time.sleep(0.2)
        pages = int(Path(f"/proc/{one.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    before = wait(WAITING // 4)
    return (wait(WAITING) - before) / WAITING


def many(one: Engine) -> tuple[float, float, int]:
    """Returns the seconds and processor seconds of 1,000 runs that come at once, and their events:
    from the first command taken to the last event.
    """
    from fleet.app import workflows
    from fleet.app.telling import post
    from fleet.core.messages import StartRun

    file, asked = one.write(flows.chain(STEPS)), workflows.Asked(inputs={}, roles={})
    (loaded,), _ = workflows.loaded(one.place, file, {})
    names = [f"many{number}" for number in range(RUNS)]
    ended = len(one.rows("select 1 from runs where state != 'running'"))
    os.kill(one.pid, signal.SIGSTOP)
    for name in names:
        plan = workflows._plan(one.place, loaded, {}, name, asked)  # noqa: SLF001 - as start_run does
        post(one.place, [StartRun(run=name, plan=plan)], run=name)
    before = one.spent()
    os.kill(one.pid, signal.SIGCONT)
    scenes.until(lambda: time.sleep(0.05) or runs.ended(one.root, ended + RUNS))
    took, events = runs.span_s(one.root, "many%")
    return took, one.spent() - before, events


def agents_s(one: Engine, folder: Path) -> dict[str, float]:
    """Returns the seconds of 100 agents that do nothing, 50 at once: of a run, of the same wrappers
    in a tmux of their own, and of the bare processes.
    """
    run = one.start(one.write(flows.agents(AGENTS)), one="true")
    one.finish(run)
    (first, last) = one.rows("select min(at_ms), max(at_ms) from events where run = ?", run)[0]
    return {
        "run": (last - first) / 1000,
        "sessions": _sessions_s(folder),
        "bare": _bare_s(),
    }


def _bare_s() -> float:
    """Returns the seconds of the bare processes, so many at once."""
    began, live = time.perf_counter(), list[subprocess.Popen[bytes]]()
    for number in range(AGENTS):
        if number >= AT_ONCE:
            live[number - AT_ONCE].wait()
        live.append(subprocess.Popen(["true"]))
    for process in live:
        process.wait()
    return time.perf_counter() - began


def _sessions_s(folder: Path) -> float:
    """Returns the seconds of the wrappers alone, in sessions that a loop starts 50 at once."""
    from fleet.adapters.attempts import AttemptFolder, Launch
    from fleet.adapters.tmux import Tmux

    server, launches = Tmux("bench-alone"), []
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(AGENTS):
        launch = Launch(
            key=("bench", f"a{number}", 1), session=f"a{number}", folder=folder / f"a{number}",
            worktree=folder, argv=["/bin/sh", "-c", "true"],
        )  # fmt: skip
        AttemptFolder(launch.folder).write_spec(launch)
        launches.append(launch)
    try:
        began, live = time.perf_counter(), []
        while launches or live:
            some = [launches.pop() for _ in range(min(len(launches), AT_ONCE - len(live)))]
            if some:
                server.start(some)
            live = [one for one in [*live, *some] if not (one.folder / "exit").exists()]
            time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        scenes.end_server("bench-alone")


# --- the table ------------------------------------------------------------------------------------


def _figure(name: str, value: float, most: float, unit: str, note: str = "") -> scenes.Figure:
    return scenes.Figure(name, f"{value:.2f} {unit}", f"<= {most:g} {unit}", value <= most, note)


def _chains(one: Engine) -> list[scenes.Figure]:
    found = []
    for name, steps in (
        (f"{CHAIN} set_state", flows.chain(CHAIN)),
        (f"{CHAIN} conditions", flows.conditions(CHAIN)),
        (f"{CHAIN} calls of a function", flows.calls(CHAIN)),
        (f"random graph of {NODES}", flows.graph(NODES)),
        (f"foreach of {ITEMS:,}", flows.each(ITEMS)),
    ):
        took, gaps, spent = one.play(steps)
        note = f"mean {took * 1000 / (len(gaps) + 1):.2f} ms, processor {spent:.2f} ms a step"
        found.append(_figure(f"{name}: a step, P95", high(gaps), 2, "ms", note))
    for name, steps in (("the step before", flows.chain), ("the beginning", flows.far)):
        short = min(one.play(steps(CHAIN))[2] for _ in range(3))
        long = one.play(steps(LONG))[2]
        name = f"a step of {LONG:,} that looks at {name}"  # noqa: PLW2901
        note = f"processor {long:.2f} ms; {short:.2f} ms in one of {CHAIN}"
        grown = long / short
        found.append(scenes.Figure(name, f"{grown:.2f}x", "<= 1.5x", grown <= 1.5, note))
    return found


def figures(folder: Path, rounds: int) -> list[scenes.Figure]:
    """Returns the lines of the table."""
    with engine(folder / "fleet") as one:
        loaded, whole = starts_ms(one)
        found = [
            _figure("start of a run, first step, P95", high(loaded), 20, "ms",
                f"P50 {high(loaded, 0.5):.1f} ms; whole `fleet run` P50 {high(whole, 0.5):.0f} ms"),
            *_chains(one),
        ]  # fmt: skip
        took, floor = updates_ms(one)
        found.append(
            _figure("update of the state, P95", high(took), 1, "ms",
                f"P50 {high(took, 0.5):.2f} ms; a commit of SQLite alone {high(floor, 0.5):.2f} ms")
        )  # fmt: skip
    with engine(folder / "waiting") as one:
        found.append(_figure("memory of a run that waits", memory_bytes(one) / 1024, 50, "KiB"))
    every = []
    for number in range(rounds):
        with engine(folder / f"many{number}") as one:
            every.append(many(one))
    took_s, _, events = min(every)
    alone = runs.floor(folder / "floor.db", events)
    name = f"{RUNS:,} runs of {STEPS} steps"
    note = f"{events:,} events, {took_s / alone:.0f}x the rows alone in SQLite"
    found.append(_figure(f"{name}, all ended", took_s, 1, "s", note))
    found.append(_figure(f"{name}, processor", min(one[1] for one in every), 1, "s"))
    with engine(folder / "agents") as one:
        least = [agents_s(one, folder / "alone") for _ in range(rounds)]
    best = {name: min(one[name] for one in least) for name in least[0]}
    ratio = best["run"] / best["sessions"]
    found.append(
        scenes.Figure(f"{AGENTS} agents, {AT_ONCE} at once", f"{ratio:.2f}x", "<= 2x", ratio <= 2,
            f"{best['run']:.2f} s; their wrappers in tmux {best['sessions']:.2f} s, "
            f"bare `true` {best['bare']:.2f} s")
    )  # fmt: skip
    return found


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 3)
    with scenes.scratch() as folder:
        os.chdir(folder)
        missed = scenes.show("workflows", "scripts/bench workflows", figures(folder, rounds))
        if "--peers" in argv:
            import peers

            peers.show(folder)
    return missed
