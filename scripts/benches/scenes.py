"""What the benches share: scratch repositories, fleets in them, private tmux servers, tables.

Nothing outside of the scratch folder is touched: HOME, git's configuration and tmux's sockets are
its own. Every figure is a ratio against a floor that was measured in turn with it, so that other
work on the machine weighs on both; the minimum and the median of the rounds are told.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

WAIT_S = 120.0

BRIEF = "Do what is to be done here.\n\n" + "- a line that says how, as a brief has them\n" * 12


@dataclass(frozen=True)
class Figure:
    """One line of a table: what was measured, against which target; `met` None: told only."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None
    note: str = ""


def show(title: str, command: str, figures: Sequence[Figure]) -> int:
    """Prints a table and returns 0, or 1 when a target is missed."""
    print(f"\n{title}   (again: {command})")
    names = max(len(one.name) for one in figures)
    values = max(len(one.value) for one in figures)
    targets = max(len(one.target) for one in figures)
    for one in figures:
        met = "" if one.met is None else ("met" if one.met else "MISSED")
        told = f"  {one.name:<{names}}  {one.value:>{values}}  {one.target:<{targets}}  {met:<6}"
        print(f"{told}  {one.note}".rstrip())
    return int(any(one.met is False for one in figures))


def ratio(name: str, ours: Sequence[float], floor: Sequence[float], target: float) -> Figure:
    """Returns the line of a ratio: the least times decide, the medians are told beside them."""
    least = min(ours) / min(floor)
    middle = statistics.median(ours) / statistics.median(floor)
    return Figure(
        name,
        f"{least:.2f}x",
        f"<= {target:g}x",
        least <= target,
        f"median {middle:.2f}x; {min(ours) * 1000:.0f} ms against {min(floor) * 1000:.0f} ms",
    )


def in_turn(rounds: int, **cases: Callable[[], float]) -> dict[str, list[float]]:
    """Returns the seconds that each case returned, A B A B."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return found


def timed(
    argv: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """Returns the seconds that a command took; its output is dropped, its failure raised."""
    began = time.perf_counter()
    subprocess.run(argv, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yields a folder of its own, with HOME, git and tmux turned to it, and removes it."""
    parent = os.environ.get("BENCH_TMP") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="fleet-bench-", dir=parent)).resolve()
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("GIT_", "FLEET_", "TMUX"))]:
        del os.environ[name]
    # As installed: with compiled modules. Without them a start costs four times as much.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(import_module("fleet").__path__[0]), quiet=2)
    (folder / "tmux").mkdir(mode=0o700)
    (folder / "gitconfig").write_text(
        "[user]\n name = Bench\n email = bench@example.org\n[init]\n defaultBranch = main\n"
    )
    os.environ |= {
        "HOME": str(folder),
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "TMUX_TMPDIR": str(folder / "tmux"),
    }
    try:
        yield folder
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def make_repository(root: Path, files: int) -> Path:
    """Returns a new repository with one commit of so many small files."""
    root.mkdir(parents=True)
    for number in range(files):
        path = root / f"src/part{number // 100}/file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 40)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def git(root: Path, *words: str) -> str:
    """Runs git and returns what it says."""
    done = subprocess.run(["git", *words], cwd=root, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def write_fleet(root: Path, tasks: int, agent: str, **more: str) -> Path:
    """Writes the documents of a fleet of so many tasks whose agents run one shell command."""
    (root / "agents").mkdir(exist_ok=True)
    (root / "tasks").mkdir(exist_ok=True)
    (root / "coordination.md").write_text(
        f"---\nfleet: bench\nbase: main\nlimits: {{agents: {tasks}}}\n---\n\n"
        "Work in your worktree only.\n"
    )
    (root / "agents/crew.yaml").write_text(
        json.dumps({"id": "crew", "harness": "shell", "args": ["/bin/sh", "-c", agent]})
    )
    keys = "".join(f"{name}: {text}\n" for name, text in more.items())
    for number in range(tasks):
        (root / f"tasks/t{number}.md").write_text(
            f"---\nagent: crew\nworktree: ../{root.name}-trees/t{number}\n"
            f"branch: work/t{number}\n{keys}---\n\n{BRIEF}"
        )
    return root


def fleet(*words: str) -> list[str]:
    """Returns the argv of the product's own door, as an installed `fleet` would be run."""
    return [sys.executable, "-m", "fleet", *words]


@contextlib.contextmanager
def coordinator(root: Path) -> Iterator[int]:
    """Keeps a coordinator of a fleet alive in the foreground of nobody; yields its pid."""
    with (root / "up.log").open("wb") as said:
        process = subprocess.Popen(fleet("-C", str(root), "up"), stdout=said, stderr=said)
    try:
        until(lambda: (root / ".fleet/wake").exists() and (root / ".fleet/journal.db").exists())
        time.sleep(0.3)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def until(true: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Returns as soon as something is true; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the bench waited in vain")
        time.sleep(0.005)


def end_fleet(root: Path) -> None:
    """Ends a fleet's coordinator, its tmux server and what runs in it."""
    from fleet.app.place import FleetPlace

    place = FleetPlace(root)
    subprocess.run(
        fleet("-C", str(root), "down"),
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end_server(place.socket)


def end_server(socket: str) -> None:
    """Ends a private tmux server with the agents in its panes, if it runs."""
    tmux = ["tmux", "-L", socket]
    listed = subprocess.run(
        [*tmux, "list-panes", "-a", "-F", "#{pane_pid}"],
        capture_output=True,
        text=True,
        check=False,
    )
    subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
    for pid in listed.stdout.split():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(int(pid), signal.SIGKILL)


def seconds_of(folder: Path) -> list[float]:
    """Returns the moments (seconds of the epoch) that agents have written into a folder, sorted."""
    return sorted(int(path.read_text()) / 1e9 for path in folder.iterdir() if path.stat().st_size)
