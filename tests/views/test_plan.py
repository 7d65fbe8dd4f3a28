from __future__ import annotations

import json

import pytest

from fleet.errors import InvalidPlan
from fleet.views.plan import PlannedPhase, PlannedTask, plain, view_plan

PHASES = [PlannedPhase(id=name) for name in ("one", "two", "three", "four")]
ROWS = [(3, "one"), (8, "two"), (7, "two"), (3, "three"), (3, "three"), (4, "four")]
WINDOWS = [(1, 3), (4, 11), (12, 18), (19, 21), (19, 21), (22, 25)]


def own_plan():
    return [
        PlannedTask(
            id=f"agent-{i}",
            agent=f"agent-{i}",
            phase=phase,
            days=days,
            window=window,
            needs=("agent-2",) if i == 3 else (),
            place=f"tasks/agent-{i}.md:4:1",
        )
        for i, ((days, phase), window) in enumerate(zip(ROWS, WINDOWS, strict=True), 1)
    ]


def date_of(day):
    assert day >= 1
    return f"day {day}"


def shown(tasks, phases=(), **limits):
    return plain(view_plan(tasks, phases, date_of=date_of, limits=limits))


def test_the_products_own_plan():
    found = shown(own_plan(), PHASES)
    assert (found["duration_days"], found["work_days"], found["finish"]) == (25, 28, "day 25")
    assert found["critical_path"] == ["agent-1", "agent-2", "agent-3", "agent-4", "agent-6"]
    assert found["critical"] == [f"agent-{i}" for i in range(1, 7)]
    assert (found["width"], found["speedup"], found["warnings"]) == (2, 1.12, [])
    assert [(t["start_day"], t["end_day"]) for t in found["tasks"]] == WINDOWS
    assert found["phases"][1] == {
        "id": "two",
        "name": "two",
        "start_day": 4,
        "end_day": 18,
        "tasks": ["agent-2", "agent-3"],
    }
    assert found["agents"][1] == {"id": "agent-2", "days": 8, "critical_days": 8}
    assert "risk" not in found
    assert isinstance(json.loads(json.dumps(found))["duration_days"], int)


def test_one_agent_works_one_after_another_and_windows_no_longer_hold():
    found = shown(own_plan(), PHASES, agents=1)
    assert (found["duration_days"], found["width"], found["limits"]) == (28, 1, {"agents": 1})
    assert [w["place"] for w in found["warnings"]] == [
        "tasks/agent-5.md:4:1",
        "tasks/agent-6.md:4:1",
    ]
    assert "days 19 to 21, the schedule has it on days 22 to 24" in found["warnings"][0]["text"]


def test_idle_agents_are_told_only_when_there_are_some():
    assert shown(own_plan(), PHASES, agents=2)["warnings"] == []
    assert "1 of 3 agents idle" in shown(own_plan(), PHASES, agents=3)["warnings"][0]["text"]


def test_a_window_within_the_slack_is_no_contradiction():
    tasks = [PlannedTask(id="long", days=9), PlannedTask(id="short", days=2, window=(5, 6))]
    assert shown(tasks)["warnings"] == []
    tasks[1] = PlannedTask(id="short", days=2, window=(9, 10))
    assert "may slip by 7 days" in shown(tasks)["warnings"][0]["text"]


def test_half_days_and_gates_have_days_of_their_own():
    tasks = [
        PlannedTask(id="a", days=0.5),
        PlannedTask(id="b", days=0.5, needs=("a",)),
        PlannedTask(id="c", days=0, needs=("b",)),
        PlannedTask(id="d", days=1.5, needs=("c",)),
    ]
    found = shown(tasks)
    days = [(t["start_day"], t["end_day"]) for t in found["tasks"]]
    assert days == [(1, 1), (1, 1), (1, 1), (2, 3)]
    assert (found["duration_days"], found["finish"]) == (2.5, "day 3")


def test_needing_a_task_of_a_later_phase_is_a_circle_through_the_gate():
    tasks = [PlannedTask(id="a", phase="one", needs=("b",)), PlannedTask(id="b", phase="two")]
    with pytest.raises(InvalidPlan, match="one/gate"):
        shown(tasks, PHASES)


def test_tasks_without_a_phase_come_last_and_empty_phases_hold_the_order():
    tasks = [
        PlannedTask(id="late"),
        PlannedTask(id="a", phase="one"),
        PlannedTask(id="b", phase="four"),
    ]
    assert [t["start_day"] for t in shown(tasks, PHASES)["tasks"]] == [3, 1, 2]


def test_a_spread_gives_a_risk_and_criticality():
    tasks = [PlannedTask(id="a", days=5, spread=(3, 5, 12)), PlannedTask(id="b", days=5.5)]
    found = shown(tasks)
    assert 5.5 <= found["risk"]["p50"] <= found["risk"]["p80"] <= found["risk"]["p95"] <= 12
    assert set(found["risk"]) == {"p50", "p80", "p95"}
    assert 0 < found["tasks"][1]["criticality"] < 1


def test_an_empty_plan_is_a_plan():
    assert shown([])["duration_days"] == 0
