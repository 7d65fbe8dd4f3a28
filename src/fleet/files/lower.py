"""Documents become one plan of steps: the only place that knows what a task or a phase lowers to.

    task T    T/worktree -> T/work -> T/check -> join T
    phase P   P/gate (needs every task of P) -> P/merge; the next phase's worktrees need P/merge

Params are plain JSON that each kind reads for itself. Texts that are long (briefs, prompts, rules)
leave the plan under their digest, so that journals and snapshots stay small. What a document may
say but this version does not carry out is refused here: a key that is accepted is obeyed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from fleet.core.plan import (
    JOIN,
    Ask,
    Failure,
    Need,
    Plan,
    Retry,
    Rung,
    Step,
    check,
    plan_of,
)
from fleet.errors import InvalidPlan
from fleet.files.documents import command_text
from fleet.files.timing import timing
from fleet.files.unsupported import not_carried_out

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument, Check, Phase, TaskDocument
    from fleet.files.fleet import Fleet

DAY_MS = 86_400_000
ATTEMPTS = 3
"""Tries of a task, rework included, unless its file says otherwise."""

MACHINE_TRIES = 5
"""Tries after failures that are not the task's: the program did not start, the machine lost it."""

CHECKS_AT_ONCE = 4
TROUBLE = frozenset({Failure.AGENT, Failure.INFRA})


class _Texts(dict[str, str]):
    """Texts by digest."""

    def keep(self, text: str) -> str:
        digest = sha256(text.encode()).hexdigest()
        self[digest] = text
        return digest


def lower(fleet: Fleet) -> tuple[Plan, Mapping[str, str]]:
    """Returns the plan of a fleet's documents, and the texts that its params name by digest.

    Raises InvalidPlan for what this version does not carry out.
    """
    problems = not_carried_out(fleet)
    if problems:
        raise InvalidPlan(problems)
    texts = _Texts()
    steps: list[Step] = []
    before = ""
    for phase in fleet.phases:
        for name in phase.tasks:
            steps += _task(fleet, fleet.tasks[name], phase, before, texts)
        if phase.tasks:
            steps += _phase(fleet, phase, before)
            before = f"{phase.id}/merge"
    plan = plan_of(
        fleet.settings.fleet,
        steps,
        limits={
            "checks": CHECKS_AT_ONCE,
            f"branch:{fleet.settings.base}": 1,
            **fleet.settings.limits,
        },
        about=_about(fleet),
    )
    check(plan)
    return plan, texts


def branch_of(task: TaskDocument) -> str:
    """Returns the branch of a task: as written, else `fleet/<task>`."""
    return task.branch or f"fleet/{task.id}"


def _about(fleet: Fleet) -> dict[str, object]:
    settings = fleet.settings
    return {
        "digest": fleet.digest,
        "fleet": settings.fleet,
        "base": settings.base,
        "start": settings.start,
        "calendar": _plain(asdict(settings.calendar)),
        "phases": [{"id": p.id, "name": p.name, "tasks": list(p.tasks)} for p in fleet.phases],
        "metrics": [_plain(asdict(metric)) for metric in settings.metrics],
        "schedule": timing(fleet),
    }


# --- tasks ----------------------------------------------------------------------------------------


def _task(fleet: Fleet, task: TaskDocument, phase: Phase, before: str, texts: _Texts) -> list[Step]:
    uses = {"agents": 1, **task.uses}
    needs = [Need(step=name) for name in task.dependencies]
    if before:
        needs.append(Need(step=before))
    attempts = task.attempts or fleet.agents[task.agent].limits.attempts or ATTEMPTS
    span_ms = int(task.days.likely * DAY_MS)
    shown = task_facts(fleet, task, phase)
    return [
        Step(
            id=f"{task.id}/worktree",
            kind="worktree",
            params=_worktree(fleet, task),
            needs=tuple(needs),
            uses=uses,
            ladder=(
                _trouble(2_000),
                Ask(
                    message=f"The worktree of {task.id} could not be made.",
                    choices=("retry", "fail"),
                ),
            ),
            whole=task.id,
            released=False,
        ),
        Step(
            id=f"{task.id}/work",
            kind="agent",
            params=_work(fleet, task, phase, texts),
            needs=(Need(step=f"{task.id}/worktree"),),
            uses=uses,
            ladder=_ladder(task, attempts),
            span_ms=span_ms,
            whole=task.id,
        ),
        Step(
            id=f"{task.id}/check",
            kind="check",
            params=_check(fleet, task, attempts),
            needs=(Need(step=f"{task.id}/work"),),
            uses={"checks": 1},
            ladder=_check_ladder(task),
            whole=task.id,
        ),
        Step(
            id=task.id,
            kind=JOIN,
            params={"task": shown},
            needs=(Need(step=f"{task.id}/check"),),
            whole=task.id,
        ),
    ]


def _worktree(fleet: Fleet, task: TaskDocument) -> dict[str, object]:
    return {
        "task": task.id,
        "agent": task.agent,
        "phase": task.phase,
        "path": os.fspath(fleet.worktree(task.id)),
        "branch": branch_of(task),
        "base": fleet.settings.base,
        "port": task.port,
        "ports": list(fleet.settings.ports),
        "copy": list(task.copy),
        "setup": [_plain(command) for command in task.setup],
        "teardown": [_plain(command) for command in task.teardown],
        "after": list(task.dependencies),
    }


def _work(fleet: Fleet, task: TaskDocument, phase: Phase, texts: _Texts) -> dict[str, object]:
    agent = fleet.agents[task.agent]
    return {
        "task": task.id,
        "name": task.name or task.id,
        "phase": phase.id,
        "agent": _agent(fleet, agent, texts),
        "brief": texts.keep(task.body),
        "rules": texts.keep(fleet.settings.rules),
        "deliverables": [one.text for one in task.deliverables],
        "checks": [check_text(one) for one in task.checks],
        "evidence": list(task.evidence),
        "after": list(task.dependencies),
        "timeout_s": _seconds(task.timeout_ms or agent.limits.timeout_ms),
        "idle_s": _seconds(task.idle_ms or agent.limits.idle_ms),
        "round": 1,
    }


def _agent(fleet: Fleet, agent: AgentDocument, texts: _Texts) -> dict[str, object]:
    return {
        "id": agent.id,
        "name": agent.name or agent.id,
        "harness": _plain(agent.harness),
        "model": agent.model,
        "mode": agent.mode,
        "args": _plain(agent.args),
        "env": dict(agent.env),
        "secrets": {
            name: fleet.settings.secrets.get(name, f"env:{name}") for name in agent.secrets
        },
        "permissions": agent.permissions,
        "prompt": texts.keep(agent.prompt) if agent.prompt else "",
        "limits": {
            name: value for name, value in asdict(agent.limits).items() if value is not None
        },
        "owns": list(agent.owns),
    }


def _check(fleet: Fleet, task: TaskDocument, attempts: int) -> dict[str, object]:
    return {
        "task": task.id,
        "branch": branch_of(task),
        "base": fleet.settings.base,
        "deliverables": [{**_set(asdict(one)), "text": one.text} for one in task.deliverables],
        "checks": [judge(one) for one in task.checks],
        "metrics": [_plain(asdict(one)) for one in task.metrics],
        "attempts": attempts,
        "spent": 0,
        "round": 1,
        "before": [task.id],
    }


def judge(check: Check) -> dict[str, object]:
    """Returns a check as its kind reads it: what it is called, its command, its time limit."""
    return {
        "text": check_text(check),
        "command": _plain(check.command),
        "timeout_s": _seconds(check.timeout_ms),
    }


def check_text(check: Check) -> str:
    """Returns what a check is called before people."""
    return check.name or command_text(check.command)


def task_facts(fleet: Fleet, task: TaskDocument, phase: Phase) -> dict[str, object]:
    """Returns what views show of a task, whatever becomes of it."""
    estimate = task.days
    return {
        "id": task.id,
        "name": task.name or task.id,
        "agent": task.agent,
        "phase": phase.id,
        "priority": task.priority,
        "days": estimate.likely,
        "spread": None if estimate.low is None else [estimate.low, estimate.likely, estimate.high],
        "window": None if estimate.window is None else list(estimate.window),
        "branch": branch_of(task),
        "worktree": os.fspath(fleet.worktree(task.id)),
        "port": task.port,
        "deliverables": [one.text for one in task.deliverables],
        "checks": [check_text(one) for one in task.checks],
        "dependencies": list(task.dependencies),
        "uses": dict(task.uses),
        "metrics": [_plain(asdict(one)) for one in task.metrics],
        "risks": [_plain(asdict(one)) for one in task.risks],
        "decisions": [_plain(asdict(one)) for one in task.decisions],
        "assumptions": [one.text for one in task.assumptions],
    }


def _trouble(backoff_ms: int) -> Retry:
    return Retry(times=MACHINE_TRIES - 1, backoff_ms=backoff_ms, on=TROUBLE)


def _ladder(task: TaskDocument, attempts: int) -> tuple[Rung, ...]:
    again = Retry(times=attempts - 1, backoff_ms=task.backoff_ms or 0)
    return (again, _trouble(10_000), *_last(task, f"{task.id} failed.", ("retry", "skip", "fail")))


def _check_ladder(task: TaskDocument) -> tuple[Rung, ...]:
    message = f"{task.id} does not deliver what it promised."
    return (_trouble(2_000), *_last(task, message, ("rework", "retry", "skip", "fail")))


def _last(task: TaskDocument, message: str, choices: tuple[str, ...]) -> tuple[Rung, ...]:
    """Returns the rungs after the retries: what `on_failure` says, else a person is asked."""
    if any(rung.fail for rung in task.on_failure):
        return ()
    for rung in task.on_failure:
        if rung.ask:
            return (Ask(message=rung.question or message, whom=rung.ask, choices=choices),)
    return (Ask(message=message, choices=choices),)


# --- phases ---------------------------------------------------------------------------------------


def _phase(fleet: Fleet, phase: Phase, before: str) -> list[Step]:
    base = fleet.settings.base
    needs = [Need(step=name) for name in phase.tasks]
    if before:
        needs.append(Need(step=before))
    names = {name for task in phase.tasks for name in fleet.tasks[task].approved_by}
    named = phase.approve if isinstance(phase.approve, tuple) else ()
    approve = sorted({*named, *names}) or phase.approve is True
    return [
        Step(
            id=f"{phase.id}/gate",
            kind="gate",
            params={
                "phase": phase.id,
                "name": phase.name or phase.id,
                "base": base,
                "tasks": [
                    {"id": name, "branch": branch_of(fleet.tasks[name])} for name in phase.tasks
                ],
                "approve": approve,
            },
            needs=tuple(needs),
            ladder=(
                _trouble(2_000),
                Ask(
                    message=f"The gate of {phase.id} could not be judged.",
                    choices=("retry", "fail"),
                ),
            ),
            whole=phase.id,
        ),
        Step(
            id=f"{phase.id}/merge",
            kind="merge",
            params={
                "phase": phase.id,
                "name": phase.name or phase.id,
                "base": base,
                "tasks": _by_dependency(fleet, phase.tasks),
                "strategy": phase.strategy,
                "checks": [judge(one) for one in phase.checks],
                "tag": phase.tag,
                "auto": phase.merge == "auto",
            },
            needs=(Need(step=f"{phase.id}/gate"),),
            uses={f"branch:{base}": 1},
            ladder=(
                _trouble(2_000),
                Ask(message=f"{phase.id} could not be merged.", choices=("retry", "fail")),
            ),
            whole=phase.id,
            released=phase.merge == "auto",
        ),
    ]


def _by_dependency(fleet: Fleet, names: Sequence[str]) -> list[str]:
    """Returns a phase's tasks so that each comes after those it depends on, else in file order."""
    placed: list[str] = []
    left = list(names)
    while left:
        name = next(n for n in left if not set(fleet.tasks[n].dependencies) & set(left))
        placed.append(name)
        left.remove(name)
    return placed


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value
