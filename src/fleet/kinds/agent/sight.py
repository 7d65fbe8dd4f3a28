"""What is seen of a session whose hooks are silent: its program's own word, then its screen.

A turn that began and goes on without an event is asked about at the program, where it can be asked,
else its screen is looked at.
A session that nothing was ever heard of is looked at: a screen makes it `blocked`, with a hint and
a question that ends when it goes on, or `unknown`, which is a legal state. Nothing seen here types
a key or ends anything. What is found is reported as the fact `seen`: {turn, source, at_ms, hint,
attempt}.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder
from fleet.adapters.hooks import turn_of
from fleet.errors import FleetError
from fleet.harnesses import Found, find_harness
from fleet.harnesses.queries import QUERIES, Query
from fleet.harnesses.screens import SCREENS, hint_of
from fleet.kinds import Work
from fleet.kinds.agent.concern import Concern
from fleet.kinds.agent.preparing import harness_of, session_of

FIRST_S: Final = 4.0
"""How long a session may be mute before its screen is looked at."""

STILL_S: Final = 2.0
"""How long a screen of which no hook is awaited must be still: what is drawn again and again does
not wait for anybody, and each look costs a client of tmux.
"""

DOUBT_S: Final = 20.0
"""How long one may be mute, or a turn go on without a word, before it is doubted."""

LONGEST_S: Final = 320.0
"""The longest pause between two questions to a program; each is twice as long as the one before."""

ANSWER_S: Final = 10.0
SHARED_S: Final = 5.0
"""How long a program's answer counts for all its sessions."""

HINT_CHARS: Final = 120
GOING: Final = ("started", "working")


@dataclass(slots=True)
class Sight:
    """What was seen of one attempt, and what was asked about it."""

    work: Work
    interactive: bool
    concern: Concern = field(init=False)
    reported: Mapping[str, Any] = field(init=False)
    drawn: tuple[float, int] = (0.0, 0)
    """Time and size of what the terminal had shown when its screen was last looked at."""
    hint: str = ""
    asked: str = ""
    """What was asked about last: a person who says `wait` is not asked the same again."""
    pause_s: float = DOUBT_S
    next_s: float = 0.0
    version: str | None = None

    def __post_init__(self) -> None:
        self.concern = Concern(self.work, "blocked")
        told: Any = self.work.facts.get("seen") or {}
        self.reported = told if told.get("attempt") == self.work.attempt else {}

    async def is_the_end(self) -> bool:
        """Looks once; returns whether a person wants the attempt ended for being blocked."""
        if self.concern.answer() == "stop":
            return True
        told = turn_of(self.work.folder)
        if told:
            await self._doubt(str(told["turn"]), told["at_ms"] / 1000)
        else:
            await self._look()
        return False

    # --- a session that its hooks tell of ---------------------------------------------------------

    async def _doubt(self, turn: str, heard_s: float) -> None:
        """Settles whether a turn still goes on of which nothing was heard for long."""
        now = time.time()
        if self.reported.get("turn") and self.reported["at_ms"] < heard_s * 1000:
            self.pause_s, self.next_s = DOUBT_S, 0.0
            self._go_on()
        if not self.interactive:
            return
        if turn == "failed":
            if now - heard_s > FIRST_S:
                self._block("its turn failed, and it waits to be told to go on", str(heard_s))
        elif turn in GOING and now - heard_s > DOUBT_S:
            if now >= self.next_s:
                self.next_s, self.pause_s = now + self.pause_s, min(2 * self.pause_s, LONGEST_S)
                await self._ask_program()
        elif not self.reported.get("turn"):
            self._go_on()

    async def _ask_program(self) -> None:
        """Asks the program how its session stands; one that cannot be asked is looked at."""
        harness = harness_of(self.work)
        session = hooks.session_of(self.work.folder, None)
        if not isinstance(harness, str) or harness not in QUERIES or session is None:
            if hint := await self._read_screen():
                self._report("blocked", "screen", hint)
                self._block(hint)
            return
        turn, waits = QUERIES[harness].read(await self._answer(QUERIES[harness]), session)
        if turn == "blocked":
            self._report(turn, "program", f"it waits for {waits[:HINT_CHARS] or 'a person'}")
            self._block(str(self.reported["hint"]))
        elif turn:
            self.concern.withdraw()
            self._report(turn, "program")

    async def _answer(self, query: Query) -> str:
        """Returns what a program says of all its sessions; those who ask at once ask once."""
        env = {**self._environment(), **query.env}
        key = (*query.argv, *(env.get(name, "") for name in query.told_apart_by))
        answers = self.work.world.answers
        at_s, answer = answers.get(key, (0.0, None))
        if answer is None or time.monotonic() - at_s > SHARED_S:
            answer = asyncio.ensure_future(self.work.world.in_thread(_run, query.argv, env))
            answers[key] = (time.monotonic(), answer)
        told: str = await asyncio.shield(answer)
        return told

    def _environment(self) -> dict[str, str]:
        told: Mapping[str, Any] = self.work.params["agent"].get("env") or {}
        return {**os.environ, **{str(name): str(value) for name, value in told.items()}}

    # --- a session that nothing was heard of ------------------------------------------------------

    async def _look(self) -> None:
        folder, now = AttemptFolder(self.work.folder), time.time()
        begun_s, drawn = _changed(folder.path / "claim")[0], _changed(folder.log)
        mute_s = now - (begun_s if self.interactive else max(drawn[0], _changed(folder.stdout)[0]))
        awaited = self.interactive and (folder.path / hooks.WISHES).exists()
        if begun_s and mute_s >= (FIRST_S if self.interactive else DOUBT_S):
            still = awaited or now - drawn[0] >= STILL_S
            if drawn[1] and drawn != self.drawn and still:  # else nothing is on it, or nothing new
                self.hint, self.drawn = await self._read_screen(), drawn
        else:
            self.hint = ""
        if self.hint:
            self._report("blocked", "screen", self.hint)
            self._block(self.hint)
        elif awaited and begun_s and now - begun_s > DOUBT_S:
            self.concern.withdraw()
            self._report("unknown", "screen", "nothing was heard of it since its start")
        else:
            self._go_on()

    async def _read_screen(self) -> str:
        """Returns what the screen of the session asks of a person, nothing when that is unknown."""
        named = harness_of(self.work)
        harness = named if isinstance(named, str) else ""
        try:
            read = self.work.world.tmux.screen
            shown = await self.work.world.in_thread(read, session_of(self.work))
            if self.version is None and harness in SCREENS:
                check = find_harness(harness).check
                found = await self.work.world.in_thread(check, self._environment())
                self.version = found.version if isinstance(found, Found) else ""
        except FleetError:
            return ""
        return hint_of(harness, shown, self.version or "")

    # --- what is told -----------------------------------------------------------------------------

    def _block(self, hint: str, mark: str = "") -> None:
        """Asks a person to look, once for each thing that there is to be seen."""
        if self.asked != hint + mark:
            task = self.work.task
            text = f"{task} waits in its terminal: {hint}. To answer: fleet attach {task}"
            self.concern.ask(text)
            self.asked = hint + mark

    def _go_on(self) -> None:
        """Takes back what was told: the session speaks for itself."""
        self.asked = ""
        self.concern.withdraw()
        self._report("", "")

    def _report(self, turn: str, source: str, hint: str = "") -> None:
        told = {"turn": turn, "source": source, "hint": hint, "attempt": self.work.attempt}
        same = all(self.reported.get(name) == value for name, value in told.items())
        if not same and (turn or self.reported):
            self.reported = {**told, "at_ms": int(time.time() * 1000)}
            self.work.report({"seen": self.reported})


def _changed(path: Path) -> tuple[float, int]:
    """Returns when a file was last written, and its size; zeros when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0.0, 0
    return found.st_mtime, found.st_size


def _run(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """Returns what a program prints; nothing when it fails or takes too long."""
    try:
        done = subprocess.run(
            argv,
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")
