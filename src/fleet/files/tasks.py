"""What a task lowers to: T/worktree -> T/work -> T/check -> join T, and the params of each.

Pure: documents in, steps out. How a check or a command stands in params is the same for the steps
of a phase, which takes it from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from fleet.core.plan import JOIN, Need, Step
from fleet.files.ladders import check_ladder, work_ladder
from fleet.files.loops import rework_of
from fleet.files.proofs import proof_facts
from fleet.files.trouble import machine_ladder
from fleet.files.uses import agent_starts, agent_uses
from fleet.files.verdicts import asked_of, schema

if TYPE_CHECKING:
    from fleet.files.documents import (
        AgentDocument,
        Check,
        Phase,
        TaskDocument,
    )
    from fleet.files.fleet import Fleet
    from fleet.files.verifiers import Order

DAY_MS = 86_400_000
ATTEMPTS = 3
"""Tries of a task, rework included, unless its file says otherwise."""


class Texts(dict[str, str]):
    """Texts by digest."""

    def keep(self, text: str) -> str:
        """Keeps a text and returns its digest."""
        digest = sha256(text.encode()).hexdigest()
        self[digest] = text
        return digest


def branch_of(task: TaskDocument) -> str:
    """Returns the branch of a task: as written, else `fleet/<task>`."""
    return task.branch or f"fleet/{task.id}"


def task_steps(
    fleet: Fleet, task: TaskDocument, phase: Phase, *, before: str, texts: Texts, order: Order
) -> list[Step]:
    """Returns the steps of a task; `before` is the step that ends the phase before, or empty."""
    uses = {"agents": 1, **task.uses}
    needs = [Need(step=name) for name in (*order.needs[task.id], *([before] if before else []))]
    agent = fleet.agents.get(task.agent)
    attempts = task.attempts or (agent.limits.attempts if agent else None) or ATTEMPTS
    others = _others(fleet, task, texts)
    limit = order.limits.get(task.id)
    judging = {limit: 1} if limit else {}
    tree, work, check = (f"{task.id}/{stem}" for stem in ("worktree", "work", "check"))
    steps = [
        Step(
            id=tree,
            kind="worktree",
            params=_worktree(fleet, task),
            needs=tuple(needs),
            uses={**uses, **judging},
            ladder=machine_ladder(f"The worktree of {task.id} could not be made."),
            whole=task.id,
            released=False,
        )
    ]
    if agent is not None:
        steps.append(
            Step(
                id=work,
                kind="agent",
                params=_work(fleet, task, agent, phase, texts),
                needs=(Need(step=tree),),
                uses={**agent_uses(agent), **agent_starts(fleet, agent), **uses},
                ladder=work_ladder(task, attempts, others),
                span_ms=int(task.days.likely * DAY_MS),
                whole=task.id,
            )
        )
    return [
        *steps,
        Step(
            id=check,
            kind="check",
            params={
                **_check(fleet, task, attempts, others),
                **_judges(fleet, task, texts),
                **(_judging(fleet, task, order) if limit else {}),
            },
            needs=(Need(step=steps[-1].id),),
            uses={"checks": 1, **judging},
            ladder=check_ladder(task),
            whole=task.id,
        ),
        Step(
            id=task.id,
            kind=JOIN,
            params={"task": _facts(fleet, task, phase, order)},
            needs=(Need(step=check),),
            whole=task.id,
        ),
    ]


def _others(fleet: Fleet, task: TaskDocument, texts: Texts) -> list[dict[str, Any]]:
    """Returns who works at a task in turn once its own agent has no attempt left: {agent, uses}."""
    found, agent = [], fleet.agents.get(task.agent)
    for rung in task.on_failure:
        if agent is None or not (rung.agent or rung.model):
            break
        agent = fleet.agents[rung.agent] if rung.agent else replace(agent, model=rung.model)
        uses = {**agent_uses(agent), **agent_starts(fleet, agent), "agents": 1, **task.uses}
        found.append({"agent": agent_params(fleet, agent, texts), "uses": uses})
    return found


def comes_in(task: TaskDocument) -> list[str]:
    """Returns the tasks whose commits a task's worktree starts with: dependencies, then those that
    it verifies.
    """
    return list(dict.fromkeys((*task.dependencies, *task.verifies)))


def _worktree(fleet: Fleet, task: TaskDocument) -> dict[str, object]:
    return {
        "task": task.id,
        "agent": task.agent,
        "phase": task.phase,
        "path": fleet.worktree_text(task),
        "branch": branch_of(task),
        "base": fleet.settings.base,
        "port": task.port,
        "ports": list(fleet.settings.ports),
        "copy": list(task.copy),
        "setup": [plain(command) for command in task.setup],
        "teardown": [plain(command) for command in task.teardown],
        "after": comes_in(task),
    }


def _work(
    fleet: Fleet, task: TaskDocument, agent: AgentDocument, phase: Phase, texts: Texts
) -> dict[str, object]:
    told: dict[str, object] = {
        "task": task.id,
        "name": task.name or task.id,
        "phase": phase.id,
        "agent": agent_params(fleet, agent, texts),
        "brief": texts.keep(task.body),
        "rules": texts.keep(fleet.settings.rules),
        "deliverables": [
            *(one.text for one in task.deliverables),
            *(
                one.text if one.text == one.path else f"{one.path}: {one.text}"
                for one in task.evidence
                if one.path
            ),
        ],
        "checks": [
            *(one.text for one in task.checks),
            *(one.text for one in task.evidence if one.command),
        ],
        "evidence": [one.text for one in task.evidence if not (one.path or one.command)],
        "after": comes_in(task),
        "timeout_s": _seconds(task.timeout_ms or agent.limits.timeout_ms),
        "idle_s": _seconds(task.idle_ms or agent.limits.idle_ms),
        "round": 1,
    }
    if task.verifies:
        told["schema"] = schema(task.verifies)
        told["verifies"] = [
            {"id": name, "branch": branch_of(fleet.tasks[name])} for name in task.verifies
        ]
    return told


def agent_params(fleet: Fleet, agent: AgentDocument, texts: Texts) -> dict[str, object]:
    """Returns an agent as the kind `agent` reads it."""
    told: dict[str, object] = {
        "id": agent.id,
        "name": agent.name or agent.id,
        "harness": plain(agent.harness),
        "model": agent.model,
        "mode": agent.mode,
        "args": plain(agent.args),
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
    policy = {name: plain(value) for name, value in asdict(agent.policy).items() if value}
    if policy:
        told["policy"] = policy
    if agent.harness == "mcp":
        told["roles"] = list(agent.roles)  # a client says which it plays
    if agent.profile is not None:
        told["profile"] = texts.keep(json.dumps(agent.profile.profile, sort_keys=True))
    if agent.sandbox.kind != "none":
        told["sandbox"] = {name: plain(value) for name, value in asdict(agent.sandbox).items()}
    return told


def _check(
    fleet: Fleet, task: TaskDocument, attempts: int, others: Sequence[Mapping[str, Any]]
) -> dict[str, object]:
    return {
        "task": task.id,
        "branch": branch_of(task),
        "base": fleet.settings.base,
        "deliverables": [{**_set(asdict(one)), "text": one.text} for one in task.deliverables],
        "checks": [judge(one) for one in task.checks if one.agent is None],
        "metrics": [plain(asdict(one)) for one in task.metrics],
        **({"evidence": [_set(asdict(one)) for one in task.evidence]} if task.evidence else {}),
        **proof_facts(task),
        **({"others": others} if others and not task.verifies else {}),
        "attempts": attempts,
        "spent": 0,
        "round": 1,
        "before": [task.id],
        **rework_of(fleet.settings),
    }


def _judges(fleet: Fleet, task: TaskDocument, texts: Texts) -> dict[str, object]:
    """Returns the agents among a task's checks, as its check reads them."""
    found = []
    for check in task.checks:
        if check.agent is None:
            continue
        agent = fleet.agents[check.agent]
        found.append(
            {
                "text": check.text,
                "agent": agent_params(fleet, agent, texts),
                "brief": texts.keep(asked_of(task, check)),
                **({"verdict": plain(check.verdict)} if check.verdict else {}),
                "rules": texts.keep(fleet.settings.rules),
                "timeout_s": _seconds(check.timeout_ms or agent.limits.timeout_ms),
                "uses": {**agent_uses(agent), **agent_starts(fleet, agent), "agents": 1},
            }
        )
    return {"judges": found} if found else {}


def _judging(fleet: Fleet, task: TaskDocument, order: Order) -> dict[str, object]:
    """Returns what the check of a verifier knows of those that it judges, and of who else does."""
    return {
        "limit": order.limits[task.id],
        "verifies": [
            {
                "id": name,
                "branch": branch_of(fleet.tasks[name]),
                "beside": [
                    one
                    for one in order.verifiers[name]
                    if one != task.id and fleet.tasks[one].phase == task.phase
                ],
                **({"landed": True} if fleet.tasks[name].phase != task.phase else {}),
            }
            for name in task.verifies
        ],
    }


def judge(check: Check) -> dict[str, object]:
    """Returns a check as its kind reads it: what it is called, its command, its time limit."""
    return {
        "text": check.text,
        "command": plain(check.command),
        "timeout_s": _seconds(check.timeout_ms),
        **({"group": check.group} if check.group else {}),
        **(
            {"op": check.op, "target": check.target, "unit": check.unit}
            if check.target is not None
            else {}
        ),
    }


def _facts(fleet: Fleet, task: TaskDocument, phase: Phase, order: Order) -> dict[str, object]:
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
        "worktree": fleet.worktree_text(task),
        "port": task.port,
        "deliverables": [one.text for one in task.deliverables],
        "checks": [one.text for one in task.checks],
        "dependencies": list(order.needs[task.id]),
        **({"verifies": list(task.verifies)} if task.verifies else {}),
        **({"kind": task.kind} if task.kind != "task" else {}),
        **proof_facts(task),
        "uses": dict(task.uses),
        "metrics": [plain(asdict(one)) for one in task.metrics],
        "risks": [plain(asdict(one)) for one in task.risks],
        "decisions": [plain(asdict(one)) for one in task.decisions],
        "assumptions": [one.text for one in task.assumptions],
    }


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in values.items() if value is not None}


def plain(value: Any) -> Any:
    """Returns a value as JSON knows it: tuples as lists, mappings as objects."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return value
