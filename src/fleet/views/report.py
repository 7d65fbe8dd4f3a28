"""What a run has cost and how it went, `fleet.report/1`: by phase, account, agent, task, attempt.

Attempts are folded from the journal's events, for a state remembers only the latest of each step;
everything else is read from the state. Planned and actual days are working days of the calendar, as
the forecast has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet.core import messages as m
from fleet.core.plan import PER_MINUTE, Step
from fleet.core.spending import LEVEL, add_usage
from fleet.core.state import CLOSED, State
from fleet.views.forecast import Forecast, planned_of
from fleet.views.proofs import evidence_rows, proof_row
from fleet.views.status import Clock, phase_order, run_state
from fleet.views.tasks import (
    PhaseSteps,
    TaskSteps,
    needing_people,
    phases_of,
    state_of,
    tasks_of,
)
from fleet.views.verdicts import verdicts_of

RUNNING = "running"
"""The ending of an attempt that has none yet."""

ACCOUNT = "account:"
TEXT_CHARS = 400
"""So much of an attempt's last words is told."""


@dataclass(slots=True)
class Attempt:
    """One try at a step; `agent` and `account` are empty where none works on it, times are
    milliseconds.
    """

    step: str
    attempt: int
    kind: str = ""
    whole: str = ""
    agent: str = ""
    account: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    ending: str = RUNNING
    failure: str = ""
    text: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)
    policy: object = None

    def ran_ms(self, now_ms: int) -> int:
        """Returns how long it ran, until now if it still does."""
        return max(0, (self.ended_ms or now_ms) - self.started_ms)


def attempts_of(events: Iterable[m.Event]) -> list[Attempt]:
    """Returns every attempt of a run in the order in which they started."""
    steps: dict[str, Step] = {}
    found: dict[tuple[str, int], Attempt] = {}
    for event in events:
        match event:
            case m.RunStarted():
                steps.update(event.plan.steps)
            case m.PlanRevised():
                steps.update({step.id: step for step in event.patch.put})
            case m.AttemptStarted():
                found[event.step, event.attempt] = _begun(event, steps.get(event.step))
            case m.AttemptEnded() if (event.step, event.attempt) in found:
                one, outcome = found[event.step, event.attempt], event.outcome
                one.ended_ms, one.ending = event.at_ms, str(outcome.ending)
                one.failure, one.text = str(outcome.failure or ""), outcome.text[:TEXT_CHARS]
                one.usage = {**one.usage, **outcome.usage}
                one.policy = outcome.evidence.get("policy")
            case m.AttemptProgressed() if (event.step, event.attempt) in found and event.usage:
                one = found[event.step, event.attempt]
                one.usage = {**one.usage, **event.usage}
            case _:
                pass
    return list(found.values())


def _begun(event: m.AttemptStarted, step: Step | None) -> Attempt:
    one = Attempt(event.step, event.attempt, started_ms=event.at_ms)
    if step is not None:
        one.kind, one.whole = step.kind, step.whole
        if step.kind == "agent":
            told: Any = step.params.get("agent") or {}
            one.agent = str(told.get("id") or "")
            named = (name for name in step.uses if name.startswith(ACCOUNT))
            one.account = next((n for n in named if not n.endswith(PER_MINUTE)), "")
            one.account = one.account.removeprefix(ACCOUNT)
    return one


def report_of(
    fleet: str,
    state: State,
    attempts: Sequence[Attempt],
    clock: Clock,
    loops: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Returns the report of a run, with the keys that the reference tells of `fleet.report/1`."""
    tasks, phases = tasks_of(state), phases_of(state)
    planned = planned_of(state.about)
    by_task: dict[str, list[Attempt]] = {}
    by_agent: dict[str, list[Attempt]] = {}
    by_account: dict[str, list[Attempt]] = {}
    for one in attempts:
        if one.agent:
            by_task.setdefault(one.whole, []).append(one)
            by_agent.setdefault(one.agent, []).append(one)
            by_account.setdefault(one.account, []).append(one)
    asked = needing_people(state)
    scene = _Scene(tasks, phases, asked, by_task, planned, clock)
    rows = {name: _task_row(scene, name, task) for name, task in tasks.items()}
    order = phase_order(tasks, phases)
    ended_ms = state.ended_ms or clock.now_ms
    return {
        "schema": "fleet.report/1",
        "fleet": fleet,
        "now": clock.now,
        "run": {"id": state.run, "state": run_state(state), "revision": state.revision},
        "started_at": clock.time_of(state.started_ms) if state.started_ms else None,
        "ended_at": clock.time_of(state.ended_ms) if state.ended_ms else None,
        "planned_days": planned.planned_days,
        "actual_days": _days(clock, state.started_ms, ended_ms),
        "ran_s": _seconds(attempts, clock),
        "usage": usage_of(one.usage for one in attempts),
        "phases": [
            _phase_row(scene, name, [rows[task] for task in names]) for name, names in order
        ],
        "accounts": [
            {
                "id": name,
                "agents": list(dict.fromkeys(one.agent for one in own)),
                **_used_by(own, clock),
            }
            for name, own in by_account.items()
        ],
        "agents": _agent_rows(rows, by_agent, clock),
        "tasks": list(rows.values()),
        "proofs": [{"id": name, **row} for name, task in tasks.items() if (row := proof_row(task))],
        "evidence": [row for name, task in tasks.items() for row in evidence_rows(name, task)],
        "verdicts": [told for task in tasks.values() for told in verdicts_of(task)],
        "loops": [dict(one) for one in loops],
        "attempts": [_attempt_row(one, clock) for one in attempts],
    }


def usage_of(usages: Iterable[Mapping[str, float]], *, levels: bool = False) -> dict[str, float]:
    """Returns what was used together, money rounded; `levels` keeps the latest shares too, which
    say nothing where attempts at several tasks are taken together.
    """
    total: dict[str, float] = {}
    for one in usages:
        total = add_usage(total, one)
    if not levels:
        total = {name: count for name, count in total.items() if not name.endswith(LEVEL)}
    if "usd" in total:
        total["usd"] = round(total["usd"], 6)
    return total


def _days(clock: Clock, from_ms: int, to_ms: int) -> float | None:
    if not from_ms:
        return None
    return round(max(0.0, clock.day_of(to_ms) - clock.day_of(from_ms)), 2)


def _seconds(attempts: Iterable[Attempt], clock: Clock) -> float:
    return round(sum(one.ran_ms(clock.now_ms) for one in attempts if one.agent) / 1000, 1)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every row of a report is made from."""

    tasks: Mapping[str, TaskSteps]
    phases: Mapping[str, PhaseSteps]
    asked: frozenset[str]
    by_task: Mapping[str, Sequence[Attempt]]
    planned: Forecast
    clock: Clock


def _times(task: TaskSteps) -> tuple[int, int]:
    """Returns when an agent first began a task and when the task was over, 0 while it was not."""
    over = all(one.standing in CLOSED for one in task.inner)
    return (task.works[0].first_ms if task.works else 0), (task.join.ended_ms if over else 0)


def _task_row(scene: _Scene, name: str, task: TaskSteps) -> dict[str, Any]:
    clock, own = scene.clock, scene.by_task.get(name, ())
    phase = scene.phases.get(str(task.facts.get("phase") or ""))
    begun_ms, ended_ms = _times(task)
    slot = scene.planned.planned.get(name)
    return {
        "id": name,
        "agent": task.facts.get("agent"),
        "phase": task.facts.get("phase"),
        "kind": task.facts.get("kind", "task"),
        "state": state_of(task, phase, scene.asked),
        "planned_days": round(slot.end - slot.start, 2) if slot else task.facts.get("days"),
        "actual_days": _days(clock, begun_ms, ended_ms or clock.now_ms),
        "started_at": clock.time_of(begun_ms) if begun_ms else None,
        "ended_at": clock.time_of(ended_ms) if ended_ms else None,
        "attempts": len(own),
        "failed": sum(one.ending == m.Ending.FAILED for one in own),
        "ran_s": _seconds(own, clock),
        "usage": usage_of((one.usage for one in own), levels=True),
    }


def _phase_row(scene: _Scene, name: str, own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = [str(row["id"]) for row in own]
    phase, planned = scene.phases.get(name), scene.planned.planned
    slots = [planned[task] for task in names if task in planned]
    days = max(one.end for one in slots) - min(one.start for one in slots) if slots else None
    landed = phase.landed if phase is not None else None
    times = [_times(scene.tasks[task]) for task in names]
    begun_ms = min((begun for begun, _ in times if begun), default=0)
    ended_ms = max(ended for _, ended in times) if times and all(e for _, e in times) else 0
    time_of = scene.clock.time_of
    return {
        "id": name or None,
        "tasks": names,
        "merged_as": landed.get("commit") if landed else None,
        "planned_days": days if days is None else round(days, 2),
        "actual_days": _days(scene.clock, begun_ms, ended_ms or scene.clock.now_ms),
        "started_at": time_of(begun_ms) if begun_ms else None,
        "ended_at": time_of(ended_ms) if ended_ms else None,
        **_sums(own),
    }


def _sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "attempts": sum(row["attempts"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
        "ran_s": round(sum(row["ran_s"] for row in rows), 1),
        "usage": usage_of(row["usage"] for row in rows),
    }


def _agent_rows(
    rows: Mapping[str, Mapping[str, Any]], by_agent: Mapping[str, Sequence[Attempt]], clock: Clock
) -> list[dict[str, Any]]:
    tasks: dict[str, list[str]] = {}
    for row in rows.values():
        if row["agent"]:
            tasks.setdefault(str(row["agent"]), []).append(str(row["id"]))
    return [
        {
            "id": name,
            "tasks": tasks.get(name, []),
            **_used_by(by_agent.get(name, ()), clock),
        }
        for name in {**tasks, **by_agent}
    ]


def _used_by(own: Sequence[Attempt], clock: Clock) -> dict[str, Any]:
    return {
        "attempts": len(own),
        "failed": sum(one.ending == m.Ending.FAILED for one in own),
        "ran_s": _seconds(own, clock),
        "usage": usage_of(one.usage for one in own),
    }


def _attempt_row(one: Attempt, clock: Clock) -> dict[str, Any]:
    return {
        "step": one.step,
        "attempt": one.attempt,
        "kind": one.kind,
        "task": one.whole or None,
        "agent": one.agent or None,
        "account": one.account or None,
        "started_at": clock.time_of(one.started_ms),
        "ended_at": clock.time_of(one.ended_ms) if one.ended_ms else None,
        "ran_s": round(one.ran_ms(clock.now_ms) / 1000, 1),
        "ending": one.ending,
        "failure": one.failure or None,
        "text": one.text,
        "usage": dict(one.usage),
        "policy": one.policy,
    }
