"""What becomes of a session that shows no progress for too long: one nudge, then a question.

Progress is what the program says, what it commits and which files it changes. What a terminal draws
counts only where no hook tells: a program that waits for its model for ever draws for ever, too.
Silence alone ends nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.hooks import turn_of
from fleet.errors import FleetError
from fleet.kinds import Work
from fleet.kinds.agent.concern import Concern
from fleet.kinds.agent.preparing import session_of
from fleet.kinds.agent.turns import Turns

NUDGE: Final = (
    "Nothing was heard of you for some time. If you are done, end; if something keeps you from "
    "going on, say so with `fleet ask`; else go on."
)
OVER: Final = ("ended", "idle")
"""Turns in which a session reads what is typed; in any other one nothing is typed."""

FILES_LOOKED_AT: Final = 1_000
"""Changed files whose time is looked at; a change shows in a few as well."""


@dataclass(slots=True)
class Silence:
    """How long one attempt has been silent, and what was done about it; `idle_s` 0 is for ever."""

    work: Work
    turns: Turns
    idle_s: float
    nudged: bool = False
    since_s: float = 0.0
    concern: Concern = field(init=False)

    def __post_init__(self) -> None:
        self.concern = Concern(self.work, "idle")

    async def is_the_end(self) -> bool:
        """Looks once; returns whether a person wants the attempt ended for its silence."""
        if not self.idle_s:
            return False
        asked_s, answer = self.concern.asked_s, self.concern.answer()
        if answer:
            self.since_s = time.time()
            return answer == "stop"
        heard_s = self._heard_s()
        if asked_s is not None:
            if heard_s >= asked_s or await self._worked_s() >= asked_s:
                self.concern.withdraw()
            return False
        if self.turns.waits or not heard_s or not self._is_long_ago(heard_s):
            return False
        if not self._is_long_ago(await self._worked_s()):
            return False
        over = turn_of(self.work.folder).get("turn") in OVER
        if self.turns.interactive and over and not self.nudged:
            self.nudged, self.since_s = True, time.time()
            with contextlib.suppress(FleetError):
                send = self.work.world.tmux.send
                await self.work.world.in_thread(send, session_of(self.work), NUDGE)
            return False
        self.concern.ask(f"{self.work.task} has shown no progress for {self.idle_s:g} s.")
        return False

    def _is_long_ago(self, heard_s: float) -> bool:
        return time.time() - max(heard_s, self.since_s) > self.idle_s

    def _heard_s(self) -> float:
        """Returns when something was heard last (seconds since the epoch), 0 when never."""
        names = ["stdout.log", "session/turn.json", "lease"]  # the last is a client's
        if not (self.turns.interactive and turn_of(self.work.folder)):
            names.append("output.log")
        last = 0.0
        for name in names:
            with contextlib.suppress(OSError):
                last = max(last, (self.work.folder / name).stat().st_mtime)
        return min(last, time.time())  # a clock that was set back makes nobody silent

    async def _worked_s(self) -> float:
        """Returns when a commit or a change of a file was last made in the worktree."""
        last: float = await self.work.world.in_thread(_worked_s, self.work, self.turns.place)
        self.since_s = max(self.since_s, last)
        return last


def _worked_s(work: Work, place: Mapping[str, Any]) -> float:
    """Returns the time of the latest change; 0 when none is to be seen. Looks at what changed only,
    and that only where all else is silent.
    """
    tree, admin = Path(place["path"]), Path(place["admin"])
    worktree = git.Worktree(
        path=tree,
        branch=str(place["branch"]),
        start=str(place["start"]),
        key=f"{work.run}/{work.task}",
        admin=admin,
        common=work.world.repository.common,
    )
    changed: tuple[str, ...] = ()
    with contextlib.suppress(FleetError, OSError):
        changed = git.dirty(worktree)[:FILES_LOOKED_AT]
    paths = [admin / "logs/HEAD", *(tree / name for name in changed)]
    last = 0.0
    for path in (*paths, *{(tree / name).parent for name in changed}):
        with contextlib.suppress(OSError):
            last = max(last, os.lstat(path).st_mtime)
    return min(last, time.time())
