"""What becomes of a session that shows no progress for too long: one nudge, then a question.

Silence alone ends nothing: a person says whether to wait or to stop. A question that nobody has
answered is withdrawn when the session goes on by itself.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.hooks import turn_of
from fleet.core.messages import AnswerQuestion, Question, RaiseQuestion, Then
from fleet.errors import FleetError
from fleet.kinds import Work
from fleet.kinds.agent.preparing import session_of
from fleet.kinds.agent.turns import Turns, read_answer

NUDGE: Final = (
    "Nothing was heard of you for some time. If you are done, end; if something keeps you from "
    "going on, say so with `fleet ask`; else go on."
)
OVER: Final = ("ended", "idle")
"""Turns in which a session reads what is typed; in any other one nothing is typed."""


@dataclass(slots=True)
class Silence:
    """How long one attempt has been silent, and what was done about it."""

    work: Work
    turns: Turns
    idle_s: float
    nudged: bool = False
    since_s: float = 0.0

    async def is_the_end(self) -> bool:
        """Looks once; returns whether a person wants the attempt ended for its silence."""
        heard_s = self._heard_s()
        request = self._request(self._asked())
        if self._marker(request).exists():
            return self._answered(request, heard_s)
        heard_s = max(heard_s, self.since_s)
        if self.turns.waits or not heard_s or time.time() - heard_s <= self.idle_s:
            return False
        if (
            not self.nudged
            and turn_of(self.work.folder).get("turn") in OVER
            and self.turns.interactive
        ):
            self.nudged, self.since_s = True, time.time()
            with contextlib.suppress(FleetError):
                send = self.work.world.tmux.send
                await self.work.world.in_thread(send, session_of(self.work), NUDGE)
            return False
        self._ask(self._request(self._asked() + 1))
        return False

    def _ask(self, request: str) -> None:
        marker = self._marker(request)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        question = Question(
            message=f"{self.work.params['task']} has shown no progress for {self.idle_s:g} s.",
            kind="choice",
            choices=("wait", "stop"),
            topic="idle",
            then=Then.REPLY,
            about={"request": request},
        )
        self.work.tell(RaiseQuestion(step=self.work.step.id, question=question))

    def _answered(self, request: str, heard_s: float) -> bool:
        """Takes the answer, or what makes it needless; returns whether it is to stop."""
        marker = self._marker(request)
        answer = read_answer(self.work.folder, request)
        if answer is not None:
            marker.unlink(missing_ok=True)
            self.since_s = time.time()
            return answer.get("value") == "stop"
        if heard_s >= marker.stat().st_mtime:
            note = "It went on by itself."
            self.work.tell(AnswerQuestion(id=request, value="wait", note=note, by="fleet"))
            marker.unlink(missing_ok=True)
        return False

    def _heard_s(self) -> float:
        """Returns when something was heard last (seconds since the epoch), 0 when never."""
        last = 0.0
        for name in ("output.log", "stdout.log", "session/turn.json"):
            with contextlib.suppress(OSError):
                last = max(last, (self.work.folder / name).stat().st_mtime)
        return min(last, time.time())  # a clock that was set back makes nobody silent

    def _asked(self) -> int:
        """Returns how often this attempt was asked about."""
        folder = self.work.folder
        found = [*(folder / "silent").glob("idle-*"), *(folder / "answers").glob("idle-*")]
        return max((int(one.stem.partition("-")[2]) for one in found), default=0)

    def _request(self, number: int) -> str:
        return f"idle-{number}"

    def _marker(self, request: str) -> Path:
        return self.work.folder / "silent" / request
