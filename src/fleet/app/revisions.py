"""The plan as it was at one of its revisions, told from the journal.

Revision 1 is what the run was started with; each one after it is a patch, whether an edit of the
documents, a change of the plan, rework, or a question's answer made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet import codec
from fleet.app.calendars import calendar_of, time_of
from fleet.app.place import PLAN_RUN, FleetPlace
from fleet.core import messages as m
from fleet.core.evolve import evolve
from fleet.core.plan import PER_MINUTE
from fleet.errors import FleetError
from fleet.views.plan import PlannedPhase, PlannedTask, PlanView, Revised, view_plan
from fleet.views.tasks import TaskSteps, tasks_of

if TYPE_CHECKING:
    from fleet.core.state import State


def plan_at(place: FleetPlace, number: int, limits: Mapping[str, int] | None = None) -> PlanView:
    """Returns the plan of a revision as everybody is shown it; `limits` come before its own.

    Raises FleetError where there is no such revision, saying which there are.
    """
    state, revised = _revision(place, number)
    about = state.about
    told: Any = about.get("phases") or ()
    own = {name: units for name, units in state.limits.items() if _is_told(name)}
    listed = _listed(told)
    tasks = [_planned(one) for one in tasks_of(state).values() if one.facts["id"] in listed]
    view = view_plan(
        sorted(tasks, key=lambda one: one.id),
        [PlannedPhase(id=one["id"], name=one["name"]) for one in told],
        date_of=calendar_of(about, state.started_ms).date_of,
        fleet=str(about.get("fleet") or state.name),
        base=str(about.get("base") or ""),
        limits={**own, **(limits or {})},
    )
    return replace(view, revision=revised)


def _revision(place: FleetPlace, number: int) -> tuple[State, Revised]:
    """Returns the run as it was when a revision came, and how that came about."""
    reader = place.reader()
    state: State | None = None
    if reader is not None:
        with closing(reader):
            for row in reader.events(PLAN_RUN):
                event = codec.loads_event(row.body)
                state = evolve(state, event)
                state.agenda.clear()
                if isinstance(event, m.RunStarted | m.PlanRevised) and state.revision == number:
                    reason = event.patch.reason if isinstance(event, m.PlanRevised) else "the start"
                    at = time_of(row.at_ms)
                    return state, Revised(number=number, reason=reason, by=event.by, at=at)
    if state is None:
        raise FleetError("nothing was launched yet, so the plan has no revisions")
    last = state.revision
    known = f"there are 1 to {last}" if last > 1 else "there is only 1"
    raise FleetError(f"the plan has no revision {number}; {known}", hint="fleet history")


def _is_told(limit: str) -> bool:
    """Whether a limit is one that people set for tasks, not the machine's own."""
    return ":" not in limit and limit != "checks" and not limit.endswith(PER_MINUTE)


def _listed(phases: Any) -> set[str]:
    return {str(name) for phase in phases for name in phase["tasks"]}


def _planned(task: TaskSteps) -> PlannedTask:
    """Returns a task of a run as the schedule sees it."""
    facts = task.facts
    work = task.works[0].step if task.works else None
    uses = dict(work.uses) if work is not None else dict(facts.get("uses") or {})
    spread, window = facts.get("spread"), facts.get("window")
    return PlannedTask(
        id=facts["id"],
        name=facts["name"],
        agent=facts["agent"],
        phase=facts["phase"] or None,
        priority=facts["priority"],
        days=facts["days"],
        spread=tuple(spread) if spread else None,
        window=tuple(window) if window else None,
        uses={name: units for name, units in uses.items() if name != "agents"},
        needs=tuple(facts["dependencies"]),
        worktree=facts["worktree"],
        branch=facts["branch"],
        port=facts["port"],
        deliverables=tuple(facts["deliverables"]),
        kind=str(facts.get("kind") or "task"),
    )
