"""The kind `answer`: what an agent has said about a question becomes the answer, once.

The answer is told to the run before this step ends, so a crash between the two finds the question
closed. A question that has closed or gone on to somebody else meanwhile is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.adapters.crash import crash_point
from fleet.core.messages import AnswerQuestion, Ending, Outcome, Then
from fleet.core.plan import QUESTION, Patch
from fleet.core.state import OpenQuestion
from fleet.errors import FleetError
from fleet.files.changes.proposals import shows
from fleet.files.changes.rejudging import asked_rework
from fleet.kinds import Work
from fleet.views.decisions import PROPOSAL


async def run(work: Work) -> Outcome:
    """Returns {answer, reason, by} as output, labelled `answered`, or `late` where nobody waits for
    it any more.
    """
    name = str(work.params[QUESTION])
    asked = work.asked(name)
    said = _said(work)
    if asked is None or work.step.id not in asked.steps or said is None:
        late = asked is None or work.step.id not in asked.steps
        text = "nobody waits for it any more" if late else "nothing was answered"
        return Outcome(ending=Ending.SUCCEEDED, text=text, label="late" if late else "nothing")
    by = f"agent:{_agent(work)}"
    answer, reason = said["answer"], said["reason"]
    try:
        patch = await _patch(work, asked, answer, reason)
    except FleetError as refused:
        text = f"it was approved, but {refused.text} {refused.hint}".strip()
        return Outcome(ending=Ending.SUCCEEDED, text=text, label="nothing")
    work.tell(AnswerQuestion(id=name, value=answer, note=reason, patch=patch, by=by))
    crash_point("kinds.answer.before_outcome")
    output = {**said, "by": by}
    return Outcome(ending=Ending.SUCCEEDED, text=answer, output=output, label="answered")


async def _patch(work: Work, asked: OpenQuestion, answer: str, reason: str) -> Patch | None:
    """Returns the change of the plan that an answer stands for; raises FleetError where it cannot
    be made, or the question does not show it.
    """
    change: Any = asked.question.about.get(PROPOSAL)
    if answer == "rework" and answer in asked.question.choices:
        by = f"{asked.question.whom}, who was asked,"
        return asked_rework(work.course, asked.step, reason, by=by)
    if answer != "approve" or not change or asked.question.then is not Then.NOTE:
        return None
    if not shows(asked.question.message, change):
        raise FleetError("its question does not show what it would change")
    patch: Patch | None = (await work.world.change(work.run, change)).patch
    return patch


def _said(work: Work) -> Mapping[str, str] | None:
    """Returns {answer, reason} as the step before has put it out; None where it was skipped."""
    for one in work.inputs.values():
        output: Any = one.get("output")
        if isinstance(output, Mapping) and isinstance(output.get("value"), Mapping):
            value: Mapping[str, str] = output["value"]
            return value
    return None


def _agent(work: Work) -> str:
    steps = [work.plan_step(need.step) for need in work.step.needs]
    told: list[Any] = [step.params.get("agent") for step in steps if step is not None]
    return str(told[0]["id"]) if told else ""
