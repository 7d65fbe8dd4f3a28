from __future__ import annotations

import pytest

from fleet.core.plan import check, circle, plan_of
from fleet.errors import InvalidPlan
from support.plans import fleet, phase, plan, step, task


def test_a_fleets_plan_is_a_plan():
    check(fleet(task("A"), task("B", "A"), phase("P", ["A", "B"])))


def test_all_problems_are_told_at_once_with_what_was_meant():
    broken = plan(
        step("work", "wrk", "worl"), step("b", uses={"box": 3}), step("c", kind=""), box=1
    )
    with pytest.raises(InvalidPlan) as told:
        check(broken)
    assert len(told.value.problems) == 4
    assert "did you mean 'work'?" in str(told.value)


def test_a_circle_is_printed():
    with pytest.raises(InvalidPlan, match="a -> b -> c -> a"):
        check(plan(step("a", "b"), step("b", "c"), step("c", "a")))


def test_an_id_that_stands_twice_is_refused():
    with pytest.raises(InvalidPlan, match="'a' is there twice"):
        plan_of("p", [step("a"), step("a")])


def test_a_chain_of_100_000_is_no_circle():
    assert circle({n: (n + 1,) for n in range(100_000)}) == ()
