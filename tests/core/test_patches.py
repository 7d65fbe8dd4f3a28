from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.core.plan import FAILED, Ask, Need, NeedsChange, Patch, Retry
from support.plans import (
    check_again,
    fleet,
    gate_again,
    join,
    phase,
    plan,
    rework,
    step,
    task,
)
from support.playbook import (
    AttemptEnded,
    AttemptStarted,
    PlanRevised,
    QuestionAnswered,
    RunEnded,
    StepReleased,
    StepSettled,
    StopRequested,
    answered,
    deferred,
    ended,
    failed,
    granted,
    play,
    revised,
    stopped,
)

A = AttemptStarted("a", 1)


def change(*add, remove=(), on="succeeded"):
    return NeedsChange(add=tuple(Need(step=one, on=on) for one in add), remove=tuple(remove))


def a_task_up_to_its_check(attempts=2):
    run = play(fleet(task("T", attempts=attempts), phase("P", ["T"]), agents=1))
    for name in ("T/worktree", "T/work"):
        run.quietly(granted(name), ended(name))
    return run.quietly(granted("T/check"))


def test_a_red_check_appends_its_rework_before_any_other_consequence():
    run = a_task_up_to_its_check()
    steps = {name: one.step for name, one in run.state.steps.items()}
    patch = rework(steps["T/check"], steps["T/work"], 2)
    run.tell(failed("T/check", patch=patch))
    run.expect(PlanRevised(2), AttemptEnded("T/check"), StepSettled("T/check", "failed"))
    run.stands(T="waiting", T__work="succeeded", T__check="failed", **{"T/work.2": "ready"})
    run.quietly(granted("T/work.2"), ended("T/work.2"), granted("T/check.2"))
    run.tell(ended("T/check.2")).expect(AttemptEnded("T/check.2"), AttemptStarted("P/gate", 1))
    run.stands(T="succeeded")
    run.quietly(ended("P/gate"), granted("P/merge"))
    run.tell(ended("P/merge")).expect(AttemptEnded("P/merge"), RunEnded("succeeded"))


def test_tries_used_up_ask_a_person_who_may_send_the_rework_with_the_answer():
    run = a_task_up_to_its_check()
    steps = {name: one.step for name, one in run.state.steps.items()}
    run.quietly(failed("T/check")).stands(T__check="asking")
    run.tell(answered(1, "rework", patch=rework(steps["T/check"], steps["T/work"], 2)))
    run.expect(PlanRevised(2), QuestionAnswered("r.q1"), StepSettled("T/check", "failed"))
    run.stands(T="waiting", **{"T/work.2": "ready"})


def test_a_failed_task_leaves_what_is_behind_unreached_and_nothing_else():
    run = play(fleet(task("A"), task("B", "A"), task("C"), agents=3))
    run.quietly(granted("A/worktree", "C/worktree"), m.HoldStep(step="C/work"), ended("A/worktree"))
    run.quietly(granted("A/work"), failed("A/work"), granted("A/work"), failed("A/work", 2))
    run.quietly(granted("A/work"), failed("A/work", 3), answered(1, "fail"))
    run.stands(
        A="unreached", B="unreached", B__worktree="unreached", C="waiting", C__worktree="running"
    )


def test_a_gate_whose_task_moved_waits_for_another_check_of_it():
    run = a_task_up_to_its_check().quietly(ended("T/check"))
    steps = {name: one.step for name, one in run.state.steps.items()}
    run.tell(deferred("P/gate", patch=check_again(steps["P/gate"], "T", 10, steps["T/check"])))
    run.expect(PlanRevised(2), AttemptEnded("P/gate")).stands(P__gate="waiting")
    run.quietly(granted("T/check.10"))
    run.tell(ended("T/check.10")).expect(AttemptEnded("T/check.10"), AttemptStarted("P/gate", 2))


def test_a_merge_that_conflicts_closes_its_gate_again_and_waits_for_a_release():
    run = a_task_up_to_its_check().quietly(ended("T/check"), ended("P/gate"), granted("P/merge"))
    steps = {name: one.step for name, one in run.state.steps.items()}
    run.tell(deferred("P/merge", hold=True, patch=gate_again(steps["P/merge"], steps["P/gate"], 2)))
    run.expect(PlanRevised(2), AttemptEnded("P/merge"), AttemptStarted("P/gate.2", 1))
    run.quietly(ended("P/gate.2")).stands(P__merge="ready").tell(granted("P/merge")).expect()
    run.quietly(m.ReleaseStep(steps=("P/merge",)))
    run.tell(granted("P/merge")).expect(AttemptStarted("P/merge", 2))


def test_steps_are_put_replaced_dropped_and_needs_moved():
    with play(plan(step("a"), step("b", "a"), step("c", "a"), join("all", "b", "c"))) as run:
        run.expect(A).tell(
            revised(
                step("b", "a", kind="other"), step("d", "a"), drop=("c",),
                needs={"all": change("d", remove=["c"])}, about={"by": "ann"},
            )
        ).expect(PlanRevised(2))  # fmt: skip
        run.tell(ended("a"))
        run.expect(AttemptEnded("a"), AttemptStarted("b", 1), AttemptStarted("d", 1))
        run.quietly(ended("b"), ended("d"))
        assert run.state.ended == "succeeded"
        assert list(run.state.steps) == ["a", "b", "all", "d"]


def test_a_patch_stops_what_runs_and_it_counts_as_unstarted_again():
    with play(plan(step("a"), step("b"))) as run:
        run.expect(A, AttemptStarted("b", 1))
        run.tell(revised(step("a", "b", kind="new"), stop=("a",)))
        run.expect(StopRequested("a", "revise"), PlanRevised(2))
        run.tell(stopped("a")).expect(AttemptEnded("a")).stands(a="waiting")
        run.tell(ended("b")).expect(AttemptEnded("b"), AttemptStarted("a", 2))


def test_a_patch_has_a_step_fail_that_asks_how_to_go_on_and_another_take_its_place():
    with play(plan(step("a", ladder=(Ask(message="?"),)), step("b", "a"))) as run:
        run.expect(AttemptStarted("a", 1)).quietly(failed("a"))
        again = step("a2", needs=(Need(step="a", on=FAILED),))
        run.refuse(revised(step("a", kind="new"), stop=("a",)), "is asking and may not be changed")
        run.tell(revised(again, stop=("a",), needs={"b": change("a2", remove=["a"])}))
        run.expect(PlanRevised(2), StepSettled("a", "failed"), AttemptStarted("a2", 1))
        assert not run.state.questions
        run.quietly(ended("a2"), ended("b"))
        assert run.state.ended == "succeeded"


def test_of_two_patches_that_were_worked_out_against_one_plan_the_second_is_refused():
    with play(plan(step("a"))) as run:
        run.quietly(revised(step("b"), about={"basis": "one"}))
        run.quietly(revised(step("c"), about={"basis": "two"}, basis="one"))
        late = revised(step("d"), about={"basis": "other"}, basis="one")
        run.refuse(late, "the plan has changed since this was worked out")
        run.quietly(ended("a", patch=late.patch))
        assert "the plan has changed since" in run.state.steps["a"].text
        assert (run.state.about["basis"], "d" in run.state.steps) == ("two", False)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (Patch(put=(step("x", "wait2"),)), "did you mean 'wait'"),
        (Patch(put=(step("x", "y"), step("y", "x"))), "circle: x -> y -> x"),
        (Patch(needs={"wait": change("behind")}), "circle"),
        (Patch(put=(step("x", "x"),)), "circle: x -> x"),
        (Patch(put=(step("done"),)), "'done' is succeeded and may not be changed"),
        (Patch(needs={"runs": change("done")}), "'runs' is running and may not be changed"),
        (Patch(drop=("runs",), stop=("runs",)), "may not be changed"),
        (Patch(put=(step("x"), step("x"))), "put twice"),
        (Patch(drop=("behind", "behind")), "dropped twice"),
        (Patch(drop=("wait",)), "'wait' is dropped, but 'behind' needs it"),
        (Patch(drop=("nobody",)), "not there to be dropped"),
        (Patch(drop=("behind",), needs={"behind": change("done")}), "no such step stays"),
        (Patch(needs={"nobody": change("done")}), "no such step stays"),
        (Patch(needs={"wait": change(remove=["done"])}), "does not need 'done'"),
        (Patch(stop=("wait",)), "not running, so it cannot be stopped"),
        (Patch(put=(step("x", uses={"box": 3}),)), "has only 2"),
        (Patch(put=(step("x", uses={"box": 0}),)), "at least 1"),
        (Patch(limits={"box": 1}), "has only 1"),
        (Patch(put=(step("runs", uses={"box": 2}),), stop=("runs",)), "may not use other units"),
        (Patch(drop=("later",)), "was tried already"),
        (Patch(put=(step("?x"),)), "may not begin with '?'"),
        (Patch(put=(step("", kind=""),)), "must have an id and a kind"),
    ],
)  # fmt: skip
def test_a_patch_is_refused_with_its_reason_and_nothing_changes(patch, words):
    later = step("later", ladder=(Retry(times=1, backoff_ms=1000),))
    steps = [
        step("done"),
        step("runs"),
        step("wait", "runs"),
        step("behind", "wait", uses={"box": 2}),
    ]
    run = play(plan(*steps, later, box=2))
    run.quietly(ended("done"), failed("later"))
    run.refuse(m.RevisePlan(patch=patch), words).done()


def test_an_outcome_whose_patch_is_refused_has_failed():
    run = play(plan(step("a"))).expect(A)
    run.tell(ended("a", patch=Patch(drop=("nobody",))))
    run.expect(AttemptEnded("a"), StepSettled("a", "failed"), RunEnded("failed")).done()
    assert "its change of the plan was refused" in run.state.steps["a"].text


def test_a_patch_opens_an_ended_run_and_reaches_what_was_unreached():
    with play(plan(step("a"), step("b", "a"))) as run:
        run.expect(A).tell(failed("a"))
        run.expect(AttemptEnded("a"), StepSettled("a", "failed"), RunEnded("failed")).stands(
            b="unreached"
        )
        run.tell(revised(step("c"), needs={"b": change("c", remove=["a"])}))
        run.expect(PlanRevised(2), AttemptStarted("c", 1)).stands(b="waiting")
        run.tell(ended("c")).expect(AttemptEnded("c"), AttemptStarted("b", 1))
        run.tell(ended("b")).expect(AttemptEnded("b"), RunEnded("failed"))


def test_skipping_what_was_unreached_opens_an_ended_run():
    with play(plan(step("a"), step("b", "a"), step("c", "b"))) as run:
        run.quietly(failed("a"))
        run.tell(m.SkipStep(steps=("b",))).expect(
            StepSettled("b", "skipped"), AttemptStarted("c", 1)
        )


def test_a_step_that_backs_off_waits_for_the_needs_that_a_patch_gives_it():
    with play(
        plan(step("a", ladder=(Retry(times=1, backoff_ms=10),)), step("b", released=False))
    ) as run:
        run.expect(A).at(100).quietly(failed("a"))
        run.tell(revised(needs={"a": change("b")})).expect(PlanRevised(2)).stands(a="waiting")
        run.at(500).tell(granted()).expect()
        run.tell(m.ReleaseStep(steps=("b",))).expect(StepReleased("b"), AttemptStarted("b", 1))
        run.tell(ended("b")).expect(AttemptEnded("b"), AttemptStarted("a", 2))


def test_a_join_does_not_settle_on_a_need_that_is_met_while_another_is_added():
    with play(plan(step("a"), join("all", "a"))) as run:
        run.expect(A).tell(
            revised(join("at once"), step("b"), needs={"all": change("at once", "b", remove=["a"])})
        )
        run.expect(PlanRevised(2), AttemptStarted("b", 1)).stands(all="waiting")


def test_what_a_patch_opens_again_comes_before_what_it_settles():
    steps = [
        step("a"), step("x", needs=(Need(step="a", on="failed"),)), step("w"), join("c", "w"),
        join("j", "c", needs=(Need(step="x", on="settled"),)),
    ]  # fmt: skip
    with play(plan(*steps)) as run:
        run.quietly(ended("a")).stands(x="unreached", j="waiting")
        run.tell(revised(needs={"c": change(remove=["w"]), "x": change("w", remove=["a"])}))
        run.expect(PlanRevised(2)).stands(c="succeeded", x="waiting", j="waiting")


def test_a_new_need_of_an_old_step_lengthens_its_tail():
    run = play(plan(step("a"), step("b", "a", span_ms=50), step("y", released=False), box=1))
    run.quietly(revised(needs={"b": change("y")}))
    assert run.state.steps["y"].tail_ms == 50
