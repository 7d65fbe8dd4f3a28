"""Use cases before anything runs: check the documents, show the plan under limits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet.app.calendars import calendar_of
from fleet.errors import FleetError, InvalidPlan, Place, Problem
from fleet.views.plan import Caution, PlannedPhase, PlannedTask, PlanView, view_plan

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.files.load import Fleet
    from fleet.files.verifiers import Order


def check(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.check/1`: every problem and warning of the documents, none raised."""
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    counts = {"tasks": 0, "agents": 0, "phases": 0}
    try:
        fleet = place.documents
        counts = {
            "tasks": sum(task.kind == "task" for task in fleet.tasks.values()),
            "agents": len(fleet.agents),
            "phases": len(fleet.phases),
        }
        warnings = fleet.warnings
        from fleet.files.lower import lower

        lower(fleet)
        from fleet.harnesses.demands import unmet

        problems = unmet(fleet)
        if not problems:
            lower(place.followed(place.run_state()))
    except InvalidPlan as invalid:
        problems = invalid.problems
    return {
        "schema": "fleet.check/1",
        "ok": not problems,
        **counts,
        "problems": [_problem(one) for one in problems],
        "warnings": [_problem(one) for one in warnings],
    }


def check_workflow(
    place: FleetPlace, name: str, roles: Sequence[str], clients: Sequence[str]
) -> dict[str, Any]:
    """Returns `fleet.check/1` of a workflow file: its dialects, every problem and warning."""
    from fleet.app.workflows import client_roles, loaded, read_roles

    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    workflows: list[dict[str, Any]] = []
    try:
        found, loader = loaded(place, name, {**read_roles(list(roles)), **client_roles(clients)})
        warnings = loader.warnings
        workflows = [
            {
                "name": one.workflow.name,
                "dialect": "graph" if one.workflow.form["dialect"] == "graph" else "step",
                "steps": len(one.workflow.steps),
            }
            for one in found
        ]
    except InvalidPlan as invalid:
        problems = invalid.problems
    return {
        "schema": "fleet.check/1",
        "ok": not problems,
        "workflows": workflows,
        "problems": [_problem(one) for one in problems],
        "warnings": [_problem(one) for one in warnings],
    }


def _problem(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "place": str(place) if place else "",
        "path": place.path if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
        "text": problem.text,
        "hint": problem.hint,
    }


def plan(place: FleetPlace, limits: Mapping[str, int] | None = None) -> PlanView:
    """Returns the plan as everybody is shown it; `limits` come before those of the documents."""
    fleet = place.followed(place.run_state())
    start = fleet.settings.start or _first_launch(place)
    calendar = calendar_of({"start": start, "calendar": _calendar(fleet)})
    from fleet.files.verifiers import order_of

    order = order_of(fleet)
    view = view_plan(
        [planned(fleet, name, order) for name in fleet.tasks],
        [PlannedPhase(id=one.id, name=one.name) for one in fleet.phases],
        date_of=calendar.date_of,
        fleet=fleet.settings.fleet,
        base=fleet.settings.base,
        limits={**fleet.settings.limits, **(limits or {})},
    )
    told = (Caution(place=str(one.place or ""), text=one.text) for one in fleet.warnings)
    past = (Caution(place=str(at), text=text) for at, text in _changed_together(place))
    return replace(view, warnings=(*told, *past, *view.warnings))


def _changed_together(place: FleetPlace) -> list[tuple[Place, str]]:
    """Returns what the past says against tasks side by side; nothing outside a repository."""
    if not any(agent.owns for agent in place.documents.agents.values()):
        return []
    from fleet.app.conflicts import changed_together

    try:
        return changed_together(place)
    except FleetError:
        return []


def planned(fleet: Fleet, name: str, order: Order) -> PlannedTask:
    """Returns a task as the schedule sees it."""
    from fleet.files.lower import branch_of
    from fleet.files.uses import task_uses

    task = fleet.tasks[name]
    days = task.days
    spread = None
    if days.low is not None and days.high is not None:
        spread = (days.low, days.likely, days.high)
    window = None if days.window is None else (float(days.window[0]), float(days.window[1]))
    return PlannedTask(
        id=name,
        name=task.name or name,
        agent=task.agent,
        phase=task.phase or None,
        priority=task.priority,
        days=days.likely,
        spread=spread,
        window=window,
        uses=task_uses(fleet, task),
        needs=order.needs[name],
        worktree=task.worktree or str(fleet.worktree(name)),
        branch=branch_of(task),
        port=task.port,
        deliverables=tuple(one.text for one in task.deliverables),
        kind=task.kind,
        proves=(task.proves.task, task.proves.assumption.text) if task.proves else None,
        place=str(fleet.place("task", name, "days")) if window else "",
    )


def _calendar(fleet: Fleet) -> dict[str, Any]:
    calendar = fleet.settings.calendar
    return {
        "weekend": list(calendar.weekend),
        "holidays": list(calendar.holidays),
        "country": calendar.country,
    }


def _first_launch(place: FleetPlace) -> str:
    """Returns the day of the first launch, or today before there was one."""
    state = place.run_state()
    at_s = state.started_ms / 1000 if state is not None else time.time()
    return time.strftime("%Y-%m-%d", time.localtime(at_s))


def schema(kind: str) -> dict[str, Any]:
    """Returns the JSON Schema of a kind of document; raises NotFound for another kind."""
    from fleet.files.schema import schema as schema_of

    return schema_of(kind)


def read_limits(texts: Sequence[str], agents: int | None) -> dict[str, int]:
    """Returns limits from `NAME=N` texts and `--agents`; raises FleetError on anything else."""
    found: dict[str, int] = {}
    for text in texts:
        name, equals, units = text.partition("=")
        if not (name and equals and units.isdigit() and int(units) > 0):
            raise FleetError(f"{text!r} is no limit", hint="write it as NAME=N, N at least 1")
        found[name] = int(units)
    if agents is not None:
        found["agents"] = agents
    return found
