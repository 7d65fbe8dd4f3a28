"""The scene: a fresh repository in a temporary folder, where a story's commands run as a person's.

Everything in it is real but the agents' thinking: a git repository, worktrees, tmux sessions, the
coordinator, and this very command line. It has an environment of its own, in which nothing of the
user's fleet, git or tmux is to be seen, and whatever ends it, nothing of it stays.
"""

from __future__ import annotations

import json
import os
import re
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.app.demo.story import FILE, Do, Ending, Story
from fleet.app.place import FleetPlace
from fleet.app.throwaway import begin_repository, neutral
from fleet.errors import FleetError

COMMAND_TIMEOUT_S: Final = 180.0
PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.4
NARROWEST: Final = 80
"""In less than that, words that a story looks for would be cut."""
WIDEST: Final = 120
QUESTION: Final = re.compile(r"\{question(?::([^}]+))?\}")
"""Stands for the id of the first question that is open, or of the first that says a text."""


class Unexpected(FleetError):
    """A command did not end as the story says."""


@dataclass(slots=True)
class Scene:
    """The repository of a story, and the environment that its commands run in."""

    top: Path
    name: str
    tell: Callable[[str], None]
    environ: dict[str, str]

    @property
    def root(self) -> Path:
        """The root of the repository."""
        return self.top / self.name

    def wrapped(self, text: str) -> str:
        """Returns a text of the story in lines that fit the terminal."""
        return textwrap.fill(text, int(self.environ["COLUMNS"]))

    def play(self, act: Do) -> None:
        """Runs a command, tells what it prints, and raises Unexpected when it ends otherwise."""
        line = QUESTION.sub(lambda found: self._question(found[1] or ""), act.run)
        self.tell(f"\n$ {line}")
        deadline = time.monotonic() + (PATIENCE_S if act.patient else 0)
        while True:
            code, said = self.run(shlex.split(line))
            wrong = _wrong(act, code, said)
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(PAUSE_S)
        self.tell(said.rstrip("\n"))
        if code:
            self.tell(f"[exit {code}]")
        if wrong:
            raise Unexpected(f"`{line}` {wrong}")

    def tell_state(self) -> None:
        """Tells how the fleet stands, for who is to find out why a command ended otherwise."""
        for line in ("fleet status", "fleet inbox"):
            with suppress(Unexpected):
                self.tell(f"\n$ {line}\n{self.run(shlex.split(line))[1].rstrip()}")

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

    def check_end(self, ending: Ending) -> None:
        """Raises Unexpected unless git itself shows what the story claims."""
        _, merged = self.run(["git", "log", "--first-parent", "--format=%s", "main"])
        found = merged.count("Merge ")
        if found < ending.merges:
            raise Unexpected(f"the history of main shows {found} merges, not {ending.merges}")
        _, files = self.run(["git", "ls-tree", "-r", "--name-only", "main"])
        lost = [name for name in ending.files if name not in files.split()]
        if lost:
            raise Unexpected(f"{lost[0]} is not on main")
        _, tags = self.run(["git", "tag", "--merged", "main"])
        if tuple(tags.split()) != ending.tags:
            raise Unexpected(f"main has the tags {tags.split()}")

    def _question(self, text: str) -> str:
        """Returns the id of the first open question that says a text; waits for it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            code, said = self.run(["fleet", "inbox", "--json"])
            if code:
                raise Unexpected(f"`fleet inbox --json` ended with {code}")
            questions: list[dict[str, Any]] = json.loads(said)["questions"]
            found = [one["id"] for one in questions if text in json.dumps(one, ensure_ascii=False)]
            if found:
                return str(found[0])
            if time.monotonic() > deadline:
                raise Unexpected(f"nobody asks {text!r}" if text else "nobody asks anything")
            time.sleep(PAUSE_S)


def _wrong(act: Do, code: int, said: str) -> str:
    """Returns what is not as the story says, as the end of a sentence; an empty text if all is."""
    if code != act.code:
        return f"ended with {code}, not {act.code}"
    shown = " ".join(said.split())  # whatever the width, and wherever a line is broken
    lost = [text for text in act.has if text not in shown]
    if lost:
        return f"does not say {lost[0]!r}"
    beyond = [text for text in act.lacks if text in shown]
    return f"says {beyond[0]!r}" if beyond else ""


@contextmanager
def stage(story: Story, tell: Callable[[str], None], *, keep: bool) -> Iterator[Scene]:
    """Yields a fresh repository with the story's fleet in it; ends and removes all of it after."""
    top = Path(tempfile.mkdtemp(prefix="fleet-demo-")).resolve()
    scene = Scene(top, story.name, tell, _environment(top))
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _make_repository(scene, story)
        tell(f"{story.opening}: {scene.root}")
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
    columns = max(NARROWEST, min(shutil.get_terminal_size((100, 24)).columns, WIDEST))
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


def _make_repository(scene: Scene, story: Story) -> None:
    folder = scene.top / "bin"
    folder.mkdir()
    program = folder / "fleet"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fleet "$@"\n')
    program.chmod(0o755)
    shutil.copytree(
        story.files, scene.root, ignore=shutil.ignore_patterns(FILE, "__pycache__", ".fleet")
    )
    begin_repository(scene.root, story.opening, scene.environ)


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
