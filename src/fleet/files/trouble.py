"""What follows a failure that is nobody's work: the program did not start, the machine lost it."""

from __future__ import annotations

from typing import Final

from fleet.core.plan import Ask, Failure, Retry, Rung

MACHINE_TRIES: Final = 5
"""Tries after failures that are not the task's: the program did not start, the machine lost it."""

TROUBLE: Final = frozenset({Failure.AGENT, Failure.INFRA})


def machine_ladder(message: str) -> tuple[Rung, ...]:
    """Returns the ladder of a step that no agent works on: try again, then ask a person."""
    return (trouble(2_000), Ask(message=message, choices=("retry", "fail")))


def trouble(backoff_ms: int) -> Retry:
    """Returns the rung for failures that are not the task's."""
    return Retry(times=MACHINE_TRIES - 1, backoff_ms=backoff_ms, on=TROUBLE)
