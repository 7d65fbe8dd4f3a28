"""When a plan's work can be done: the critical path method.

Lives here: activities in, a timetable out, by arithmetic alone (Kelley and Walker, 1959). Limits on
what may run at once are `levelling`, uncertain durations are `risk`, dates are `files.calendar`.
Days are numbers from 0 here; inside they are whole thousandths of a day, so that halves and tenths
never drift. Nothing recurses and nothing is worse than n log n: a chain of 100,000 is a plan too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fleet.core.plan import circle
from fleet.errors import InvalidPlan, Problem, did_you_mean

__all__ = ["Activity", "Network", "Slot", "Timetable", "behind", "circle", "network_of",
           "timetable", "timetable_of", "width"]  # fmt: skip

UNITS = 1000
"""Parts of a day that all arithmetic is done in."""

LONGEST_DAYS = 1_000_000
"""The longest activity that is believed; more is a slip of the pen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A piece of work of so many days; `rank` breaks ties, 0 (critical) before 3 (low)."""

    id: str
    days: float
    needs: tuple[str, ...] = ()
    uses: Mapping[str, int] = field(default_factory=dict)
    rank: int = 0


class Slot(NamedTuple):
    """When one activity runs, in days from 0; a tuple because a plan has thousands of them."""

    id: str
    early_start: float
    early_end: float
    late_start: float
    late_end: float
    slack: float

    @property
    def critical(self) -> bool:
        """Whether any delay of this activity delays the finish."""
        return self.slack == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """Every activity's slot in input order, the makespan,
    one longest chain, and all without slack.
    """

    slots: Mapping[str, Slot]
    days: float
    chain: tuple[str, ...]
    critical: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Activities as integers:
    lengths in units, needs as indices, and an order that respects them.
    """

    ids: list[str]
    lengths: list[int]
    needs: list[list[int]]
    order: list[int]


def timetable(activities: Sequence[Activity]) -> Timetable:
    """Returns the earliest and latest times of all activities, in days from 0.

    Raises InvalidPlan, with every problem, on an id given twice, an unknown need, a length that is
    no length, or needs that run in a circle.
    """
    network = network_of(activities)
    lengths, needs, order = network.lengths, network.needs, network.order
    ends = list(lengths)
    for i in order:
        start = 0
        for need in needs[i]:
            if ends[need] > start:  # noqa: PLR1730 - max() is slower
                start = ends[need]
        ends[i] += start
    finish = max(ends, default=0)
    late_ends = [finish] * len(ends)
    for i in reversed(order):
        late_start = late_ends[i] - lengths[i]
        for need in needs[i]:
            if late_ends[need] > late_start:  # noqa: PLR1730 - max() is slower
                late_ends[need] = late_start
    chain = _longest_chain(network, ends, finish)
    return timetable_of(network, ends, late_ends, chain)


def timetable_of(
    network: Network, ends: Sequence[int], late_ends: Sequence[int], chain: Sequence[int]
) -> Timetable:
    """Returns the timetable that these ends, late ends (in units) and chain (indices) amount to."""
    times = zip(ends, network.lengths, strict=True)
    lates = zip(late_ends, network.lengths, strict=True)
    slacks = [late - end for late, end in zip(late_ends, ends, strict=True)]
    rows = zip(
        network.ids,
        [(end - length) / UNITS for end, length in times],
        [end / UNITS for end in ends],
        [(late - length) / UNITS for late, length in lates],
        [late / UNITS for late in late_ends],
        [slack / UNITS for slack in slacks],
        strict=True,
    )
    # A slot made by its own constructor costs three times as much, and there are as many as tasks.
    make = tuple.__new__
    return Timetable(
        slots=dict(zip(network.ids, [make(Slot, row) for row in rows], strict=True)),
        days=max(ends, default=0) / UNITS,
        chain=tuple(network.ids[i] for i in chain),
        critical=tuple(
            [name for name, slack in zip(network.ids, slacks, strict=True) if not slack]
        ),
    )


def network_of(activities: Sequence[Activity]) -> Network:
    """Returns the activities as integers in input order; raises InvalidPlan as `timetable` does."""
    ids = [activity.id for activity in activities]
    index = {name: i for i, name in enumerate(ids)}
    try:
        lengths = [round(activity.days * UNITS) for activity in activities]
        needs = [[index[need] for need in activity.needs] for activity in activities]
    except (KeyError, ValueError, OverflowError):
        raise InvalidPlan(_problems(activities, index)) from None
    sound = len(index) == len(ids) and (
        not lengths or (min(lengths) >= 0 and max(lengths) <= LONGEST_DAYS * UNITS)
    )
    if not sound:
        raise InvalidPlan(_problems(activities, index))
    return Network(ids=ids, lengths=lengths, needs=needs, order=_sorted(ids, needs))


def width(timetable: Timetable, activities: Sequence[Activity]) -> int:
    """Returns the most activities that run at once when each starts at its earliest;
    gates count not.
    """
    changes = []
    for activity in activities:
        slot = timetable.slots[activity.id]
        if slot.early_end > slot.early_start:
            changes.append((slot.early_start, 1))
            changes.append((slot.early_end, -1))
    changes.sort()
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def behind(activities: Sequence[Activity], name: str) -> tuple[str, ...]:
    """Returns the activities that wait for one, directly or not, in input order."""
    followers: dict[str, list[str]] = {}
    for activity in activities:
        for need in activity.needs:
            followers.setdefault(need, []).append(activity.id)
    found, todo = {name}, [name]
    while todo:
        new = [one for one in followers.get(todo.pop(), ()) if one not in found]
        found.update(new)
        todo += new
    return tuple(one.id for one in activities if one.id in found and one.id != name)


def _sorted(ids: list[str], needs: list[list[int]]) -> list[int]:
    """Returns indices with every need before who needs it (Kahn, 1962); raises on a circle."""
    if all(not mine or max(mine) < i for i, mine in enumerate(needs)):
        return list(range(len(ids)))
    followers: list[list[int]] = [[] for _ in ids]
    for i, mine in enumerate(needs):
        for need in mine:
            followers[need].append(i)
    missing = [len(mine) for mine in needs]
    order = [i for i, count in enumerate(missing) if not count]
    for i in order:
        for follower in followers[i]:
            missing[follower] -= 1
            if not missing[follower]:
                order.append(follower)
    if len(order) == len(ids):
        return order
    ring = circle({ids[i]: [ids[need] for need in mine] for i, mine in enumerate(needs)})
    text = f"these wait for each other in a circle: {' -> '.join(ring)}"
    raise InvalidPlan([Problem(text, hint="take one dependency out")])


def _longest_chain(network: Network, ends: Sequence[int], finish: int) -> list[int]:
    """Returns one chain without gaps from day 0 to the finish;
    the first in input order where several tie.
    """
    if not ends:
        return []
    at = ends.index(finish)
    chain = [at]
    while network.needs[at]:
        start = ends[at] - network.lengths[at]
        at = min(need for need in network.needs[at] if ends[need] == start)
        chain.append(at)
    chain.reverse()
    return chain


def _problems(activities: Sequence[Activity], index: Mapping[str, int]) -> list[Problem]:
    found = []
    seen: set[str] = set()
    for activity in activities:
        if activity.id in seen:
            found.append(Problem(f"{activity.id!r} is there twice", hint="rename one of them"))
        seen.add(activity.id)
        if not 0 <= activity.days <= LONGEST_DAYS:
            hint = f"give a number from 0 to {LONGEST_DAYS}"
            found.append(Problem(f"{activity.id!r} takes {activity.days} days", hint=hint))
        for need in activity.needs:
            if need not in index:
                text = f"{activity.id!r} needs {need!r}, which is not there"
                found.append(Problem(text, hint=did_you_mean(need, index)))
    return found
