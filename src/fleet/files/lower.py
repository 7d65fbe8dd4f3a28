"""Documents become one plan of steps; `tasks` and `gates` know what a task and a phase lower to.

    task T    T/worktree -> T/work -> T/check -> join T; of a verifier of others these joins come
              before T/worktree, and one that only runs commands has no T/work; a
              checkpoint is such a one, with a gate before its join
    phase P   P/gate (needs every task of P) -> P/merge (-> T/teardown); the next phase's worktrees
              need P/merge

Params are plain JSON that each kind reads for itself. Texts that are long (briefs, prompts, rules)
leave the plan under their digest, so that journals and snapshots stay small. What a document may
say but this version does not carry out is refused here: a key that is accepted is obeyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from fleet.core.plan import Plan, Step, check, plan_of
from fleet.errors import InvalidPlan
from fleet.files.checkpoints import checkpoint_steps
from fleet.files.escalations import routes_of
from fleet.files.gates import phase_steps
from fleet.files.loops import loops_of
from fleet.files.tasks import Texts, branch_of, plain, task_steps
from fleet.files.timing import timing
from fleet.files.unsupported import not_carried_out
from fleet.files.uses import bounds, budget, own_limits
from fleet.files.verifiers import order_of

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet
    from fleet.files.verifiers import Order

__all__ = ["branch_of", "lower"]

CHECKS_AT_ONCE = 4


def lower(fleet: Fleet) -> tuple[Plan, Mapping[str, str]]:
    """Returns the plan of a fleet's documents, and the texts that its params name by digest.

    Raises InvalidPlan for what this version does not carry out.
    """
    problems = not_carried_out(fleet)
    if problems:
        raise InvalidPlan(problems)
    texts, order = Texts(), order_of(fleet)
    steps: list[Step] = []
    before = ""
    for phase in fleet.phases:
        for name in phase.tasks:
            task = fleet.tasks[name]
            made = task_steps(fleet, task, phase, before=before, texts=texts, order=order)
            steps += made if task.checkpoint is None else checkpoint_steps(task, made, fleet)
        if phase.tasks:
            steps += phase_steps(fleet, phase, before)
            before = f"{phase.id}/merge"
    plan = plan_of(
        fleet.settings.fleet,
        steps,
        limits={
            "checks": CHECKS_AT_ONCE,
            f"branch:{fleet.settings.base}": 1,
            **dict.fromkeys(order.limits.values(), 1),
            **own_limits(fleet),
            **fleet.settings.limits,
        },
        budgets={name: found for name, told in bounds(fleet).items() if (found := budget(told))},
        about=_about(fleet, order),
        routes=routes_of(fleet, texts),
    )
    plan = replace(plan, loops=loops_of(fleet.settings))
    check(plan)
    return plan, texts


def _about(fleet: Fleet, order: Order) -> dict[str, object]:
    settings = fleet.settings
    return {
        "digest": fleet.digest,
        "basis": fleet.basis,
        **({"changes": [dict(one) for one in fleet.changes]} if fleet.changes else {}),
        "fleet": settings.fleet,
        "base": settings.base,
        "start": settings.start,
        "calendar": plain(asdict(settings.calendar)),
        "phases": [{"id": p.id, "name": p.name, "tasks": list(p.tasks)} for p in fleet.phases],
        "metrics": [plain(asdict(metric)) for metric in settings.metrics],
        "schedule": timing(fleet, order),
    }
