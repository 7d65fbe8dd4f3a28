"""Use cases of a change of the plan that somebody proposes and a person decides on.

A proposal is a question with the change among what it is about. It is checked as an edit of the
documents is when it is made, and once more when it is approved; the answer then carries the patch,
so that decision and change are one. Nothing is changed without a person's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet.app.place import PLAN_RUN, FleetPlace
from fleet.app.reporting import raise_question
from fleet.app.revising import bring_up_to_date
from fleet.core import messages as m
from fleet.errors import FleetError, Rejected

if TYPE_CHECKING:
    from fleet.core.plan import Patch
    from fleet.core.state import OpenQuestion, State
    from fleet.files.revise import Revision

ABOUT: Final = "proposal"


def propose(place: FleetPlace, change: Mapping[str, Any], task: str = "") -> dict[str, Any]:
    """Asks a person whether the plan may be changed so; returns `fleet.proposal/1`: the question,
    and what would change step by step.

    Raises InvalidPlan and Rejected with every reason why it could not be applied now.
    """
    from fleet.files.proposals import PROPOSAL_CHARS, text_of

    if not any(change.get(name) for name in ("add", "needs", "drop")):
        raise FleetError("the change changes nothing", hint="give `add`, `needs` or `drop`")
    text = text_of(change)
    if len(text) > PROPOSAL_CHARS:
        raise FleetError(
            f"the change has {len(text)} characters, at most {PROPOSAL_CHARS} can be judged",
            hint="propose it in parts",
        )
    state = _state(place)
    revision = _revision(place, state, change)
    from fleet.core.decide import decide

    decide(state, m.RevisePlan(patch=revision.patch, at_ms=state.at_ms))
    question = m.Question(
        message=text,
        kind="approval",
        choices=("approve", "reject"),
        topic="plan",
        about={ABOUT: dict(change)},
    )
    name = raise_question(place, question, PLAN_RUN, task)
    return {"schema": "fleet.proposal/1", "question": name, "changes": list(revision.lines)}


def proposed_patch(place: FleetPlace, state: State, asked: OpenQuestion) -> Patch | None:
    """Returns the patch of the plan that an approval of a question stands for, None where it
    proposes nothing. A question of the plan's own run, or of a workflow's step, may propose one.

    Raises Rejected for a question that does not show what it would change: whoever may only ask
    could else have a person approve what nobody has read.
    """
    from fleet.files.proposals import text_of

    change: Any = asked.question.about.get(ABOUT)
    if not isinstance(change, Mapping):
        return None
    one = state.known(asked.step)
    mine = state.run == PLAN_RUN or (one is not None and one.step.kind == "ask")
    if asked.question.message != text_of(change) or not mine:
        raise Rejected(f"{asked.id} does not show what it would change", hint="reject it")
    return _revision(place, _state(place), change).patch


def _state(place: FleetPlace) -> State:
    """Returns the plan's run, brought up to its documents."""
    state = place.run_state()
    if state is None:
        raise Rejected("nothing was launched yet; the documents are the plan", hint="edit them")
    if bring_up_to_date(place, state) is not None:
        state = place.run_state()
        assert state is not None, "a run that was revised is in the journal"
    return state


def _revision(place: FleetPlace, state: State, change: Mapping[str, Any]) -> Revision:
    from fleet.files.kept import keep_text, lowered
    from fleet.files.load import load
    from fleet.files.lower import lower
    from fleet.files.revise import revision_of
    from fleet.harnesses import demands

    before = lowered(place.documents, place.state)
    fleet = load(place.root, change=change)
    demands.require(fleet)
    after, texts = lower(fleet)
    revision = revision_of(state, before, after)
    if revision.kept:
        kept = ", ".join(revision.kept)
        raise Rejected(f"{kept}: started already, and keeps what it was started with")
    for digest, text in texts.items():
        keep_text(place.state, digest, text)
    return revision
