"""Rework: one more round of a task, accepted by the kernel, with right counts over all rounds."""

from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.core.patches import patch_problems
from fleet.core.plan import FAILED, SETTLED, Need, NeedsChange, Patch, Retry
from fleet.files.changes.rework import after_failure, next_round, recheck
from support.lowered_run import LoweredRun, plan

PHASE = "phases: [{id: p, tasks: [one]}]"


@pytest.fixture
def run(tmp_path):
    found = plan(tmp_path, settings=PHASE, one="attempts: 3\ndeliverables: [A.md]\nchecks: [make]")
    return LoweredRun(found)


def steps(run, whole="one"):
    return {name: one.step for name, one in run.state.steps.items() if one.step.whole == whole}


def retries(run, step):
    return next(r.times for r in run.state.steps[step].step.ladder if isinstance(r, Retry))


def test_the_patch_of_a_red_check(run):
    run.begin("one").ok("one/work")
    patch = next_round(steps(run)["one/check"], steps(run), reason="no A.md", spent=1)
    again, judged = patch.put
    assert (again.id, again.kind, again.whole) == ("one/work.2", "agent", "one")
    assert again.needs == (Need(step="one/check", on=FAILED),)
    assert (judged.id, judged.needs) == ("one/check.2", (Need(step="one/work.2"),))
    assert patch.needs == {
        "one": NeedsChange(add=(Need(step="one/check.2"),), remove=("one/check",))
    }
    assert (again.params["round"], judged.params["round"], judged.params["spent"]) == (2, 2, 1)
    assert patch.reason == "no A.md"


def test_rounds_and_tries_add_up_until_a_person_is_asked(run):
    run.begin("one").ok("one/work").red("one/check", spent=1)
    assert run.standing("one/check") == "failed"
    assert run.standing("one") == "waiting"
    assert retries(run, "one/work.2") == 1, "3 tries, 1 spent: this round may fail once"
    run.fail("one/work.2").ok("one/work.2").red("one/check.2", spent=3)
    assert run.state.steps["one/check.3"].step.params["spent"] == 3
    assert retries(run, "one/work.3") == 0
    assert [need.step for need in run.state.steps["one"].step.needs] == ["one/check.3"]
    run.ok("one/work.3").red("one/check.3", spent=4, rework=False)
    assert run.standing("one/check.3") == "asking"
    (asked,) = run.state.questions.values()
    assert "rework" in asked.question.choices


def test_the_inputs_of_the_next_round_hold_what_was_found(run):
    from fleet.views.inputs import inputs_of

    run.begin("one").ok("one/work").red("one/check", spent=1)
    found = inputs_of(run.state, "one/work.2")
    assert found["one/check"]["standing"] == "failed"
    assert found["one/check"]["evidence"]["deliverables"][0]["met"] is False


def test_a_green_second_round_lets_the_task_through(run):
    run.begin("one").ok("one/work").red("one/check", spent=1)
    run.ok("one/work.2").green("one/check.2")
    assert run.standing("one") == "succeeded"
    assert run.standing("p/gate") == "running"


def test_a_person_who_asks_for_rework_gives_all_tries_again(run):
    run.begin("one").ok("one/work").red("one/check", spent=3, rework=False)
    (name,) = run.state.questions
    patch = next_round(steps(run)["one/check"], steps(run), reason="once more")
    run.tell(m.AnswerQuestion(id=name, value="rework", patch=patch))
    assert run.standing("one/check") == "failed"
    assert run.standing("one/work.2") == "ready"
    assert retries(run, "one/work.2") == 2
    assert run.state.steps["one/check.2"].step.params["spent"] == 0


def test_a_recheck_stands_before_the_gate_and_its_rework_too(run):
    run.through("one")
    check = steps(run)["one/check"]
    again = recheck(
        check, steps(run), needs=(Need(step="one/check", on=SETTLED),), spent=1, before=("p/gate",)
    )
    assert again.id == "one/check.2"
    patch = Patch(put=(again,), needs={"p/gate": NeedsChange(add=(Need(step=again.id),))})
    run.end("p/gate", m.Outcome(ending=m.Ending.DEFERRED, patch=patch))
    assert run.standing("p/gate") == "waiting"
    run.red("one/check.2", spent=1)
    assert {need.step for need in run.state.steps["p/gate"].step.needs} == {"one", "one/check.3"}
    assert run.state.steps["one/work.3"].step.needs == (Need(step="one/check.2", on=FAILED),)
    assert run.standing("one") == "succeeded", "what has settled stays settled"
    run.ok("one/work.3").green("one/check.3")
    assert run.standing("p/gate") == "running"


def test_work_that_failed_for_good_is_taken_up_behind_it(tmp_path):
    found = plan(tmp_path, settings=PHASE, one="attempts: 1\non_failure: [fail: true]")
    run = LoweredRun(found).begin("one").fail("one/work", text="it broke")
    assert run.standing("one") == "unreached"
    assert run.state.ended == "failed"
    work, check = steps(run)["one/work"], steps(run)["one/check"]
    patch = after_failure(work, check, steps(run), reason="by hand")
    assert patch_problems(run.state, patch) == []
    run.revise(patch)
    assert not run.state.ended
    from fleet.views.inputs import inputs_of

    found = inputs_of(run.state, "one/work.2")
    assert found["one/worktree"]["output"]["admin"]
    assert found["one/work"]["text"] == "it broke"
    run.ok("one/work.2").green("one/check.2")
    assert run.standing("one") == "succeeded"
