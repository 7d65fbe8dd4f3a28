from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core.plan import Ask, Loops, Need, NeedsChange, Patch
from fleet.files.changes.proposals import text_of
from fleet.files.changes.waiting import Round, about_circle, about_loop, change_for, circle_of
from support.lowered_run import LoweredRun, plan


@pytest.fixture
def run(tmp_path):
    settings = "phases: [{id: p, tasks: [a, b]}, {id: q, tasks: [c]}]"
    return LoweredRun(plan(tmp_path, settings=settings, a="days: 1", b="days: 1", c="days: 1"))


def ask(run: LoweredRun, task: str, text: str = "?", **about: object) -> str:
    asked = m.Question(message=text, about=about)
    run.tell(m.RaiseQuestion(question=asked, step=f"{task}/work", by=f"agent:{task}"))
    return f"plan.q{run.state.asked}"


def when(at_ms: int) -> str:
    return f"at {at_ms}"


def test_two_tasks_that_ask_and_wait_for_each_other_are_a_circle(run):
    run.begin("a").begin("b")
    ask(run, "a", waits_for="b")
    assert circle_of(run.state, "a") == ()
    ask(run, "b", waits_for="a")
    assert circle_of(run.state, "a") == ("a", "b", "a")
    assert circle_of(run.state, "b") == ("b", "a", "b")
    run.tell(m.AnswerQuestion(id="plan.q1", value="go on"))
    assert circle_of(run.state, "b") == (), "who has its answer waits no more"


def test_who_waits_for_what_has_not_begun_and_needs_it_is_in_a_circle(run):
    run.begin("a")
    ask(run, "a", waits_for="c")
    assert circle_of(run.state, "a") == ("a", "c", "p", "a"), "c needs the phase that a is in"


def test_a_blocker_of_a_check_in_that_is_a_task_counts(run):
    run.begin("a").begin("b")
    run.tell(m.CheckIn(step="a", blockers=("b", "the weather", "a")))
    run.tell(m.CheckIn(step="b", blockers=("a",)))
    assert circle_of(run.state, "a") == ("a", "b", "a")
    run.tell(m.CheckIn(step="b", blockers=()))
    assert circle_of(run.state, "a") == ()


def test_nobody_waits_for_what_has_ended_for_itself_or_for_what_is_not_there(run):
    run.begin("a").through("b")
    ask(run, "a", waits_for="b")
    ask(run, "a", waits_for="a")
    ask(run, "a", waits_for="p/gate")
    ask(run, "a", waits_for=["b"])
    assert circle_of(run.state, "a") == ()


def test_who_has_ended_waits_for_nobody_whatever_was_said_to_block_it(run):
    run.begin("a")
    run.tell(m.CheckIn(step="a", blockers=("b",)))
    run.revise(Patch(needs={"b/work": NeedsChange(add=(Need(step="a"),))}))
    assert circle_of(run.state, "a") == ("a", "b", "a")
    run.verify("a")
    assert run.state.steps["a"].checkin["blockers"]
    assert circle_of(run.state, "a") == ()


def test_the_change_that_breaks_a_circle_puts_a_task_before_all_that_are_in_it(run):
    run.begin("a")
    ask(run, "a", "which format has the tenant id?", waits_for="c")
    question = about_circle(run.state, circle_of(run.state, "a"), when)
    change = question.about["proposal"]
    assert question.message == text_of(change), "what is approved is what is shown"
    assert "a -> c -> p -> a" in question.message
    assert "which format has the tenant id?" in question.message
    assert (question.kind, question.choices) == ("loop", ("approve", "reject"))
    (put,) = change["insert"]
    assert (put["before"], put["task"]["agent"]) == (["a", "c"], "a"), "the first phase's first"
    assert change["running"] == {"a": "stop"}
    assert question.about["rounds"] == ["plan.q1"]


def test_a_circle_is_asked_about_once_and_not_again_when_it_was_left_as_it_is(run):
    run.begin("a").begin("b")
    ask(run, "a", waits_for="b")
    ask(run, "b", waits_for="a")
    ring = circle_of(run.state, "b")
    question = about_circle(run.state, ring, when)
    run.tell(m.RaiseQuestion(question=question, step="b/work"))
    assert about_circle(run.state, circle_of(run.state, "a"), when) is None
    run.tell(m.AnswerQuestion(id="plan.q3", value="reject"))
    assert about_circle(run.state, ring, when) is None
    assert set(run.state.questions) == {"plan.q1", "plan.q2"}, "their own questions are still open"


def test_a_circle_that_was_broken_may_show_itself_again(run):
    run.begin("a").begin("b")
    ask(run, "a", waits_for="b")
    ask(run, "b", waits_for="a")
    ring = circle_of(run.state, "b")
    question = about_circle(run.state, ring, when)
    run.tell(m.RaiseQuestion(question=question, step="b/work"))
    run.tell(m.AnswerQuestion(id="plan.q3", value="approve", patch=Patch()))
    assert not run.state.questions, "the change is the answer of what it settles"
    assert run.state.answers["plan.q1"].value == question.message
    ask(run, "a", waits_for="b")
    ask(run, "b", waits_for="a")
    assert about_circle(run.state, circle_of(run.state, "b"), when) is not None


def rounds(*tasks: str) -> list[Round]:
    return [
        Round(id=f"q{n}", task=task, text="which\nformat? " * 40, by=f"agent:{task}", topic="ID")
        for n, task in enumerate(tasks, start=1)
    ]


def test_one_who_asks_again_and_again_is_told_with_all_rounds(run):
    run.begin("a")
    question = about_loop(run.state, rounds("a", "a", "a"))
    head, *lines = question.message.splitlines()
    assert head == "The same was asked 3 times:"
    assert [line.partition(":")[0] for line in lines] == [f"- q{n}, a, agent" for n in (1, 2, 3)]
    assert all(len(line) < 330 for line in lines)
    assert (question.topic, question.choices, dict(question.about)) == ("ID", (), {})


def test_several_tasks_that_ask_the_same_are_offered_one_before_them(run):
    run.begin("a").begin("b")
    question = about_loop(run.state, rounds("b", "a", "b"))
    change = question.about["proposal"]
    assert change["insert"][0]["before"] == ["b", "a"]
    assert change["insert"][0]["task"]["id"] == "settle-id"
    assert question.message == text_of(change)
    for rung in (Ask(message="", whom="architect"), Ask(message="", whom="@ann")):
        run.revise(Patch(loops=Loops(then=(rung,))))
        assert not about_loop(run.state, rounds("b", "a", "b")).choices
    run.revise(Patch(loops=Loops(then=(Ask(message=""),))))
    assert about_loop(run.state, rounds("b", "a", "b")).choices


def test_the_task_that_is_put_before_others_has_a_name_that_is_free_and_an_id(run):
    def name(topic: str) -> str:
        asked = [replace(one, topic=topic) for one in rounds("a", "b")]
        return change_for(run.state, ["a", "b"], "why", asked)["insert"][0]["task"]["id"]

    assert name("Tenant  ID: format/../x") == "settle-tenant-id-format-x"
    assert name("../..") == "settle-this"
    assert len(name("x" * 500)) <= 64
    assert name("") == "settle-a-b"
