"""What fleet itself asks a person about a running attempt: whether to wait for it or to stop it.

A question is open as long as its marker lies in `silent/`, so that it outlives the coordinator; it
is withdrawn when the session goes on by itself, and nothing ends without a person's word.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    @property
    def asked_s(self) -> float | None:
        """When the open question was asked (seconds since the epoch); None when none is open."""
        try:
            return self._marker(self._count()).stat().st_mtime
        except OSError:
            return None

    def ask(self, message: str) -> None:
        """Asks, unless it is asked already."""
        if self.asked_s is not None:
            return
        number = self._count() + 1
        marker = self._marker(number)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        question = Question(
            message=message,
            kind="choice",
            choices=("wait", "stop"),
            topic=self.topic,
            then=Then.REPLY,
            about={"request": self._request(number)},
        )
        self.work.tell(RaiseQuestion(step=self.work.step.id, question=question))

    def answer(self) -> str:
        """Returns a person's answer, `wait` or `stop`, once; nothing when there is none."""
        number = self._count()
        found = read_answer(self.work.folder, self._request(number))
        if found is None or not self._marker(number).exists():
            return ""
        self._marker(number).unlink(missing_ok=True)
        return str(found.get("value"))

    def withdraw(self) -> None:
        """Closes the open question: the session went on by itself."""
        if self.asked_s is None:
            return
        request = self._request(self._count())
        note = "It went on by itself."
        self.work.tell(AnswerQuestion(id=request, value="wait", note=note, by="fleet"))
        self._marker(self._count()).unlink(missing_ok=True)

    def _count(self) -> int:
        """Returns how often this was asked about the attempt."""
        places = (self.work.folder / "silent", self.work.folder / "answers")
        found = [path for place in places for path in place.glob(f"{self.topic}-*")]
        return max((int(one.stem.rpartition("-")[2]) for one in found), default=0)

    def _request(self, number: int) -> str:
        """Returns the name of a question, which no other attempt's has."""
        return f"{self.topic}-{session_of(self.work)}-{number}"

    def _marker(self, number: int) -> Path:
        return self.work.folder / "silent" / self._request(number)
