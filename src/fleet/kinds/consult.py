"""The kind `consult`: a step of the plan asks a role or a person; the answer is its output.

Whom the question goes to is the run's routes' affair; the step holds nothing while it waits. An
answer that nobody gives fails it.
"""

from __future__ import annotations

from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import Failure
from fleet.kinds import Work


def settle(work: Work) -> Outcome:
    """Returns ASKED until there is an answer, then {answer, by, reason} as output."""
    if not work.answers:
        return Outcome(ending=Ending.ASKED, question=_question(work))
    answer = work.answers[-1]
    if not answer.value:
        text = f"nobody answered: {work.params['message']}"
        return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text)
    output = {"answer": answer.value, "by": answer.by, "reason": answer.note}
    return Outcome(ending=Ending.SUCCEEDED, text=answer.value, output=output)


def _question(work: Work) -> Question:
    params = work.params
    return Question(
        message=str(params["message"]),
        whom=str(params["to"]),
        topic=str(params.get("topic") or ""),
        then=Then.AGAIN,
    )
