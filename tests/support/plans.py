"""Plans as documents lower to them: a task's composite, a phase's, and the rework of a red
check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.core.plan import (
    JOIN,
    Ask,
    Failure,
    Need,
    NeedsChange,
    Patch,
    Plan,
    Retry,
    Step,
    plan_of,
)

NOT_ITS_FAULT = frozenset({Failure.AGENT, Failure.INFRA})


def needs(*ids: str, on: str = "succeeded") -> tuple[Need, ...]:
    """The needs of all `ids` under one condition."""
    return tuple(Need(step=one, on=on) for one in ids)


def step(name: str, *after: str, kind: str = "work", **rest: object) -> Step:
    """A step that needs `after` to succeed; `rest` are further fields."""
    more = rest.pop("needs", ())
    return Step(id=name, kind=kind, needs=(*needs(*after), *more), **rest)


def join(name: str, *after: str, **rest: object) -> Step:
    """A join of `after`."""
    return step(name, *after, kind=JOIN, **rest)


def plan(*steps: Step, **limits: int) -> Plan:
    """A plan of `steps` with limits."""
    return plan_of("a plan", steps, limits=limits)


def task(
    name: str,
    *after: str,
    released: bool = True,
    attempts: int = 3,
    backoff_ms: int = 0,
    days: int = 1,
    uses: Mapping[str, int] | None = None,
) -> list[Step]:
    """T/worktree -> T/work -> T/check -> T."""
    uses = {"agents": 1} if uses is None else uses
    return [
        step(
            f"{name}/worktree",
            *after,
            kind="worktree",
            whole=name,
            released=released,
            uses=uses,
            ladder=(
                Retry(times=5, backoff_ms=2000, on=NOT_ITS_FAULT),
                Ask(message=f"the worktree of {name} could not be made", choices=("retry", "fail")),
            ),
        ),
        step(
            f"{name}/work",
            f"{name}/worktree",
            kind="agent",
            whole=name,
            uses=uses,
            span_ms=days * 86_400_000,
            ladder=(
                Retry(times=attempts - 1, backoff_ms=backoff_ms),
                Retry(times=5, backoff_ms=10_000, on=NOT_ITS_FAULT),
                Ask(message=f"{name} failed"),
            ),
            params={"round": 1},
        ),
        step(
            f"{name}/check",
            f"{name}/work",
            kind="check",
            whole=name,
            uses={"checks": 1},
            ladder=(
                Ask(
                    message=f"{name} does not deliver what it promised",
                    choices=("rework", "skip", "fail"),
                ),
            ),
            params={"attempts": attempts, "round": 1, "before": [name]},
        ),
        join(name, f"{name}/check", whole=name),
    ]


def phase(name: str, tasks: Sequence[str], *, auto: bool = True, base: str = "main") -> list[Step]:
    """P/gate -> P/merge."""
    return [
        step(f"{name}/gate", *tasks, kind="gate", whole=name, params={"tasks": list(tasks)}),
        step(
            f"{name}/merge",
            f"{name}/gate",
            kind="merge",
            whole=name,
            released=auto,
            uses={f"branch:{base}": 1},
            params={"auto": auto, "gate": f"{name}/gate"},
        ),
    ]


def fleet(*parts: Sequence[Step], agents: int = 2, checks: int = 4, base: str = "main") -> Plan:
    """The plan of a fleet's tasks and phases with its limits."""
    limits = {"agents": agents, "checks": checks, f"branch:{base}": 1}
    return plan_of("fleet", [one for part in parts for one in part], limits=limits)


def rework(check: Step, work: Step, number: int) -> Patch:
    """What a red check appends: T/work.<n> and T/check.<n> before whatever waits for the check."""
    whole = check.whole
    new_work, new_check = f"{whole}/work.{number}", f"{whole}/check.{number}"
    before = [str(one) for one in check.params["before"]]
    return Patch(
        put=(
            Step(
                id=new_work,
                kind="agent",
                whole=whole,
                uses=work.uses,
                ladder=work.ladder,
                span_ms=work.span_ms,
                needs=(Need(step=check.id, on="failed"),),
                params={**work.params, "round": number},
            ),
            Step(
                id=new_check,
                kind="check",
                whole=whole,
                uses=check.uses,
                ladder=check.ladder,
                needs=(Need(step=new_work),),
                params={**check.params, "round": number, "spent": number - 1},
            ),
        ),
        needs={one: NeedsChange(add=(Need(step=new_check),), remove=(check.id,)) for one in before},
        reason=f"{check.id} is red",
    )


def gate_again(merge: Step, gate: Step, number: int) -> Patch:
    """What a merge appends that could not land: another gate before it."""
    again = f"{merge.whole}/gate.{number}"
    put = Step(id=again, kind="gate", whole=gate.whole, params=gate.params, needs=needs(gate.id))
    change = NeedsChange(add=(Need(step=again),), remove=(gate.id,))
    return Patch(put=(put,), needs={merge.id: change}, reason=f"{merge.id} could not land")


def check_again(gate: Step, task_name: str, number: int, check: Step) -> Patch:
    """What a gate appends whose task moved since its check: another check before it."""
    again = f"{task_name}/check.{number}"
    put = Step(
        id=again,
        kind="check",
        whole=task_name,
        uses=check.uses,
        ladder=check.ladder,
        needs=needs(task_name),
        params={**check.params, "round": number, "before": [gate.id]},
    )
    return Patch(
        put=(put,),
        needs={gate.id: NeedsChange(add=(Need(step=again),))},
        reason=f"{task_name} moved since it was verified",
    )
