from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.schedule import Activity, timetable, width
from fleet.errors import InvalidPlan


@st.composite
def networks(draw):
    """Activities in any order of input, with needs that run in no circle."""
    count = draw(st.integers(1, 12))
    found = []
    for i in range(count):
        needs = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else ()
        days = draw(st.sampled_from([0, 0.1, 0.5, 1, 2.5, 7]))
        uses = draw(st.dictionaries(st.sampled_from("ab"), st.integers(1, 2)))
        needs = tuple(f"t{need}" for need in sorted(needs))
        found.append(Activity(id=f"t{i}", days=days, needs=needs, uses=uses))
    return draw(st.permutations(found))


def test_the_products_own_plan():
    needs = {"1": (), "2": ("1",), "3": ("2",), "4": ("3",), "5": ("3",), "6": ("4", "5")}
    days = dict(zip(needs, (3, 8, 7, 3, 3, 4), strict=True))
    plan = [Activity(id=i, days=days[i], needs=needs[i]) for i in needs]
    found = timetable(plan)
    assert found.days == 25
    assert found.chain == ("1", "2", "3", "4", "6")
    assert found.critical == ("1", "2", "3", "4", "5", "6")
    assert width(found, plan) == 2


@given(networks())
def test_slots_respect_needs_and_the_chain_is_the_duration(plan):
    found = timetable(plan)
    lengths = {a.id: a.days for a in plan}
    for activity in plan:
        slot = found.slots[activity.id]
        assert 0 <= slot.early_start <= slot.late_start
        assert slot.late_end <= found.days
        assert slot.slack == pytest.approx(slot.late_start - slot.early_start)
        assert slot.early_start == max(
            (found.slots[n].early_end for n in activity.needs), default=0
        )
        assert all(found.slots[n].late_end <= slot.late_start for n in activity.needs)
    assert list(found.slots) == [a.id for a in plan]
    assert sum(lengths[name] for name in found.chain) == pytest.approx(found.days)
    assert set(found.chain) <= set(found.critical)


def test_a_hundred_thousand_tenths_do_not_drift_or_recurse():
    plan = [Activity(id=str(i), days=0.1, needs=(str(i - 1),) if i else ()) for i in range(100_000)]
    found = timetable(plan[::-1])
    assert found.days == 10_000
    assert len(found.chain) == 100_000


def test_a_circle_is_printed():
    plan = [Activity(id=i, days=1, needs=(n,)) for i, n in (("a", "b"), ("b", "c"), ("c", "a"))]
    with pytest.raises(InvalidPlan, match="a -> b -> c -> a"):
        timetable(plan)


def test_every_problem_is_told():
    plan = [
        Activity(id="a", days=-1, needs=("bb",)),
        Activity(id="b", days=float("nan")),
        Activity(id="b", days=float("inf")),
    ]
    with pytest.raises(InvalidPlan) as caught:
        timetable(plan)
    assert len(caught.value.problems) == 5


def test_nothing_takes_no_time():
    assert timetable([]).days == 0
