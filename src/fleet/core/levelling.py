"""When a plan's work can be done if only so much may run at once: resource-constrained scheduling.

Lives here: the search for a short schedule under limits. The problem is NP-hard, so this is a bounded
search, the same every time: schedules by priority rules in series and in parallel (Kolisch, 1996),
each pushed to the right and back to the left (justification: Valls, Ballestin and Quintanilla, 2005),
then a genetic search over activity lists (Hartmann, 1998). It stops as soon as a lower bound is met.
All limits of one moment are packed into one integer, a field a limit under a guard bit that is always
set, so that one subtraction and one mask answer "does this still fit?".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from fleet.core.schedule import (
    Activity,
    Network,
    Timetable,
    network_of,
    timetable_of,
)
from fleet.errors import InvalidPlan, Problem

SEED = 2026
MASK = (1 << 64) - 1
POPULATION = 40
PLACEMENTS = 200_000
"""The default effort: activities placed, over all schedules that are tried."""


class Dice:
    """Repeatable pseudo-random numbers: splitmix64 (Steele, Lea and Flood, 2014)."""

    __slots__ = ("state",)

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def roll(self) -> int:
        """Returns the next 64 bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        """Returns a number from 0 to `limit` - 1."""
        return (self.roll() * limit) >> 64


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


def level(
    activities: Sequence[Activity],
    limits: Mapping[str, int],
    *,
    seed: int = SEED,
    rounds: int | None = None,
) -> Timetable:
    """Returns a short timetable in which no limit is exceeded, in days from 0; the same every time.

    Late times are those of the same schedule pushed as far right as limits and the finish allow, so an
    activity may slip by its slack if those behind it make way. Units of names that have no limit cost
    nothing, nor do activities of no length. `rounds` bounds the lists that the search tries. Raises
    InvalidPlan as `timetable` does, and when an activity wants more than there is.
    """
    network = network_of(activities)
    work = _work_of(activities, network, limits)
    best = _search(work, Dice(seed), rounds)
    lates = _pushed_right(work, best)
    count = len(network.ids)
    ends, late_ends = [0] * count, [0] * count
    for i, at in enumerate(work.origin):
        ends[at] = best.starts[i] + work.lengths[i]
        late_ends[at] = lates.starts[i] + work.lengths[i]
    chain = [work.origin[i] for i in _chain(work, best, lates)]
    return timetable_of(network, ends, late_ends, chain)


def sequence(
    activities: Sequence[Activity], limits: Mapping[str, int], timetable: Timetable
) -> tuple[Work, list[int]]:
    """Returns the activities as integers, and the order in which `timetable` starts them."""
    work = _work_of(activities, network_of(activities), limits)
    starts = [timetable.slots[activities[at].id].early_start for at in work.origin]
    return work, sorted(range(len(starts)), key=starts.__getitem__)


def _work_of(
    activities: Sequence[Activity], network: Network, limits: Mapping[str, int]
) -> Work:
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
            if ends[need] > start:
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


def _serial(work: Work, order: Sequence[int]) -> Plan:
    ends, finish = place(work, order, work.needs, work.lengths)
    starts = [end - length for end, length in zip(ends, work.lengths, strict=True)]
    return Plan(starts=starts, finish=finish)


def _parallel(work: Work, keys: Sequence[tuple[int, int, int]]) -> Plan:
    """At each moment in turn, starts what is ready and fits, smallest key first (parallel scheme)."""
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


def _pushed_right(work: Work, plan: Plan) -> Plan:
    """Returns the plan with everything as late as limits and its finish allow, never earlier than it was."""
    ends = [s + d for s, d in zip(plan.starts, work.lengths, strict=True)]
    order = sorted(range(len(ends) - 1, -1, -1), key=ends.__getitem__, reverse=True)
    lefts, _ = place(work, order, work.followers, work.lengths)
    return Plan(starts=[plan.finish - left for left in lefts], finish=plan.finish)


def _improved(work: Work, plan: Plan) -> tuple[Plan, list[int]]:
    """Returns the plan pushed right and back left, never longer, and its order of starts."""
    right = _pushed_right(work, plan)
    order = sorted(range(len(right.starts)), key=right.starts.__getitem__)
    plan = _serial(work, order)
    return plan, sorted(order, key=plan.starts.__getitem__)


def _search(work: Work, dice: Dice, rounds: int | None) -> Plan:
    """Returns the best plan found: by every rule first, then by breeding lists of the best."""
    count = len(work.lengths)
    heads = _heads(work.needs, work.lengths, range(count))
    tails = _heads(work.followers, work.lengths, range(count - 1, -1, -1))
    bound = _bound(work, heads, tails)
    if rounds is None:
        rounds = min(60 * count, PLACEMENTS // (3 * max(count, 1)))
    people: list[tuple[int, list[int], Plan]] = []
    rules = _rules(work, heads, tails)
    for keys in rules if rounds > 2 * len(rules) else rules[:1]:
        for plan in (_parallel(work, keys), _serial(work, _ordered(work, keys))):
            if plan.finish > bound:
                plan, order = _improved(work, plan)
            if plan.finish <= bound:
                return plan
            people.append((plan.finish, order, plan))
            rounds -= 1
    return _breed(work, people, dice, bound, rounds, rules[0])


def _breed(
    work: Work,
    people: list[tuple[int, list[int], Plan]],
    dice: Dice,
    bound: int,
    rounds: int,
    keys: Sequence[tuple[int, int, int]],
) -> Plan:
    """Returns the best plan after `rounds` lists; a child replaces the worst, if it is new and no worse."""
    seen = {tuple(plan.starts) for _, _, plan in people}
    best = min(people, key=lambda one: one[0])
    for _ in range(rounds):
        if len(people) < POPULATION:
            order = _sampled(work, keys, dice)
        else:
            mother, father = _picked(people, dice), _picked(people, dice)
            order = _mutated(work, _crossed(mother, father, dice), dice)
        plan, order = _improved(work, _serial(work, order))
        if plan.finish <= bound:
            return plan
        marks = tuple(plan.starts)
        if marks in seen:
            continue
        seen.add(marks)
        child = (plan.finish, order, plan)
        if plan.finish < best[0]:
            best = child
        if len(people) < POPULATION:
            people.append(child)
            continue
        worst = max(range(POPULATION), key=lambda at: people[at][0])
        if plan.finish <= people[worst][0]:
            people[worst] = child
    return best[2]


def _picked(people: list[tuple[int, list[int], Plan]], dice: Dice) -> list[int]:
    one, other = people[dice.below(len(people))], people[dice.below(len(people))]
    return min(one, other, key=lambda each: each[0])[1]


def _crossed(mother: list[int], father: list[int], dice: Dice) -> list[int]:
    """Two-point crossover; the child respects needs because both parents do (Hartmann, 1998)."""
    count = len(mother)
    low, high = sorted((dice.below(count + 1), dice.below(count + 1)))
    child = mother[:low]
    taken = set(child)
    middle = [i for i in father if i not in taken][: high - low]
    taken.update(middle)
    return child + middle + [i for i in mother if i not in taken]


def _mutated(work: Work, order: list[int], dice: Dice) -> list[int]:
    for at in range(len(order) - 1):
        if dice.roll() & 15 == 0 and order[at] not in work.needs[order[at + 1]]:
            order[at], order[at + 1] = order[at + 1], order[at]
    return order


def _ordered(work: Work, keys: Sequence[tuple[int, int, int]]) -> list[int]:
    """Returns the list that takes the smallest key among the ready, each time."""
    missing = [len(mine) for mine in work.needs]
    ready = [keys[i] for i, count in enumerate(missing) if not count]
    heapify(ready)
    order = []
    while ready:
        i = heappop(ready)[2]
        order.append(i)
        for follower in work.followers[i]:
            missing[follower] -= 1
            if not missing[follower]:
                heappush(ready, keys[follower])
    return order


def _sampled(work: Work, keys: Sequence[tuple[int, int, int]], dice: Dice) -> list[int]:
    """Returns a list drawn with a bias to small keys: the better of two picked at random, each time."""
    missing = [len(mine) for mine in work.needs]
    ready = [i for i, count in enumerate(missing) if not count]
    order = []
    while ready:
        one, other = dice.below(len(ready)), dice.below(len(ready))
        at = one if keys[ready[one]] <= keys[ready[other]] else other
        ready[at], ready[-1] = ready[-1], ready[at]
        i = ready.pop()
        order.append(i)
        for follower in work.followers[i]:
            missing[follower] -= 1
            if not missing[follower]:
                ready.append(follower)
    return order


def _heads(needs: Sequence[Sequence[int]], lengths: Sequence[int], order: range) -> list[int]:
    """Returns the longest way from the start to each activity; with followers, from each to the end."""
    heads = [0] * len(lengths)
    for i in order:
        for need in needs[i]:
            if heads[need] + lengths[need] > heads[i]:
                heads[i] = heads[need] + lengths[need]
    return heads


def _rules(work: Work, heads: list[int], tails: list[int]) -> list[list[tuple[int, int, int]]]:
    """Returns sort keys (value, rank, index) for each priority rule; smaller goes first."""
    count, lengths = len(work.lengths), work.lengths
    after = [0] * count
    behind = [0] * count
    for i in range(count - 1, -1, -1) if count <= 2_000 else ():
        for follower in work.followers[i]:
            behind[i] |= behind[follower] | 1 << follower
        after[i] = behind[i].bit_count()
    weights = [lengths[i] + sum(lengths[f] for f in work.followers[i]) for i in range(count)]
    return [
        [(value, work.ranks[i], i) for i, value in enumerate(values)]
        for values in (
            [-tail for tail in tails],  # latest finish time
            [-tails[i] - lengths[i] for i in range(count)],  # latest start time
            [-many for many in after],  # most total successors
            [-weight for weight in weights],  # greatest rank positional weight
            [-heads[i] - lengths[i] - tails[i] for i in range(count)],  # minimum slack
        )
    ]


def _bound(work: Work, heads: list[int], tails: list[int]) -> int:
    """Returns a finish that no schedule beats: the longest chain, or what a limit's users need of it.

    For each limit and each head: the work of all who cannot start before it and who have at least so
    long a tail must fit between the two (after Carlier and Latapie, 1991).
    """
    count = len(work.lengths)
    bound = max((heads[i] + work.lengths[i] + tails[i] for i in range(count)), default=0)
    for users, capacity in zip(work.shares, work.capacities, strict=True):
        ranked = sorted(users, key=lambda user: -tails[user[0]])
        for head in sorted({heads[i] for i, _ in users})[:100]:
            energy = 0
            for i, units in ranked:
                if heads[i] >= head:
                    energy += units * work.lengths[i]
                    bound = max(bound, head + -(-energy // capacity) + tails[i])
    return bound


def _chain(work: Work, plan: Plan, lates: Plan) -> list[int]:
    """Returns activities without a gap from the first to the last; each waits for the one before it.

    It waits by need, or for units of a limit that both use; those without slack are preferred.
    """
    count = len(work.lengths)
    if not count:
        return []
    ends = [s + d for s, d in zip(plan.starts, work.lengths, strict=True)]
    ending: dict[int, list[int]] = {}
    for i, end in enumerate(ends):
        ending.setdefault(end, []).append(i)
    at = min(ending[plan.finish], key=lambda i: (lates.starts[i] > plan.starts[i], work.origin[i]))
    chain = [at]
    while plan.starts[at] > 0:
        needs = set(work.needs[at])
        rivals = [
            i for i in ending[plan.starts[at]] if i != at and (i in needs or work.rivals(i, at))
        ]  # fmt: skip
        at = min(rivals, key=lambda i: (lates.starts[i] > plan.starts[i], i not in needs, work.origin[i]))
        chain.append(at)
    return chain[::-1]
