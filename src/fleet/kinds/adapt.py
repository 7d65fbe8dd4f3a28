"""The kind `adapt`: the plan changes itself, by a patch that the documents name or by one written
out.

A person is asked with the whole text of the change; whoever approves it changes the plan by that,
in one step with the answer. A rejected change leaves the plan as it was, and is no failure: what
waits for this step goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import Failure
from fleet.errors import FleetError, NotFound
from fleet.files.adapting import REJECTED
from fleet.files.load import load
from fleet.files.proposals import PROPOSAL_CHARS, text_of
from fleet.kinds import Work


async def run(work: Work) -> Outcome:
    """Returns ASKED until somebody has answered; then who approved or rejected it, as output."""
    if work.answers:
        answer = work.answers[-1]
        told = {"approved": answer.value == "approve", "by": answer.by, "note": answer.note}
        label = "" if told["approved"] else REJECTED
        return Outcome(ending=Ending.SUCCEEDED, output=told, label=label)
    try:
        change: Mapping[str, Any] = await work.world.in_thread(_change, work)
    except FleetError as refused:
        return _failed(f"{refused.text} {refused.hint}".strip())
    message = text_of(change)
    if len(message) > PROPOSAL_CHARS:
        return _failed(f"a change of {len(message)} characters is more than a person reads")
    question = Question(
        message=message,
        kind="approval",
        choices=("approve", "reject"),
        topic="plan",
        then=Then.AGAIN,
        about={"proposal": dict(change), "why": work.params.get("why", "")},
    )
    return Outcome(ending=Ending.ASKED, question=question)


def _change(work: Work) -> Mapping[str, Any]:
    """Returns the change that the step applies; raises NotFound for a patch that nobody wrote."""
    told = work.params["change"]
    if not isinstance(told, str):
        return dict(told)
    patches = load(work.world.root).settings.patches
    if told not in patches:
        raise NotFound("patch", told, sorted(patches))
    return patches[told]


def _failed(text: str) -> Outcome:
    return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text)
