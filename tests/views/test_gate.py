"""A gate's conditions with their evidence, from closed to landed."""

from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.views.gate import gate_of
from fleet.views.status import Observed, Seen
from support.lowered_run import LoweredRun, plan, sha

PHASES = "phases: [{id: p, tasks: [one, two], approve: [ana]}, {id: q, tasks: [three]}]"


@pytest.fixture
def run(tmp_path):
    told = "deliverables: [A.md]\nchecks: [make]"
    return LoweredRun(plan(tmp_path, settings=PHASES, one=told, two="", three=""))


def gate(run, phase="p", tasks=("one", "two"), **seen):
    observed = Observed(tasks={"one": Seen(**seen)})
    return gate_of(run.state, phase, tasks, observed, run.clock())


def conditions(run, **told):
    return {one["text"]: (one["met"], one["evidence"]) for one in gate(run, **told)["conditions"]}


def approved(run, by="ana"):
    question = m.Question(
        message="good?", kind="approve", choices=("approve", "reject"), then=m.Then.AGAIN
    )
    run.end("p/gate", m.Outcome(ending=m.Ending.ASKED, question=question))
    (asked,) = run.state.questions
    return run.tell(m.AnswerQuestion(id=asked, value="approve", by=by))


def test_nothing_is_verified_yet(run):
    found = gate(run)
    assert (found["schema"], found["phase"], found["gate"]) == ("fleet.gate/1", "p", "closed")
    assert found["missing"] == ["one is verified", "two is verified", "approved by ana"]
    assert found["pinned"] == {}
    assert conditions(run)["one is verified"] == (False, "it is ready")


def test_a_red_check_shows_what_it_found_wanting(run):
    run.begin("one").ok("one/work").red("one/check", spent=3, rework=False)
    found = conditions(run)
    assert found["one is verified"] == (False, "it is needs-you")
    assert found["one: A.md"] == (False, "missing")
    assert found["one: check make"] == (False, "it exited with 1")


def test_a_verified_task_names_commit_and_evidence(run):
    run.through("one")
    found = {one["text"]: one for one in gate(run)["conditions"]}
    assert found["one: A.md"] == {
        "kind": "deliverable", "text": "one: A.md", "met": True, "evidence": "committed",
        "commit": sha("one"), "at": f"t{run.state.steps['one/check'].ended_ms}",
        "by": "plan/one/check/1", "digest": None,
    }  # fmt: skip
    assert found["one: check make"]["evidence"] == "passed"
    still = found["one: head is the commit that was verified"]
    assert (still["met"], still["evidence"]) == (True, f"at {sha('one')[:10]}")


def test_a_head_that_moved_closes_it(run):
    run.through("one")
    text = "one: head is the commit that was verified"
    assert conditions(run, head=sha("one"))[text][0]
    met, evidence = conditions(run, head=sha("later"))[text]
    assert not met
    assert sha("later")[:10] in evidence
    told = conditions(run, head=sha("later"))
    gone = (False, f"no more: found at {sha('one')[:10]}, and its branch has moved")
    assert (told["one: A.md"], told["one: check make"]) == (gone, gone)


def test_an_approval_counts_when_the_gate_has_opened_on_it(run):
    approved(run.through("one").through("two"))
    assert conditions(run)["approved by ana"][0] is False, "the gate has yet to look at it"
    run.open_gate("p", "one", "two")
    assert conditions(run)["approved by ana"] == (True, f"ana, t{run.now}")
    assert gate(run)["gate"] == "open"
    assert gate(run)["pinned"] == {"one": sha("one"), "two": sha("two")}


def test_the_word_of_somebody_else_is_no_approval(run):
    approved(run.through("one").through("two"), by="ben").open_gate("p", "one", "two")
    assert conditions(run)["approved by ana"] == (False, "not yet")


def test_a_skipped_task_is_met_by_the_person_who_skipped_it(run):
    steps = ("one/worktree", "one/work", "one/check", "one")
    run.tell(m.SkipStep(steps=steps, reason="not needed"))
    assert conditions(run)["one: skipped by a person"] == (True, "not needed")


def test_a_merge_that_did_not_land_closes_it(run):
    approved(run.through("one").through("two")).open_gate("p", "one", "two").release("p/merge")
    run.end("p/merge", m.Outcome(ending=m.Ending.DEFERRED, hold=True, text="conflict in A.md"))
    text = "the phase merges cleanly and its checks pass"
    assert conditions(run)[text] == (False, "conflict in A.md")
    run.release("p/merge").land("p", "one", "two")
    found = gate(run)
    assert (found["gate"], found["merged_as"]) == ("open", sha("merged"))
    assert text not in conditions(run)


def test_a_later_gate_stays_closed_until_the_phase_before_has_landed(run):
    steps = ("three/worktree", "three/work", "three/check", "three")
    run.tell(m.SkipStep(steps=steps))
    found = gate(run, "q", ("three",))
    assert (found["gate"], found["missing"]) == ("closed", ["p has landed"])
