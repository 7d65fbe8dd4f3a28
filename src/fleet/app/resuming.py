"""The use case of going on: a pause is lifted, holds too, and what was lost starts again at once.

What a reboot or a dead tmux server took along is found by the coordinator itself, which tries it
again after a pause; a person who says `resume` has no pause to wait for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.app.launching import LIFE_POLL_S, begun, chosen
from fleet.app.observing import gone
from fleet.app.telling import changes, ensure_coordinator, tell
from fleet.core import messages as m
from fleet.core.plan import Failure
from fleet.core.state import SETTLED_STANDINGS, Standing
from fleet.views.tasks import TaskSteps, answering, tasks_of

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.core.state import StepState

FOUND_S = 30.0
"""How long the coordinator may take to find out what was lost."""


def resume(place: FleetPlace, ids: Sequence[str]) -> list[str]:
    """Lifts the run's pause, the holds of tasks and what is closed for its crashes, starts again
    what was lost, and returns the tasks that go on.
    """
    state = begun(place)
    steps = tasks_of(state)
    lost = set(gone(place, state)) | {n for n, t in steps.items() if _lost_steps(t)}
    held = {name for name, task in steps.items() if _held_steps(task)}
    tasks = chosen(place, state, ids) if ids else [name for name in steps if name in lost | held]
    commands: list[m.Command] = [m.ResumeRun()] if state.paused else []
    holds = [step for name in tasks for step in _held_steps(steps[name])]
    holds += [one.step.id for one in answering(state).values() if one.held and not ids]
    if holds:
        commands.append(m.ReleaseStep(steps=tuple(holds)))
    for name in state.quarantined:
        kept = [one for one in state.steps.values() if _is_kept_by(name, one)]
        kept = [one for one in kept if not ids or one.step.whole in tasks]
        commands += [m.RetryStep(step=one.step.id) for one in kept[:1]]
        tasks += [one.step.whole for one in kept if one.step.whole not in tasks]
    if commands:
        tell(place, commands)
    if lost & set(tasks):
        _start_again(place, [name for name in tasks if name in lost])
    return tasks


def _is_kept_by(limit: str, one: StepState) -> bool:
    waits = one.standing in (Standing.READY, Standing.BACKOFF) and one.may_start
    return waits and limit in one.step.uses


def _start_again(place: FleetPlace, tasks: Sequence[str]) -> None:
    """Has lost attempts tried again now, once the coordinator has seen that they are lost."""
    ensure_coordinator(place)
    for state in changes(place, time.monotonic() + FOUND_S, poll_s=LIFE_POLL_S):
        if not set(gone(place, state)) & set(tasks):
            break
    found = tasks_of(state)
    again = [step for name in tasks for step in _lost_steps(found[name])]
    if again:
        tell(place, [m.RetryStep(step=step) for step in again])


def _lost_steps(task: TaskSteps) -> list[str]:
    """Returns the steps that would be tried again later, for nothing that they have done."""
    return [
        one.step.id
        for one in task.inner
        if one.standing is Standing.BACKOFF and one.failure is Failure.INFRA
    ]


def _held_steps(task: TaskSteps) -> list[str]:
    return [one.step.id for one in task.inner if one.held and one.standing not in SETTLED_STANDINGS]
