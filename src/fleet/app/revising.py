"""Lowering the documents, and what they and edits of them mean for the fleet's run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.app import knowing
from fleet.app.place import PLAN_RUN
from fleet.app.telling import tell
from fleet.core import messages as m
from fleet.core.evolve import evolve
from fleet.core.plan import Plan, basis_of
from fleet.errors import InvalidPlan, Rejected
from fleet.files import kept

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.core.state import OpenQuestion, State
    from fleet.files.changes.revise import Revision


def lowered(place: FleetPlace) -> Plan:
    """Returns the plan of the fleet's documents; raises InvalidPlan with every problem."""
    place.state.mkdir(mode=0o700, exist_ok=True)
    plan = knowing.plan_of(place)
    if plan is None:
        from fleet.harnesses import demands

        demands.require(place.documents)
        plan = kept.lowered(place.documents, place.state)
        knowing.note_lowered(place)
    return plan


def planned_state(place: FleetPlace) -> State:
    """Returns the state that a run of the documents would have before anything happens."""
    return evolve(None, m.RunStarted(run=PLAN_RUN, plan=lowered(place), at_ms=0))


def foreseen(place: FleetPlace) -> State:
    """Returns the run as a launch would find it, brought up to the documents; nobody is told.

    Raises what `bring_up_to_date` does.
    """
    state = place.run_state()
    if state is None:
        return planned_state(place)
    if knowing.digest_of(place) == state.about.get("digest"):
        return state
    revision = _pending(place, state)
    if revision is not None:
        from fleet.core.decide import decide

        for event in decide(state, m.RevisePlan(patch=revision.patch, at_ms=state.at_ms)):
            state = evolve(state, event)
    return state


def bring_up_to_date(place: FleetPlace, state: State) -> Revision | None:
    """Applies an edit of the documents to a run and returns it, or None without one.

    Raises InvalidPlan when the documents do not hold and Rejected when the edit touches what it may
    not: in both cases the run goes on with the last good plan.
    """
    if knowing.digest_of(place) == state.about.get("digest"):
        return None
    from fleet.files.changes.changing import RACES

    for left in reversed(range(RACES)):
        revision = _pending(place, state)
        if revision is None:
            return None
        try:
            tell(place, [m.RevisePlan(patch=revision.patch)])
            return revision
        except Rejected:
            later = place.run_state()
            if not left or later is None or basis_of(later.about) == basis_of(state.about):
                raise
            state = later  # somebody else has changed the plan meanwhile
            if knowing.digest_of(place) == state.about.get("digest"):
                return revision
    return None


def _pending(place: FleetPlace, state: State) -> Revision | None:
    from fleet.harnesses import demands

    fleet = place.followed(state, landed_edits(place, state))  # what has landed waits for a word
    demands.require(fleet)
    return kept.pending_revision(fleet, place.state, state)


def landed_edits(place: FleetPlace, state: State) -> dict[str, bytes | None]:
    """Returns the documents that a landing has changed and nobody has approved, each as the run
    follows it, None where it was not there.
    """
    if knowing.digest_of(place) == state.about.get("digest"):
        return {}
    from fleet.runtimes.arrivals import arrived

    return arrived(place.followed(state), place.state, state)


def edit_in_words(place: FleetPlace, state: State) -> list[str]:
    """Returns how the documents differ from what the run follows, or why they do not hold."""
    try:
        if knowing.digest_of(place) == state.about.get("digest"):
            return []
        revision = _pending(place, state)
    except InvalidPlan as invalid:
        told = "the edited files do not hold; the run follows the last good plan:"
        return [told, *(f"  {problem}" for problem in invalid.problems)]
    if revision is None or not (revision.lines or revision.kept):
        return []
    return ["the files were edited since the run took them up:", *revision.words()]


def approve_edit(place: FleetPlace, state: State, asked: OpenQuestion, note: str, by: str) -> None:
    """Approves an edit of the documents that came with a landing, and has the run take it up;
    raises Rejected when the documents are others by now.
    """
    from fleet.harnesses import demands
    from fleet.runtimes.arrivals import ABOUT, name_of

    fleet, landed = place.followed(state), landed_edits(place, state)
    demands.require(fleet)
    if landed and name_of(fleet, landed) != asked.question.about[ABOUT]:
        hint = "the question about them as they are follows"
        raise Rejected(f"the documents were edited since {asked.id} was asked", hint=hint)
    revision = kept.pending_revision(fleet, place.state, state)
    patch = revision.patch if revision is not None else None
    told = m.AnswerQuestion(id=asked.id, value="approve", note=note, patch=patch)
    tell(place, [told], run=state.run, by=by)
