"""Checks by agents: who else judges a task at the commit at which its commands have passed.

The check puts itself off behind a step for each such agent, which works in the task's worktree at
that commit and ends with a verdict; then it looks again, and what each of them found is one more of
its checks. Nothing is held meanwhile. At another commit they judge again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fleet.core.messages import Ending, Outcome
from fleet.core.plan import SETTLED, Ask, Need, NeedsChange, Patch, Retry, Step
from fleet.core.state import Standing, StepState
from fleet.files.trouble import TROUBLE
from fleet.files.verdicts import schema
from fleet.harnesses import brief as briefs
from fleet.kinds import Work
from fleet.views.verdicts import summary

MOVES = 3
"""How many commits of a round are judged when the branch moves meanwhile; then that is red."""

TRIES = 3
"""How often an agent is asked for a verdict, and after a failure of the machine's once more."""


def judged_by_agents(work: Work, commit: str) -> list[dict[str, Any]] | Outcome:
    """Returns what the agents among a task's checks say of a commit, as checks; or the outcome that
    has those judge who have not yet.
    """
    found: list[dict[str, Any]] = []
    missing: list[Step] = []
    for number, judge in enumerate(work.params.get("judges") or (), start=1):
        one, name, times = _judgement(work, number, commit)
        if one is None and times > MOVES:
            found.append(_moving(judge, commit))
        elif one is None:
            missing.append(_step(work, judge, name, commit))
        else:
            found.append(_row(judge, one, commit))
    if not missing:
        return found
    names = ", ".join(str(step.params["agent"]["id"]) for step in missing)  # type: ignore[index]
    needs = tuple(Need(step=step.id, on=SETTLED) for step in missing)
    patch = Patch(
        put=tuple(missing),
        needs={work.step.id: NeedsChange(add=needs)},
        reason=f"{work.params['task']} is judged by {names} at {commit[:12]}",
    )
    return Outcome(ending=Ending.DEFERRED, text=patch.reason, patch=patch)


def _judgement(work: Work, number: int, commit: str) -> tuple[StepState | None, str, int]:
    """Returns the step in which an agent has judged a commit, None where it has not, what that is
    called, and which of the commits that were judged in this round it is, from 1.
    """
    stem, wanted = f"{work.params['task']}/judge", {work.params["task"]: commit}
    stem += f".{work.params.get('round', 1)}.{number}"
    name, again = stem, 1
    while (one := work.look(name)) is not None and one.step.params["judged"] != wanted:
        again += 1
        name = f"{stem}.{again}"
    return one, name, again


def _step(work: Work, judge: Mapping[str, Any], name: str, commit: str) -> Step:
    task, agent = str(work.params["task"]), judge["agent"]
    return Step(
        id=name,
        kind="agent",
        params={
            "task": task,
            "name": judge["text"],
            "agent": agent,
            "brief": judge["brief"],
            "rules": judge["rules"],
            "timeout_s": judge["timeout_s"],
            "schema": _form(task, judge.get("verdict")),
            "verifies": [{"id": task, "branch": work.params["branch"]}],
            "judged": {task: commit},
            "round": work.params.get("round", 1),
        },
        needs=tuple(need for need in work.step.needs if "/judge." not in need.step),
        uses=judge["uses"],
        ladder=(
            Retry(times=TRIES - 1),
            Retry(times=TRIES, backoff_ms=10_000, on=TROUBLE),
            Ask(message=f"{agent['id']} could not judge {task}.", choices=("retry", "skip")),
        ),
        whole=task,
    )


def _form(task: str, own: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the JSON Schema of a verdict, with what a document asks of it besides."""
    return schema([task]) if own is None else {"allOf": [schema([task]), dict(own)]}


def _row(judge: Mapping[str, Any], one: StepState, commit: str) -> dict[str, Any]:
    """Returns what an agent said as the row of a check; a judge that was skipped says nothing."""
    output: Any = one.output or {}
    told = output.get("value") or {"passed": one.standing is Standing.SKIPPED, "findings": []}
    why = "" if told["passed"] else summary(told["findings"]) or one.text
    row = _said(judge, commit, why)
    kept = sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    row["judge"] = judge["agent"]["id"]
    return {**row, "tail": briefs.verdict({"verdict": told}), "digest": f"sha256:{kept}"}


def _moving(judge: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """Returns the row of an agent under whose eyes the branch moves on and on."""
    return _said(judge, commit, f"the branch moved each of the {MOVES} times that it was judged")


def _said(judge: Mapping[str, Any], commit: str, why: str) -> dict[str, Any]:
    return {
        "text": str(judge["text"]),
        "passed": not why,
        "at_commit": commit,
        "seconds": 0.0,
        "code": None,
        "why": why,
        "tail": "",
        "digest": "",
    }
