"""What rides on each proof of concept of a plan: the tasks that it can invalidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.core.schedule import Activity, behind

if TYPE_CHECKING:
    from fleet.views.plan import PlannedTask, TaskRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """A proof of concept: the task that takes `text` for granted, and all tasks that ride on it."""

    id: str
    task: str
    text: str
    start_day: int
    end_day: int
    rides: tuple[str, ...]


def proofs_of(
    tasks: Sequence[PlannedTask], rows: Sequence[TaskRow], activities: Sequence[Activity]
) -> tuple[ProofRow, ...]:
    """Returns each proof with what comes after it, directly or not, gates looked through."""
    known = [task.id for task in tasks]
    return tuple(
        ProofRow(
            id=task.id,
            task=task.proves[0],
            text=task.proves[1],
            start_day=row.start_day,
            end_day=row.end_day,
            rides=tuple(name for name in behind(activities, task.id) if name in known),
        )
        for task, row in zip(tasks, rows, strict=True)
        if task.proves is not None
    )
