"""Use cases of a change of the plan: worked out, shown, and applied or asked about.

Inside of the fleet's envelope a change is applied at once, outside of it a person is asked, or says
so with the command. A proposal is a question with the change among what it is about; it is worked
out when it is made, and once more when it is approved: the answer then carries the patch, so that
decision and change are one. What somebody else has overtaken is worked out anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.app.calendars import calendar_of
from fleet.app.place import PLAN_RUN, FleetPlace, require_documents
from fleet.app.reporting import raise_question
from fleet.app.revising import (
    approve_edit,
    bring_up_to_date,
    foreseen,
    landed_edits,
)
from fleet.app.telling import tell
from fleet.core import messages as m
from fleet.core.plan import basis_of
from fleet.errors import FleetError, Rejected
from fleet.views.decisions import PROPOSAL

if TYPE_CHECKING:
    from fleet.core.plan import Patch
    from fleet.core.state import OpenQuestion, State
    from fleet.files.changes.changing import Prepared
    from fleet.files.changes.proposals import Change
    from fleet.files.changes.revise import Revision


@dataclass(frozen=True, slots=True)
class _Worked:
    """A change, worked out for a run as it stands; no revision where it was taken up before."""

    state: State
    prepared: Prepared
    revision: Revision | None

    def plain(self) -> dict[str, Any]:
        """Returns what the change does, as `fleet.adapt/1` without what became of it."""
        from fleet.files.kept import as_lowered
        from fleet.views.difference import difference

        prepared, told = self.prepared, self.prepared.asked.told
        found: dict[str, Any] = {
            "schema": "fleet.adapt/1",
            "reason": str(told.get("reason") or ""),
            "against": list(prepared.against),
            "question": None,
            "revision": None,
        }
        if self.revision is None:
            return found
        before = prepared.before or as_lowered(self.state)
        running: Mapping[str, str] = prepared.change.told.get("running") or {}
        return {
            **found,
            **difference(
                before, prepared.after, calendar_of(self.state.about, self.state.started_ms).date_of
            ),
            "running": dict(running),
            "changes": list(self.revision.lines),
        }


def read_wanted(wanted: str) -> str | Change:
    """Returns the change that a word of the command line means: a file, or the name of a patch.

    Raises InvalidPlan with every problem of a file.
    """
    path = Path(wanted)
    if path.suffix in (".yaml", ".yml", ".json") or "/" in wanted or path.is_file():
        from fleet.files.changes.submitted import read_change_file

        return read_change_file(path)
    return wanted


def session_task(*, yes: bool = False) -> str:
    """Returns the task of the plan in whose session this process is, an empty text in any other
    session and outside of all; raises Rejected for a `yes` from inside: only a person says that.
    """
    task = os.environ.get("FLEET_TASK", "") if os.environ.get("FLEET_RUN") == PLAN_RUN else ""
    if yes and "FLEET_RUN" in os.environ:
        raise Rejected("an agent does not approve its own change", hint="leave `--yes` out")
    return task


def adapt(
    place: FleetPlace,
    wanted: str | Mapping[str, Any] | Change,
    *,
    task: str = "",
    yes: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Changes the plan, or asks whether it may be changed; returns `fleet.adapt/1`: what changes,
    and whether it is `applied`, `asked` or was `taken` up before (with `dry_run`: what would be).

    `yes` is a person's word; `task` is the task of the session that asks. Raises InvalidPlan and
    Rejected with every reason why it could not be applied now.
    """
    worked = _work_out(place, wanted, looks=dry_run)
    if worked.revision is None:
        return {**worked.plain(), "state": "taken"}
    free = yes or not worked.prepared.against
    if dry_run:
        return {**worked.plain(), "state": "would apply" if free else "would ask"}
    if free:
        worked = _apply(place, wanted, worked, lambda patch: m.RevisePlan(patch=patch))
        if worked.revision is None:  # somebody else has made the very same change meanwhile
            return {**worked.plain(), "state": "taken"}
        state = place.run_state()
        assert state is not None, "a run that was revised is in the journal"
        return {**worked.plain(), "state": "applied", "revision": state.revision}
    return {**worked.plain(), "state": "asked", "question": _ask(place, worked, task)}


def _ask(place: FleetPlace, worked: _Worked, task: str) -> str:
    from fleet.files.changes.proposals import PROPOSAL_CHARS, text_of

    told = worked.prepared.asked.told
    text = text_of(told)
    if len(text) > PROPOSAL_CHARS:
        raise FleetError(
            f"the change has {len(text)} characters, at most {PROPOSAL_CHARS} can be judged",
            hint="propose it in parts",
        )
    question = m.Question(
        message=text,
        kind="approval",
        choices=("approve", "reject"),
        topic="plan",
        about={PROPOSAL: dict(told), "against": list(worked.prepared.against)},
    )
    return raise_question(place, question, PLAN_RUN, task)


def proposed(place: FleetPlace, state: State, asked: OpenQuestion) -> dict[str, Any] | None:
    """Returns what an approval of a question would change, as `fleet.adapt/1`; None where it
    proposes nothing.
    """
    change = _change_of(state, asked)
    if change is None:
        return None
    return {**_work_out(place, change, looks=True).plain(), "state": "would apply"}


def approve_change(
    place: FleetPlace, state: State, asked: OpenQuestion, note: str, by: str
) -> bool:
    """Approves a question of the plan's own run, or of a workflow's step, that proposes a change of
    the plan, and applies it; returns False for one that proposes none.
    """
    from fleet.runtimes.arrivals import ABOUT as EDIT
    from fleet.runtimes.arrivals import FILES

    if EDIT in asked.question.about and (asked.by, state.run) == (FILES, PLAN_RUN):
        approve_edit(place, state, asked, note, by)
        return True
    change = _change_of(state, asked)
    if change is None:
        return False
    told, own = m.AnswerQuestion(id=asked.id, value="approve", note=note), state.run == PLAN_RUN

    def command(patch: Patch) -> m.Command:
        # Of another run, the plan is changed first: killed after that, the answer is still to be
        # given, and finds the plan changed.
        return replace(told, patch=patch) if own else m.RevisePlan(patch=patch)

    worked = _apply(place, change, _work_out(place, change), command, by)
    if worked.revision is None or not own:  # it was taken up, by this or by somebody else
        tell(place, [told], run=state.run, by=by)
    return True


def _change_of(state: State, asked: OpenQuestion) -> Mapping[str, Any] | None:
    """Returns the change that a question proposes; raises Rejected for a question that does not
    show what it would change: whoever may only ask could else have a person approve what nobody
    has read.
    """
    from fleet.files.changes.proposals import shows

    change: Any = asked.question.about.get(PROPOSAL)
    if not isinstance(change, Mapping):
        return None
    one = state.known(asked.step)
    mine = state.run == PLAN_RUN or (one is not None and one.step.kind == "ask")
    if not shows(asked.question.message, change) or not mine:
        raise Rejected(f"{asked.id} does not show what it would change", hint="reject it")
    return change


def _apply(
    place: FleetPlace,
    wanted: str | Mapping[str, Any] | Change,
    worked: _Worked,
    command: Callable[[Patch], m.Command],
    by: str = "",
) -> _Worked:
    """Tells the run a change, worked out anew while others come before it."""
    from fleet.files.changes.changing import RACES

    for left in reversed(range(RACES)):
        if worked.revision is None:
            break
        try:
            tell(place, [command(worked.revision.patch)], by=by)
            break
        except Rejected:
            later = place.run_state()
            if not left or later is None or basis_of(later.about) == basis_of(worked.state.about):
                raise
            worked = _work_out(place, wanted)
    return worked


def _work_out(
    place: FleetPlace, wanted: str | Mapping[str, Any] | Change, *, looks: bool = False
) -> _Worked:
    """Returns a change worked out for the plan's run, brought up to its documents; who only `looks`
    leaves the run as it is, or asks before there is one.
    """
    from fleet.core.decide import decide
    from fleet.files.changes.changing import followed_by, overtaken, prepare, revise
    from fleet.harnesses import demands

    require_documents()
    state = foreseen(place) if looks else _state(place)
    followed = replace(followed_by(state), stead=landed_edits(place, state))
    prepared = prepare(place.root, place.state, wanted, followed, demands.require)
    if prepared.taken:
        return _Worked(state, prepared, None)
    if overtaken(prepared, followed, state):
        raise Rejected("the documents were edited just now", hint="try again")
    revision = revise(state, prepared)
    decide(state, m.RevisePlan(patch=revision.patch, at_ms=state.at_ms))
    return _Worked(state, prepared, revision)


def _state(place: FleetPlace) -> State:
    """Returns the plan's run, brought up to its documents."""
    state = place.run_state()
    if state is None:
        raise Rejected("nothing was launched yet; the documents are the plan", hint="edit them")
    if bring_up_to_date(place, state) is not None:
        state = place.run_state()
        assert state is not None, "a run that was revised is in the journal"
    return state
