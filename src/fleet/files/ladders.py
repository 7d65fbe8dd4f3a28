"""What follows a failure: the ladders of a task's steps, from documents; `trouble` has those of the
machine's.

Pure: what `on_failure` says comes after the retries; whoever says nothing has a person asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import Ask, Failure, Patch, Retry, Revise, Rung, Swap
from fleet.files.adapting import adapt_step
from fleet.files.trouble import trouble

if TYPE_CHECKING:
    from fleet.files.documents import TaskDocument

NOT_THE_MACHINES: Final = frozenset({Failure.TASK, Failure.AGENT})
"""Failures that another agent may not have."""


def work_ladder(
    task: TaskDocument, attempts: int, others: Sequence[Mapping[str, Any]] = ()
) -> tuple[Rung, ...]:
    """Returns the ladder of a task's work, which has so many attempts; then each of the `others`
    ({agent, uses}) has one.
    """
    again = Retry(times=attempts - 1, backoff_ms=task.backoff_ms or 0)
    swaps = [
        Swap(params={"agent": one["agent"]}, uses=one["uses"], on=NOT_THE_MACHINES)
        for one in others
    ]
    last = _last(task, f"{task.id} failed.", ("retry", "skip", "fail"))
    return (again, trouble(10_000), *swaps, *last)


def check_ladder(task: TaskDocument) -> tuple[Rung, ...]:
    """Returns the ladder of a task's check, once there is no more rework."""
    message = f"{task.id} does not deliver what it promised."
    if task.verifies:
        message = f"{task.id} does not pass {', '.join(task.verifies)}."
    return (trouble(2_000), *_last(task, message, ("rework", "retry", "skip", "fail")))


def checkpoint_ladder(name: str) -> tuple[Rung, ...]:
    """Returns the ladder of a checkpoint's check: nobody is sent back for what is red there."""
    message = (
        f"{name} stays closed (fleet gate {name}). `retry` judges again, at what is there then."
    )
    return (trouble(2_000), Ask(message=message, choices=("retry", "skip", "fail")))


def _last(task: TaskDocument, message: str, choices: tuple[str, ...]) -> tuple[Rung, ...]:
    """Returns the rungs after the retries: what `on_failure` says, and where that does not end with
    a word of a person or `fail`, a person is asked.
    """
    found: list[Rung] = []
    for rung in task.on_failure:
        if rung.fail:
            return tuple(found)
        whom = rung.ask or rung.escalate
        if whom:
            return (*found, Ask(message=rung.question or message, whom=whom, choices=choices))
        if rung.adapt:
            found.append(_adapt(task.id, rung.adapt, len(found)))
    return (*found, Ask(message=message, choices=choices))


def _adapt(task: str, patch: str, number: int) -> Revise:
    """Returns the rung that has the plan changed by a named patch: whatever round fails, once."""
    name = f"{task}/adapt{f'.{number + 1}' if number else ''}"
    step = adapt_step(name, patch, needs=(), whole=task, why=f"{task} has failed.")
    return Revise(patch=Patch(put=(step,), reason=f"{task} has failed: {patch}"))
