"""What follows when the rework of a task goes in a circle: no more of it.

The ladder goes on as it does without tries, or what `loops` of the documents says: a change of the
plan, or a question to whom it names. Which rounds made the loop is kept with the findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import Failure, Patch
from fleet.files.adapting import adapt_step
from fleet.files.changes.rounds import AFTER, loop_at
from fleet.kinds import Work

CHOICES = ("rework", "retry", "skip", "fail")


def ended_by_loop(work: Work, text: str, found: Mapping[str, Any]) -> Outcome | None:
    """Returns the end of a check whose red findings close a loop of rounds, None where they close
    none. `text` says why it is red.
    """
    told: Any = work.params.get("loops") or {}
    loop = loop_at(work.course, work.step, found, int(told.get("after") or AFTER))
    if loop is None:
        return None
    return _left(work, f"{text}; {loop.why}", {**found, "loop": loop.plain()}, told)


def _left(work: Work, text: str, found: Mapping[str, Any], told: Mapping[str, Any]) -> Outcome:
    task = str(work.params["task"])
    for rung in told.get("then") or ():
        if rung.get("adapt"):
            step = adapt_step(f"{work.step.id}/loop", rung["adapt"], needs=(), whole=task, why=text)
            patch = Patch(put=(step,), reason=text[:500])
            return Outcome(
                ending=Ending.FAILED,
                failure=Failure.TASK,
                text=text,
                evidence=found,
                patch=patch,
            )
        question = Question(
            message=text,
            kind="escalation",
            choices=CHOICES,
            whom=str(rung.get("escalate") or rung.get("ask")),
            topic="loop",
            then=Then.LADDER,
        )
        return Outcome(ending=Ending.ASKED, text=text, evidence=found, question=question)
    return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text, evidence=found)
