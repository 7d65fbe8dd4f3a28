"""Every state of a task, reached by some run; its facts over a life; what it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core.plan import SETTLED, Failure, Need, NeedsChange, Patch
from fleet.files.changes.rework import after_failure, recheck
from fleet.files.load import load
from fleet.files.lower import lower
from fleet.views.status import Observed, Seen, status_of
from fleet.views.tasks import LINE, STATES, full_limits, name_of, phases_of, tasks_of, waiting_for
from support.lowered_run import DAY_MS, LoweredRun, fleet, plan, sha

PHASES = "phases: [{id: p, tasks: [one, two]}]\nlimits: {agents: 1}"


@pytest.fixture
def run(tmp_path):
    found = plan(
        tmp_path, settings=PHASES, one="deliverables: [A.md]\nchecks: [make]", two="deps: [one]"
    )
    return LoweredRun(found, release=False)


def row(run, task="one", **seen):
    observed = Observed(tasks={task: Seen(**seen)})
    found = status_of("shop", run.state, observed, run.clock())
    return next(one for one in found["tasks"] if one["id"] == task)


def word(run, task="one", **seen):
    return row(run, task, **seen)["state"]


def ask_about(run, step="one/work"):
    return run.tell(m.RaiseQuestion(step=step, question=m.Question(message="which way?")))


def recheck_of(run, task="one", gate="p/gate"):
    """The gate puts itself off because the head of a task has moved."""
    steps = {n: one.step for n, one in run.state.steps.items() if one.step.whole == task}
    need = Need(step=f"{task}/check", on=SETTLED)
    again = recheck(steps[f"{task}/check"], steps, needs=(need,), spent=3, before=(gate,))
    patch = Patch(put=(again,), needs={gate: NeedsChange(add=(Need(step=again.id),))})
    return run.end(gate, m.Outcome(ending=m.Ending.DEFERRED, patch=patch))


# --- the fifteen states ---------------------------------------------------------------------------


REACHED = {
    "waiting": lambda run: ("two", run),
    "ready": lambda run: ("one", run),
    "held": lambda run: ("one", run.tell(m.HoldStep(step="one/worktree"))),
    "starting": lambda run: ("one", run.release("one/worktree").start("one/worktree")),
    "working": lambda run: ("one", run.release("one/worktree").begin("one")),
    "needs-you": lambda run: ("one", ask_about(run.release("one/worktree").begin("one"))),
    "checking": lambda run: ("one", run.release("one/worktree").begin("one").ok("one/work")),
    "verified": lambda run: ("one", run.release("one/worktree").through("one")),
    "accepted": lambda run: ("one", accept(run)),
    "merged": lambda run: ("one", accept(run).land("p", "one", "two")),
    "failed": lambda run: ("one", give_up(run)),
    "stopped": lambda run: ("one", stop(run)),
    "skipped": lambda run: ("one", run.tell(m.SkipStep(steps=ALL))),
    "unreached": lambda run: ("two", give_up(run)),
}
ALL = ("one/worktree", "one/work", "one/check", "one")


def accept(run):
    run.release("one/worktree", "two/worktree").through("one").through("two")
    return run.open_gate("p", "one", "two")


def give_up(run):
    run.release("one/worktree").begin("one").ok("one/work").red("one/check", spent=3, rework=False)
    (asked,) = run.state.questions
    return run.tell(m.AnswerQuestion(id=asked, value="fail"))


def stop(run):
    run.release("one/worktree").begin("one").tell(m.HoldStep(step="one/work", stop=True))
    return run.end("one/work", m.Outcome(ending=m.Ending.STOPPED))


@pytest.mark.parametrize("state", REACHED)
def test_every_state_is_reached(run, state):
    task, run = REACHED[state](run)
    assert word(run, task) == state


def test_lost_is_what_is_seen_to_be_gone(run):
    run.release("one/worktree").begin("one")
    assert word(run, alive=True) == "working"
    assert word(run, alive=None) == "working"
    assert word(run, alive=False) == "lost"
    run.verify("one")
    assert word(run, alive=False) == "verified"


def test_there_are_no_other_states(run):
    assert {*REACHED, "lost"} == set(STATES)
    assert set(LINE) <= set(STATES)


# --- states in between ----------------------------------------------------------------------------


def test_starting_lasts_until_the_session_is_seen(run):
    run.release("one/worktree").ok("one/worktree", {"path": "/w", "admin": "/x"})
    assert word(run) == "ready", "the agent's limit may be full"
    run.start("one/work")
    assert word(run) == "starting"
    run.report("one/work", session="one-1")
    assert word(run) == "working"


def test_backing_off_is_starting_with_the_reason(run):
    run.release("one/worktree").begin("one")
    run.fail("one/work", Failure.AGENT, text="no such program")
    found = row(run)
    assert (found["state"], found["why"]) == ("starting", "no such program")
    assert found["waiting_for"] == ["retry in 10 s"]


def test_a_red_check_goes_on_with_the_next_round(run):
    run.release("one/worktree").begin("one").ok("one/work").red("one/check", spent=1)
    assert word(run) == "ready"
    run.start("one/work.2")
    assert word(run) == "starting"
    run.report("one/work.2", session="one-2").ok("one/work.2")
    assert word(run) == "checking"
    run.green("one/check.2")
    assert word(run) == "verified"
    assert row(run)["attempt"] == 2


def test_out_of_tries_needs_you_and_says_why(run):
    run.release("one/worktree").begin("one").ok("one/work").red("one/check", spent=3, rework=False)
    found = row(run)
    assert (found["state"], found["why"]) == ("needs-you", "one is not there yet")
    assert found["deliverables"] == [
        {"text": "A.md", "met": False, "commit": None, "why": "missing"}
    ]


def test_a_moved_head_is_checked_again_and_may_fail(run):
    run.release("one/worktree", "two/worktree").through("one").through("two")
    recheck_of(run)
    assert word(run) == "checking"
    run.red("one/check.2", spent=3, rework=False)
    assert word(run) == "needs-you"
    (asked,) = run.state.questions
    run.tell(m.AnswerQuestion(id=asked, value="fail"))
    assert word(run) == "failed"
    assert row(run)["facts"] == {
        "reported": True, "verified": False, "accepted": False, "merged": False,
    }  # fmt: skip


def test_what_is_taken_up_after_a_failure_is_no_longer_failed(tmp_path):
    found = plan(tmp_path, settings=PHASES, one="attempts: 1\non_failure: [fail: true]", two="")
    run = LoweredRun(found).begin("one").fail("one/work")
    assert word(run) == "failed"
    steps = {n: one.step for n, one in run.state.steps.items() if one.step.whole == "one"}
    run.revise(after_failure(steps["one/work"], steps["one/check"], steps, reason=""))
    assert word(run) == "ready"
    run.start("one/work.2").report("one/work.2", session="s")
    assert word(run) == "working"
    run.ok("one/work.2").green("one/check.2")
    assert word(run) == "verified"


def test_a_check_that_a_person_skips_is_no_verification(run):
    run.release("one/worktree").begin("one").ok("one/work").red("one/check", spent=3, rework=False)
    (asked,) = run.state.questions
    run.tell(m.AnswerQuestion(id=asked, value="skip"))
    assert word(run) == "skipped"
    assert row(run)["facts"]["verified"] is False


def test_a_phase_that_could_not_land_takes_its_acceptance_back(run):
    accept(run).release("p/merge")
    gate = replace(run.state.steps["p/gate"].step, id="p/gate.2")
    patch = Patch(
        put=(gate,),
        needs={"p/merge": NeedsChange(add=(Need(step="p/gate.2"),), remove=("p/gate",))},
    )
    run.end("p/merge", m.Outcome(ending=m.Ending.DEFERRED, hold=True, text="conflict", patch=patch))
    assert word(run) == "verified"
    assert phases_of(run.state)["p"].pinned == {}


# --- facts ----------------------------------------------------------------------------------------


def facts(run, **seen):
    return [name for name, met in row(run, **seen)["facts"].items() if met]


def test_facts_over_a_whole_life(run):
    assert facts(run) == []
    run.release("one/worktree", "two/worktree").begin("one")
    assert facts(run) == []
    run.ok("one/work", {"head": sha("one")})
    assert facts(run) == ["reported"]
    run.green("one/check")
    assert facts(run) == ["reported", "verified"]
    run.through("two").open_gate("p", "one", "two")
    assert facts(run) == ["reported", "verified", "accepted"]
    run.land("p", "one", "two")
    assert facts(run) == ["reported", "verified", "accepted", "merged"]
    assert row(run)["merged_as"] == sha("merged")


def test_a_head_that_moved_is_not_what_was_verified(run):
    run.release("one/worktree").through("one")
    assert facts(run, head=sha("one")) == ["reported", "verified"]
    assert facts(run, head=sha("later")) == ["reported"]
    assert row(run, head=sha("later"))["head"] == sha("later")


def test_a_branch_that_is_gone_after_landing_takes_nothing_back(run):
    accept(run).land("p", "one", "two")
    assert facts(run, head=None) == ["reported", "verified", "accepted", "merged"]
    assert row(run)["head"] == sha("one")


def test_an_agent_that_says_done_again_is_reported_for_its_latest_round(run):
    run.release("one/worktree").begin("one").ok("one/work").red("one/check", spent=1)
    run.start("one/work.2")
    assert facts(run) == []
    run.ok("one/work.2")
    assert facts(run) == ["reported"]


def test_tasks_without_a_phase_are_accepted_and_merged_too(tmp_path):
    run = LoweredRun(plan(tmp_path, one="")).through("one")
    (phase,) = phases_of(run.state)
    run.open_gate(phase, "one")
    assert word(run) == "accepted"
    run.land(phase, "one")
    assert word(run) == "merged"


# --- what a task waits for ------------------------------------------------------------------------


def waits(run, task="one"):
    return waiting_for(run.state, tasks_of(run.state)[task], run.now)


def test_what_a_task_waits_for(run):
    assert waits(run) == ["launch"]
    assert waits(run, "two") == ["one"]
    run.tell(m.HoldStep(step="one/worktree"))
    assert waits(run) == ["resume"]
    run.release("one/worktree", "two/worktree")
    assert waits(run) == ["limit agents"]
    run.tell(m.PauseRun())
    assert waits(run) == ["resume"]
    run.tell(m.ResumeRun()).start("one/worktree")
    assert waits(run) == []


def test_only_limits_that_are_full_are_waited_for(tmp_path):
    settings = "limits: {agents: 2, staging: 1}"
    run = LoweredRun(
        plan(tmp_path, settings=settings, one="uses: {staging: 1}", two="uses: {staging: 1}")
    )
    run.start("one/worktree")
    assert waits(run, "two") == ["limit staging"]
    step = run.state.steps["two/worktree"].step
    assert full_limits(run.state, replace(step, uses={"agents": 2})) == ["agents"]


def spent(tmp_path, **usage):
    fleet(tmp_path, one="days: 2", two="")
    (tmp_path / "agents/a.md").write_text("---\nharness: claude\nlimits: {usd: 1}\n---\n")
    run = LoweredRun(lower(load(tmp_path, use_cache=False))[0])
    return run.begin("one").ok("two/worktree"), {"usd": 1}


def test_a_resting_account_is_named_with_its_time(tmp_path):
    run, _ = spent(tmp_path)
    until_ms = run.now + 5000
    run.fail("one/work", Failure.ACCOUNT, account="account:claude", until_ms=until_ms)
    for task in ("one", "two"):
        found = waiting_for(run.state, tasks_of(run.state)[task], run.now, lambda ms: f"at {ms}")
        assert found == [f"account claude until at {until_ms}"]
        assert word(run, task) == "ready"
    run.now = until_ms
    assert "account" not in str(waits(run, "two"))


def test_a_spent_budget_is_waited_for_and_its_question_is_of_the_tightest_task(tmp_path):
    run, usage = spent(tmp_path)
    run.fail("one/work", usage=usage)
    assert waits(run) == waits(run, "two") == ["budget of agent a"]
    found = status_of("shop", run.state, Observed(), run.clock())["questions"]
    assert [(one["kind"], one["task"], one["slack_days"]) for one in found] == [
        ("budget", "one", 0),
    ]
    run.tell(m.AnswerQuestion(id=found[0]["id"], value="raise"))
    assert "budget of agent a" not in waits(run) + waits(run, "two")


def test_a_launch_rate_is_waited_for(tmp_path):
    fleet(tmp_path, one="", two="")
    keys = "---\nharness: shell\nargs: 'true'\nlimits: {launches_per_minute: 1}\n---\n"
    (tmp_path / "agents/a.md").write_text(keys)
    run = LoweredRun(lower(load(tmp_path, use_cache=False))[0]).begin("one").ok("two/worktree")
    assert waits(run, "two") == ["launch rate of agent a"]


def test_an_agent_that_crashes_again_and_again_is_asked_about(tmp_path):
    run = LoweredRun(plan(tmp_path, one=""), release=True).begin("one")
    for _ in range(5):
        assert not run.state.questions
        run.fail("one/work", Failure.AGENT)
        run.now += DAY_MS
    (asked,) = run.state.questions.values()
    assert (asked.step, word(run)) == ("one/work", "needs-you")


def test_a_later_phase_waits_for_the_merge_of_the_one_before(tmp_path):
    settings = "phases: [{id: p, tasks: [one]}, {id: q, tasks: [two]}]"
    run = LoweredRun(plan(tmp_path, settings=settings, one="", two=""))
    assert waits(run, "two") == ["p merge"]
    assert name_of(run.state, "p/gate") == "p gate"
    assert name_of(run.state, "one/check") == "one"
    assert name_of(run.state, "unheard-of") == "unheard-of"
