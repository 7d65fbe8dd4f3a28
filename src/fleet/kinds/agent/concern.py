"""What fleet itself asks a person about a running attempt: whether to wait for it or to stop it.

A question is open as long as its marker lies in `silent/`, so that it outlives the coordinator; it
is withdrawn when the session goes on by itself, and nothing ends without a person's word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fleet.core.messages import AnswerQuestion, Question, RaiseQuestion, Then
from fleet.kinds import Work
from fleet.kinds.agent.preparing import session_of
from fleet.kinds.agent.turns import read_answer


@dataclass(slots=True)
class Concern:
    """The questions of one topic about one attempt; one of them at most is open."""

    work: Work
    topic: str
    number: int = field(init=False)
    """How often was asked."""

    def __post_init__(self) -> None:
        places = (self.work.folder / "silent", self.work.folder / "answers")
        found = [path for place in places for path in place.glob(f"{self.topic}-*")]
        self.number = max((int(one.stem.rpartition("-")[2]) for one in found), default=0)

    @property
    def asked_s(self) -> float | None:
        """When the open question was asked (seconds since the epoch); None when none is open."""
        try:
            return self._marker.stat().st_mtime if self.number else None
        except OSError:
            return None

    def ask(self, message: str) -> None:
        """Asks, unless it is asked already."""
        if self.asked_s is not None:
            return
        self.number += 1
        self._marker.parent.mkdir(parents=True, exist_ok=True)
        self._marker.touch()
        question = Question(
            message=message,
            kind="choice",
            choices=("wait", "stop"),
            topic=self.topic,
            then=Then.REPLY,
            about={"request": self._request},
        )
        self.work.tell(RaiseQuestion(step=self.work.step.id, question=question))

    def answer(self) -> str:
        """Returns a person's answer, `wait` or `stop`, once; nothing when there is none."""
        found = read_answer(self.work.folder, self._request) if self.asked_s is not None else None
        if found is None:
            return ""
        self._marker.unlink(missing_ok=True)
        return str(found.get("value"))

    def withdraw(self) -> None:
        """Closes the open question: the session went on by itself."""
        if self.asked_s is None:
            return
        note = "It went on by itself."
        self.work.tell(AnswerQuestion(id=self._request, value="wait", note=note, by="fleet"))
        self._marker.unlink(missing_ok=True)

    @property
    def _request(self) -> str:
        """The name of the latest question, which no other attempt's has."""
        return f"{self.topic}-{session_of(self.work)}-{self.number}"

    @property
    def _marker(self) -> Path:
        return self.work.folder / "silent" / self._request
