"""Checkpoints in the documents: what they come to, and what waits for them."""

from __future__ import annotations

import pytest

from fleet.core.plan import Ask, Step
from fleet.errors import InvalidPlan
from fleet.files.changes.proposals import Change
from fleet.files.load import load
from support.lowered_run import fleet, plan

SETTINGS = """
phases: [{id: p, tasks: [one, two, qa, after]}, {id: q, tasks: [three]}]
checkpoints:
  - {id: half, needs: [one, qa], before: [after], checklist: {Safety: [{name: safe, command: s}]}}
  - {id: all, name: All of it, needs: [half, two], checks: [[make, -k], "t"], approve: [eve]}
  - {id: later, needs: [all], before: [three], approve: true}
"""
TASKS = {"one": "", "two": "", "qa": "verifies: [one]", "after": "", "three": ""}


def needs(step: Step) -> list[str]:
    return [need.step for need in step.needs]


def test_a_checkpoint_is_a_worktree_a_check_and_a_gate_before_what_waits_for_it(tmp_path):
    found = plan(tmp_path, settings=SETTINGS, **TASKS)
    steps = found.steps
    assert needs(steps["half/worktree"]) == ["one", "qa"]
    assert steps["half/worktree"].released, "nobody launches it"
    assert "agents" not in steps["half/worktree"].uses
    assert needs(steps["after/worktree"]) == ["half"]
    assert steps["after/worktree"].params["after"] == [], "its commits are not the checkpoint's"
    assert needs(steps["half"]) == ["half/check", "half/gate"]
    check = steps["half/check"]
    assert check.params["stays"]
    assert [one["id"] for one in check.params["verifies"]] == ["one"], "qa judges by itself"
    assert check.params["checks"][0]["group"] == "Safety"
    asks = [rung for rung in check.ladder if isinstance(rung, Ask)]
    assert asks[0].choices == ("retry", "skip", "fail")
    gate = steps["half/gate"]
    assert needs(gate) == ["half/check", "one", "qa"]
    judged = [(one["id"], one.get("verifies")) for one in gate.params["tasks"]]
    assert judged == [("one", None), ("qa", ["one"]), ("half", ["one"])]
    assert (gate.params["agents"], gate.params["approve"]) == (["a"], False)


def test_what_stands_on_a_checkpoint_stands_on_all_that_it_judged(tmp_path):
    steps = plan(tmp_path, settings=SETTINGS, **TASKS).steps
    assert needs(steps["all/worktree"]) == ["half", "two", "one"]
    assert [one["id"] for one in steps["all/check"].params["verifies"]] == ["two", "one"]
    assert steps["all/gate"].params["approve"] == ["eve"]
    # in the phase of what it stands before, what is of an earlier one has landed
    assert needs(steps["later/worktree"]) == ["all", "p/merge"]
    assert steps["later/check"].params["verifies"] == []
    assert [one["id"] for one in steps["later/gate"].params["tasks"]] == ["later"]
    assert needs(steps["three/worktree"]) == ["later", "p/merge"]


def test_a_phase_waits_for_its_checkpoints_and_lands_without_them(tmp_path):
    documents = fleet(tmp_path, settings=SETTINGS, **TASKS)
    assert [phase.tasks[-2:] for phase in documents.phases] == [("half", "all"), ("three", "later")]
    steps = plan(tmp_path, settings=SETTINGS, **TASKS).steps
    assert {"half", "all"} <= set(needs(steps["p/gate"]))
    assert not {"half", "all"} & set(steps["p/merge"].params["tasks"])
    assert not any(steps["p/gate"].params["approve"] or [])


def test_its_worktree_is_set_up_as_those_of_tasks_are(tmp_path):
    own = "checkpoints: [{id: c, needs: [one], setup: [mine], copy: []}, {id: d, needs: [one]}]"
    settings = f"defaults: {{setup: [make env], copy: [.env], teardown: [stop]}}\n{own}"
    told = {"one": "setup: [own]\nassumptions: [{text: x, proof: {command: m}}]"}
    steps = plan(tmp_path, settings=settings, **told).steps
    found = {
        name: (steps[f"{name}/worktree"].params["setup"], steps[f"{name}/worktree"].params["copy"])
        for name in ("c", "d", "one-proof")
    }
    assert found == {
        "c": (["mine"], []),
        "d": (["make env"], [".env"]),
        "one-proof": (["own"], [".env"]),
    }
    assert "d/teardown" in steps


def test_a_checkpoint_takes_no_days(tmp_path):
    slots = plan(tmp_path, settings=SETTINGS, **TASKS).about["schedule"]["slots"]
    assert slots["half"][:2] == [2, 2]
    assert slots["after"][0] == 2


def test_a_change_of_the_plan_reaches_checkpoints_and_proofs(tmp_path):
    told = {**TASKS, "two": "assumptions: [{text: x, proof: {command: m}}]"}
    fleet(tmp_path, settings=SETTINGS, **told)
    load_test = {"id": "load", "agent": "a"}
    change = {
        "insert": [{"task": load_test, "before": ["half"], "after": ["two-proof"]}],
        "needs": {"all": {"add": ["three"], "remove": ["two"]}, "after": {"add": ["all"]}},
    }
    with pytest.raises(InvalidPlan) as refused:
        load(tmp_path, use_cache=False, change=Change(change))
    assert "in a circle: all -> three -> later -> all" in refused.value.problems[0].text
    change["needs"]["all"] = {"add": ["load"], "remove": ["two"]}
    found = load(tmp_path, use_cache=False, change=Change(change))
    assert found.tasks["load"].phase == "p", "that of what the checkpoint stands on"
    assert found.tasks["load"].dependencies == ("two-proof",)
    assert found.tasks["half"].dependencies == ("one", "qa", "load")
    assert found.tasks["all"].dependencies == ("half", "load")
    assert found.tasks["after"].dependencies == ("all",)
    wrong = Change({"drop": ["half"], "needs": {"after": {"add": ["two-proof-2"]}}})
    with pytest.raises(InvalidPlan) as refused:
        load(tmp_path, use_cache=False, change=wrong)
    assert [one.text for one in refused.value.problems] == [
        "there is no task 'half'", "there is no task 'two-proof-2'",
    ]  # fmt: skip
