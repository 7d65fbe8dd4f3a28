from __future__ import annotations

import pytest

from fleet.core.ledger import Ledger, Rate, grant, ledger_of, next_opening
from fleet.core.plan import MINUTE_MS, Failure, Retry
from fleet.core.state import wants
from support.plans import plan, step
from support.playbook import failed, granted, play

BOX = (("box", 1),)
TWO = (("box", 2),)


def test_the_longest_tail_starts_first_over_all_runs_then_run_and_id():
    wanted = {"r2": {BOX: [(-5, "a"), (0, "b")]}, "r1": {BOX: [(-5, "z")], (): []}}
    assert grant(Ledger(limits={"box": 2}), wanted, 0) == {"r1": ["z"], "r2": ["a"]}


def test_what_does_not_fit_lets_the_smaller_pass():
    wanted = {"r": {TWO: [(-9, "big")], BOX: [(-1, "small")]}}
    ledger = Ledger(limits={"box": 2}, used={"box": 1})
    assert grant(ledger, wanted, 0) == {"r": ["small"]}
    assert ledger.used == {"box": 1}, "grant books nothing"


def test_a_resting_account_starts_nothing_until_it_opens():
    ledger = Ledger()
    ledger.pause("box", 100)
    ledger.pause("box", 50)
    assert grant(ledger, {"r": {BOX: [(0, "a")]}}, 99) == {}
    assert next_opening(ledger, 99) == 100
    assert grant(ledger, {"r": {BOX: [(0, "a")]}}, 100) == {"r": ["a"]}
    assert next_opening(ledger, 100) is None


def test_a_rate_lets_so_many_start_in_its_window_and_forgets_older_ones():
    ledger = Ledger(rates={"box": Rate(starts=2, window_ms=10)})
    wanted = {"r": {BOX: [(0, "a"), (0, "b"), (0, "c")]}}
    assert grant(ledger, wanted, 0) == {"r": ["a", "b"]}
    ledger.take(BOX, 0)
    ledger.take(BOX, 5)
    assert grant(ledger, wanted, 9) == {}
    assert next_opening(ledger, 9) == 10
    assert grant(ledger, wanted, 10) == {"r": ["a"]}
    ledger.take(BOX, 20)
    assert ledger.starts_ms == {"box": [20]}


def test_units_come_back_and_never_more_than_were_taken():
    ledger = Ledger()
    ledger.take(BOX, 0)
    ledger.give_back(BOX)
    with pytest.raises(AssertionError, match="more of 'box'"):
        ledger.give_back(BOX)


def test_the_ledger_follows_from_the_runs_after_a_crash():
    run = play(plan(step("a", uses={"box": 1}), step("b", uses={"max": 1, "max/min": 1})))
    run.quietly(granted("a", "b")).at(10).quietly(
        failed("b", 1, Failure.ACCOUNT, account="max", until_ms=99)
    )
    ledger = ledger_of([run.state], {"box": 1, "max/min": 1})
    assert (ledger.used, ledger.paused_until_ms) == ({"box": 1}, {"max": 99})
    assert grant(ledger, {"r": wants(run.state, 99)}, 99) == {}, "its rate is remembered"
    assert next_opening(ledger, 99) == MINUTE_MS + 2
    assert grant(ledger, {"r": wants(run.state, MINUTE_MS + 2)}, MINUTE_MS + 2) == {"r": ["b"]}


def test_earlier_tries_of_a_step_count_to_a_rate_also_after_a_crash():
    again = Retry(times=9)
    run = play(plan(step("a", uses={"max/min": 1}, ladder=(again,))))
    for at_ms in (100, 200, 300):
        run.at(at_ms).quietly(granted("a"), failed("a", run.state.steps["a"].attempt + 1))
    ledger = ledger_of([run.state], {"max/min": 3})
    assert ledger.starts_ms == {"max/min": [100, 200, 300]}
    assert next_opening(ledger, 400) == 100 + MINUTE_MS
    run.at(MINUTE_MS + 250).quietly(granted("a"))
    assert run.state.starts == {"max/min": [300, MINUTE_MS + 250]}, "older ones are let go"


def test_a_rate_that_is_not_used_up_wakes_nobody():
    ledger = ledger_of([], {"max/min": 2})
    ledger.take((("max/min", 1),), 5)
    assert next_opening(ledger, 10) is None
