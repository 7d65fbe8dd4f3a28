"""The planned times that a run's forecasts are held against, worked out when documents are lowered.

A forecast keeps the order in which tasks share a limit, so the links of that order are kept too:
which task hands its units to which (chaining: Policella, Cesta, Oddi and Smith, 2007). Dates are
not known here, only working days from 0.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fleet.core.levelling import level
from fleet.core.plan import PER_MINUTE
from fleet.core.schedule import Activity, Slot, timetable
from fleet.files.uses import own_limits, task_uses

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet
    from fleet.files.verifiers import Order

GATE = "?gate"
"""What the ids of gates begin with; no task's id can."""


def timing(fleet: Fleet, order: Order) -> dict[str, object]:
    """Returns {days, slots: {task: [start, end, slack]}, after: {task: [tasks]}, chain: [tasks]}
    under the limits.

    `after` names the tasks whose units a task takes over, where only that makes it wait; `chain` is
    a longest one.
    """
    activities = _activities(fleet, order)
    own = {name: most for name, most in own_limits(fleet).items() if not name.endswith(PER_MINUTE)}
    limits = {**own, **fleet.settings.limits}
    planned = level(activities, limits) if limits else timetable(activities)
    slots = {
        name: [slot.early_start, slot.early_end, slot.slack]
        for name, slot in planned.slots.items()
        if not name.startswith(GATE)
    }
    return {
        "days": planned.days,
        "slots": slots,
        "after": _links(activities, planned.slots, limits),
        "chain": [name for name in planned.chain if not name.startswith(GATE)],
    }


def _activities(fleet: Fleet, order: Order) -> list[Activity]:
    """Returns the tasks, each behind those that it waits for and the gate of the phase before.

    They are in the order in which `fleet plan` has them, for of chains that are equally long the
    first is told: tasks by id, then gates.
    """
    found: list[Activity] = []
    gates: list[Activity] = []
    gate: tuple[str, ...] = ()
    for number, phase in enumerate(fleet.phases):
        for name in phase.tasks:
            task = fleet.tasks[name]
            found.append(
                Activity(
                    id=name,
                    days=task.days.likely,
                    needs=(*order.needs[name], *gate),
                    uses={**task_uses(fleet, task), "agents": 1} if task.checkpoint is None else {},
                )
            )
        if phase.tasks:
            gate = (f"{GATE} {number}",)
            gates.append(Activity(id=gate[0], days=0, needs=phase.tasks))
    return [*sorted(found, key=lambda one: one.id), *gates]


def _links(
    activities: list[Activity], slots: Mapping[str, Slot], limits: Mapping[str, int]
) -> dict[str, list[str]]:
    """Returns who takes over units from whom, for tasks that could start earlier by their needs."""
    held: dict[str, list[tuple[float, str]]] = {  # sorted
        name: [(0.0, "")] * units for name, units in limits.items()
    }
    links: dict[str, list[str]] = {}
    for one in sorted(activities, key=lambda one: (slots[one.id].early_start, slots[one.id].id)):
        slot = slots[one.id]
        if slot.early_end == slot.early_start:
            continue
        met = max((slots[need].early_end for need in one.needs), default=0.0)
        for name, units in one.uses.items():
            if name not in held:
                continue
            free = bisect_right(held[name], slot.early_start, key=lambda unit: unit[0])
            taken = held[name][max(free - units, 0) : free]
            del held[name][max(free - units, 0) : free]
            links.setdefault(one.id, []).extend(who for at, who in taken if at > met)
            for _ in taken:
                insort(held[name], (slot.early_end, one.id))
    return {name: list(dict.fromkeys(found)) for name, found in links.items() if found}
