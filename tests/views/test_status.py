"""The status object: the keys that the contract promises, and figures from the run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core.plan import Need, NeedsChange, Patch
from fleet.views.status import Observed, Seen, status_of
from support.lowered_run import DAY_MS, HOUR_MS, LoweredRun, plan, sha

PHASES = "phases: [{id: p, tasks: [one, two], approve: true}, {id: q, tasks: [three]}]"


@pytest.fixture
def run(tmp_path):
    found = plan(
        tmp_path,
        settings=PHASES,
        one="days: 2\ndeliverables: [A.md]\nchecks: [make]\nport: 8123",
        two="days: 1",
        three="days: 1",
    )
    return LoweredRun(found)


def status(run, **seen):
    observed = Observed(
        tasks={"one": Seen(**seen)}, coordinator={"alive": True, "pid": 1, "host": "h"}
    )
    return status_of("shop", run.state, observed, run.clock())


def task(run, name="one", **seen):
    return next(one for one in status(run, **seen)["tasks"] if one["id"] == name)


def test_the_keys_of_the_contract(run):
    found = status(run)
    assert found["schema"] == "fleet.status/1"
    assert set(found) >= set(
        "schema fleet now day of_days done_pct planned_pct finish forecast_finish slip_days"
        " slip_causes coordinator inbox spend tasks phases questions".split()
    )
    assert set(found["tasks"][0]) >= set(
        "id agent phase state attempt since evidence facts deliverables checks branch head ahead"
        " behind dirty worktree port port_open session pid last_checkin usage slack_days"
        " waiting_for".split()
    )
    assert set(found["tasks"][0]["evidence"]) == {"source", "age_s", "doubt"}
    assert set(found["tasks"][0]["facts"]) == {"reported", "verified", "accepted", "merged"}
    assert set(found["phases"][0]) >= {"id", "gate", "missing", "merged_as"}
    assert set(found["spend"]) == {"usd", "tokens"}
    assert set(found["coordinator"]) == {"alive", "pid", "host"}
    json.dumps(found)


def test_before_anything_happens(run):
    found = status(run)
    assert (found["day"], found["of_days"]) == (1, 3)
    assert (found["done_pct"], found["planned_pct"], found["slip_days"]) == (0, 0, 0)
    assert (found["finish"], found["forecast_finish"]) == ("day 3", "day 3")
    one = task(run)
    assert one["deliverables"] == [
        {"text": "A.md", "met": False, "commit": None, "why": "not judged yet"}
    ]
    assert one["checks"] == [{"text": "make", "passed": None, "at_commit": None}]
    assert (one["port"], one["session"], one["pid"], one["head"]) == (8123, None, None, None)
    assert (one["usage"], one["last_checkin"], one["slack_days"]) == ({}, None, 0)


def test_what_was_seen_of_the_world_is_shown(run):
    run.begin("one")
    one = task(
        run, head=sha("x"), ahead=3, behind=1, dirty=2, port_open=True, pid=9, alive=True,
        source="process", age_s=4.5,
    )  # fmt: skip
    shown = [
        one[key] for key in ("head", "ahead", "behind", "dirty", "port_open", "pid", "session")
    ]
    assert shown == [sha("x"), 3, 1, 2, True, 9, "one-1"]
    assert one["evidence"] == {"source": "process", "age_s": 4.5, "doubt": None}
    run.verify("one")
    assert task(run)["session"] is None


def test_spend_and_usage_add_up_over_tasks_and_rounds(run):
    usage = {"usd": 0.25, "tokens": 120, "cached_tokens": 9000, "context_share": 0.5}
    run.begin("one").fail("one/work", usage={**usage, "context_share": 0.9})
    run.ok("one/work", usage=usage).red("one/check", spent=1)
    run.ok("one/work.2", usage=usage).green("one/check.2")
    run.through("two")
    used = {"usd": 0.75, "tokens": 360, "cached_tokens": 27_000, "context_share": 0.5}
    assert task(run)["usage"] == used, "a failed attempt counts too; a share is the latest"
    assert status(run)["spend"] == {"usd": 1.25, "tokens": 3 * 120 + 15}


def test_done_and_planned_are_shares_of_all_days(run):
    run.through("two")
    run.now += 2 * DAY_MS
    found = status(run)
    assert found["done_pct"] == 25.0, "1 of 4 days"
    assert found["planned_pct"] == 75.0, "2 of 2, 1 of 1, 0 of 1"
    assert found["day"] == 3


def test_a_check_in_is_kept_with_its_day(run):
    run.begin("one")
    run.now += DAY_MS + HOUR_MS
    run.tell(m.CheckIn(step="one", done="half", next="the rest", blockers=("a key",)))
    assert task(run)["last_checkin"] == {
        "at": f"t{run.now}", "day": 2, "done": "half", "next": "the rest", "blockers": ["a key"],
    }  # fmt: skip


def test_phases_tell_what_is_missing(run):
    def phases():
        return {one["id"]: one for one in status(run)["phases"]}

    assert phases()["p"]["missing"] == ["one is not verified", "two is not verified"]
    assert phases()["q"]["missing"] == ["p is not landed", "three is not verified"]
    run.through("one").through("two")
    assert phases()["p"] == {
        "id": "p", "gate": "closed", "missing": ["the gate is being judged"], "merged_as": None,
    }  # fmt: skip
    question = m.Question(
        message="good?", kind="approve", choices=("approve", "reject"), then=m.Then.AGAIN
    )
    run.end("p/gate", m.Outcome(ending=m.Ending.ASKED, question=question))
    assert phases()["p"]["missing"] == ["approval"]
    (asked,) = run.state.questions
    run.tell(m.AnswerQuestion(id=asked, value="approve")).open_gate("p", "one", "two")
    assert (phases()["p"]["gate"], phases()["p"]["missing"]) == ("open", [])
    run.land("p", "one", "two")
    assert phases()["p"]["merged_as"] == sha("merged")
    assert phases()["q"]["missing"] == ["three is not verified"]


def test_a_landing_that_was_taken_back_is_told_until_it_lands_again(run):
    run.through("one").through("two").open_gate("p", "one", "two").land("p", "one", "two")
    steps = {name: one.step for name, one in run.state.steps.items()}
    gate = replace(steps["p/gate"], id="p/gate.2")
    undone = {"commit": sha("merged"), "before": sha("base"), "text": "p was taken back"}
    merge = replace(
        steps["p/merge"],
        id="p/merge.2",
        params={**steps["p/merge"].params, "undone": undone},
        needs=(Need(step="p/gate.2"),),
    )
    waits = NeedsChange(add=(Need(step="p/merge.2"),))
    needs = {"q/gate": waits, "three/worktree": waits}
    run.tell(m.RevisePlan(patch=Patch(put=(gate, merge), needs=needs)))
    (first, second) = status(run)["phases"]
    assert (first["merged_as"], first["undone"]) == (None, "p was taken back")
    assert task(run)["state"] == "verified"
    assert not task(run)["facts"]["merged"]
    assert second["missing"][0] == "p is not landed"
    assert task(run, "three")["waiting_for"] == ["p merge"]


def test_a_merge_that_did_not_land_is_missing_by_its_first_line(run):
    run.through("one").through("two").open_gate("p", "one", "two").release("p/merge")
    run.end(
        "p/merge", m.Outcome(ending=m.Ending.DEFERRED, hold=True, text="conflict in A.md\nmore")
    )
    (phase, _) = status(run)["phases"]
    assert (phase["gate"], phase["missing"]) == ("closed", ["conflict in A.md"])


def test_questions_come_in_the_order_of_what_they_cost(run):
    for step in ("two/work", "one/work"):
        run.begin(step.partition("/")[0])
        run.tell(m.RaiseQuestion(step=step, question=m.Question(message=step, topic="t")))
    run.tell(m.RaiseQuestion(question=m.Question(message="of nobody")))
    found = status(run)
    assert [one["message"] for one in found["questions"]] == ["one/work", "two/work", "of nobody"]
    assert [one["slack_days"] for one in found["questions"]] == [0, 1, None]
    assert found["inbox"] == 3
    assert found["questions"][0] | {"id": "", "asked_at": ""} == {
        "id": "", "step": "one/work", "task": "one", "kind": "text", "message": "one/work",
        "choices": [], "whom": "person", "topic": "t", "by": "", "asked_at": "", "slack_days": 0,
        "default": None, "expires_at": None, "pattern": None, "answering": None, "climbs_at": None,
        "passed": [], "why": None,
    }  # fmt: skip


def test_the_run_is_named_with_its_state(run):
    assert status(run)["run"] == {"id": "plan", "state": "running", "revision": 1}
    run.tell(m.PauseRun())
    assert status(run)["run"]["state"] == "paused"
    run.tell(m.ResumeRun()).begin("one").tell(m.CancelRun())
    assert status(run)["run"]["state"] == "cancelling"
