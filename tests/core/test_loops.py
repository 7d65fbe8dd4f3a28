from __future__ import annotations

from dataclasses import replace

from fleet.core import messages as m
from fleet.core.plan import Ask, Loops, Patch, Revise
from fleet.core.state import answers_to
from support.plans import plan, step
from support.playbook import (
    AttemptEnded,
    AttemptStarted,
    NoteSent,
    PlanRevised,
    QuestionAnswered,
    QuestionRaised,
    RunEnded,
    answered,
    ended,
    play,
    revised,
)

AGAIN = m.Question(message="which format?", topic="tenant")


def raised(step: str, *like: str, **rest: object) -> m.RaiseQuestion:
    return m.RaiseQuestion(question=AGAIN, step=step, like=like, by="agent:a", **rest)


def looping(*steps: str, after: int = 3, then: tuple[object, ...] = ()):
    found = plan(*(step(name) for name in steps))
    return replace(found, loops=Loops(after=after, then=then))


def test_what_is_asked_for_the_third_time_is_a_loop_that_a_person_is_asked_about():
    with play(looping("a", "b")) as run:
        run.expect(AttemptStarted("a"), AttemptStarted("b"))
        run.tell(raised("a")).expect(QuestionRaised("r.q1", "a"))
        run.tell(raised("b", "r.q1")).expect(QuestionRaised("r.q2", "b"))
        told = m.Question(message="three times", topic="tenant")
        run.tell(raised("a", "r.q1", "r.q2", loop=told))
        run.expect(QuestionRaised("r.q3", "a"), QuestionRaised("r.q4", "a"))
        loop = run.state.questions["r.q4"].question
        assert (loop.kind, loop.message, loop.whom) == ("loop", "three times", "person")
        assert loop.about["rounds"] == ["r.q1", "r.q2", "r.q3"]


def test_the_answer_of_a_loop_is_that_of_every_question_that_came_into_it():
    with play(looping("a", "b")) as run:
        run.quietly(raised("a"), raised("b", "r.q1"), answered(1, "ULID"))
        run.quietly(raised("a", "r.q1", "r.q2"))
        joined = replace(AGAIN, about={"loop": "r.q4"})
        run.tell(m.RaiseQuestion(question=joined, step="b")).expect(QuestionRaised("r.q5"))
        run.tell(answered(4, "UUID")).expect(
            QuestionAnswered("r.q4", "UUID"),
            *(QuestionAnswered("r.q2", "UUID"), NoteSent("b")),
            *(QuestionAnswered("r.q3", "UUID"), NoteSent("a")),
            *(QuestionAnswered("r.q5", "UUID"), NoteSent("b")),
        )
        assert [one.value for one in answers_to(run.state, "a")] == ["ULID", "UUID", "UUID"]


def test_who_asked_hears_of_the_answer_when_its_own_question_is_closed():
    with play(looping("a", after=2)) as run:
        run.quietly(raised("a"), raised("a", "r.q1"), answered(1, "no"), answered(2, "no"))
        run.tell(answered(3, "yes")).expect(QuestionAnswered("r.q3"), NoteSent("a"))


def test_a_loop_changes_the_plan_where_that_is_said_and_can_be():
    more = Revise(patch=Patch(put=(step("adapt", kind="set"),), reason="again"))
    with play(looping("a", after=2, then=(more,))) as run:
        run.quietly(raised("a"))
        run.tell(raised("a", "r.q1", loop=m.Question(message="twice")))
        run.expect(QuestionRaised("r.q2"), PlanRevised(2, by="r.q2"), AttemptStarted("adapt/r.q2"))
        params = run.state.steps["adapt/r.q2"].step.params
        assert params == {"rounds": ["r.q1", "r.q2"], "why": "twice"}
        run.quietly(ended("adapt/r.q2"))
        run.tell(raised("a", "r.q2")).expect(
            QuestionRaised("r.q3"), PlanRevised(3), AttemptStarted("adapt/r.q3")
        )


def test_a_change_that_may_not_be_leaves_the_loop_to_the_next_rung():
    bad = Revise(patch=Patch(put=(step("adapt", "nobody"),)))
    with play(looping("a", after=2, then=(bad, Ask(message="", whom="architect")))) as run:
        run.quietly(raised("a"))
        run.tell(raised("a", "r.q1")).expect(QuestionRaised("r.q2"), QuestionRaised("r.q3"))
        assert run.state.questions["r.q3"].question.whom == "architect"


def test_what_waits_for_its_answer_makes_no_loop():
    wanted = replace(AGAIN, then=m.Then.REPLY)
    with play(looping("a", after=2)) as run:
        run.quietly(raised("a"))
        run.tell(m.RaiseQuestion(question=wanted, step="a", like=("r.q1",)))
        run.expect(QuestionRaised("r.q2"))


def test_a_patch_changes_what_a_loop_is_and_the_question_ends_with_its_step():
    with play(looping("a", after=2)) as run:
        run.expect(AttemptStarted("a"))
        run.quietly(revised(loops=Loops(after=3)), raised("a"))
        run.tell(raised("a", "r.q1")).expect(QuestionRaised("r.q2"))
        run.tell(raised("a", "r.q1", "r.q2")).expect(QuestionRaised("r.q3"), QuestionRaised("r.q4"))
        run.tell(ended("a")).expect(AttemptEnded("a"), RunEnded("succeeded"))
