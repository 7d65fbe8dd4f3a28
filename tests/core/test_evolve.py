from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve, replay
from fleet.errors import Rejected
from support.plans import join, plan, step
from support.playbook import ended, play


def test_nothing_folds_to_nothing():
    assert replay([]) is None


def test_a_run_must_have_started():
    with pytest.raises(AssertionError, match="starts it"):
        evolve(None, m.RunPaused())
    with pytest.raises(Rejected, match="not started"):
        decide(None, m.PauseRun())


def test_a_plan_that_does_not_hold_is_not_started():
    with pytest.raises(Rejected, match="circle"):
        decide(None, m.StartRun(run="r", plan=plan(step("a", "a"))))


def test_a_chain_of_joins_as_deep_as_a_stack_settles_without_recursion():
    depth = 5000
    joins = [join(f"j{n}", f"j{n - 1}" if n else "a") for n in range(depth)]
    state = replay(decide(None, m.StartRun(run="r", plan=plan(step("a"), *joins))))
    for event in decide(state, ended("a")):
        evolve(state, event)
    assert state.ended == "succeeded"


def test_a_live_state_keeps_no_list_of_what_came_ready():
    run = play(plan(step("a"), step("b", "a"))).quietly(ended("a"), ended("b"))
    assert run.state.agenda == []
