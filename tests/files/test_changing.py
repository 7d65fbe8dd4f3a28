"""A change of the plan on its way into a run: weighed, worked out for tasks that have begun."""

from __future__ import annotations

import pytest

from fleet.core import messages as m
from fleet.core.patches import patch_problems
from fleet.core.plan import Failure
from fleet.errors import InvalidPlan, NotFound, Rejected
from fleet.files import kept
from fleet.files.changes.changing import followed_by, overtaken, prepare, revise
from fleet.files.changes.proposals import shows, text_of
from support.lowered_run import LoweredRun, fleet

PHASES = "phases: [{id: p}]"
TASKS = {"one": "phase: p", "two": "phase: p\ndeps: [one]", "three": "phase: p"}


def new(name, **keys):
    return {"id": name, "agent": "a", "phase": "p", **keys}


def before(*names, task=None, **rest):
    return {"insert": [{"task": task or new("x"), "before": list(names)}], **rest}


class Changing:
    """A run whose plan is changed; what is told has to be accepted, and leaves no half."""

    def __init__(self, root, settings=PHASES, **tasks):
        self.root, self.folder = root / "repo", root / "repo/.fleet"
        told = fleet(self.root, settings=settings, **{**TASKS, **tasks})
        self.run = LoweredRun(kept.lowered(told, self.folder))

    def prepare(self, change):
        return prepare(self.root, self.folder, change, followed_by(self.run.state), lambda _: None)

    def apply(self, change):
        prepared = self.prepare(change)
        found = revise(self.run.state, prepared)
        assert patch_problems(self.run.state, found.patch) == []
        self.run.revise(found.patch)
        return prepared, found

    def refused(self, change):
        with pytest.raises(InvalidPlan) as refused:
            revise(self.run.state, self.prepare(change))
        return [str(one) for one in refused.value.problems]

    def needs(self, step):
        return {need.step: need.on for need in self.run.state.steps[step].step.needs}

    def stopped(self, step):
        """The attempt ends as a stopped one does."""
        self.run.end(step, m.Outcome(ending=m.Ending.STOPPED))
        return self.run.standing(step)


@pytest.fixture
def changing(tmp_path):
    return Changing(tmp_path)


# --- what has not begun ---------------------------------------------------------------------------


def test_a_task_comes_before_one_that_waits_and_is_launched_with_it(changing):
    _, found = changing.apply(before("two", reason="why not"))
    assert found.patch.reason == "why not"
    assert changing.needs("two/worktree") == {"one": "succeeded", "x": "succeeded"}
    assert changing.needs("p/gate")["x"] == "succeeded"
    assert changing.run.state.steps["x/worktree"].released
    changing.run.through("one").through("x").through("two").through("three")
    assert changing.run.standing("p/gate") == "running"


def test_what_nobody_launched_does_not_start_by_a_change(tmp_path):
    changing = Changing(tmp_path)
    changing.run = LoweredRun(
        kept.lowered(fleet(changing.root, settings=PHASES, **TASKS), changing.folder), release=False
    )
    changing.apply(before("two"))
    changing.apply({"add": [new("y")]})
    assert not changing.run.state.steps["x/worktree"].released
    assert not changing.run.state.steps["y/worktree"].released
    changing.run.release("two/worktree")
    changing.apply(before("two", task=new("z")))
    assert changing.run.state.steps["z/worktree"].released


def test_a_change_is_kept_with_the_plan_and_not_taken_twice(changing):
    change = before("two")
    changing.apply(change)
    assert changing.prepare(change).taken
    entry = changing.run.state.about["changes"][0]
    assert (entry["tasks"], entry["days"], entry["free"]) == (1, 0, False)
    with pytest.raises(NotFound, match="no patch 'nope'"):
        changing.prepare("nope")


def test_a_later_edit_of_the_files_keeps_the_change_or_names_it(changing):
    changing.apply(before("two", reason="Two needs x."))
    path = changing.root / "tasks/two.md"
    path.write_text(path.read_text().replace("deps: [one]", "deps: [one]\ndays: 3"))
    from fleet.files.load import load

    told = load(changing.root, changes=kept.changes_of(changing.run.state))
    found = kept.pending_revision(told, changing.folder, changing.run.state)
    assert found.lines == ("~ two/work: span", "~ two: task")
    changing.run.revise(found.patch)
    assert "x" in changing.needs("two/worktree")
    path.unlink()
    with pytest.raises(InvalidPlan) as refused:
        load(changing.root, changes=kept.changes_of(changing.run.state))
    (told,) = refused.value.problems
    assert told.text == (
        "with the change that was taken up already (Two needs x.): there is no task 'two'"
    )


def test_who_was_overtaken_is_refused(changing):
    slow = changing.prepare(before("two"))
    followed = followed_by(changing.run.state)
    late = revise(changing.run.state, slow).patch
    changing.apply(before("three", task=new("y")))
    assert overtaken(slow, followed, changing.run.state)
    with pytest.raises(Rejected, match="the plan has changed since"):
        changing.run.revise(late)
    changing.apply(before("two"))
    assert len(changing.run.state.about["changes"]) == 2
    assert {"x", "y"} <= changing.run.state.steps.keys()


# --- what has begun -------------------------------------------------------------------------------


def test_a_running_task_goes_on_behind_what_was_put_before_it(changing):
    changing.run.begin("one")
    (told,) = changing.refused(before("one"))
    assert told == (
        "insert.0.before.0: task 'one' is running, and nothing is said of that "
        "(running: {one: stop}, or running: {one: leave} to let it go on)"
    )
    _, found = changing.apply(before("one", running={"one": "stop"}))
    assert found.patch.stop == ("one/work",)
    assert changing.stopped("one/work") == "waiting"
    assert changing.needs("one/work") == {"one/worktree.2": "succeeded"}
    assert changing.needs("one/worktree.2") == {"x": "succeeded"}
    params = changing.run.state.steps["one/work"].step.params
    assert "`x` came before this task" in params["replanned"]
    run = changing.run.through("x").ok("one/worktree.2", {"admin": "/x"})
    run.ok("one/work", {"head": "h"}).green("one/check")
    assert run.standing("one") == "succeeded"
    assert run.state.steps["one/work"].attempt == 2


def test_work_that_ends_well_while_it_is_stopped_is_judged_with_what_came(changing):
    changing.run.begin("one")
    changing.apply(before("one", running={"one": "stop"}))
    changing.run.ok("one/work", {"head": "h"})
    assert changing.run.standing("one/check") == "waiting"
    changing.run.through("x").ok("one/worktree.2", {"admin": "/x"}).green("one/check")
    assert changing.run.standing("one") == "succeeded"


def test_a_task_that_is_left_goes_on_and_what_waits_for_it_waits_for_both(changing):
    changing.run.begin("one")
    changing.apply(before("one", running={"one": "leave"}))
    assert changing.needs("two/worktree") == {"one": "succeeded", "x": "succeeded"}
    assert changing.run.standing("one/work") == "running"
    changing.run.verify("one")
    assert changing.run.standing("two/worktree") == "waiting"


def test_leaving_means_nothing_for_what_has_not_begun(changing):
    prepared, _ = changing.apply(before("one", running={"one": "leave"}))
    assert prepared.change.told.get("running") is None
    assert changing.needs("one/worktree") == {"x": "succeeded"}


def test_a_task_that_is_checked_works_once_more(changing):
    changing.run.begin("one").ok("one/work", {"head": "h"}).start("one/check")
    changing.apply(before("one", running={"one": "stop"}))
    assert changing.stopped("one/check") == "waiting"
    assert changing.needs("one/check") == {"one/work.2": "succeeded"}
    assert changing.needs("one/work.2") == {"one/worktree.2": "succeeded"}
    run = changing.run.through("x").ok("one/worktree.2").ok("one/work.2").green("one/check")
    assert run.standing("one") == "succeeded"


def test_between_two_steps_nothing_has_to_be_said(changing):
    changing.run.ok("one/worktree", {"admin": "/x"})
    changing.run.start("one/work").fail("one/work", Failure.INFRA)
    assert changing.run.standing("one/work") == "backing-off"
    changing.apply(before("one"))
    assert changing.needs("one/work") == {"one/worktree.2": "succeeded"}


def test_rework_waits_for_what_was_put_before_it(changing):
    run = changing.run.begin("one").ok("one/work").red("one/check", spent=1).start("one/work.2")
    changing.apply(before("one", running={"one": "stop"}))
    assert changing.stopped("one/work.2") == "waiting"
    assert changing.needs("one/work.2") == {"one/check": "failed", "one/worktree.3": "succeeded"}
    run.through("x").ok("one/worktree.3").ok("one/work.2").green("one/check.2")
    assert run.standing("one") == "succeeded"


@pytest.mark.parametrize("last", ["ask", "fail"])
@pytest.mark.parametrize("what", ["work", "check"])
def test_a_task_that_has_failed_begins_again_with_all_its_tries(tmp_path, last, what):
    changing = Changing(tmp_path, one=f"phase: p\nattempts: 1\non_failure: [{last}]")
    run = changing.run.begin("one")
    if what == "work":
        run.fail("one/work", text="lost")
    else:
        run.ok("one/work").red("one/check", spent=1, rework=False)
    assert run.standing(f"one/{what}") == ("asking" if last == "ask" else "failed")
    changing.apply(before("one"))
    assert run.standing(f"one/{what}") == "failed"
    assert not run.state.questions
    assert changing.needs("one/work.2") == {
        "one/worktree.2": "succeeded", f"one/{what}": "failed",
    }  # fmt: skip
    assert changing.needs("one") == {"one/check.2": "succeeded"}
    assert run.state.steps["one/check.2"].step.params["spent"] == 0
    run.through("x").ok("one/worktree.2").ok("one/work.2").green("one/check.2")
    assert run.standing("one") == "succeeded"
    run.through("two").through("three").open_gate("p", "one", "two", "three", "x")
    run.land("p", "one", "two", "three", "x")
    assert run.state.ended == "succeeded"


def test_a_worktree_that_could_not_be_made_is_made_behind_it(changing):
    run = changing.run.start("one/worktree").fail("one/worktree", text="in the way")
    assert run.standing("one/worktree") == "asking"
    changing.apply(before("one"))
    assert changing.needs("one/worktree.2") == {"x": "succeeded", "one/worktree": "failed"}
    run.through("x").ok("one/worktree.2").ok("one/work.2").green("one/check.2")
    assert run.standing("one") == "succeeded"


def test_nothing_comes_before_what_has_ended(changing):
    changing.run.through("one")
    (told,) = changing.refused(before("one", running={"one": "stop"}))
    assert told == "running.one: task 'one' has ended; nothing comes before it any more"


def test_a_verifier_judges_again_what_was_put_before_it(tmp_path):
    changing = Changing(tmp_path, three="phase: p\nverifies: [one]")
    changing.run.through("one").begin("three")
    changing.apply(before("three", running={"three": "stop"}))
    step = changing.run.state.steps["three/worktree.2"].step
    assert step.params["renews"] == "three/worktree"
    assert changing.needs("three/worktree.2") == {"one": "succeeded", "x": "succeeded"}


# --- what is dropped ------------------------------------------------------------------------------


def test_a_running_task_is_dropped_only_when_that_is_said(changing):
    changing.run.begin("three")
    (told,) = changing.refused({"drop": ["three"]})
    assert told == (
        "drop.0: task 'three' is running, and nothing is said of that (running: {three: stop})"
    )
    changing.apply({"drop": ["three"], "running": {"three": "stop"}})
    assert changing.stopped("three/work") == "unreached"
    assert changing.run.standing("three") == "unreached"
    run = changing.run.through("one").through("two").open_gate("p", "one", "two")
    assert run.land("p", "one", "two").state.ended == "succeeded"
    assert "task 'three' is there" not in str(changing.refused({"add": [new("three")]}))


def test_a_task_that_failed_is_dropped_and_no_failure_of_the_run(tmp_path):
    changing = Changing(tmp_path, three="phase: p\nattempts: 1\non_failure: [fail]")
    run = changing.run.begin("three").fail("three/work")
    changing.apply({"drop": ["three"]})
    run.through("one").through("two").open_gate("p", "one", "two").land("p", "one", "two")
    assert run.state.ended == "succeeded"
    (told,) = Changing(tmp_path / "b").refused({"drop": ["one"]})
    assert "no task 'one'" in told


@pytest.mark.parametrize("ended", [False, True])
def test_what_was_to_be_proved_for_a_dropped_task_goes_with_it(tmp_path, ended):
    proof = "{text: it is fast, proof: {agent: a, evidence: [FAST.md], success: 'true'}}"
    changing = Changing(tmp_path, three=f"phase: p\nassumptions: [{proof}]")
    run = changing.run.begin("three-proof")
    if ended:
        run.verify("three-proof")
    changing.apply({"drop": ["three"]})
    assert ended or changing.stopped("three-proof/work") == "unreached"
    run.through("one").through("two").open_gate("p", "one", "two").land("p", "one", "two")
    assert run.state.ended == "succeeded"


# --- the envelope and the text --------------------------------------------------------------------

ENVELOPE = f"{PHASES}\nenvelope: {{max_tasks: 2, max_days: 3, agents: [a], may_drop: [three]}}"


def test_the_envelope_counts_what_was_taken_up_without_approval(tmp_path):
    changing = Changing(tmp_path, settings=ENVELOPE)
    prepared, _ = changing.apply(before("two", task=new("x", days=2)))
    assert prepared.against == []
    assert changing.run.state.about["changes"][0]["free"]
    assert changing.prepare(before("three", task=new("y", days=5), drop=["two"])).against == [
        "the finish would have moved by 4 days, at most 3 may be",
        "task 'two' may not be dropped without approval",
    ]
    many = {"add": [new("y"), new("z")], "drop": ["three"]}
    assert changing.prepare(many).against == [
        "it would be 3 tasks added without approval, at most 2 may be"
    ]
    changing.apply(many)
    assert [one["free"] for one in changing.run.state.about["changes"]] == [True, False]
    assert changing.prepare({"add": [new("w")]}).against == []


def test_the_text_says_all_of_a_change_and_is_known_behind_other_words():
    files = [{"path": "a.py"}, {"path": "b.py", "count": 2}]
    task = new("x", days={"likely": 2.0}, dependencies=["four", "five"])
    task |= {"checks": [{"command": "true"}], "deliverables": files}
    told = text_of(
        {
            "insert": [{"task": task, "before": ["one"], "after": ["two"]}],
            "needs": {"three": {"add": ["x"], "remove": ["one"]}},
            "drop": ["four"],
            "running": {"one": "stop", "two": "leave"},
        }
    )
    assert told.splitlines() == [
        "No reason was given.", "", "+ task x:", "    agent: a", "    phase: p", "    days: 2",
        "    dependencies: [four, five]", "    checks: [true]",
        '    deliverables: ["a.py", {"path": "b.py", "count": 2}]',
        "~ task x also needs two", "~ task one also needs x", "~ task three also needs x",
        "~ task three no longer needs one", "- task four",
        "! task one is stopped, if it has begun",
        "! task two goes on, if it has begun; what waits for it waits for all of that, too",
    ]  # fmt: skip
    alike = [new("x", deliverables=told) for told in (["a", "b"], "[a, b]", ["a, b"], "a, b")]
    assert len({text_of({"add": [one]}) for one in alike}) == len(alike)
    change = {"drop": ["four"]}
    assert shows(f"A circle.\n\n{text_of(change)}", change)
    assert not shows(f"{text_of(change)}\n\nA circle.", change)
