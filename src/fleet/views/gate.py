"""A phase's gate as one plain object: every condition with its evidence, `fleet.gate/1`.

Whether the gate may open is the gate step's business; this shows what it would find, from what was
verified and from where the branches stand now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.core.state import Standing, State, answers_to
from fleet.views.status import Clock, Observed, Seen
from fleet.views.tasks import (
    PhaseSteps,
    TaskSteps,
    phases_before,
    phases_of,
    state_of,
    tasks_of,
)


def gate_of(
    state: State, name: str, task_names: Sequence[str], observed: Observed, clock: Clock
) -> dict[str, Any]:
    """Returns {schema, phase, gate, merged_as, pinned, missing, conditions} of one phase.

    A condition is {text, met, evidence, commit}.
    """
    tasks, phase = tasks_of(state), phases_of(state)[name]
    asked = {question.step for question in state.questions.values()}
    conditions = [
        _condition(f"{before} has landed", "not yet", met=False)
        for before in phases_before(state, phase)
    ]
    for task in task_names:
        seen = observed.tasks.get(task, Seen())
        conditions += _task(task, tasks[task], phase, seen, asked)
    conditions += _approvals(state, phase, clock)
    last = _last_merge(phase)
    if last is not None:
        conditions.append(last)
    landed = phase.landed
    met = all(one["met"] for one in conditions)
    return {
        "schema": "fleet.gate/1",
        "phase": name,
        "gate": "open" if landed is not None or met else "closed",
        "merged_as": landed.get("commit") if landed else None,
        "pinned": dict(phase.pinned),
        "conditions": conditions,
        "missing": [one["text"] for one in conditions if not one["met"]],
    }


def _task(
    name: str, task: TaskSteps, phase: PhaseSteps, seen: Seen, asked: set[str]
) -> list[dict[str, Any]]:
    word = state_of(task, phase, asked)
    if word == "skipped":
        steps = (task.join, *reversed(task.inner))
        said = [one.text for one in steps if one.text and one.standing is Standing.SKIPPED]
        told = said[0] if said else "skipped"
        return [_condition(f"{name}: skipped by a person", told, met=True)]
    verified = task.verified
    if verified is None:
        waits = task.join.text or f"it is {word}"
        return [_condition(f"{name} is verified", waits, met=False), *_last_red(name, task)]
    commit = str(verified.get("commit", ""))
    found = [_deliverable(name, one) for one in verified.get("deliverables", ())]
    found += [_check(name, one) for one in verified.get("checks", ())]
    moved = seen.head is not None and seen.head != commit and word != "merged"
    told = f"its branch is at {seen.head[:10]} now" if moved and seen.head else f"at {commit[:10]}"
    still = f"{name}: head is the commit that was verified"
    found.append(_condition(still, told, commit, met=not moved))
    return found


def _last_red(name: str, task: TaskSteps) -> list[dict[str, Any]]:
    """Returns what the latest judgement found wanting."""
    for one in reversed(task.checks):
        if one.standing in (Standing.FAILED, Standing.ASKING) and one.evidence:
            evidence: Any = one.evidence
            unmet = [d for d in evidence.get("deliverables", ()) if not d["met"]]
            red = [c for c in evidence.get("checks", ()) if not c["passed"]]
            return [*(_deliverable(name, d) for d in unmet), *(_check(name, c) for c in red)]
    return []


def _deliverable(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    met = bool(one["met"])
    told = one.get("why") or ("committed" if met else "")
    return _condition(f"{name}: {one['text']}", told, one.get("commit"), met=met)


def _check(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    passed = bool(one["passed"])
    told = _tail(one) or ("passed" if passed else "failed")
    return _condition(f"{name}: check {one['text']}", told, one.get("at_commit"), met=passed)


def _approvals(state: State, phase: PhaseSteps, clock: Clock) -> list[dict[str, Any]]:
    wanted: Any = phase.gates[-1].step.params.get("approve") if phase.gates else None
    if not wanted:
        return []
    names = wanted if isinstance(wanted, list) else [""]
    given = [
        answer
        for gate in phase.gates
        for answer in answers_to(state, gate.step.id)
        if answer.value == "approve"
    ]
    found = []
    opened = bool(phase.pinned)
    for name in names:
        mine = [answer for answer in given if not name or answer.by == name]
        text = f"approved by {name}" if name else "approved"
        evidence = f"{mine[-1].by}, {clock.time_of(mine[-1].at_ms)}" if mine else "not yet"
        found.append(_condition(text, evidence, met=bool(mine) and opened))
    return found


def _last_merge(phase: PhaseSteps) -> dict[str, Any] | None:
    merge = phase.merge
    if merge is None or not merge.attempt or phase.landed is not None:
        return None
    if merge.standing is Standing.RUNNING or not merge.text:
        return None
    return _condition("the phase merges cleanly and its checks pass", merge.text, met=False)


def _condition(text: str, evidence: str, commit: str | None = None, *, met: bool) -> dict[str, Any]:
    return {"text": text, "met": met, "evidence": evidence, "commit": commit}


def _tail(check: Mapping[str, Any]) -> str:
    said = str(check.get("why") or check.get("tail") or "").strip().splitlines()
    return said[-1] if said else ""
