"""Assumptions with a proof: the tasks that they come to, and what follows when one is disproved."""

from __future__ import annotations

from fleet.core import messages as m
from fleet.core.plan import Failure
from fleet.files.changes.rework import course_of
from fleet.files.proofs import DISPROVED, following
from fleet.views.proofs import REJECTED, proof_in_words, proof_row
from fleet.views.tasks import tasks_of
from support.lowered_run import DAY_MS, LoweredRun, fleet, plan

SETTINGS = """
phases: [{id: p, tasks: [zero, one, two]}]
patches: {more: {add: [{id: more, agent: a, phase: p}]}}
"""
PROVED = """
assumptions:
  - {text: it is fast, proof: {success: {measure: m, target: "<2", unit: s}, attempts: 2},
     on_failure: [escalate a, adapt more]}
  - {text: it is safe, proof: {agent: a, days: 2, needs: [zero], success: {agent: a}}}
  - it is wanted
"""
TASKS = {"zero": "", "one": PROVED, "two": "deps: [one]"}


def test_a_proof_is_a_task_before_the_one_that_takes_it_for_granted(tmp_path):
    found = fleet(tmp_path, settings=SETTINGS, **TASKS)
    assert found.phases[0].tasks == ("zero", "one-proof", "one-proof-2", "one", "two")
    assert found.tasks["one"].dependencies == ("one-proof", "one-proof-2")
    assert found.tasks["one-proof-2"].dependencies == ("zero",)
    steps = plan(tmp_path, settings=SETTINGS, **TASKS).steps
    assert "one-proof/work" not in steps
    check = steps["one-proof/check"].params
    assert check["checks"] == [
        {
            "text": "m < 2 s",
            "command": "m",
            "timeout_s": None,
            "op": "<",
            "target": 2.0,
            "unit": "s",
        }
    ]
    assert check["proof"] == {
        "of": "one", "text": "it is fast", "attempts": 2,
        "then": [{"escalate": "a"}, {"adapt": "more"}],
    }  # fmt: skip
    assert steps["one-proof-2/check"].params["judges"][0]["agent"]["id"] == "a"
    assert steps["one-proof-2"].params["task"]["kind"] == "proof"
    assert steps["one"].params["task"]["assumptions"][2] == "it is wanted"


def disproved(run: LoweredRun) -> LoweredRun:
    run.ok("one-proof/worktree", {"path": "/w", "branch": "b", "start": "s", "admin": "/x"})
    step = run.state.steps["one-proof/check"].step
    waiting = course_of(run.state).waiting_for("one-proof")
    why = "it measured 6 s; < 2 is wanted"
    found = {"commit": "c" * 40, "disproved": why}
    return run.ok(step.id, found, label=DISPROVED, patch=following(step, why, waiting))


def test_what_rides_on_a_proof_waits_for_what_follows(tmp_path):
    run = disproved(LoweredRun(plan(tmp_path, settings=SETTINGS, **TASKS)))
    run.through("zero").through("one-proof-2")
    assert run.standing("one-proof") == "succeeded"
    assert run.standing("one/worktree") == run.standing("one-proof/adapt") == "waiting"
    question = run.state.steps["one-proof/consult"].step.params["message"]
    assert question == (
        "one takes for granted: it is fast\nThat does not hold: it measured 6 s; < 2 is wanted\n"
        "How is one to go on?"
    )
    run.ok("one-proof/consult", {"answer": "slower", "by": "x", "reason": ""})
    assert run.standing("one/worktree") == "waiting", "the plan is changed before it goes on"
    told = "disproved: it measured 6 s; < 2 is wanted; escalate a, then adapt more"
    assert proof_in_words(proof_row(tasks_of(run.state)["one-proof"])) == told
    run.ok("one-proof/adapt", {}, label=REJECTED)
    assert run.standing("one/worktree") == "ready", "a change that was rejected is no failure"
    assert (
        proof_in_words(proof_row(tasks_of(run.state)["one-proof"])) == f"{told}, which was rejected"
    )


def test_nothing_rides_on_what_could_not_be_followed_up(tmp_path):
    run = disproved(LoweredRun(plan(tmp_path, settings=SETTINGS, **TASKS)))
    run.through("zero").through("one-proof-2").ok("one-proof/consult", {"answer": "?"})
    while not run.state.questions:
        run.now += DAY_MS
        run.fail("one-proof/adapt", Failure.TASK, text="no such patch")
    (asked,) = run.state.questions
    run.tell(m.AnswerQuestion(id=asked, value="fail"))
    assert run.standing("one/worktree") == run.standing("one") == "unreached"
    assert run.standing("two") == "unreached"
