"""When a plan's work can be done if only so much may run at once: resource-constrained scheduling.

Lives here: the search for a short schedule under limits. The problem is NP-hard, so this is a
bounded search, the same every time: schedules by priority rules in series and in parallel (Kolisch,
1996), each pushed to the right and back to the left (justification: Valls, Ballestin, Quintanilla,
2005), then a genetic search over activity lists (Hartmann, 1998). It stops at a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from fleet.core.placing import Plan, Work, chain_of, parallel, pushed_right, serial, work_of
from fleet.core.schedule import Activity, Timetable, network_of, timetable_of

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


def level(
    activities: Sequence[Activity],
    limits: Mapping[str, int],
    *,
    seed: int = SEED,
    rounds: int | None = None,
) -> Timetable:
    """Returns a short timetable in which no limit is exceeded, in days from 0; the same every time.

    Late times are those of the same schedule pushed as far right as limits and the finish allow, so
    an activity may slip by its slack if those behind it make way. Units of names that have no limit
    cost nothing, nor do activities of no length. `rounds` bounds the lists that the search tries.
    Raises InvalidPlan as `timetable` does, and when an activity wants more than there is.
    """
    network = network_of(activities)
    work = work_of(activities, network, limits)
    best = _search(work, Dice(seed), rounds)
    lates = pushed_right(work, best)
    count = len(network.ids)
    ends, late_ends = [0] * count, [0] * count
    for i, at in enumerate(work.origin):
        ends[at] = best.starts[i] + work.lengths[i]
        late_ends[at] = lates.starts[i] + work.lengths[i]
    chain = [work.origin[i] for i in chain_of(work, best, lates)]
    return timetable_of(network, ends, late_ends, chain)


def _improved(work: Work, plan: Plan) -> tuple[Plan, list[int]]:
    """Returns the plan pushed right and back left, never longer, and its order of starts."""
    right = pushed_right(work, plan)
    order = sorted(range(len(right.starts)), key=right.starts.__getitem__)
    plan = serial(work, order)
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
        for plan in (parallel(work, keys), serial(work, _ordered(work, keys))):
            if plan.finish <= bound:
                return plan
            better, order = _improved(work, plan)
            if better.finish <= bound:
                return better
            people.append((better.finish, order, better))
            rounds -= 1
    return _breed(work, people, dice, bound=bound, rounds=rounds, keys=rules[0])


def _breed(
    work: Work,
    people: list[tuple[int, list[int], Plan]],
    dice: Dice,
    *,
    bound: int,
    rounds: int,
    keys: Sequence[tuple[int, int, int]],
) -> Plan:
    """Returns the best plan after `rounds` lists; a new child that is no worse replaces the
    worst.
    """
    seen = {tuple(plan.starts) for _, _, plan in people}
    best = min(people, key=lambda one: one[0])
    for _ in range(rounds):
        if len(people) < POPULATION:
            order = _sampled(work, keys, dice)
        else:
            mother, father = _picked(people, dice), _picked(people, dice)
            order = _mutated(work, _crossed(mother, father, dice), dice)
        plan, order = _improved(work, serial(work, order))
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
    """Returns a list drawn with a bias to small keys: the better of two picked at random, each
    time.
    """
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
    """Returns the longest way from the start to each activity; with followers, from each to the
    end.
    """
    heads = [0] * len(lengths)
    for i in order:
        for need in needs[i]:
            if heads[need] + lengths[need] > heads[i]:  # noqa: PLR1730 - max() is slower
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
    """Returns a finish that no schedule beats: the longest chain, or what a limit's users need of
    it.

    For each limit and each head: the work of all who cannot start before it and who have at least
    so long a tail must fit between the two (after Carlier and Latapie, 1991).
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
