"""When the plan will be done, from what has really started and ended.

The planned times come with the plan (its schedule under the limits, computed when it was lowered).
The forecast is a pass over the same graph with actual starts and ends in place of what was planned,
and with now as the earliest moment for whatever has not begun. The difference on the finish is the
slip, and it is charged to the tasks that made it: each answers for what it added to the delay that
it inherited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.views.tasks import TaskSteps


@dataclass(frozen=True, slots=True)
class Slot:
    """When a task is planned, in working days from 0, and how late it may end at no cost."""

    start: float
    end: float
    slack: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Planned and forecast times in working days from 0, and who is answerable for the slip."""

    planned_days: float
    planned: Mapping[str, Slot]
    ends: Mapping[str, float] = field(default_factory=dict)
    finish: float = 0.0
    slip_causes: Sequence[tuple[str, float]] = ()

    @property
    def slip_days(self) -> float:
        """How much later than planned the whole will end; negative when it will be earlier."""
        return round(self.finish - self.planned_days, 2)

    def slack_of(self, task: str) -> float | None:
        """Returns a task's slack in days, None for what is no task of the plan."""
        slot = self.planned.get(task)
        return None if slot is None else slot.slack


def planned_of(about: Mapping[str, Any]) -> Forecast:
    """Returns the planned times that a plan carries, without a forecast."""
    told = about.get("schedule") or {"days": 0.0, "slots": {}}
    slots = {name: Slot(*times) for name, times in told["slots"].items()}
    return Forecast(float(told["days"]), slots)


def forecast(
    about: Mapping[str, Any],
    tasks: Mapping[str, TaskSteps],
    order: Sequence[Sequence[str]],
    day_of: Callable[[int], float],
    now_day: float,
) -> Forecast:
    """Returns the forecast of a run; `order` lists the tasks of each phase, first to last.

    `day_of` turns milliseconds into working days since the start. Each phase ends when its last
    task does, and the next one begins there.
    """
    planned = planned_of(about)
    ends: dict[str, float] = {}
    drivers: dict[str, str | None] = {}
    gate, gate_driver = 0.0, None
    for names in order:
        for name in _by_need(names, tasks):
            ready, driver = gate, gate_driver
            for need in tasks[name].facts.get("dependencies", ()):
                if ends.get(need, -1.0) > ready:
                    ready, driver = ends[need], need
            ends[name] = _end(tasks[name], ready, day_of, now_day)
            drivers[name] = driver
        for name in names:
            if ends[name] > gate or gate_driver is None:
                gate, gate_driver = max(gate, ends[name]), name
    finish = max(ends.values(), default=0.0)
    causes = _causes(planned.planned, ends, drivers)
    return Forecast(planned.planned_days, planned.planned, ends, finish, causes)


def _by_need(names: Sequence[str], tasks: Mapping[str, TaskSteps]) -> list[str]:
    """Returns a phase's tasks so that what one depends on comes before it, without recursion."""
    inside = set(names)
    placed: dict[str, None] = {}
    for first in names:
        todo = [first]
        while todo:
            needs = tasks[todo[-1]].facts.get("dependencies", ())
            missing = [need for need in needs if need in inside and need not in placed]
            if missing:
                todo += missing
            else:
                placed.setdefault(todo.pop())
    return list(placed)


def _end(task: TaskSteps, ready: float, day_of: Callable[[int], float], now_day: float) -> float:
    days = float(task.facts.get("days", 0))
    begun_ms = task.works[0].first_ms if task.works else 0
    if not begun_ms:
        return max(ready, now_day) + days
    start = day_of(begun_ms)
    if task.join.ended_ms:
        return max(start, day_of(task.join.ended_ms))
    return max(start + days, now_day)


def _causes(
    planned: Mapping[str, Slot], ends: Mapping[str, float], drivers: Mapping[str, str | None]
) -> list[tuple[str, float]]:
    """Walks back along the chain that drives the forecast finish; each task's share is what it
    added to the delay that it inherited.
    """
    causes: list[tuple[str, float]] = []
    name = max(ends, key=lambda one: ends[one], default=None)
    while name is not None and name in planned:
        driver = drivers[name]
        late = ends[driver] - planned[driver].end if driver and driver in planned else 0.0
        added = round(ends[name] - planned[name].end - late, 2)
        if added > 0:
            causes.append((name, added))
        name = driver
    return sorted(causes, key=lambda cause: -cause[1])


def done_share(tasks: Mapping[str, TaskSteps], ended: set[str]) -> float:
    """Returns the percentage of all planned days that the tasks in `ended` stand for."""
    days = {name: float(task.facts.get("days", 0)) for name, task in tasks.items()}
    return round(100 * sum(days[name] for name in ended) / (sum(days.values()) or 1), 1)


def planned_share(planned: Mapping[str, Slot], now_day: float) -> float:
    """Returns the percentage of all planned days that the plan would have done by now."""
    whole = sum(slot.end - slot.start for slot in planned.values())
    done = sum(
        min(max(now_day - slot.start, 0.0), slot.end - slot.start) for slot in planned.values()
    )
    return round(100 * done / (whole or 1), 1)
