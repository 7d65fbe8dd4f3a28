"""Activities put one after another onto a timeline of limits: the schedules that the search tries.

Lives here: one schedule from one order, in series and in parallel (Kolisch, 1996), a schedule
pushed to the right, and its chain. All limits of one moment are packed into one integer, a field a
limit under a guard bit that is always set, so that one subtraction and one mask answer "does this
fit?".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from fleet.core.schedule import Activity, Network, Timetable, network_of
from fleet.errors import InvalidPlan, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The activities in an order that respects needs, so that every need has a smaller index."""

    origin: list[int]  # index here -> index in the input
    lengths: list[int]
    needs: list[list[int]]
    followers: list[list[int]]
    wants: list[int]  # packed
    ranks: list[int]
    full: int  # packed, guard bits set
    guard: int
    least: int  # packed: what every activity of some length wants at the least
    shares: list[list[tuple[int, int]]]  # for each limit, who uses how many of it
    capacities: list[int]

    def rivals(self, one: int, other: int) -> bool:
        """Whether both, each of some length, use units of one and the same limit."""
        mine, theirs = self.wants[one], self.wants[other]
        if not (mine and theirs and self.lengths[one] and self.lengths[other]):
            return False
        for capacity in self.capacities:
            bits = capacity.bit_length() + 1
            if mine & ((1 << bits) - 1) and theirs & ((1 << bits) - 1):
                return True
            mine, theirs = mine >> bits, theirs >> bits
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A schedule: starts in units, and when the last one ends."""

    starts: list[int]
    finish: int


def sequence(
    activities: Sequence[Activity], limits: Mapping[str, int], timetable: Timetable
) -> tuple[Work, list[int]]:
    """Returns the activities as integers, and the order in which `timetable` starts them."""
    work = work_of(activities, network_of(activities), limits)
    starts = [timetable.slots[activities[at].id].early_start for at in work.origin]
    return work, sorted(range(len(starts)), key=starts.__getitem__)


def work_of(activities: Sequence[Activity], network: Network, limits: Mapping[str, int]) -> Work:
    """Returns the activities as integers; raises InvalidPlan when one wants more than a limit
    has.
    """
    problems = [
        Problem(
            f"{activity.id!r} uses {units} of {name!r}, which has only {limits[name]}",
            hint=f"raise the limit {name!r} to {units} or more, or use fewer",
        )
        for activity in activities
        for name, units in activity.uses.items()
        if name in limits and units > limits[name]
    ]
    if problems:
        raise InvalidPlan(problems)
    spots = [0] * len(network.order)
    for spot, at in enumerate(network.order):
        spots[at] = spot
    needs = [[spots[need] for need in network.needs[at]] for at in network.order]
    followers: list[list[int]] = [[] for _ in needs]
    for i, mine in enumerate(needs):
        for need in mine:
            followers[need].append(i)
    lengths = [network.lengths[at] for at in network.order]
    names = [name for name, units in limits.items() if units > 0]
    wants = [0] * len(needs)
    full = guard = least = shift = 0
    shares: list[list[tuple[int, int]]] = []
    for name in names:
        uses = [max(activities[at].uses.get(name, 0), 0) for at in network.order]
        bits = limits[name].bit_length()
        shares.append([(i, units) for i, units in enumerate(uses) if units and lengths[i]])
        wants = [want + (units << shift) for want, units in zip(wants, uses, strict=True)]
        least |= min((u for u, d in zip(uses, lengths, strict=True) if d), default=0) << shift
        full |= (limits[name] | 1 << bits) << shift
        guard |= 1 << bits + shift
        shift += bits + 1
    return Work(
        origin=network.order, lengths=lengths, needs=needs, followers=followers, wants=wants,
        ranks=[activities[at].rank for at in network.order], full=full, guard=guard, least=least,
        shares=shares, capacities=[limits[name] for name in names],
    )  # fmt: skip


def place(
    work: Work, order: Sequence[int], needs: Sequence[Sequence[int]], lengths: Sequence[int]
) -> tuple[list[int], int]:
    """Returns (ends, finish): each activity of `order` in turn as early as it fits (serial scheme).

    `order` must respect `needs`; handing in followers as needs builds the schedule from its end.
    """
    wants, guard, least = work.wants, work.guard, work.least
    times, free, spent = [0], [work.full], 0
    ends = [0] * len(lengths)
    for i in order:
        start = 0
        for need in needs[i]:
            if ends[need] > start:  # noqa: PLR1730 - max() is slower
                start = ends[need]
        length = lengths[i]
        if not length:
            ends[i] = start
            continue
        want = wants[i]
        # Everything before `spent` is full to the last unit: no later activity can start there.
        first = times.index(start, spent) if start > times[spent] else spent
        start, at = times[first], first
        stop, last = start + length, len(times) - 1
        while True:
            if (free[at] - want) & guard == guard:
                at += 1
                if at > last or times[at] >= stop:
                    break
            else:
                at += 1
                first, start = at, times[at]
                stop = start + length
        if at > last or times[at] != stop:
            times.insert(at, stop)
            free.insert(at, free[at - 1])
        for k in range(first, at):
            free[k] -= want
        while least and (free[spent] - least) & guard != guard:
            spent += 1
        ends[i] = stop
    return ends, max(ends, default=0)


def serial(work: Work, order: Sequence[int]) -> Plan:
    """Returns the schedule that places each activity of the order in turn as early as it fits."""
    ends, finish = place(work, order, work.needs, work.lengths)
    starts = [end - length for end, length in zip(ends, work.lengths, strict=True)]
    return Plan(starts=starts, finish=finish)


def parallel(work: Work, keys: Sequence[tuple[int, int, int]]) -> Plan:
    """Returns the schedule that starts, moment by moment, what fits, smallest key first."""
    missing = [len(mine) for mine in work.needs]
    ready = [i for i, count in enumerate(missing) if not count]
    running: list[tuple[int, int]] = []
    starts, free, now = [0] * len(missing), work.full, 0
    while ready or running:
        ready.sort(key=keys.__getitem__)
        waiting = []
        for i in ready:
            want = work.wants[i] if work.lengths[i] else 0
            if (free - want) & work.guard == work.guard:
                free -= want
                starts[i] = now
                heappush(running, (now + work.lengths[i], i))
            else:
                waiting.append(i)
        ready = waiting
        now = running[0][0]
        while running and running[0][0] == now:
            i = heappop(running)[1]
            free += work.wants[i] if work.lengths[i] else 0
            for follower in work.followers[i]:
                missing[follower] -= 1
                if not missing[follower]:
                    ready.append(follower)
    finish = max((s + d for s, d in zip(starts, work.lengths, strict=True)), default=0)
    return Plan(starts=starts, finish=finish)


def pushed_right(work: Work, plan: Plan) -> Plan:
    """Returns the plan with everything as late as limits and its finish allow, never earlier."""
    ends = [s + d for s, d in zip(plan.starts, work.lengths, strict=True)]
    order = sorted(range(len(ends) - 1, -1, -1), key=ends.__getitem__, reverse=True)
    lefts, _ = place(work, order, work.followers, work.lengths)
    return Plan(starts=[plan.finish - left for left in lefts], finish=plan.finish)


def chain_of(work: Work, plan: Plan, lates: Plan) -> list[int]:
    """Returns activities without a gap from the first to the last; each waits for the one before
    it.

    It waits by need, or for units of a limit that both use; those without slack are preferred.
    """
    count = len(work.lengths)
    if not count:
        return []
    ends = [s + d for s, d in zip(plan.starts, work.lengths, strict=True)]
    ending: dict[int, list[int]] = {}
    for i, end in enumerate(ends):
        ending.setdefault(end, []).append(i)

    def slack(i: int) -> bool:
        return lates.starts[i] > plan.starts[i]

    at = min(ending[plan.finish], key=lambda i: (slack(i), work.origin[i]))
    chain = [at]
    while plan.starts[at] > 0:
        needs = set(work.needs[at])
        rivals = [
            i for i in ending[plan.starts[at]] if i != at and (i in needs or work.rivals(i, at))
        ]  # fmt: skip
        at = min(rivals, key=lambda i: (slack(i), i not in needs, work.origin[i]))
        chain.append(at)
    return chain[::-1]
