"""Accounts that turn attempts away: pauses until the named time, else growing ones."""

from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.decide.attempts import ACCOUNT_PAUSE_CAP_MS, ACCOUNT_PAUSE_MS
from fleet.core.ledger import Ledger, grant
from fleet.core.plan import Ask, Failure, Retry
from support.plans import plan, step
from support.playbook import AttemptEnded, AttemptStarted, RetryScheduled, failed, granted, play

ACCOUNT = "account:x"
WORK = {"uses": {ACCOUNT: 1}, "ladder": (Retry(times=1), Ask(message="how on?"))}


def turned_away(name, attempt, **rest):
    return failed(name, attempt, Failure.ACCOUNT, account=ACCOUNT, **rest)


def pauses(name, times):
    """How long the account rests after each of so many refusals without a time."""
    run = play(plan(step(name, **WORK)))
    found = []
    for attempt in range(1, times + 1):
        run.quietly(granted(name))
        told = run.now + 1
        run.quietly(turned_away(name, attempt))
        found.append(run.state.accounts[ACCOUNT] - told)
        run.at(run.state.accounts[ACCOUNT])
    assert run.state.steps[name].used == (), "no rung is spent"
    return found


def test_without_a_time_pauses_double_up_to_a_cap_give_or_take_a_quarter():
    for number, found in enumerate(pauses("a", 9)):
        wait = min(ACCOUNT_PAUSE_MS << number, ACCOUNT_PAUSE_CAP_MS)
        assert wait * 3 // 4 <= found < wait * 5 // 4


def test_those_turned_away_together_do_not_come_back_together_and_a_replay_is_exact():
    first = {name: pauses(name, 2) for name in ("a", "b", "c")}
    assert len({tuple(found) for found in first.values()}) == 3
    assert first == {name: pauses(name, 2) for name in ("a", "b", "c")}


def test_another_ending_lets_the_pauses_begin_anew():
    run = play(plan(step("a", **WORK)))
    run.quietly(granted("a"), turned_away("a", 1))
    run.at(run.state.accounts[ACCOUNT]).quietly(granted("a"), failed("a", 2))
    assert run.state.steps["a"].limited == 0


def test_a_named_time_is_waited_for_exactly():
    with play(plan(step("a", **WORK))) as run:
        run.tell(granted("a")).expect(AttemptStarted("a", 1))
        run.tell(turned_away("a", 1, until_ms=77_000)).expect(
            AttemptEnded("a"), RetryScheduled("a", 77_000, -1)
        )
        assert states.next_wakeup(run.state, run.now) == 77_000
        run.at(77_000).tell(granted("a")).expect(AttemptStarted("a", 2))


@pytest.mark.parametrize("reopened", [False, True])
def test_others_of_the_account_rest_too_until_a_person_tries_it_again(reopened):
    run = play(plan(step("a", **WORK), step("b", **WORK)))
    ledger = Ledger()
    run.quietly(granted("a"), turned_away("a", 1, until_ms=77_000))
    ledger.pause(ACCOUNT, 77_000)
    if reopened:
        run.quietly(m.RetryStep(step="a"))
        ledger.reopen(run.state.steps["a"].step.uses)
    assert run.state.accounts == ({} if reopened else {ACCOUNT: 77_000})
    found = grant(ledger, {"r": states.wants(run.state, run.now)}, run.now)
    assert found == ({"r": ["a", "b"]} if reopened else {})
