"""Budgets: spent ones keep back what draws on them and are asked about, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.plan import Patch, Retry
from fleet.core.spending import Budget, add_usage, enlarge, resize, spend
from support.plans import plan, step
from support.playbook import (
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    PlanRevised,
    QuestionAnswered,
    QuestionRaised,
    RetryScheduled,
    RunEnded,
    StepReleased,
    StopRequested,
    answered,
    ended,
    failed,
    granted,
    play,
    stopped,
)

ASKED = QuestionRaised("r.q1", "")
WORK = {"uses": {"ann": 1}, "ladder": (Retry(times=9),)}


def budgeted(*steps, **amounts):
    return replace(plan(*steps), budgets={"ann": amounts})


def two(**rest):
    return budgeted(step("a", **WORK), step("b", "a", **{**WORK, **rest}), usd=1.0)


def wanted(run):
    found = states.wants(run.state, run.now).values()
    return [name for steps in found for _, name in steps]


def test_a_spent_budget_starts_nothing_more_and_asks_until_it_is_raised():
    with play(two()) as run:
        run.tell(granted("a")).expect(AttemptStarted("a", 1))
        run.tell(ended("a", usage={"usd": 1.5})).expect(AttemptEnded("a"), ASKED)
        question = run.state.questions["r.q1"].question
        assert question.message == "ann has spent 1.5 of 1 usd; nothing more of it starts."
        assert (question.choices, question.kind) == (("raise", "stop"), "budget")
        assert wanted(run) == []
        run.tell(granted("b")).expect()
        run.tell(answered(1, "raise")).expect(QuestionAnswered("r.q1", "raise"))
        assert run.state.budgets["ann"].allowed == {"usd": 2.5}, "as much again as it takes"
        assert wanted(run) == ["b"]
        run.tell(granted("b")).expect(AttemptStarted("b", 1))
        run.tell(ended("b", usage={"usd": 9})).expect(AttemptEnded("b"), RunEnded("succeeded"))


def test_failed_attempts_spend_it_too_and_their_retry_waits():
    with play(two()) as run:
        run.tell(granted("a")).expect(AttemptStarted("a", 1))
        run.tell(failed("a", usage={"usd": 0.5})).expect(AttemptEnded("a"), RetryScheduled("a"))
        run.tell(granted("a")).expect(AttemptStarted("a", 2))
        run.tell(failed("a", 2, usage={"usd": 0.5})).expect(
            AttemptEnded("a"), RetryScheduled("a"), ASKED
        )
        assert wanted(run) == []
        assert run.state.steps["a"].usage == {"usd": 1.0}
        run.quietly(answered(1, "raise"))
        assert wanted(run) == ["a"]


def test_one_that_backs_off_is_asked_about_as_well():
    ladder = (Retry(times=2, backoff_ms=500),)
    with play(budgeted(step("a", uses={"ann": 1}, ladder=ladder), usd=1)) as run:
        run.quietly(granted("a"))
        run.tell(failed("a", usage={"usd": 1})).expect(
            AttemptEnded("a"), RetryScheduled("a"), ASKED
        )
        run.at(5000).tell(granted("a")).expect()


def test_stop_leaves_it_shut_without_asking_again_until_an_edit_grants_more():
    with play(two()) as run:
        run.quietly(granted("a"), ended("a", usage={"usd": 2}), answered(1, "stop"))
        run.tell(granted("b")).expect()
        assert wanted(run) == []
        edit = m.RevisePlan(patch=Patch(budgets={"ann": {"usd": 2}}))
        run.tell(edit).expect(PlanRevised(2), QuestionRaised("r.q2", ""))
        edit = m.RevisePlan(patch=Patch(budgets={"ann": {"usd": 3}}))
        run.tell(edit).expect(PlanRevised(3))
        assert not run.state.questions, "an edit that grants more answers the question"
        assert wanted(run) == ["b"]


def test_an_answer_whose_own_patch_grants_more_is_no_second_answer():
    with play(two()) as run:
        run.quietly(granted("a"), ended("a", usage={"usd": 2}))
        patch = Patch(budgets={"ann": {"usd": 9}})
        run.tell(m.AnswerQuestion(id="r.q1", value="stop", patch=patch)).expect(PlanRevised(2))
        assert (run.state.questions, wanted(run)) == ({}, ["b"])


def test_a_budget_that_is_lifted_holds_nothing_back():
    with play(two()) as run:
        run.quietly(granted("a"), ended("a", usage={"usd": 2}))
        run.tell(m.RevisePlan(patch=Patch(budgets={"ann": {}}))).expect(PlanRevised(2))
        assert wanted(run) == ["b"]


def test_nobody_is_asked_while_nothing_would_start():
    with play(two(released=False)) as run:
        run.quietly(granted("a"))
        run.tell(ended("a", usage={"usd": 2})).expect(AttemptEnded("a"))
        run.tell(m.ReleaseStep(steps=("b",))).expect(StepReleased("b"), ASKED)


def test_others_go_on_and_what_runs_of_it_is_stopped():
    steps = [step(name, uses={who: 1}) for name, who in (("a", "ann"), ("b", "ann"), ("c", "bob"))]
    late = step("d", "a", uses={"ann": 1})
    with play(budgeted(*steps, late, usd=1)) as run:
        run.quietly(granted("a", "b"))
        run.tell(ended("a", usage={"usd": 1})).expect(
            AttemptEnded("a"), StopRequested("b", "budget"), ASKED
        )
        run.wants(states.StopAttempt("b", 1, "budget"))
        assert wanted(run) == ["c"]
        run.tell(granted("c", "d")).expect(AttemptStarted("c", 1))


def used(name, attempt=1, **usage):
    return m.ReportProgress(step=name, attempt=attempt, usage=usage)


def test_what_runs_is_stopped_once_its_budget_is_spent_and_goes_on_when_it_is_raised():
    with play(two()) as run:
        run.tell(granted("a")).expect(AttemptStarted("a", 1))
        run.tell(used("a", usd=0.4)).expect(AttemptProgressed("a", usage={"usd": 0.4}))
        assert run.state.steps["a"].usage == {"usd": 0.4}
        run.tell(used("a", usd=1.25)).expect(AttemptProgressed("a"), StopRequested("a", "budget"))
        run.wants(states.StopAttempt("a", 1, "budget"))
        run.tell(used("a", usd=1.5)).expect(AttemptProgressed("a"))
        run.tell(stopped("a")).expect(AttemptEnded("a"), ASKED)
        one = run.state.steps["a"]
        assert (one.tries, one.used, wanted(run)) == (0, (), []), "no retry is spent"
        assert one.usage == {"usd": 1.5}
        run.tell(answered(1, "raise")).expect(QuestionAnswered("r.q1", "raise"))
        assert wanted(run) == ["a"]
        run.tell(granted("a")).expect(AttemptStarted("a", 2))
        run.tell(used("a", 2, usd=0.5)).expect(AttemptProgressed("a"))
        assert run.state.budgets["ann"].spent == {"usd": 2.0}


def test_the_final_figures_of_an_attempt_take_the_place_of_the_live_ones():
    with play(two()) as run:
        run.quietly(granted("a"), used("a", usd=0.1, tokens=7, context_share=0.5))
        run.tell(failed("a", usage={"usd": 0.3, "context_share": 0.2})).expect(
            AttemptEnded("a"), RetryScheduled("a")
        )
        told = {"usd": 0.3, "tokens": 7, "context_share": 0.2}
        assert run.state.steps["a"].usage == run.state.budgets["ann"].spent == told


def test_a_figure_that_falls_or_comes_too_late_is_not_believed():
    with play(two()) as run:
        run.quietly(granted("a"), used("a", usd=0.5))
        run.tell(used("a", usd=0.2)).expect()
        run.quietly(ended("a"))
        run.tell(used("a", usd=0.9)).expect()
        assert run.state.budgets["ann"].spent == {"usd": 0.5}


def test_only_the_run_itself_asks_about_a_budget():
    with play(two()) as run:
        forged = m.Question(message="raise it", about={"budget": "ann"})
        run.refuse(m.RaiseQuestion(question=forged), "only the run itself")


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [
        (Budget(amounts={"usd": 5}, allowed={"usd": 5}), {"usd": 10}),
        (Budget(amounts={"usd": 5}, allowed={"usd": 5}, spent={"usd": 12}), {"usd": 17}),
    ],
)
def test_raising_always_leaves_something_to_spend(budget, allowed):
    raised = enlarge(budget)
    assert raised.allowed == allowed
    assert not raised.gone


def test_an_edit_keeps_what_was_spent_and_what_was_granted_on_top():
    budget = spend(resize(None, {"usd": 5, "tokens": 10}), {"usd": 6, "turns": 1})
    assert budget.gone == ("usd",)
    found = resize(enlarge(budget), {"usd": 2})
    assert (found.allowed, found.spent) == ({"usd": 8}, {"usd": 6, "turns": 1})


def test_amounts_add_up_and_shares_are_the_latest():
    assert add_usage({"a": 1, "x_share": 0.9}, {"a": 2, "b": 1, "x_share": 0.1}) == {
        "a": 3, "b": 1, "x_share": 0.1,
    }  # fmt: skip
