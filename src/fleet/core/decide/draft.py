"""What a command is decided on: the events so far and the twin on which they have played.

The few acts that several commands share stand here; what a command means stands in the module of
its group.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet.core import messages as m
from fleet.core.evolve import evolve
from fleet.core.plan import (
    Patch,
)
from fleet.core.state import Standing, State, StepState
from fleet.errors import Rejected, did_you_mean


class Draft:
    """The events decided so far and the twin of the state on which they have played."""

    __slots__ = ("agenda", "at_ms", "events", "origin", "state")

    def __init__(self, state: State, at_ms: int) -> None:
        self.origin = state
        self.state = state.fork()
        self.at_ms = max(at_ms, state.at_ms)
        self.events: list[m.Event] = []
        self.agenda: list[str] = []

    def emit(self, kind: Callable[..., m.Event], **facts: object) -> None:
        """Decides an event, stamped with the command's time, and lets it play on the twin."""
        event = kind(at_ms=self.at_ms, **facts)
        self.events.append(event)
        evolve(self.state, event)
        self.agenda += self.state.agenda

    def step(self, name: str) -> StepState:
        """Returns a step as it stands on the twin; raises Rejected when there is none."""
        found = self.state.known(name)
        if found is None:
            raise Rejected(f"no step {name!r}", hint=did_you_mean(name, self.origin.steps))
        return found


def start(draft: Draft, one: StepState) -> None:
    """Starts the next attempt of a step, unless the step or its run may not go now."""
    state = draft.state
    startable = one.standing in (Standing.READY, Standing.BACKOFF) and one.may_start
    if startable and not (state.paused or state.cancelling or state.ended):
        draft.emit(m.AttemptStarted, step=one.step.id, attempt=one.attempt + 1)


def live(draft: Draft) -> None:
    """Raises Rejected for a run that was cancelled."""
    if draft.state.ended == "cancelled" or draft.state.cancelling:
        raise Rejected("the run was cancelled")


def apply(draft: Draft, patch: Patch, by: str) -> None:
    """Revises the plan by a proved patch; what it stops is told so, or fails where it asks."""
    for name in patch.stop:
        attempt = draft.state.running.get(name)
        if attempt is not None:
            draft.emit(m.StopRequested, step=name, attempt=attempt, why="revise")
    draft.emit(m.PlanRevised, revision=draft.state.revision + 1, patch=patch, by=by)
    for name in patch.stop:
        if draft.step(name).standing is Standing.ASKING:
            settle(draft, name, Standing.FAILED, patch.reason, by=by)


def request_stop(draft: Draft, step: str, why: str) -> None:
    """Asks for the end of a running attempt, once for each reason."""
    attempt = draft.state.running[step]
    if draft.step(step).stopping != why:
        draft.emit(m.StopRequested, step=step, attempt=attempt, why=why)


def settle(
    draft: Draft,
    step: str,
    standing: Standing,
    text: str = "",
    *,
    output: object = None,
    label: str = "",
    by: str = "",
) -> None:
    """Settles a step without, or against, the word of its last attempt."""
    draft.emit(
        m.StepSettled,
        step=step,
        standing=str(standing),
        text=text,
        output=output,
        label=label,
        by=by,
    )
