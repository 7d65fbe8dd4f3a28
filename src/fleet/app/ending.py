"""Use cases around the coordinator and its journal: up, down, retry, backup and restore."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.app.launching import begun, chosen, running_state, word_of
from fleet.app.place import FleetPlace
from fleet.app.telling import tell
from fleet.core import messages as m
from fleet.core.messages import Then
from fleet.core.state import Standing, State
from fleet.errors import FleetError, Rejected
from fleet.files.changes.rejudging import asked_rework, by_hand
from fleet.files.changes.rework import after_failure, course_of, next_round
from fleet.views.tasks import TaskSteps, tasks_of

if TYPE_CHECKING:
    from fleet.core.plan import Patch
    from fleet.core.state import OpenQuestion

LEAVE_TIMEOUT_S = 20.0
BY_HAND = "tried again by hand"


def up(place: FleetPlace, level: str) -> int:
    """Runs the coordinator in this process until it is told to leave; returns its exit code."""
    from fleet.runtimes.embedded import coordinate

    return coordinate(place.root, stay=True, echo=True, level=level)


def down(place: FleetPlace, *, every: bool = False, dry_run: bool = False) -> list[str]:
    """Ends the coordinator, with `every` the agents' sessions too; returns what was done."""
    from fleet.adapters.lease import holder
    from fleet.app.launching import stop
    from fleet.app.steering import halt

    told = []
    state = place.run_state()
    if every and state is not None and state.running:
        if dry_run:
            told.append(f"would stop: {', '.join(sorted(state.running))}")
        else:
            told += [f"stopped {name}" for name in stop(place, (), every=True)]
    if every:
        verb = "would stop" if dry_run else "stopped"
        told += [f"{verb} {name}" for name in halt(place, dry_run=dry_run)]
    found = holder(place.state) if place.state.exists() else None
    if found is None:
        _close_server(place, every=every and not dry_run)
        return [*told, "no coordinator is running"]
    if dry_run:
        return [*told, f"would end the coordinator, pid {found.pid}"]
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + LEAVE_TIMEOUT_S
    while holder(place.state) is not None:
        if time.monotonic() > deadline:
            raise FleetError(
                f"the coordinator, pid {found.pid}, has not left yet",
                hint=f"kill -9 {found.pid} loses nothing",
            )
        time.sleep(0.02)
    _close_server(place, every=every)
    ended = f"ended the coordinator, pid {found.pid}"
    lives = not every and state is not None and bool(state.running)
    return [*told, f"{ended}; agents live on" if lives else ended]


def _close_server(place: FleetPlace, *, every: bool) -> None:
    """Ends the fleet's tmux server when nothing is left in it."""
    from fleet.adapters.tmux import Tmux

    tmux = Tmux(place.socket)
    if every and not tmux.sessions():
        tmux.kill_server()


def retry(place: FleetPlace, ids: Sequence[str]) -> list[str]:
    """Tries tasks again now: what backs off or asks goes on, what failed gets another round."""
    state = begun(place)
    tasks = chosen(place, state, ids)
    steps = tasks_of(state)
    for name in tasks:
        _retry(place, state, name, steps[name])
    return tasks


def _retry(place: FleetPlace, state: State, name: str, task: TaskSteps) -> None:
    asked = _ladder_question(state, task)
    if asked is not None:
        patch = _judging_again(state, asked) or asked_rework(course_of(state), asked.step, BY_HAND)
        value = "retry" if patch is None else "rework"
        tell(place, [m.AnswerQuestion(id=asked.id, value=value, patch=patch)])
        return
    waiting = [one for one in task.inner if one.standing is Standing.BACKOFF]
    waiting += [
        one
        for one in task.inner
        if one.standing is Standing.READY and state.accounts.keys() & one.step.uses.keys()
    ]
    if waiting:
        tell(place, [m.RetryStep(step=waiting[-1].step.id)])
        return
    held = [one.step.id for one in task.inner if one.held]
    if held:
        tell(place, [m.ReleaseStep(steps=tuple(held))])
        return
    patch = _another_round(state, name, task)
    if patch is None:
        word = word_of(state, task)
        raise Rejected(f"{name} has nothing to try again: it is {word}", hint="fleet status")
    tell(place, [m.RevisePlan(patch=patch)])


def _another_round(state: State, name: str, task: TaskSteps) -> Patch | None:
    """Returns the patch that goes on behind a work or check that has failed for good, else None."""
    failed = [one.step for one in task.inner if one.standing is Standing.FAILED]
    if word_of(state, task) != "failed" or failed[-1].kind not in ("agent", "check"):
        return None
    siblings = {n: one.step for n, one in state.steps.items() if one.step.whole == name}
    course = course_of(state)
    if failed[-1].kind == "check":
        before = course.waiting_for(failed[-1].id)
        judging = by_hand(course, state.steps[failed[-1].id], reason=BY_HAND, back=())
        return judging or next_round(failed[-1], siblings, reason=BY_HAND, before=before)
    check = next(
        one.step
        for one in task.checks
        if any(need.step == failed[-1].id for need in one.step.needs)
    )
    before = course.waiting_for(check.id)
    return after_failure(failed[-1], check, siblings, reason=BY_HAND, before=before)


def _judging_again(state: State, asked: OpenQuestion) -> Patch | None:
    """Returns the patch that has a verifier judge again what it did not pass; None for others."""
    one = state.steps[asked.step]
    return by_hand(course_of(state), one, reason=BY_HAND, back=())


def _ladder_question(state: State, task: TaskSteps) -> OpenQuestion | None:
    names = {one.step.id for one in task.inner}
    for asked in state.questions.values():
        if asked.step in names and asked.question.then is Then.LADDER:
            return asked
    return None


def back_up(place: FleetPlace, target: Path, *, dry_run: bool = False) -> str:
    """Copies the journal into one consistent file while it is in use; returns what was done."""
    from fleet.adapters.journal import backup

    running_state(place)
    if target.exists():
        raise FleetError(f"{target} is there already", hint="name another file")
    if dry_run:
        return f"would copy the journal to {target}"
    backup(place.state / "journal.db", target)
    return f"copied the journal to {target} ({target.stat().st_size} bytes)"


def restore_backup(place: FleetPlace, source: Path, *, dry_run: bool = False) -> str:
    """Puts a backup in the journal's place; the old file is kept aside. Returns what was done."""
    from fleet.adapters.journal import restore
    from fleet.adapters.lease import holder

    if not source.is_file():
        raise FleetError(f"{source} is not there")
    if place.state.exists() and holder(place.state) is not None:
        raise Rejected(
            "the coordinator is running; its journal cannot be exchanged", hint="fleet down"
        )
    if dry_run:
        return f"would restore the journal from {source}"
    place.state.mkdir(mode=0o700, exist_ok=True)
    aside = restore(source, place.state, place.state / "coordinator.lock")
    return f"restored the journal from {source}" + (f"; the old one is {aside}" if aside else "")
