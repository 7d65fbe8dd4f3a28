"""When the plan will be done, from what has really started and ended.

The planned timetable is the critical path over the tasks as declared; the forecast is the same pass
with actual starts and ends in place of what they say, and with now as the earliest moment for
whatever has not begun. The difference on the finish is the slip, and it is charged to the tasks
that made it: each task answers for what it added to the delay that it inherited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.core.schedule import Activity, Timetable, timetable
from fleet.views.tasks import TaskSteps


@dataclass(frozen=True, slots=True)
class Forecast:
    """Planned and forecast times in working days from 0, and who is answerable for the slip."""

    planned: Timetable
    ends: Mapping[str, float]
    finish: float
    slip_causes: Sequence[tuple[str, float]]

    @property
    def slip_days(self) -> float:
        """How much later than planned the whole will end; negative when it will be earlier."""
        return round(self.finish - self.planned.days, 2)


def activities_of(tasks: Mapping[str, TaskSteps], order: Sequence[Sequence[str]]) -> list[Activity]:
    """Returns the tasks as activities; `order` lists the tasks of each phase, first to last.

    Each phase ends in a gate of no length that the tasks of the next one need.
    """
    found: list[Activity] = []
    gate = ""
    for number, names in enumerate(order):
        for name in names:
            facts = tasks[name].facts
            needs = [one for one in facts.get("dependencies", ()) if one in tasks]
            days = float(facts.get("days", 0))
            found.append(Activity(id=name, days=days, needs=(*needs, gate) if gate else (*needs,)))
        needed = tuple(names) if names else ((gate,) if gate else ())
        gate = f"?gate {number}"
        found.append(Activity(id=gate, days=0, needs=needed))
    return found


def forecast(
    tasks: Mapping[str, TaskSteps],
    order: Sequence[Sequence[str]],
    day_of: Callable[[int], float],
    now_day: float,
) -> Forecast:
    """Returns the forecast of a run; `day_of` turns milliseconds into working days since the start."""
    activities = activities_of(tasks, order)
    planned = timetable(activities)
    ends: dict[str, float] = {}
    for one in _ordered(activities):
        ready = max((ends[need] for need in one.needs), default=0.0)
        task = tasks.get(one.id)
        ends[one.id] = ready if task is None else _end(task, one.days, ready, day_of, now_day)
    finish = max(ends.values(), default=0.0)
    causes = _causes(activities, planned, ends)
    return Forecast(planned, ends, finish, causes)


def _end(
    task: TaskSteps, days: float, ready: float, day_of: Callable[[int], float], now_day: float
) -> float:
    begun_ms = task.works[0].first_ms if task.works else 0
    if not begun_ms:
        return max(ready, now_day) + days
    start = day_of(begun_ms)
    if task.join.ended_ms:
        return max(start, day_of(task.join.ended_ms))
    return max(start + days, now_day)


def _ordered(activities: Sequence[Activity]) -> list[Activity]:
    """Returns activities so that needs come first; each phase is already behind the one before."""
    by_id = {one.id: one for one in activities}
    placed: dict[str, Activity] = {}
    for first in activities:
        todo = [first]
        while todo:
            one = todo[-1]
            missing = [by_id[need] for need in one.needs if need not in placed]
            if missing:
                todo += missing
            else:
                placed.setdefault(one.id, one)
                todo.pop()
    return list(placed.values())


def _causes(
    activities: Sequence[Activity],
    planned: Timetable,
    ends: Mapping[str, float],
) -> list[tuple[str, float]]:
    """Walks the chain that drives the forecast finish backwards; each task's share is what it
    added.
    """
    by_id = {one.id: one for one in activities}
    causes: list[tuple[str, float]] = []
    name: str | None = max(ends, key=lambda one: ends[one], default=None)
    while name is not None:
        one = by_id[name]
        driver = max(one.needs, key=lambda need: ends[need], default=None)
        inherited = ends[driver] - planned.slots[driver].early_end if driver else 0.0
        added = round(ends[name] - planned.slots[name].early_end - inherited, 2)
        if added > 0 and not name.startswith("?"):
            causes.append((name, added))
        name = driver
    return sorted(causes, key=lambda cause: -cause[1])


def done_share(tasks: Mapping[str, TaskSteps], ended: set[str]) -> float:
    """Returns the percentage of all planned days that the tasks in `ended` stand for."""
    days = {name: float(task.facts.get("days", 0)) for name, task in tasks.items()}
    return round(100 * sum(days[name] for name in ended) / (sum(days.values()) or 1), 1)


def planned_share(planned: Timetable, tasks: Mapping[str, Any], now_day: float) -> float:
    """Returns the percentage of all planned days that the plan would have done by now."""
    whole = sum(
        slot.early_end - slot.early_start for n, slot in planned.slots.items() if n in tasks
    )
    done = sum(
        min(max(now_day - slot.early_start, 0.0), slot.early_end - slot.early_start)
        for name, slot in planned.slots.items()
        if name in tasks
    )
    return round(100 * done / (whole or 1), 1)
