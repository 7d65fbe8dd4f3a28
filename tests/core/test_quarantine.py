"""Crash loops: what crashes in one step after another is closed, asked about once, and lifted."""

from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.ledger import grant, ledger_of, next_opening
from fleet.core.plan import Ask, Failure, Retry
from fleet.core.quarantine import WINDOW_MS
from support.plans import plan, step
from support.playbook import (
    AttemptEnded,
    QuestionAnswered,
    QuestionRaised,
    RetryScheduled,
    answered,
    ended,
    failed,
    granted,
    play,
)

AGAIN = Retry(times=4, backoff_ms=100, on=frozenset({Failure.AGENT}))
ASKED = QuestionRaised("r.q1", "")


def tasks(**agents):
    """A plan of steps by the agent that works on each; all of one account."""
    steps = [
        step(name, uses={f"agent:{agent}": 1, "account:x": 1}, ladder=(AGAIN, Ask(message="?")))
        for name, agent in agents.items()
    ]
    return play(plan(*steps))


def crash(run, name, attempt=1):
    uses = tuple(sorted(run.state.steps[name].step.uses, reverse=True))
    assert uses[0].startswith("agent:"), "the narrowest first"
    return failed(name, attempt, Failure.AGENT, blames=uses, text="exit 127: no such program")


def startable(run):
    found = grant(ledger_of([run.state], {}), {"r": states.wants(run.state, run.now)}, run.now)
    return found.get("r", [])


def test_three_steps_of_an_agent_that_crash_close_the_agent_and_one_question_asks_for_all():
    with tasks(a="ann", b="ann", c="ann", d="ann", e="bob") as run:
        run.quietly(granted("a", "b", "c"))
        run.quietly(crash(run, "a"), crash(run, "b"))
        run.tell(crash(run, "c")).expect(AttemptEnded("c"), RetryScheduled("c"), ASKED)
        question = run.state.questions["r.q1"].question
        assert (question.kind, question.choices) == ("quarantine", ("retry", "stop"))
        assert "agent ann crashes at once" in question.message
        assert "exit 127: no such program" in question.message
        run.at(5_000).tell(granted("a", "d")).expect()
        assert startable(run) == ["e"], "another agent of the account goes on"
        assert next_opening(ledger_of([run.state], {}), run.now) is None, "time does not lift it"
        run.tell(answered(1, "retry")).expect(QuestionAnswered("r.q1", "retry"))
        assert startable(run) == ["a", "b", "c", "d", "e"]
        assert run.state.steps["a"].used == ((0, 1),), "one retry each, and no more"


def test_agents_that_crash_in_one_task_each_close_their_account():
    run = tasks(a="ann", b="bob", c="eve", d="joe")
    run.quietly(granted("a", "b", "c"), crash(run, "a"), crash(run, "b"), crash(run, "c"))
    assert run.state.quarantined == {"account:x": "r.q1"}
    assert startable(run.at(9_000)) == []


@pytest.mark.parametrize("between", ["success", "task", "time", "same"])
def test_what_works_in_between_or_lies_back_is_no_loop(between):
    run = tasks(a="ann", b="ann", c="ann", d="ann")
    run.quietly(granted("a", "b", "c", "d"), crash(run, "a"), crash(run, "b"))
    match between:
        case "success":
            run.quietly(ended("d"))
        case "task":
            run.quietly(failed("d"))
        case "time":
            run.at(run.now + WINDOW_MS + 9)
        case "same":
            run.at(9_000).quietly(granted("a"), crash(run, "a", 2))
            assert not run.state.quarantined, "a step alone is its ladder's"
            return
    run.quietly(crash(run, "c"))
    assert not run.state.quarantined


def test_stop_leaves_it_closed_and_a_retry_of_one_of_its_steps_lifts_it():
    run = tasks(a="ann", b="ann", c="ann", d="ann")
    run.quietly(granted("a", "b", "c"), crash(run, "a"), crash(run, "b"), crash(run, "c"))
    run.tell(answered(1, "stop")).expect(QuestionAnswered("r.q1", "stop"))
    run.at(9_000).tell(granted("a", "d")).expect()
    run.tell(m.RetryStep(step="d")).expect(RetryScheduled("d"))
    assert (run.state.quarantined, run.state.accounts) == ({}, {})
    assert startable(run) == ["a", "b", "c", "d"]


def test_a_retry_closes_the_question_as_well():
    run = tasks(a="ann", b="ann", c="ann")
    run.quietly(granted("a", "b", "c"), crash(run, "a"), crash(run, "b"), crash(run, "c"))
    run.tell(m.RetryStep(step="a")).expect(RetryScheduled("a"))
    assert run.state.questions == {}


def test_only_the_run_itself_asks_about_a_quarantine():
    run = tasks(a="ann")
    forged = m.Question(message="lift it", about={"quarantine": "agent:ann"})
    run.refuse(m.RaiseQuestion(question=forged), "only the run itself")
