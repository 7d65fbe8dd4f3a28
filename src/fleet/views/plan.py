"""The plan as everybody is shown it: tasks and phases in, `fleet.plan/1` out.

Lives here: what counts as a day, a finish, a critical path and a warning. Days count from 1 and
include both ends; dates are handed in as a function, because views know no calendar. Each phase
ends in a gate of no length that the next phase's tasks need, so that edges stay as many as tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from math import ceil, floor
from typing import Any

from fleet.core.levelling import level
from fleet.core.risk import Risk, forecast_risk
from fleet.core.schedule import Activity, Timetable, timetable, width
from fleet.views.rides import ProofRow, proofs_of

RANKS = {"critical": 0, "high": 1, "medium": 2, "low": 3}
DRAWS = 400_000
"""The effort of a risk forecast: runs times tasks, at most 2000 runs and at least 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """A task as the documents declare it; `window` is (first day, last day), `place` where it
    stands.

    `spread` is (low, likely, high) days. Every task uses one unit of `agents` beside its `uses`,
    a checkpoint nothing.
    """

    id: str
    name: str = ""
    agent: str = ""
    phase: str | None = None
    priority: str = "medium"
    days: float = 1
    spread: tuple[float, float, float] | None = None
    window: tuple[float, float] | None = None
    uses: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    worktree: str = ""
    branch: str = ""
    port: int | str | None = None
    deliverables: tuple[str, ...] = ()
    kind: str = "task"
    proves: tuple[str, str] | None = None
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPhase:
    """A phase as the documents declare it."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task with its days and dates; `criticality` is its share of critical runs, where known."""

    id: str
    name: str
    agent: str
    phase: str | None
    priority: str
    days: float
    start_day: int
    end_day: int
    late_start_day: int
    late_end_day: int
    slack_days: float
    critical: bool
    starts: str
    ends: str
    dependencies: tuple[str, ...]
    worktree: str
    branch: str
    port: int | str | None
    deliverables: tuple[str, ...]
    kind: str = "task"
    criticality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRow:
    """A phase's first and last day; 0 for one without tasks."""

    id: str
    name: str
    start_day: int
    end_day: int
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An agent's load, and how much of it is on the critical path."""

    id: str
    days: float
    critical_days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """Something that holds but is hardly meant."""

    place: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """Which revision of a run's plan is shown, and how it came about."""

    number: int
    reason: str = ""
    by: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """What `fleet plan` shows; `unlimited_days` is the duration if no limit were there."""

    fleet: str
    base: str
    start: str
    finish: str
    duration_days: float
    unlimited_days: float
    work_days: float
    critical_path: tuple[str, ...]
    critical: tuple[str, ...]
    tasks: tuple[TaskRow, ...]
    phases: tuple[PhaseRow, ...]
    agents: tuple[AgentRow, ...]
    proofs: tuple[ProofRow, ...]
    limits: Mapping[str, int]
    width: int
    speedup: float
    risk: Risk | None
    warnings: tuple[Caution, ...]
    revision: Revised | None = None


def view_plan(
    tasks: Sequence[PlannedTask],
    phases: Sequence[PlannedPhase],
    *,
    date_of: Callable[[int], str],
    fleet: str = "",
    base: str = "",
    limits: Mapping[str, int] | None = None,
    seed: int | None = None,
) -> PlanView:
    """Returns the schedule of the tasks, phase after phase, under the limits.

    Tasks whose phase is not among `phases` come last, as if in a phase of their own. `date_of`
    gives the ISO date of a working day, counted from 1. Raises InvalidPlan as `level` does.
    """
    limits = dict(limits or {})
    activities = activities_of(tasks, phases)
    free = timetable(activities)
    chosen = level(activities, limits) if limits else free
    risk = _risk(tasks, activities, limits, seed)
    rows = tuple(_row(task, chosen, risk, date_of) for task in tasks)
    known = {task.id for task in tasks}
    work = sum(round(task.days * 1000) for task in tasks) / 1000
    return PlanView(
        fleet=fleet,
        base=base,
        start=date_of(1),
        finish=date_of(max(1, ceil(chosen.days))),
        duration_days=chosen.days,
        unlimited_days=free.days,
        work_days=work,
        critical_path=tuple(name for name in chosen.chain if name in known),
        critical=tuple(row.id for row in rows if row.critical),
        tasks=rows,
        phases=tuple(_phase(phase, rows) for phase in phases),
        agents=_agents(rows),
        proofs=proofs_of(tasks, rows, activities),
        limits=limits,
        width=width(chosen, activities),
        speedup=round(work / chosen.days, 2) if chosen.days else 1.0,
        risk=risk,
        warnings=(*_windows(tasks, rows), *_idle(limits, width(free, activities))),
    )


def activities_of(tasks: Sequence[PlannedTask], phases: Sequence[PlannedPhase]) -> list[Activity]:
    """Returns a task's activity for each task, in order, then a gate of no length for each
    phase.
    """
    taken = {task.id for task in tasks}
    gates: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for phase in phases:
        gate = f"{phase.id}/gate"
        while gate in taken:
            gate += "'"
        taken.add(gate)
        gates[phase.id] = gate
        members[phase.id] = []
    before: dict[str, tuple[str, ...]] = {}
    last: tuple[str, ...] = ()
    for name, gate in gates.items():
        before[name] = last
        last = (gate,)
    found = []
    for task in tasks:
        mine = last
        if task.phase is not None and task.phase in gates:
            mine = before[task.phase]
            members[task.phase].append(task.id)
        found.append(
            Activity(
                id=task.id,
                days=task.days,
                needs=tuple(dict.fromkeys((*task.needs, *mine))),
                uses={"agents": 1, **task.uses} if task.kind != "checkpoint" else {},
                rank=RANKS.get(task.priority, RANKS["medium"]),
            )
        )
    found += [
        Activity(id=gate, days=0, needs=(*before[name], *members[name]))
        for name, gate in gates.items()
    ]
    return found


def plain(view: PlanView) -> dict[str, Any]:
    """Returns the view as the plain values of `fleet.plan/1`; whole numbers of days are
    integers.
    """
    found: dict[str, Any] = {"schema": "fleet.plan/1", **_plain(view)}
    if view.risk is None:
        del found["risk"]
    else:
        del found["risk"]["criticality"]
    for task in found["tasks"]:
        if task["criticality"] is None:
            del task["criticality"]
    return found


def number(value: float) -> str:
    """Returns a number of days as text, without a fraction that says nothing."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _plain(value: Any) -> Any:
    """Returns rows as dicts and tuples as lists; `asdict` would copy every leaf, and slowly."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if is_dataclass(value):
        return {one: _plain(getattr(value, one)) for one in value.__dataclass_fields__}
    return [_plain(each) for each in value]


def _row(
    task: PlannedTask, chosen: Timetable, risk: Risk | None, date_of: Callable[[int], str]
) -> TaskRow:
    slot = chosen.slots[task.id]
    start, late_start = floor(slot.early_start) + 1, floor(slot.late_start) + 1
    end, late_end = max(start, ceil(slot.early_end)), max(late_start, ceil(slot.late_end))
    if not task.days:
        # A task of no length at the end of a day belongs to that day, not to one after the finish.
        start = end = max(1, ceil(slot.early_end))
        late_start = late_end = max(1, ceil(slot.late_end))
    return TaskRow(
        id=task.id,
        name=task.name or task.id,
        agent=task.agent,
        phase=task.phase,
        priority=task.priority,
        days=task.days,
        start_day=start,
        end_day=end,
        late_start_day=late_start,
        late_end_day=late_end,
        slack_days=slot.slack,
        critical=slot.critical,
        starts=date_of(start),
        ends=date_of(end),
        dependencies=task.needs,
        worktree=task.worktree,
        branch=task.branch,
        port=task.port,
        deliverables=task.deliverables,
        kind=task.kind,
        criticality=risk.criticality[task.id] if risk else None,
    )


def _risk(
    tasks: Sequence[PlannedTask],
    activities: Sequence[Activity],
    limits: Mapping[str, int],
    seed: int | None,
) -> Risk | None:
    spreads = {task.id: task.spread for task in tasks if task.spread is not None}
    if not spreads:
        return None
    runs = max(200, min(2000, DRAWS // len(tasks)))
    if seed is None:
        return forecast_risk(activities, spreads, runs=runs, limits=limits)
    return forecast_risk(activities, spreads, runs=runs, limits=limits, seed=seed)


def _phase(phase: PlannedPhase, rows: Sequence[TaskRow]) -> PhaseRow:
    mine = [row for row in rows if row.phase == phase.id]
    return PhaseRow(
        id=phase.id,
        name=phase.name or phase.id,
        start_day=min((row.start_day for row in mine), default=0),
        end_day=max((row.end_day for row in mine), default=0),
        tasks=tuple(row.id for row in mine),
    )


def _agents(rows: Sequence[TaskRow]) -> tuple[AgentRow, ...]:
    days: dict[str, list[int]] = {}
    for row in (one for one in rows if one.agent):
        load = days.setdefault(row.agent, [0, 0])
        load[0] += round(row.days * 1000)
        load[1] += round(row.days * 1000) * row.critical
    return tuple(
        AgentRow(id=agent, days=load / 1000, critical_days=critical / 1000)
        for agent, (load, critical) in days.items()
    )


def _windows(tasks: Sequence[PlannedTask], rows: Sequence[TaskRow]) -> list[Caution]:
    """A window contradicts when the task cannot lie in it, or only by delaying the finish."""
    found = []
    for task, row in zip(tasks, rows, strict=True):
        if task.window is None:
            continue
        first, last = task.window
        if row.start_day <= first and last <= row.late_end_day:
            continue
        why = (
            "what it waits for ends too late"
            if row.start_day > first
            else f"it may slip by {number(row.slack_days)} days at most"
        )
        text = (
            f"{task.id} is expected on days {number(first)} to {number(last)}, the schedule has it "
            f"on days {row.start_day} to {row.end_day}: {why}"
        )
        found.append(Caution(place=task.place, text=text))
    return found


def _idle(limits: Mapping[str, int], most: int) -> list[Caution]:
    agents = limits.get("agents")
    if agents is None or agents <= most or not most:
        return []
    text = f"no more than {most} tasks can run at once, so {agents - most} of {agents} agents idle"
    return [Caution(place="", text=text)]
