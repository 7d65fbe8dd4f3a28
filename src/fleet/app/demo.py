"""The demo: a whole fleet of six scripted agents on a fresh repository, told as a story.

Everything in it is real but the agents' thinking: a git repository, worktrees, tmux sessions, the
coordinator, and this very command line, run as a person would. Each command is shown with what it
prints, and each must end as the story says, so the demo is a test of the installation as well. It
needs no key and no network, and leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.app.place import FleetPlace
from fleet.app.throwaway import begin_repository, neutral
from fleet.errors import FleetError

FILES: Final = Path(__file__).with_name("demo_fleet")
COMMAND_TIMEOUT_S: Final = 90.0
PATIENCE_S: Final = 20.0
WIDEST: Final = 120
QUESTION: Final = "{question}"
"""Stands for the id of the question that is open."""


class Unexpected(FleetError):
    """A command did not end as the story says."""


@dataclass(frozen=True, slots=True)
class Do:
    """One command: how it must end, and texts that must be in what it prints."""

    line: str
    code: int = 0
    has: tuple[str, ...] = ()
    patient: bool = False
    """Whether to try again, unseen, until what must be there is there."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the story: what it is about, and its commands."""

    title: str
    text: str
    acts: tuple[Do, ...]


STORY: Final = (
    Chapter(
        "A plan for six agents",
        "agents/ says who works, tasks/ what is to be done, coordination.md holds the phases. "
        "28 days of work; agents 4 and 5 go side by side, so it takes 25.",
        (
            Do("fleet check", has=("6 tasks, 6 agents, 4 phases: no problems",)),
            Do("fleet plan", has=("25 days for 28 days of work", "Critical path")),
        ),
    ),
    Chapter(
        "Nobody starts before what they need is there",
        "Agent 6 deploys. Nothing is tested yet, so it is refused, with what is missing.",
        (Do("fleet launch agent-6", 1, ("agent-6 cannot start yet", "agent-4, agent-5")),),
    ),
    Chapter(
        "Phase 1: one agent integrates, its gate opens, its work lands",
        "A launch makes a worktree, a branch, a port and a tmux session with the agent in it.",
        (
            Do("fleet launch agent-1", has=("integration-finalizer",)),
            Do("fleet wait agent-1 --for verified --timeout 60", has=("agent-1 ",)),
            Do("fleet gate integration", has=("gate integration: open",), patient=True),
            Do("fleet merge integration", has=("tag v2.0.0-alpha",)),
        ),
    ),
    Chapter(
        "Phase 2: saying so is not enough",
        "Agent 2 says that it is done. A test fails and one deliverable is not committed: it is "
        "sent back, with the evidence in its next brief. Here is what its second attempt read.",
        (
            Do("fleet launch agent-2", has=("testing-unit",)),
            Do("fleet wait agent-2 --for verified --timeout 60", has=("agent-2 verified",)),
            Do("fleet logs agent-2 --attempt 1", has=("Everything is done!",)),
            Do("fleet logs agent-2 --attempt 2", has=("PERFORMANCE_ISSUES.md", "5 != 6")),
            Do("fleet gate testing", 1, ("agent-3 is verified",)),
        ),
    ),
    Chapter(
        "An agent asks, a person answers",
        "Agent 3 does not guess which load to test with. It waits in its session for the answer.",
        (
            Do("fleet launch agent-3", has=("testing-load",)),
            Do("fleet inbox", has=("Which load",), patient=True),
            Do(f"fleet answer {QUESTION} 1000", has=("answered",)),
            Do("fleet wait agent-3 --for verified --timeout 60", has=("agent-3 ",)),
            Do("fleet logs agent-3", has=("The answer is 1000.",)),
            Do("fleet gate testing", has=("gate testing: open",)),
            Do("fleet merge testing", has=("agent-2", "agent-3")),
        ),
    ),
    Chapter(
        "Phase 3: two agents side by side",
        "Both start from the same base, in worktrees of their own. This is the daily check-in "
        "while they work.",
        (
            Do("fleet launch agent-4 agent-5", has=("performance-optimizer", "monitoring-inf")),
            Do("fleet status", has=("agent-4", "no dashboard server yet"), patient=True),
            Do("fleet wait agent-4 agent-5 --for verified --timeout 60"),
            Do("fleet gate performance", has=("gate performance: open",)),
            Do("fleet merge performance", has=("agent-4", "agent-5")),
        ),
    ),
    Chapter(
        "Phase 4: a person has the last word",
        "This gate asks for an approval. What is approved is pinned, and exactly that lands.",
        (
            Do("fleet launch agent-6", has=("production-deployer",)),
            Do("fleet wait agent-6 --for verified --timeout 60", has=("agent-6 ",)),
            Do("fleet inbox", has=("fleet approve",), patient=True),
            Do(f"fleet approve {QUESTION}", has=("approved",)),
            Do("fleet gate deployment", has=("gate deployment: open",), patient=True),
            Do("fleet merge deployment", has=("tag v2.0.0",)),
        ),
    ),
    Chapter(
        "The end",
        "Four gates, four merges, six branches in one line of history.",
        (
            Do("fleet status", has=("100 % done",)),
            Do("fleet metrics", has=("Unit tests",)),
            Do("git log --oneline --graph --first-parent main", has=("Merge",)),
            Do("fleet down --all", has=("ended the coordinator",)),
        ),
    ),
)


def run_demo(tell: Callable[[str], None], keep: bool = False) -> int:  # noqa: FBT001, FBT002
    """Plays the story in a temporary folder and returns 0, or 1 when a step was not as expected.

    `tell` prints a text; `keep` leaves the folder, and says where it is.
    """
    missing = [name for name in ("git", "tmux", "python3", "sh") if shutil.which(name) is None]
    if missing:
        raise FleetError(f"the demo needs {', '.join(missing)}", hint="see: fleet doctor")
    begun = time.monotonic()
    with stage(tell, keep=keep) as scene:
        try:
            for number, chapter in enumerate(STORY, start=1):
                tell(f"\n== {number}. {chapter.title}\n{scene.wrapped(chapter.text)}")
                for act in chapter.acts:
                    scene.play(act)
            scene.check_end()
        except Unexpected as wrong:
            tell(f"\nTHE DEMO FAILED: {wrong.text}")
            return 1
    tell(
        f"\nDone in {time.monotonic() - begun:.0f} s: four phases, six agents, one rework, one "
        "question, one approval.\nNow in your own repository:  fleet init"
    )
    return 0


@dataclass(slots=True)
class Scene:
    """The demo's repository, and the environment that its commands run in."""

    top: Path
    tell: Callable[[str], None]
    environ: dict[str, str]
    output: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The root of the demo's repository."""
        return self.top / "shop"

    def wrapped(self, text: str) -> str:
        """Returns a text of the story in lines that fit the terminal."""
        return textwrap.fill(text, int(self.environ["COLUMNS"]))

    def play(self, act: Do) -> None:
        """Runs a command, tells what it prints, and raises Unexpected when it ends otherwise."""
        line = act.line
        if QUESTION in line:
            line = line.replace(QUESTION, self._questions()[0]["id"])
        self.tell(f"\n$ {line}")
        deadline = time.monotonic() + (PATIENCE_S if act.patient else 0)
        while True:
            code, said = self.run(shlex.split(line))
            shown = " ".join(said.split())  # whatever the width, and wherever a line is broken
            lost = [text for text in act.has if text not in shown]
            if not lost or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.tell(said.rstrip("\n"))
        if code:
            self.tell(f"[exit {code}]")
        if code != act.code:
            raise Unexpected(f"`{line}` ended with {code}, not {act.code}")
        if lost:
            raise Unexpected(f"`{line}` does not say {lost[0]!r}")

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        """Returns a command's exit code and all that it printed, in order."""
        # A file, not a pipe: the coordinator that a command leaves behind may hold it open.
        with tempfile.TemporaryFile() as said:
            try:
                done = subprocess.run(
                    list(argv), cwd=self.root, env=self.environ, stdin=subprocess.DEVNULL,
                    stdout=said, stderr=said, timeout=COMMAND_TIMEOUT_S, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Unexpected(
                    f"`{shlex.join(argv)}` took over {COMMAND_TIMEOUT_S:g} s"
                ) from None
            said.seek(0)
            return done.returncode, said.read().decode("utf-8", "replace")

    def check_end(self) -> None:
        """Raises Unexpected unless git itself shows what the story claims."""
        _, merged = self.run(["git", "log", "--first-parent", "--format=%s", "main"])
        if merged.count("Merge ") < len(PHASES):
            raise Unexpected("the history of main does not show four merges")
        _, files = self.run(["git", "ls-tree", "-r", "--name-only", "main"])
        lost = [name for name in DELIVERABLES if name not in files.split()]
        if lost:
            raise Unexpected(f"{lost[0]} is not on main")
        _, tags = self.run(["git", "tag", "--merged", "main"])
        if tags.split() != ["v2.0.0", "v2.0.0-alpha"]:
            raise Unexpected(f"main has the tags {tags.split()}")

    def _questions(self) -> list[dict[str, Any]]:
        code, said = self.run(["fleet", "inbox", "--json"])
        if code:
            raise Unexpected(f"`fleet inbox --json` ended with {code}")
        found: list[dict[str, Any]] = json.loads(said)["questions"]
        return found


PHASES: Final = ("integration", "testing", "performance", "deployment")
DELIVERABLES: Final = (
    "INTEGRATION_COMPLETE.md", "PERFORMANCE_ISSUES.md", "TEST_COVERAGE_FINAL.md",
    "TESTING_COMPLETE.md", "PERFORMANCE_OPTIMIZATION_REPORT.md", "MONITORING_SETUP_COMPLETE.md",
    "PRODUCTION_DEPLOYMENT_COMPLETE.md", "PRODUCTION_LESSONS_LEARNED.md",
)  # fmt: skip


@contextmanager
def stage(tell: Callable[[str], None], *, keep: bool) -> Iterator[Scene]:
    """Yields a fresh repository with the demo's fleet in it; ends and removes all of it after."""
    top = Path(tempfile.mkdtemp(prefix="fleet-demo-")).resolve()
    scene = Scene(top, tell, _environment(top))
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _make_repository(scene)
        tell(f"A fresh repository with a very small shop and a fleet of six: {scene.root}")
        yield scene
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(scene)
        if keep:
            tell(f"\nkept: {scene.root}\nremove it with: rm -rf {top}")
        else:
            shutil.rmtree(top, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _environment(top: Path) -> dict[str, str]:
    """Returns the environment of the demo's commands."""
    kept = neutral(os.environ)
    folder = top / "bin"
    columns = min(shutil.get_terminal_size((100, 24)).columns, WIDEST)
    paths = [
        str(Path(path).resolve()) for path in sys.path if path and Path(path, "fleet").is_dir()
    ]
    return {
        **kept,
        "PATH": f"{folder}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "COLUMNS": str(columns),
        "PYTHONPATH": os.pathsep.join(paths[:1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _make_repository(scene: Scene) -> None:
    folder = scene.top / "bin"
    folder.mkdir()
    program = folder / "fleet"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fleet "$@"\n')
    program.chmod(0o755)
    shutil.copytree(FILES, scene.root)
    for path in scene.root.glob("*.py.txt"):  # kept as text here, so that they are no part of fleet
        path.rename(path.with_suffix(""))
    begin_repository(scene.root, "A very small shop, and a fleet to finish it", scene.environ)


def _end(scene: Scene) -> None:
    """Ends whatever of the demo still runs: agents, coordinator, tmux server with its socket."""
    from fleet.adapters.tmux import Tmux

    place = FleetPlace(scene.root)
    with suppress(FleetError, OSError):
        if place.state.exists():
            scene.run(["fleet", "down", "--all"])
    tmux = Tmux(place.socket)
    with suppress(FleetError, OSError):
        tmux.kill_server()
    folder = os.environ.get("TMUX_TMPDIR") or "/tmp"  # noqa: S108 - where tmux keeps its sockets
    with suppress(OSError):
        Path(folder, f"tmux-{os.getuid()}", place.socket).unlink()
