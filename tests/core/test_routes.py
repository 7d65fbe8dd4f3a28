"""Whose a question is: routes, the steps that answer, and how it climbs when nobody does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.plan import Ask, Failure, Patch, Retry, Route
from fleet.core.state import CLOSED
from support.plans import plan, step
from support.playbook import (
    AttemptEnded,
    AttemptStarted,
    NoteSent,
    PlanRevised,
    QuestionAnswered,
    QuestionRaised,
    QuestionRouted,
    RetryScheduled,
    RunEnded,
    StepSettled,
    StopRequested,
    answered,
    ended,
    failed,
    granted,
    play,
)

ANSWERING = (
    step("brief", kind="set"),
    step("work", "brief", uses={"agents": 1}, ladder=(Retry(times=1),)),
    step("answer", "work", kind="answer"),
)
ARCHITECT = Route(whom="architect", topic="auth", steps=ANSWERING, limit_ms=1_000)
LEAD = Route(whom="lead", kind="escalation", steps=ANSWERING)
BY_NAME = Route(whom="lead", steps=ANSWERING)
GRACE = Route(whom="@grace", topic="auth", limit_ms=500)


def routed(*routes, **limits):
    """A step that works, and where its questions go."""
    working = step("a", uses={"agents": 1}, ladder=(Ask(message="how on?", whom="lead"),))
    return play(replace(plan(working, **{"agents": 2, **limits}), routes=routes))


def asking(topic="auth", **told):
    return m.RaiseQuestion(step="a", question=m.Question(message="which?", topic=topic, **told))


def test_a_question_goes_to_the_first_route_of_its_topic_and_its_steps_answer_it():
    with routed(LEAD, ARCHITECT, GRACE) as run:
        run.quietly(granted("a"))
        run.tell(asking(choices=("jwt", "session")))
        run.expect(
            QuestionRaised("r.q1", "a"),
            QuestionRouted("r.q1", "architect", climbs_at_ms=run.now + 1_000),
            PlanRevised(2),
            AttemptStarted("r.q1/brief", 1),
        )
        work = run.state.steps["r.q1/work"].step
        assert (work.whole, work.params["question"]) == ("r.q1", "r.q1")
        assert run.state.questions["r.q1"].question.whom == "architect"
        run.quietly(ended("r.q1/brief"), granted("r.q1/work"), ended("r.q1/work"))
        run.tell(m.AnswerQuestion(id="r.q1", value="jwt", note="stateless", by="agent:ada"))
        run.expect(
            QuestionAnswered("r.q1", "jwt"),
            NoteSent("a", "Answer to your question 'which?': jwt\nstateless"),
        )
        run.tell(ended("r.q1/answer")).expect(AttemptEnded("r.q1/answer"))
        run.tell(ended("a")).expect(AttemptEnded("a"), RunEnded("succeeded"))


@pytest.mark.parametrize("name", ["r.q1", "s-1"])
def test_no_agent_answers_what_it_asked_itself(name):
    with routed() as run:
        run.quietly(granted("a"), replace(asking(about={"request": "s-1"}), by="agent:ada"))
        told = m.AnswerQuestion(id=name, value="jwt", by="agent:ada")
        run.refuse(told, "ada asked 'r.q1' itself")
        run.tell(replace(told, by="agent:bob")).expect(QuestionAnswered("r.q1"), NoteSent("a"))
        run.quietly(replace(asking(), by="ann"))
        told = m.AnswerQuestion(id="r.q2", value="jwt", by="ann")
        run.tell(told).expect(QuestionAnswered("r.q2"), NoteSent("a"))


def test_a_question_that_no_route_fits_waits_for_a_person():
    with routed(ARCHITECT) as run:
        run.quietly(granted("a"))
        run.tell(asking("colours")).expect(QuestionRaised("r.q1", "a"))
        run.refuse(m.EscalateQuestion(id="r.q1"), "a person's already")
        run.refuse(m.EscalateQuestion(id="r.q7"), "not open")


def test_a_question_climbs_when_its_time_is_up_and_at_last_is_a_persons():
    with routed(ARCHITECT, GRACE) as run:
        run.quietly(granted("a"), asking(), ended("r.q1/brief"), granted("r.q1/work"))
        run.at(run.now + 1_000).tell(m.Tick()).expect(
            StopRequested("r.q1/work", "skip"),
            StepSettled("r.q1/answer", "skipped"),
            QuestionRouted("r.q1", "@grace"),
        )
        run.quietly(ended("r.q1/work"))
        run.at(run.now + 500).tell(m.Tick()).expect(
            QuestionRouted("r.q1", "person", climbs_at_ms=None)
        )
        assert states.next_wakeup(run.state, run.now) is None
        assert run.state.questions["r.q1"].passed == ("architect", "@grace", "person")


def test_an_expiry_of_the_asker_wins_over_the_limit_of_a_route():
    with routed(ARCHITECT) as run:
        run.quietly(granted("a"), asking(expires_at_ms=run.now + 400, default="jwt"))
        run.at(run.now + 400).tell(m.Tick())
        run.expect(
            QuestionAnswered("r.q1", "jwt", by="timeout"),
            NoteSent("a"),
            StepSettled("r.q1/work", "skipped"),
            StepSettled("r.q1/answer", "skipped"),
        )


def test_a_question_climbs_when_its_answer_fails_or_comes_to_nothing():
    with routed(ARCHITECT, replace(LEAD, topic="auth", kind="")) as run:
        run.quietly(granted("a"), asking(), ended("r.q1/brief"), granted("r.q1/work"))
        run.tell(failed("r.q1/work")).expect(AttemptEnded("r.q1/work"), RetryScheduled("r.q1/work"))
        run.quietly(granted("r.q1/work"))
        run.tell(failed("r.q1/work", 2, Failure.TASK, text="no choice of these")).expect(
            AttemptEnded("r.q1/work"),
            StepSettled("r.q1/work", "failed"),
            QuestionRouted("r.q1", "lead", reason="no choice of these"),
            PlanRevised(3),
            AttemptStarted("r.q1/brief.2", 1),
        )
        run.quietly(ended("r.q1/brief.2"), granted("r.q1/work.2"), ended("r.q1/work.2"))
        run.tell(ended("r.q1/answer.2")).expect(
            AttemptEnded("r.q1/answer.2"), QuestionRouted("r.q1", "person")
        )
        run.quietly(answered(1, "jwt"))
        run.tell(ended("a")).expect(AttemptEnded("a"), RunEnded("succeeded"))


def test_who_works_at_an_answer_that_somebody_else_gave_is_ended():
    with routed(ARCHITECT) as run:
        run.quietly(granted("a"), asking(), ended("r.q1/brief"), granted("r.q1/work"))
        run.tell(answered(1, "jwt")).expect(
            QuestionAnswered("r.q1"),
            NoteSent("a"),
            StopRequested("r.q1/work", "skip"),
            StepSettled("r.q1/answer", "skipped"),
        )
        run.quietly(asking(), answered(2, "jwt"))
        assert run.state.steps["r.q2/work"].standing == "skipped", "it had not begun"


def test_a_ladder_asks_a_role_by_name():
    with routed(ARCHITECT, BY_NAME) as run:
        run.quietly(granted("a"))
        run.tell(failed("a")).expect(
            AttemptEnded("a"),
            QuestionRaised("r.q1", "a"),
            QuestionRouted("r.q1", "lead"),
            PlanRevised(2),
            AttemptStarted("r.q1/brief", 1),
        )


@pytest.mark.parametrize(
    ("question", "whom"),
    [
        (m.Question(message="?", kind="approval", topic="auth"), "person"),
        (m.Question(message="?", kind="approve", topic="auth", whom="lead"), "lead"),
        (m.Question(message="?", topic="auth", then=m.Then.REPLY), "person"),
        (m.Question(message="?", topic="auth", about={"severity": "high"}), "architect"),
        (m.Question(message="?", topic="auth", whom="@grace"), "@grace"),
    ],
)
def test_what_people_sign_and_what_a_session_waits_for_stays_theirs(question, whom):
    with routed(ARCHITECT, BY_NAME) as run:
        run.quietly(granted("a"), m.RaiseQuestion(step="a", question=question))
        (asked,) = run.state.questions.values()
        assert (asked.question.whom, bool(asked.steps)) == (whom, whom == "architect")


def test_a_route_that_names_such_a_kind_takes_it():
    approving = Route(whom="lead", kind="approval", severity="high", steps=ANSWERING)
    with routed(approving) as run:
        run.quietly(granted("a"), asking(kind="approval", about={"severity": "high"}))
        run.quietly(asking(kind="approval"))
        assert [one.question.whom for one in run.state.questions.values()] == ["lead", "person"]


def test_a_route_whose_steps_could_not_start_is_passed_over():
    with routed(ARCHITECT, GRACE) as run:
        run.quietly(granted("a"), m.RevisePlan(patch=Patch(budgets={"agents": {"usd": 1}})))
        run.quietly(m.ReportProgress(step="a", attempt=1, usage={"usd": 2.0}))
        run.quietly(asking())
        asked = [one for one in run.state.questions.values() if one.question.topic == "auth"]
        assert asked[0].question.whom == "@grace", "the budget of agents is spent"


def test_new_routes_are_taken_for_what_is_asked_from_then_on():
    with routed() as run:
        run.quietly(granted("a"), asking())
        run.quietly(m.RevisePlan(patch=Patch(routes=(ARCHITECT,))), asking())
        assert [one.question.whom for one in run.state.questions.values()] == [
            "person", "architect",
        ]  # fmt: skip


def test_what_was_a_persons_goes_to_a_route_that_has_come_since_when_it_is_sent_on():
    with routed() as run:
        run.quietly(granted("a"), asking(), m.RevisePlan(patch=Patch(routes=(GRACE,))))
        run.tell(m.EscalateQuestion(id="r.q1", reason="no idea"))
        run.expect(QuestionRouted("r.q1", "@grace", reason="no idea"))
        run.tell(m.EscalateQuestion(id="r.q1")).expect(QuestionRouted("r.q1", "person"))
        run.refuse(m.EscalateQuestion(id="r.q1"), "a person's already; nobody comes after that")


def test_a_cancelled_run_ends_with_all_work_at_answers():
    with routed(ARCHITECT) as run:
        run.quietly(granted("a"), asking(), ended("r.q1/brief"), granted("r.q1/work"))
        run.quietly(m.CancelRun(), ended("a"))
        run.tell(ended("r.q1/work")).expect(AttemptEnded("r.q1/work"), RunEnded("cancelled"))
        assert not run.state.running
        assert run.state.steps["r.q1/work"].standing in CLOSED
