"""The report: attempts folded from events, sums of all kinds, planned and actual days."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.plan import Failure
from fleet.views.report import attempts_of, report_of
from support.lowered_run import DAY_MS, HOUR_MS, LoweredRun, plan, sha

PHASES = "phases: [{id: p, tasks: [one, two]}, {id: q, tasks: [three]}]"
USAGE = {"input_tokens": 10, "output_tokens": 5, "tokens": 15, "usd": 0.25}


class Told(LoweredRun):
    """A run that keeps its events."""

    def __init__(self, found):
        started = m.StartRun(run="plan", plan=found, at_ms=DAY_MS)
        self.events = list(decide(None, started))
        super().__init__(found)

    def tell(self, command):
        self.events += decide(self.state, replace(command, at_ms=self.now))
        return super().tell(command)


@pytest.fixture
def run(tmp_path):
    return Told(plan(tmp_path, settings=PHASES, agents="a b", one="days: 2\nchecks: [make]",
                     two="days: 1", three="agent: b\ndays: 1"))  # fmt: skip


def report(run):
    found = report_of("shop", run.state, attempts_of(run.events), run.clock())
    json.dumps(found)
    return found


def rows(found, what):
    return {one["id"]: one for one in found[what]}


def test_before_anything_ran(run):
    found = report(run)
    assert (found["attempts"], found["usage"], found["ran_s"]) == ([], {}, 0)
    assert (found["planned_days"], found["actual_days"]) == (3, 0)
    one = rows(found, "tasks")["one"]
    assert (one["planned_days"], one["actual_days"], one["started_at"]) == (2, None, None)


def test_every_attempt_counts_also_those_that_failed_or_still_run(run):
    run.begin("one")
    run.now += HOUR_MS
    run.fail("one/work", Failure.AGENT, text="it crashed", usage=USAGE)
    run.now += HOUR_MS
    run.start("one/work")
    run.now += 2 * HOUR_MS
    found = report(run)
    works = [one for one in found["attempts"] if one["agent"]]
    assert [(one["attempt"], one["ending"], one["failure"], one["ran_s"]) for one in works] == [
        (1, "failed", "agent", 3600.0),
        (2, "running", None, 7200.0),
    ]
    assert works[0]["usage"] == USAGE
    assert works[0]["account"] == "shell"
    assert (works[1]["ended_at"], works[1]["usage"]) == (None, {})
    task = rows(found, "tasks")["one"]
    assert (task["attempts"], task["failed"], task["ran_s"]) == (2, 1, 10_800)
    assert (task["state"], task["usage"]) == ("working", USAGE)


def test_what_a_running_attempt_has_used_counts_and_its_end_takes_its_place(run):
    run.begin("one")
    run.tell(m.ReportProgress(step="one/work", attempt=1, usage={"tokens": 9, "usd": 0.1}))
    found = report(run)
    assert found["usage"] == {"tokens": 9, "usd": 0.1}
    assert rows(found, "agents")["a"]["usage"] == {"tokens": 9, "usd": 0.1}
    run.fail("one/work", Failure.AGENT, text="it crashed", usage={"tokens": 12})
    assert report(run)["usage"] == {"tokens": 12, "usd": 0.1}


def test_sums_by_agent_phase_and_fleet(run):
    run.begin("one").ok("one/work", usage=USAGE).red("one/check", spent=1)
    run.ok("one/work.2", usage=USAGE).green("one/check.2")
    run.through("two")
    run.now += DAY_MS
    run.open_gate("p", "one", "two").land("p", "one", "two")
    run.through("three")
    found = report(run)
    agents, phases = rows(found, "agents"), rows(found, "phases")
    assert (agents["a"]["attempts"], agents["a"]["tasks"]) == (3, ["one", "two"])
    assert agents["a"]["usage"]["usd"] == 2 * 0.25 + 0.5
    assert rows(found, "accounts")["shell"]["agents"] == ["a", "b"]
    assert rows(found, "accounts")["shell"]["usage"] == found["usage"]
    assert (agents["b"]["attempts"], agents["b"]["usage"]["tokens"]) == (1, 15)
    assert phases["p"]["usage"] == agents["a"]["usage"]
    assert (phases["p"]["planned_days"], phases["p"]["merged_as"]) == (2, sha("merged"))
    assert (phases["q"]["attempts"], phases["q"]["merged_as"]) == (1, None)
    assert found["usage"]["usd"] == 1.5
    assert [one["step"] for one in found["attempts"] if one["failure"]] == ["one/check"]


def test_actual_days_run_from_the_first_attempt_to_the_end(run):
    run.begin("one")
    run.now += 2 * DAY_MS + DAY_MS // 2
    assert rows(report(run), "tasks")["one"]["actual_days"] == 2.5
    run.verify("one")
    run.now += 5 * DAY_MS
    one = rows(report(run), "tasks")["one"]
    assert (one["planned_days"], one["actual_days"], one["state"]) == (2, 2.5, "verified")
    assert rows(report(run), "phases")["p"]["actual_days"] == 7.5, "two has not begun"
