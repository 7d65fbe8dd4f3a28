"""The kind `adapt`: the plan changes itself, by a patch that the documents name or by one written
out.

Inside of the fleet's envelope that happens at once, with the outcome; else a person is asked with
the whole text of the change, and whoever approves it changes the plan by that. A rejected change
leaves the plan as it was, and is no failure. What the run has taken up before is not applied again;
what another change has overtaken is worked out anew.
"""

from __future__ import annotations

from typing import Any, Final

from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import Failure
from fleet.core.state import Answered
from fleet.errors import FleetError
from fleet.files.adapting import ALREADY
from fleet.files.changes.proposals import PROPOSAL_CHARS, shows, text_of
from fleet.kinds import Changed, Work
from fleet.views.decisions import PROPOSAL
from fleet.views.proofs import REJECTED

TOPIC: Final = "plan"


async def run(work: Work) -> Outcome:
    """Returns SUCCEEDED with the patch where nobody has to be asked, or was and said yes; ASKED
    until somebody has answered. Its output is {approved, by, note}.
    """
    answer = next((one for one in reversed(work.answers) if one.question.topic == TOPIC), None)
    if answer is not None and answer.value != "approve":
        return Outcome(ending=Ending.SUCCEEDED, output=_said(answer), label=REJECTED)
    try:
        found = await work.world.change(work.run, work.params["change"])
    except FleetError as refused:
        return _failed(f"{refused.text} {refused.hint}".strip())
    said = _said(answer)
    if found.taken:
        label = ALREADY if answer is None else ""
        return Outcome(ending=Ending.SUCCEEDED, output=said, label=label)
    approved = answer is not None and shows(answer.question.message, found.change)
    if not found.against or approved:
        text = str(found.change.get("reason") or "")
        return Outcome(ending=Ending.SUCCEEDED, text=text, output=said, patch=found.patch)
    return _asked(work, found)


def _said(answer: Answered | None) -> dict[str, Any]:
    if answer is None:
        return {"approved": False, "by": "", "note": ""}
    return {"approved": answer.value == "approve", "by": answer.by, "note": answer.note}


def _asked(work: Work, found: Changed) -> Outcome:
    why, name = str(work.params.get("why") or ""), work.params["change"]
    named = f"The plan would be changed by its patch {name}:" if isinstance(name, str) else ""
    message = "\n\n".join(filter(None, (why, named, text_of(found.change))))
    if len(message) > PROPOSAL_CHARS:
        return _failed(f"a change of {len(message)} characters is more than a person reads")
    question = Question(
        message=message,
        kind="approval",
        choices=("approve", "reject"),
        topic=TOPIC,
        then=Then.AGAIN,
        about={PROPOSAL: dict(found.change), "against": list(found.against)},
    )
    return Outcome(ending=Ending.ASKED, question=question)


def _failed(text: str) -> Outcome:
    return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text)
