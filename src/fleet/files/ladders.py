"""What follows a failure: the ladders of a task's steps and of the machine's, from documents.

Pure: what `on_failure` says comes after the retries; whoever says nothing has a person asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import Ask, Failure, Retry, Rung, Swap

if TYPE_CHECKING:
    from fleet.files.documents import TaskDocument

MACHINE_TRIES: Final = 5
"""Tries after failures that are not the task's: the program did not start, the machine lost it."""

TROUBLE: Final = frozenset({Failure.AGENT, Failure.INFRA})

NOT_THE_MACHINES: Final = frozenset({Failure.TASK, Failure.AGENT})
"""Failures that another agent may not have."""


def machine_ladder(message: str) -> tuple[Rung, ...]:
    """Returns the ladder of a step that no agent works on: try again, then ask a person."""
    return (_trouble(2_000), Ask(message=message, choices=("retry", "fail")))


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
    return (again, _trouble(10_000), *swaps, *last)


def check_ladder(task: TaskDocument) -> tuple[Rung, ...]:
    """Returns the ladder of a task's check, once there is no more rework."""
    message = f"{task.id} does not deliver what it promised."
    if task.verifies:
        message = f"{task.id} does not pass {', '.join(task.verifies)}."
    return (_trouble(2_000), *_last(task, message, ("rework", "retry", "skip", "fail")))


def checkpoint_ladder(name: str) -> tuple[Rung, ...]:
    """Returns the ladder of a checkpoint's check: nobody is sent back for what is red there."""
    message = f"{name} stays closed. `retry` judges it again, at what its branches are then."
    return (_trouble(2_000), Ask(message=message, choices=("retry", "skip", "fail")))


def _trouble(backoff_ms: int) -> Retry:
    """Returns the rung for failures that are not the task's."""
    return Retry(times=MACHINE_TRIES - 1, backoff_ms=backoff_ms, on=TROUBLE)


def _last(task: TaskDocument, message: str, choices: tuple[str, ...]) -> tuple[Rung, ...]:
    """Returns the rungs after the retries: what `on_failure` says, else a person is asked."""
    if any(rung.fail for rung in task.on_failure):
        return ()
    for rung in task.on_failure:
        whom = rung.ask or rung.escalate
        if whom:
            return (Ask(message=rung.question or message, whom=whom, choices=choices),)
    return (Ask(message=message, choices=choices),)
