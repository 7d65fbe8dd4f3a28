"""What follows a failure: the ladders of a task's steps and of the machine's, from documents.

Pure: what `on_failure` says comes after the retries; whoever says nothing has a person asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fleet.core.plan import Ask, Failure, Retry, Rung

if TYPE_CHECKING:
    from fleet.files.documents import TaskDocument

MACHINE_TRIES: Final = 5
"""Tries after failures that are not the task's: the program did not start, the machine lost it."""

TROUBLE: Final = frozenset({Failure.AGENT, Failure.INFRA})


def machine_ladder(message: str) -> tuple[Rung, ...]:
    """Returns the ladder of a step that no agent works on: try again, then ask a person."""
    return (_trouble(2_000), Ask(message=message, choices=("retry", "fail")))


def work_ladder(task: TaskDocument, attempts: int) -> tuple[Rung, ...]:
    """Returns the ladder of a task's work, which has so many attempts."""
    again = Retry(times=attempts - 1, backoff_ms=task.backoff_ms or 0)
    return (again, _trouble(10_000), *_last(task, f"{task.id} failed.", ("retry", "skip", "fail")))


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
        if rung.ask:
            return (Ask(message=rung.question or message, whom=rung.ask, choices=choices),)
    return (Ask(message=message, choices=choices),)
