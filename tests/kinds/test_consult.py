"""A step of the plan that asks: its answer is its output."""

from __future__ import annotations

from fleet.core import messages as m
from fleet.core.plan import Need, Step
from fleet.files.consulting import consult_step
from fleet.runtimes.runs import now_ms
from support.kind_world import KindWorld, standings


def consulting(**told) -> list[Step]:
    begun = Step(id="begun", kind="join", whole="begun")
    asks = consult_step(
        "proof/consult",
        "Latency is 600 ms. Cache?",
        topic="latency",
        needs=[Need(step="begun")],
        whole="proof",
        **told,
    )
    return [begun, asks, Step(id="end", kind="join", needs=(Need(step=asks.id),), whole="end")]


def test_the_answer_of_a_person_is_the_output(world: KindWorld):
    asked = world.play(world.plan(*consulting(to="@ann")))
    (found,) = asked.questions.values()
    assert (found.question.whom, found.question.topic) == ("@ann", "latency")
    assert found.question.message == "Latency is 600 ms. Cache?"
    told = m.AnswerQuestion(id=found.id, value="yes", note="reads win", by="ann", at_ms=now_ms())
    state = world.play(None, told)
    assert standings(state)["end"] == "succeeded"
    assert state.steps["proof/consult"].output == {
        "answer": "yes",
        "by": "ann",
        "reason": "reads win",
    }


def test_a_question_that_nobody_answers_fails_the_step(world: KindWorld):
    asked = world.play(world.plan(*consulting(to="person")))
    (found,) = asked.questions.values()
    told = m.AnswerQuestion(id=found.id, value="", by="timeout", at_ms=now_ms())
    state = world.play(None, told)
    assert standings(state)["proof/consult"] == "failed"
    assert "nobody answered: Latency is 600 ms" in state.steps["proof/consult"].text
