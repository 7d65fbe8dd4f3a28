"""What a phase lowers to: P/gate, which needs all its tasks, -> P/merge -> its tasks' teardowns.

Pure, as `tasks` is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from fleet.core.plan import Ask, Need, Step
from fleet.files.checkpoints import before_gate
from fleet.files.tasks import branch_of, comes_in, judge, plain
from fleet.files.trouble import machine_ladder

if TYPE_CHECKING:
    from fleet.files.documents import Phase
    from fleet.files.fleet import Fleet


def phase_steps(fleet: Fleet, phase: Phase, before: str) -> list[Step]:
    """Returns the steps of a phase; `before` is the step that ends the phase before, or empty."""
    base = fleet.settings.base
    needs = [Need(step=name) for name in phase.tasks]
    if before:
        needs.append(Need(step=before))
    names = {name for task in phase.tasks for name in fleet.tasks[task].approved_by}
    lands = [name for name in phase.tasks if fleet.tasks[name].checkpoint is None]
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
                "tasks": [before_gate(fleet.tasks[name]) for name in phase.tasks],
                "approve": approve,
            },
            needs=tuple(needs),
            ladder=machine_ladder(f"The gate of {phase.id} could not be judged."),
            whole=phase.id,
        ),
        Step(
            id=f"{phase.id}/merge",
            kind="merge",
            params={
                "phase": phase.id,
                "name": phase.name or phase.id,
                "base": base,
                "tasks": _by_dependency(fleet, lands),
                "strategy": phase.strategy,
                "checks": [judge(one) for one in phase.checks],
                "tag": phase.tag,
                "auto": phase.merge == "auto",
                **({"land": "pr"} if phase.land == "pr" else {}),
            },
            needs=(Need(step=f"{phase.id}/gate"),),
            uses={f"branch:{base}": 1},
            ladder=machine_ladder(f"{phase.id} could not be merged."),
            whole=phase.id,
            released=phase.merge == "auto",
        ),
        *(_teardown(fleet, phase, name) for name in phase.tasks if fleet.tasks[name].teardown),
    ]


def _teardown(fleet: Fleet, phase: Phase, name: str) -> Step:
    """Returns the step that runs a task's teardown in its worktree once the phase has landed."""
    task = fleet.tasks[name]
    return Step(
        id=f"{name}/teardown",
        kind="call",
        params={
            "task": name,
            "branch": branch_of(task),
            "folder": os.fspath(fleet.worktree(name)),
            "commands": [plain(command) for command in task.teardown],
        },
        needs=(Need(step=f"{phase.id}/merge"),),
        ladder=(Ask(message=f"The teardown of {name} failed.", choices=("retry", "skip")),),
        whole=name,
    )


def _by_dependency(fleet: Fleet, names: Sequence[str]) -> list[str]:
    """Returns a phase's tasks so that each comes after those whose commits it holds, else in file
    order.
    """
    inside = {name: number for number, name in enumerate(names)}
    followers: dict[str, list[str]] = {name: [] for name in names}
    missing: dict[str, int] = {}
    for name in names:
        needs = [need for need in comes_in(fleet.tasks[name]) if need in inside]
        missing[name] = len(needs)
        for need in needs:
            followers[need].append(name)
    ready = [inside[name] for name in names if not missing[name]]
    heapify(ready)
    placed: list[str] = []
    while ready:
        placed.append(names[heappop(ready)])
        for name in followers[placed[-1]]:
            missing[name] -= 1
            if not missing[name]:
                heappush(ready, inside[name])
    return placed
