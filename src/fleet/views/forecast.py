"""When the plan will be done, from what has really started and ended.

The planned times come with the plan (its schedule under the limits, computed when it was lowered).
The forecast is a pass over the same graph, and the same order of tasks that share a limit, with
actual starts and ends in place of what was planned, and with today as the earliest day for whatever
has not begun. Plans count whole days, so a task that begins during a day counts from the start of
that day, but never from before what it needed had ended.

The difference on the finish is the slip. It is charged along the chain of tasks that drives the
forecast: each answers for what it added to the delay that it inherited, and what the chain had to
spare is taken up by whoever came first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from fleet.core.state import CLOSED
from fleet.records import record
from fleet.views.tasks import TaskSteps


@record(kw_only=False)
class Slot:
    """When a task is planned, in working days from 0, and how late it may end at no cost."""

    start: float
    end: float
    slack: float


@record(kw_only=False)
class Forecast:
    """Planned and forecast times in working days from 0, and who is answerable for the slip."""

    planned_days: float
    planned: Mapping[str, Slot]
    ends: Mapping[str, float] = field(default_factory=dict)
    finish: float = 0.0
    slip_causes: Sequence[tuple[str, float]] = ()
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)

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
    return Forecast(float(told["days"]), slots, after=told.get("after") or {})


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
        for name in _by_need(names, tasks, planned.after):
            ready, driver = gate, gate_driver
            for need in _needs(name, tasks, planned.after):
                if ends.get(need, -1.0) > ready:
                    ready, driver = ends[need], need
            ends[name] = _end(tasks[name], ready, day_of, now_day)
            drivers[name] = driver
        for name in names:
            if ends[name] > gate or gate_driver is None:
                gate, gate_driver = max(gate, ends[name]), name
    finish = max(ends.values(), default=0.0)
    causes = _causes(planned, ends, drivers)
    return replace(planned, ends=ends, finish=round(finish, 6), slip_causes=causes)


def _needs(
    name: str, tasks: Mapping[str, TaskSteps], after: Mapping[str, Sequence[str]]
) -> list[str]:
    """Returns what a task waits for: its dependencies and, until it begins, those whose units it
    takes over.
    """
    task = tasks[name]
    units = () if _begun_ms(task) else after.get(name, ())
    return [*task.facts.get("dependencies", ()), *units]


def _by_need(
    names: Sequence[str], tasks: Mapping[str, TaskSteps], after: Mapping[str, Sequence[str]]
) -> list[str]:
    """Returns a phase's tasks so that what one waits for comes before it, without recursion."""
    inside = set(names)
    placed: dict[str, None] = {}
    for first in names:
        todo = [first]
        while todo:
            waits = _needs(todo[-1], tasks, after)
            missing = [one for one in waits if one in inside and one not in placed]
            if missing:
                todo += missing
            else:
                placed.setdefault(todo.pop())
    return list(placed)


def _begun_ms(task: TaskSteps) -> int:
    return task.works[0].first_ms if task.works else 0


def _end(task: TaskSteps, ready: float, day_of: Callable[[int], float], now_day: float) -> float:
    """Returns the day on which a task ended, or will when the rest of it goes as planned."""
    days = float(task.facts.get("days", 0))
    begun_ms = _begun_ms(task)
    over_ms = task.join.ended_ms if all(one.standing in CLOSED for one in task.inner) else 0
    if over_ms:
        return day_of(over_ms)
    if not begun_ms:
        return max(ready, float(math.floor(now_day))) + days
    begun = day_of(begun_ms)
    return max(max(math.floor(begun), min(begun, ready)) + days, now_day)


def _causes(
    planned: Forecast, ends: Mapping[str, float], drivers: Mapping[str, str | None]
) -> list[tuple[str, float]]:
    """Returns what each task of the driving chain adds to the slip, most first; negative is time
    won. Together they are the slip.
    """
    slots = planned.planned
    chain: list[str] = []
    name = max(ends, key=lambda one: ends[one], default=None)
    while name is not None and name in slots:
        chain.append(name)
        name = drivers[name]
    causes: list[tuple[str, float]] = []
    spare = planned.planned_days - slots[chain[0]].end if chain else 0.0
    late = 0.0
    for name in reversed(chain):
        delay = ends[name] - slots[name].end
        added, late = delay - late, delay
        taken = min(spare, max(added, 0.0))
        spare -= taken
        if round(added - taken, 2):
            causes.append((name, round(added - taken, 2)))
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
