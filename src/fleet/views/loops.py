"""Which rounds made each loop of a run, folded from its events, and what followed.

A loop is one of questions that are the same, of rework, or a circle of tasks that wait for one
another. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fleet.core import messages as m
from fleet.core.plan import Step


def loops_of(events: Iterable[m.Event], time_of: Callable[[int], str]) -> list[dict[str, Any]]:
    """Returns {kind, at, tasks, rounds, why, follow, change, ended} of each loop, oldest first:
    `kind` is question, rework or circle; a round is {id, task, at, by, text}; `follow` is the
    question or the step that followed, `change` the patch that a step applies, `ended` how the
    question was answered, or what became of the change.
    """
    fold = _Fold(time_of)
    for event in events:
        fold.take(event)
    return fold.rows


class _Fold:
    """The loops so far, and what a later one may name."""

    def __init__(self, time_of: Callable[[int], str]) -> None:
        self.time_of = time_of
        self.rows: list[dict[str, Any]] = []
        self.steps: dict[str, Step] = {}
        self.rounds: dict[str, dict[str, Any]] = {}
        self.asking: dict[str, dict[str, Any]] = {}
        """Questions about loops, which may be answered."""
        self.reworked: dict[str, dict[str, Any]] = {}
        """Steps whose rework has ended in a loop, of which a question may follow."""
        self.changed: dict[str, str] = {}
        """Who has changed the plan last -> the first step that came by it."""

    def take(self, event: m.Event) -> None:
        match event:
            case m.RunStarted():
                self.steps.update(event.plan.steps)
            case m.PlanRevised():
                put = event.patch.put
                self.changed |= {event.by: put[0].id} if put else {}
                for step in put:
                    told: Any = step.params.get("rounds")
                    new, self.steps[step.id] = step.id not in self.steps, step
                    if told and new:
                        self._add("question", event, told, step.params.get("why"), step.id)
            case m.QuestionRaised():
                self._raised(event)
            case m.QuestionAnswered() if event.id in self.asking:
                self.asking[event.id]["ended"] = event.value
            case m.AttemptEnded():
                self._ended(event)
            case _:
                pass

    def _raised(self, event: m.QuestionRaised) -> None:
        question, about = event.question, event.question.about
        self.rounds[event.id] = self._round(event, event.id, question.message, by=event.by)
        follow: Any = about.get("loop")
        known = next((row for row in self.rows if follow and row["follow"] == follow), None)
        if known is not None:
            known["rounds"].append(self.rounds[event.id])
        if event.step in self.reworked and question.then is m.Then.LADDER:
            row = self.asking[event.id] = self.reworked.pop(event.step)
            row["follow"] = event.id
        if question.kind == "loop":
            kind = "circle" if "circle" in about else "question"
            told: Any = about.get("rounds", ())
            row = self._add(kind, event, told, question.message, event.id)
            circle: Any = about.get("circle")
            row["tasks"] = list(circle or row["tasks"])
            self.asking[event.id] = row

    def _ended(self, event: m.AttemptEnded) -> None:
        evidence, text = event.outcome.evidence, event.outcome.text
        for row in self.rows:
            if row["follow"] == event.step and event.outcome.ending is m.Ending.SUCCEEDED:
                row["ended"] = event.outcome.label or "applied"
        self.rounds[event.step] = self._round(event, event.step, text)
        told: Any = evidence.get("loop")
        if told:
            follow = self.changed.get(event.step, "")
            row = self._add("rework", event, told["rounds"], told["why"], follow)
            self.reworked |= {} if follow else {event.step: row}

    def _round(self, event: Any, name: str, text: str, *, by: str = "") -> dict[str, Any]:
        step = self.steps.get(event.step)
        task = step.whole if step is not None else ""
        at = self.time_of(event.at_ms)
        return {"id": name, "task": task or None, "at": at, "by": by or None, "text": text}

    def _add(
        self, kind: str, event: m.Event, rounds: Iterable[str], why: object, follow: str
    ) -> dict[str, Any]:
        told = [self.rounds[name] for name in rounds if name in self.rounds]
        row = {
            "kind": kind,
            "at": self.time_of(event.at_ms),
            "tasks": list(dict.fromkeys(one["task"] for one in told if one["task"])),
            "rounds": told,
            "why": str(why or "").partition("\n")[0],
            "follow": follow or None,
            "change": _change(self.steps.get(follow)),
            "ended": None,
        }
        self.rows.append(row)
        return row


def _change(step: Step | None) -> str | None:
    """Returns the name of the patch that a step applies, None for any other step or change."""
    told = step.params.get("change") if step is not None and step.kind == "adapt" else None
    return told if isinstance(told, str) else None
