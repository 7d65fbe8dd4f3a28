"""Edits of the documents in a run's life: what takes them, what keeps what it was started with."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core.patches import patch_problems
from fleet.core.plan import SETTLED, Need, NeedsChange, Patch
from fleet.files.changes.rejudging import send_back
from fleet.files.changes.revise import revision_of
from fleet.files.changes.rework import course_of, recheck
from support.lowered_run import LoweredRun, plan, sha

PHASES = "phases: [{id: p, tasks: [one, two]}, {id: q, tasks: [three]}]"
TASKS = {"one": "deliverables: [A.md]", "two": "deps: [one]", "three": ""}


class Edited:
    """A run whose documents are edited; every revision has to be accepted."""

    def __init__(self, root):
        self.root = root / "repo"
        self.before = self.lower(settings=PHASES, **TASKS)
        self.run = LoweredRun(self.before)

    def lower(self, **told):
        shutil.rmtree(self.root, ignore_errors=True)
        return plan(self.root, **told)

    def edit(self, settings=PHASES, **tasks):
        told = {name: front for name, front in {**TASKS, **tasks}.items() if front is not None}
        after = self.lower(settings=settings, **told)
        found = revision_of(self.run.state, self.before, after)
        assert patch_problems(self.run.state, found.patch) == []
        self.run.revise(found.patch)
        self.before = after
        return found

    def needs(self, step):
        return [need.step for need in self.run.state.steps[step].step.needs]

    def params(self, step):
        return self.run.state.steps[step].step.params


@pytest.fixture
def edited(tmp_path):
    return Edited(tmp_path)


def test_no_edit_is_no_revision(edited):
    found = edited.edit()
    assert (found.lines, found.kept, found.patch.put, found.patch.drop) == ((), (), (), ())


# --- before anything has started ------------------------------------------------------------------


def test_a_new_task_is_put_before_its_gate(edited):
    found = edited.edit(settings=PHASES.replace("one, two", "one, two, four"), four="deps: [two]")
    assert "+ four/worktree" in found.lines
    assert "~ p/gate: needs, tasks" in found.lines
    assert edited.needs("p/gate") == ["one", "two", "four"]
    assert edited.needs("four/worktree") == ["two"]
    assert not edited.run.state.steps["four/worktree"].released


def test_a_change_is_taken_and_told(edited):
    found = edited.edit(one="deliverables: [B.md]\ndays: 4")
    assert found.words()[-1] == "  finish moves from day 3 to day 6"
    assert "~ one/check: deliverables" in found.lines
    assert "~ one/work: span, deliverables" in found.lines
    assert edited.params("one/check")["deliverables"][0]["path"] == "B.md"
    assert edited.run.state.about["schedule"]["slots"]["one"][1] == 4


def test_an_edit_tells_another_critical_path(edited):
    found = edited.edit(settings=PHASES.replace("two", "two, slow"), slow="days: 9")
    assert found.schedule == (
        "finish moves from day 3 to day 10", "new critical path: slow -> three",
    )  # fmt: skip


def test_a_task_that_nobody_began_is_dropped(edited):
    found = edited.edit(settings=PHASES.replace("one, two", "one"), two=None)
    assert [line for line in found.lines if line.startswith("-")] == [
        "- two/worktree", "- two/work", "- two/check", "- two",
    ]  # fmt: skip
    assert edited.needs("p/gate") == ["one"]
    assert "two" not in edited.run.state.steps


def test_limits_are_set_changed_and_lifted(edited):
    assert edited.edit(settings=f"limits: {{agents: 1}}\n{PHASES}").lines == ("~ limit agents: 1",)
    assert edited.run.state.limits["agents"] == 1
    edited.edit(settings=f"limits: {{agents: 2}}\n{PHASES}")
    assert edited.run.state.limits["agents"] == 2
    found = edited.edit()
    assert found.lines == ("- limit agents",)
    assert edited.run.state.limits["agents"] > 1_000


def test_what_was_launched_stays_launched(edited):
    """The fixture releases every task; an edit of one that waits must not take that back."""
    edited.edit(two="deps: [one]\ndays: 3\nport: 8123")
    assert edited.params("two/worktree")["port"] == 8123
    assert edited.run.state.steps["two/worktree"].released


def test_what_was_held_stays_held(edited):
    edited.run.tell(m.HoldStep(step="two/worktree"))
    edited.edit(two="deps: [one]\nport: 8123")
    assert edited.run.state.steps["two/worktree"].held


# --- while it runs --------------------------------------------------------------------------------


def test_running_work_keeps_its_params_and_its_check_takes_the_change(edited):
    edited.run.begin("one")
    found = edited.edit(one="deliverables: [B.md]")
    assert found.kept == ("one/work",)
    assert edited.params("one/work")["deliverables"] == ["A.md"]
    assert edited.params("one/check")["deliverables"][0]["path"] == "B.md"
    assert "one/work has started and keeps what it was started with" in "\n".join(found.words())


def test_a_verifier_that_comes_late_is_waited_for_and_its_rounds_take_edits(edited):
    edited.run.through("one")
    judged = PHASES.replace("one, two", "one, two, qa")
    found = edited.edit(settings=judged, qa="verifies: [one]\nchecks: [make]")
    assert {"+ qa/worktree", "~ two/worktree: needs", "~ limit verdicts:qa: 1"} <= set(found.lines)
    assert edited.needs("two/worktree") == ["one", "qa"]
    edited.run.release("qa/worktree").begin("qa").ok("qa/work", {"head": sha("qa")})
    check = edited.run.state.steps["qa/check"].step
    patch = send_back(course_of(edited.run.state), check, {"one": 1}, spent=1, reason="bad")
    verdict = {"passed": False, "back": ["one"], "moved": {}}
    edited.run.fail("qa/check", evidence={"verdict": verdict}, patch=patch)
    assert edited.needs("two/worktree") == ["one", "qa", "one/check.2"]
    assert edited.needs("qa/worktree.2") == ["one", "one/check.2", "qa/check"]
    edited.run.ok("one/work.2").start("one/check.2")
    told = "verifies: [one]\nchecks: [all]\nsetup: [env]"
    edited.edit(settings=judged, qa=told, one="deliverables: [A.md]\nchecks: [ls]")
    assert edited.params("qa/check.2")["checks"][0]["text"] == "all"
    assert edited.params("qa/worktree.2")["setup"] == ["env"]
    assert (edited.params("qa/worktree.2")["round"], edited.params("qa/check.2")["spent"]) == (2, 1)
    assert edited.run.state.steps["one/check.2"].step.uses == {"checks": 1, "verdicts:qa": 1}
    edited.run.green("one/check.2", sha("new"))
    found = edited.edit()
    assert "qa" in found.kept
    assert edited.needs("two/worktree") == ["one", "one/check.2"], "nobody waits for it any more"


def test_a_task_that_has_begun_is_not_dropped_but_no_gate_waits_for_it(edited):
    edited.run.begin("one")
    found = edited.edit(settings=PHASES.replace("one, two", "two"), one=None, two="")
    assert found.kept == ("one",)
    assert not found.patch.drop
    assert edited.needs("p/gate") == ["two"]
    edited.run.verify("one")
    assert edited.run.standing("one") == "succeeded"
    edited.run.through("two")
    assert edited.run.standing("p/gate") == "running"


def test_work_that_backs_off_takes_the_change(edited):
    edited.run.begin("one").fail("one/work")
    assert edited.run.standing("one/work") in ("ready", "backing-off")
    found = edited.edit(one="deliverables: [B.md]")
    assert found.kept == ()
    assert edited.params("one/work")["deliverables"] == ["B.md"]
    assert edited.run.state.steps["one/work"].attempt == 1


# --- with rework ----------------------------------------------------------------------------------


def test_needs_that_rework_has_moved_stay_moved(edited):
    edited.run.begin("one").ok("one/work").red("one/check", spent=1)
    assert edited.needs("one") == ["one/check.2"]
    edited.edit(one="deliverables: [A.md]\npriority: high")
    assert edited.needs("one") == ["one/check.2"]
    assert edited.params("one")["task"]["priority"] == "high"


def test_later_rounds_that_have_not_started_take_the_change(edited):
    edited.run.begin("one").ok("one/work").red("one/check", spent=1)
    found = edited.edit(one="deliverables: [B.md]\nattempts: 5")
    assert not {"one/work", "one/check"} & set(found.kept)
    again = edited.params("one/check.2")
    assert (again["deliverables"][0]["path"], again["attempts"]) == ("B.md", 5)
    assert (again["round"], again["spent"], again["before"]) == (2, 1, ["one"])
    assert edited.params("one/work.2")["deliverables"] == ["B.md"]
    assert edited.params("one/work.2")["round"] == 2
    assert edited.needs("one/work.2") == ["one/check"]


def test_a_round_that_runs_keeps_its_own(edited):
    edited.run.begin("one").ok("one/work").red("one/check", spent=1).start("one/work.2")
    found = edited.edit(one="deliverables: [B.md]")
    assert "one/work" in found.kept
    assert edited.params("one/work.2")["deliverables"] == ["A.md"]
    assert edited.params("one/check.2")["deliverables"][0]["path"] == "B.md"


def test_a_gate_that_waits_for_a_recheck_goes_on_waiting_for_it(edited):
    run = edited.run.through("one").through("two")
    steps = {name: one.step for name, one in run.state.steps.items() if one.step.whole == "one"}
    again = recheck(
        steps["one/check"], steps, needs=(Need(step="one/check", on=SETTLED),), before=("p/gate",)
    )
    patch = Patch(put=(again,), needs={"p/gate": NeedsChange(add=(Need(step=again.id),))})
    run.end("p/gate", m.Outcome(ending=m.Ending.DEFERRED, patch=patch))
    edited.edit(settings=PHASES.replace("one, two", "one, two, four"), four="")
    assert edited.needs("p/gate") == ["one", "two", "one/check.2", "four"]


def deferred(edited, patch):
    """Opens the gate of `p`, whose merge is put back with a patch, as for a conflict."""
    run = edited.run.through("one").through("two").open_gate("p", "one", "two")
    run.release("p/merge").grant("p/merge")
    run.end("p/merge", m.Outcome(ending=m.Ending.DEFERRED, hold=True, patch=patch))


def steps_of(edited, *names):
    return [edited.run.state.steps[name].step for name in names]


def test_what_resolves_a_conflict_stays_in_gate_and_merge_and_both_take_the_edit(edited):
    gate, merge = steps_of(edited, "p/gate", "p/merge")
    resolver = replace(gate, id="p-resolve", kind="agent", needs=(), released=False)
    listed = [{"id": "p-resolve", "branch": "fleet/p-resolve"}, *gate.params["tasks"]]
    closed = replace(
        gate,
        id="p/gate.2",
        params={**gate.params, "tasks": listed, "closed": "two conflicts with one"},
        needs=(*gate.needs, Need(step="p/gate"), Need(step="p-resolve")),
    )
    names = ["p-resolve", *merge.params["tasks"]]
    behind = replace(merge, params={**merge.params, "tasks": names}, needs=(Need(step=closed.id),))
    deferred(edited, Patch(put=(resolver, closed, behind)))
    edit = PHASES.replace(
        "one, two]", "one, two, four], name: Parts, checks: [make], approve: true"
    )
    edited.edit(settings=edit, four="")
    assert edited.params("p/merge")["tasks"] == ["p-resolve", "one", "two", "four"]
    assert edited.params("p/merge")["checks"][0]["command"] == "make"
    assert edited.needs("p/merge") == ["p/gate.2"]
    later = edited.params("p/gate.2")
    assert [one["id"] for one in later["tasks"]] == ["p-resolve", "one", "two", "four"]
    assert (later["closed"], later["approve"]) == ("two conflicts with one", True)
    assert edited.needs("p/gate.2") == ["one", "two", "p/gate", "p-resolve", "four"]


def test_a_merge_after_an_undo_takes_the_edit_and_knows_what_was_undone(edited):
    run = edited.run.through("one").through("two").open_gate("p", "one", "two")
    run.land("p", "one", "two")
    gate, merge = steps_of(edited, "p/gate", "p/merge")
    again = replace(gate, id="p/gate.2", params={**gate.params, "closed": "taken back"})
    params = {**merge.params, "undone": {"commit": "c"}}
    behind = replace(merge, id="p/merge.2", params=params, needs=(Need(step="p/gate.2"),))
    run.revise(Patch(put=(again, behind)))
    edited.edit(settings=PHASES.replace("one, two]", "one, two], checks: [make]"))
    assert edited.params("p/merge.2")["checks"][0]["command"] == "make"
    assert edited.params("p/merge.2")["undone"] == {"commit": "c"}
    assert edited.params("p/merge")["checks"] == []


# --- when it has settled --------------------------------------------------------------------------


def test_what_has_settled_is_kept_and_named(edited):
    edited.run.through("one")
    found = edited.edit(one="deliverables: [B.md]\nport: 8123")
    assert set(found.kept) == {"one/worktree", "one/work", "one/check", "one"}
    assert edited.run.standing("one") == "succeeded"


def test_a_task_for_a_gate_that_has_opened_is_added_and_the_gate_named(edited):
    edited.run.through("one").through("two").open_gate("p", "one", "two")
    found = edited.edit(settings=PHASES.replace("one, two", "one, two, four"), four="")
    assert "p/gate" in found.kept
    assert "four" in edited.run.state.steps
    assert edited.needs("p/gate") == ["one", "two"]


def test_a_task_moves_to_a_later_phase(edited):
    moved = "phases: [{id: p, tasks: [one]}, {id: q, tasks: [two, three]}]"
    edited.edit(settings=moved)
    assert edited.needs("p/gate") == ["one"]
    assert set(edited.needs("q/gate")) == {"two", "three", "p/merge"}
    assert edited.needs("two/worktree") == ["one", "p/merge"]


def test_an_edit_brings_a_run_that_has_ended_back_to_work(edited):
    run = edited.run
    run.through("one").through("two").open_gate("p", "one", "two").land("p", "one", "two")
    run.through("three").open_gate("q", "three").land("q", "three")
    assert run.state.ended == "succeeded"
    more = PHASES.removesuffix("]") + ", {id: r, tasks: [four]}]"
    edited.edit(settings=more, four="")
    assert not run.state.ended
    assert edited.needs("four/worktree") == ["q/merge"]
    assert run.standing("four/worktree") == "ready"
