"""The kind `ask`: a workflow's question to a person; its answer, checked and typed, is the output.

The step asks and is tried again with the answer, so that one that does not fit (no number) asks
once more, and no limit is held while a person thinks. A rejected approval fails the step, or goes
to its `else`. A question ends by itself only where the workflow gives it a time. A change of the
plan is asked about with its whole text; whoever approves it changes the plan by that.
"""

from __future__ import annotations

from typing import Any

from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import PERSON
from fleet.core.state import Answered
from fleet.files.changes.proposals import PROPOSAL_CHARS, text_of
from fleet.files.flows.scope import Scope
from fleet.kinds import Work
from fleet.kinds.flow import at_once, attempt, failed, otherwise
from fleet.views.decisions import PROPOSAL
from fleet.views.flows import as_text, before, number_of

APPROVALS = ("approve", "adapt")
CHOICES = {"confirm": ("yes", "no"), **dict.fromkeys(APPROVALS, ("approve", "reject"))}


def settle(work: Work) -> Outcome | None:
    """Returns what `run` does; None where functions of the fleet are called."""
    return at_once(work, lambda scope: _answered(work, scope))


async def run(work: Work) -> Outcome:
    """Returns ASKED until there is an answer that fits, then the outcome that it makes."""
    return await attempt(work, lambda scope: _answered(work, scope))


def _answered(work: Work, scope: Scope) -> Outcome:
    step = scope.step
    if not work.answers:
        return _asked(work, scope, "")
    answer = work.answers[-1]
    if step["type"] in APPROVALS:
        return _approved(work, scope, answer)
    value: Any = answer.value
    if answer.by == "timeout":
        if "default" not in step:
            return failed("nobody answered in time")
        value = scope.evaluate(step["default"])
        if step.get("input") == "confirm":
            value = {"confirmed": value in (True, "yes")}
    elif step.get("input") == "confirm":
        value = {"confirmed": answer.value == "yes"}
    elif step.get("input") == "number":
        value = number_of(answer.value)
        if value is None:
            return _asked(work, scope, f"{answer.value[:80]!r} is no number. ")
    return Outcome(ending=Ending.SUCCEEDED, output=value)


def _approved(work: Work, scope: Scope, answer: Answered) -> Outcome:
    step = scope.step
    why = "" if answer.by == "timeout" else _not_theirs(work, scope, answer.by)
    if why:
        return _asked(work, scope, why)
    output = {"approved": answer.value == "approve", "by": answer.by, "note": answer.note}
    if output["approved"]:
        return Outcome(ending=Ending.SUCCEEDED, label="approve", output=output)
    if not step.get("else"):
        why = f": {answer.note}" if answer.note else ""
        late = answer.by == "timeout"
        return failed("nobody approved in time" if late else f"rejected by {answer.by}{why}")
    patch = otherwise(work, scope, "was rejected")
    return Outcome(ending=Ending.SUCCEEDED, label="reject", output=output, patch=patch)


def _not_theirs(work: Work, scope: Scope, by: str) -> str:
    """Returns that an answer does not count, where it is not of whom the step names, or of an agent
    that has worked at what is approved; nothing when it counts.
    """
    name = by.removeprefix("agent:")
    done: Any = [one.step.params.get("agent") for one, _ in before(work.look, scope.one)]
    if by.startswith("agent:") and any(told and told["id"] == name for told in done):
        return f"{name} cannot approve its own work. "
    wanted = str(scope.step.get("by") or PERSON).removeprefix("@")
    played = scope.bundle["agents"].get(wanted)
    theirs = {wanted, f"agent:{wanted}"} | ({f"agent:{played['agent']['id']}"} if played else set())
    if wanted == PERSON or by in theirs or by.startswith("mcp:"):  # it was offered to the role
        return ""
    return f"{wanted} approves this, not {name}. "


def _asked(work: Work, scope: Scope, first: str) -> Outcome:
    step = scope.step
    kind = step["type"] if step["type"] != "prompt" else step.get("input", "text")
    about: dict[str, Any] = {"workflow": scope.form["name"], "step": work.step.whole}
    if kind == "adapt":
        told = step["patch"]
        named = isinstance(told, str)  # what the documents say is no template
        about[PROPOSAL] = scope.bundle["patches"][told] if named else scope.evaluate(told)
        message = text_of(about[PROPOSAL])
        if len(message) > PROPOSAL_CHARS:
            return failed(f"a patch of {len(message)} characters is more than a person reads")
    else:
        message = scope.render(step.get("message") or step["question"])
    choices = CHOICES.get(kind, tuple(step.get("choices") or ()))
    late_ms = step.get("timeout_ms")
    question = Question(
        message=f"{first}{message}",
        kind="approval" if kind in APPROVALS else kind,
        choices=choices,
        whom=str(step.get("by") or step.get("to") or PERSON).removeprefix("@"),
        topic="plan" if kind == "adapt" else str(step.get("topic") or ""),
        then=Then.AGAIN,
        expires_at_ms=None if late_ms is None else work.now_ms + late_ms,
        default=scope.render(as_text(step["default"])) if "default" in step else None,
        about=about,
    )
    return Outcome(ending=Ending.ASKED, question=question)
