from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.levelling import level
from fleet.core.schedule import Activity, timetable
from fleet.errors import InvalidPlan

LIMITS = {"a": 2, "b": 3}


@st.composite
def networks(draw, largest=9):
    found = []
    for i in range(draw(st.integers(1, largest))):
        needs = draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else ()
        uses = draw(st.dictionaries(st.sampled_from("abc"), st.integers(1, 2)))
        days = draw(st.sampled_from([0, 0.5, 1, 2, 3.7]))
        needs = tuple(f"t{need}" for need in sorted(needs))
        rank = draw(st.integers(0, 3))
        found.append(Activity(id=f"t{i}", days=days, needs=needs, uses=uses, rank=rank))
    return draw(st.permutations(found))


def assert_feasible(plan, starts, ends):
    for activity in plan:
        assert all(ends[need] <= starts[activity.id] for need in activity.needs)
        for name, limit in LIMITS.items():
            at = starts[activity.id]
            running = [a for a in plan if starts[a.id] <= at < ends[a.id]]
            assert sum(a.uses.get(name, 0) for a in running) <= limit


@given(networks())
def test_early_and_late_times_keep_needs_and_limits(plan):
    found = level(plan, LIMITS, rounds=20)
    slots = found.slots
    assert_feasible(
        plan, {i: slots[i].early_start for i in slots}, {i: slots[i].early_end for i in slots}
    )
    assert_feasible(
        plan, {i: slots[i].late_start for i in slots}, {i: slots[i].late_end for i in slots}
    )
    assert all(s.late_start >= s.early_start and s.late_end <= found.days for s in slots.values())
    assert found.days >= timetable(plan).days
    lengths = {a.id: a.days for a in plan}
    assert sum(lengths[i] for i in found.chain) == pytest.approx(found.days)
    assert found == level(plan, LIMITS, rounds=20)


@given(networks(largest=6))
def test_small_plans_are_as_short_as_they_can_be(plan):
    best = min(greedy_days(order) for order in permutations(plan) if respects(order))
    assert level(plan, LIMITS).days == pytest.approx(best)


def respects(order):
    seen = set()
    return all((seen.issuperset(a.needs), seen.add(a.id))[0] for a in order)


def greedy_days(order):
    """The serial scheme in the plainest way: tries every moment at which something ends."""
    starts, ends = {}, {}
    for activity in order:
        ready = max((ends[need] for need in activity.needs), default=0)
        for at in sorted({ready, *(end for end in ends.values() if end >= ready)}):
            moments = {at, *(s for s in starts.values() if at < s < at + activity.days)}
            if not activity.days or all(fits(activity, order, starts, ends, m) for m in moments):
                starts[activity.id], ends[activity.id] = at, at + activity.days
                break
    return max(ends.values())


def fits(activity, order, starts, ends, at):
    running = [a for a in order if a.id in starts and starts[a.id] <= at < ends[a.id]]
    return all(
        activity.uses.get(name, 0) + sum(a.uses.get(name, 0) for a in running) <= limit
        for name, limit in LIMITS.items()
    )


def test_without_a_limit_that_binds_it_is_the_critical_path():
    plan = [Activity(id=str(i), days=2, uses={"a": 1}) for i in range(2)]
    assert level(plan, LIMITS) == timetable(plan)


def test_priority_decides_who_goes_first():
    plan = [Activity(id=str(rank), days=1, uses={"a": 2}, rank=rank) for rank in (3, 0, 2)]
    found = level(plan, LIMITS)
    assert sorted(found.slots, key=lambda i: found.slots[i].early_start) == ["0", "2", "3"]


def test_wanting_more_than_there_is_is_refused():
    with pytest.raises(InvalidPlan, match="'x' uses 3 of 'a', which has only 2"):
        level([Activity(id="x", days=1, uses={"a": 3})], LIMITS)
    with pytest.raises(InvalidPlan, match="only 0"):
        level([Activity(id="x", days=1, uses={"a": 1})], {"a": 0})


def test_slack_is_what_limits_leave_of_it():
    plan = [
        Activity(id="long", days=9, uses={"b": 1}),
        Activity(id="x", days=2, uses={"a": 2}),
        Activity(id="y", days=3, uses={"a": 2}),
    ]
    found = level(plan, LIMITS)
    assert found.days == 9
    assert {i: found.slots[i].slack for i in found.slots} == {"long": 0, "x": 4, "y": 4}
    assert found.critical == ("long",)
