"""A phase's gate as one plain object: every condition with its evidence, `fleet.gate/1`.

Whether the gate may open is the gate step's business; this shows what it would find, from what was
verified and from where the branches stand now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.core.state import Standing, State, answers_to
from fleet.views.status import Clock, Observed, Seen
from fleet.views.tasks import PhaseSteps, TaskSteps, phases_of, state_of, tasks_of


def gate_of(
    state: State, name: str, task_names: Sequence[str], observed: Observed, clock: Clock
) -> dict[str, Any]:
    """Returns the gate of one phase: {schema, phase, gate, conditions: [{text, met, evidence,
    commit}], ...}.
    """
    tasks, phase = tasks_of(state), phases_of(state)[name]
    asked = {question.step for question in state.questions.values()}
    conditions: list[dict[str, Any]] = []
    for task in task_names:
        seen = observed.tasks.get(task, Seen())
        conditions += _task(state, task, tasks[task], phase, seen, asked)
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
    state: State, name: str, task: TaskSteps, phase: PhaseSteps, seen: Seen, asked: set[str]
) -> list[dict[str, Any]]:
    word = state_of(state, task, phase, asked)
    if word == "skipped":
        return [_condition(f"{name}: skipped by a person", True, task.join.text or "skipped")]
    verified = task.verified
    if verified is None:
        waits = task.join.text or f"it is {word}"
        return [_condition(f"{name} is verified", False, waits), *_last_red(name, task)]
    commit = str(verified.get("commit", ""))
    found = [
        _condition(
            f"{name}: {one['text']}",
            bool(one["met"]),
            one.get("why") or "committed",
            one.get("commit"),
        )
        for one in verified.get("deliverables", ())
    ]
    found += [
        _condition(
            f"{name}: check {one['text']}",
            bool(one["passed"]),
            _tail(one) or "passed",
            one.get("at_commit"),
        )
        for one in verified.get("checks", ())
    ]
    moved = seen.head is not None and seen.head != commit and word != "merged"
    evidence = (
        f"its branch is at {seen.head[:10]} now" if moved and seen.head else f"at {commit[:10]}"
    )
    found.append(
        _condition(f"{name}: head is the commit that was verified", not moved, evidence, commit)
    )
    return found


def _last_red(name: str, task: TaskSteps) -> list[dict[str, Any]]:
    for one in reversed(task.checks):
        if one.standing in (Standing.FAILED, Standing.ASKING) and one.evidence:
            evidence: Any = one.evidence
            reds = [d for d in evidence.get("deliverables", ()) if not d["met"]]
            failed = [c for c in evidence.get("checks", ()) if not c["passed"]]
            return [
                *[
                    _condition(f"{name}: {d['text']}", False, d.get("why") or "", d.get("commit"))
                    for d in reds
                ],
                *[
                    _condition(f"{name}: check {c['text']}", False, _tail(c), c.get("at_commit"))
                    for c in failed
                ],
            ]
    return []


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
        found.append(_condition(text, bool(mine) and opened, evidence))
    return found


def _last_merge(phase: PhaseSteps) -> dict[str, Any] | None:
    merge = phase.merge
    if merge is None or not merge.attempt or phase.landed is not None:
        return None
    if merge.standing is Standing.RUNNING or not merge.text:
        return None
    return _condition("the phase merges cleanly and its checks pass together", False, merge.text)


def _condition(text: str, met: bool, evidence: str, commit: str | None = None) -> dict[str, Any]:  # noqa: FBT001
    return {"text": text, "met": met, "evidence": evidence, "commit": commit}


def _tail(check: dict[str, Any]) -> str:
    said = str(check.get("why") or check.get("tail") or "").strip().splitlines()
    return said[-1] if said else ""
