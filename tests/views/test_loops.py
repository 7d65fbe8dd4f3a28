"""The rounds of a run's loops, as a report tells them."""

from __future__ import annotations

import json

from fleet.core import messages as m
from fleet.core.plan import Ask, Failure, Loops, Patch, Revise
from fleet.render.report import report_markdown, report_text
from fleet.views.loops import loops_of
from fleet.views.report import report_of
from support.lowered_run import LoweredRun, plan
from support.plans import plan as some_plan
from support.plans import step
from support.playbook import answered, ended, failed, play, revised


def time_of(at_ms: int) -> str:
    return f"t{at_ms}"


def loops(run):
    found = loops_of(run.log, time_of)
    json.dumps(found)
    return found


def asks(text: str, *like: str, **rest: object) -> m.RaiseQuestion:
    question = m.Question(message=text, **rest)
    return m.RaiseQuestion(question=question, step="a", like=like, by="agent:ann")


def test_a_loop_of_questions_names_who_asked_what_and_how_it_ended():
    with play(some_plan(step("a", whole="task-a"), step("b", "a"))) as run:
        told = m.Question(message="the same was asked 3 times:\n- all of it")
        run.quietly(asks("why?"), asks("why not?"), asks("why?!", "r.q1"))
        assert not loops(run)
        last = asks("why, then?", "r.q1", "r.q3")
        run.quietly(m.RaiseQuestion(**{**vars_of(last), "loop": told}))
        joined = m.Question(message="so why?", about={"loop": "r.q5"})
        run.quietly(m.RaiseQuestion(question=joined, step="a"), answered(5, "because"))
        (found,) = loops(run)
        assert [one["id"] for one in found["rounds"]] == ["r.q1", "r.q3", "r.q4", "r.q6"]
        first = {"id": "r.q1", "task": "task-a", "at": "t2", "by": "agent:ann", "text": "why?"}
        assert found["rounds"][0] == first
        assert (found["kind"], found["tasks"], found["why"]) == (
            *("question", ["task-a"]),
            "the same was asked 3 times:",
        )
        assert (found["follow"], found["ended"]) == ("r.q5", "because")


def vars_of(command: m.RaiseQuestion) -> dict[str, object]:
    return {name: getattr(command, name) for name in ("question", "step", "like", "by")}


def test_a_loop_that_changes_the_plan_is_followed_by_its_step(tmp_path):
    then = Revise(patch=Patch(put=(step("loop", kind="adapt", params={"change": "mend"}),)))
    with play(some_plan(step("a", whole="task-a"))) as run:
        run.quietly(revised(loops=Loops(after=2, then=(then,))), asks("why?"), asks("why?", "r.q1"))
        (found,) = loops(run)
        assert [one["id"] for one in found["rounds"]] == ["r.q1", "r.q2"]
        assert (found["follow"], found["ended"]) == ("loop/r.q2", None)
        run.quietly(ended("loop/r.q2"))
        (found,) = loops(run)
        assert (found["change"], found["ended"]) == ("mend", "applied")
    lowered = LoweredRun(plan(tmp_path, one="days: 1"))
    told = report_of("shop", lowered.state, [], lowered.clock(), [found])
    assert "adapt mend: applied" in report_text(told, 120)


def test_a_loop_of_rework_and_a_circle_are_told(tmp_path):
    steps = [step("a", whole="task-a"), step("b", "a", whole="task-b"), step("c")]
    with play(some_plan(*steps)) as run:
        told = {"loop": {"rounds": ["a", "b"], "why": "a loop of a and b: two take turns"}}
        run.quietly(ended("a"), failed("b", failure=Failure.TASK, evidence=told))
        (known,) = loops(run)
        assert known["follow"] is None
        about = {"circle": ["x", "y"], "rounds": []}
        question = m.Question(message="tasks wait", kind="loop", about=about)
        run.quietly(m.RaiseQuestion(question=question), answered(1, "reject"))
        rework, circle = loops(run)
        assert (rework["kind"], rework["tasks"]) == ("rework", ["task-a", "task-b"])
        assert (rework["follow"], rework["why"]) == (None, told["loop"]["why"])
        assert (circle["kind"], circle["tasks"], circle["ended"]) == (
            *("circle", ["x", "y"]),
            "reject",
        )
    lowered = LoweredRun(plan(tmp_path, one="days: 1"))
    found = report_of("shop", lowered.state, [], lowered.clock(), [rework, circle])
    for shown in (report_text(found, 120), report_markdown(found)):
        assert "two take turns" in shown
        assert "no more rework" in shown
        assert "r.q1: reject" in shown


def test_what_follows_a_loop_of_rework_is_a_question_or_a_change(tmp_path):
    told = {"loop": {"rounds": ["a"], "why": "a loop"}}
    with play(some_plan(step("a", ladder=(Ask(message="so?"),)))) as run:
        run.quietly(failed("a", evidence=told), answered(1, "skip"))
        (found,) = loops(run)
        assert (found["follow"], found["ended"]) == ("r.q1", "skip")
    with play(some_plan(step("a"))) as run:
        run.quietly(failed("a", evidence=told, patch=Patch(put=(step("a/loop", kind="adapt"),))))
        (found,) = loops(run)
        assert (found["follow"], found["ended"]) == ("a/loop", None)
