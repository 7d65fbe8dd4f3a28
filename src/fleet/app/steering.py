"""The use cases that steer runs of workflows: stop one for good, pause it, go on with it, wait.

A document of a file with several is steered together with what has them run in order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from fleet.app.inbox import live_states
from fleet.app.place import FleetPlace, resolve_task
from fleet.app.runs import find_runs, is_run, run_status
from fleet.app.telling import changes, tell
from fleet.core import messages as m
from fleet.errors import NotFound, Rejected

if TYPE_CHECKING:
    from fleet.core.state import State

Verb = Literal["stop", "pause", "resume"]
STOP_TIMEOUT_S: Final = 60.0
LOOK_S: Final = 0.5
ENDS: Final = ("succeeded", "failed", "cancelled")


def runs_meant(place: FleetPlace, ids: Sequence[str]) -> list[str]:
    """Returns the runs of workflows that ids mean, none where these are tasks or agents, which go
    first; raises Rejected for both at once, and Ambiguous.
    """
    found: list[str] = []
    tasks: list[str] = []
    for name in ids:
        if _is_task(place, name) or not is_run(place, name):
            tasks.append(name)
        else:
            found += find_runs(place, name)
    if found and tasks:
        raise Rejected(f"{tasks[0]} is no run of a workflow", hint="steer tasks and runs apart")
    return list(dict.fromkeys(found))


def _is_task(place: FleetPlace, name: str) -> bool:
    with suppress(NotFound):
        return bool(resolve_task(place, name, place.run_state()))
    return False


def _commands(verb: Verb, state: State) -> list[m.Command]:
    """Returns what a verb tells a run; to go on also lifts what `halt` has held."""
    if verb == "stop":
        return [m.CancelRun(reason="stopped by hand")]
    if verb == "pause":
        return [m.PauseRun(reason="paused by hand")]
    held = [name for name in state.steps if state.steps[name].held]
    going: list[m.Command] = [m.ReleaseStep(steps=tuple(held))] if held else []
    return [*([m.ResumeRun()] if state.paused else []), *going]


def steer(place: FleetPlace, verb: Verb, names: Sequence[str]) -> list[str]:
    """Does to runs what the verb says, and returns their ids; raises Rejected when all have ended.

    A run that is stopped ends as cancelled, its attempts with it, and is waited for.
    """
    live: dict[str, None] = {}
    for name in names:
        state = place.run_state(name)
        if state is not None and not state.ended:
            live |= dict.fromkeys([state.parent[0]] if state.parent else [])
            live[name] = None
    if not live:
        raise Rejected(
            f"{', '.join(names)}: nothing of it goes on",
            hint="one that has failed: fleet run --resume RUN" if verb == "resume" else "",
        )
    for name in live:
        now = place.run_state(name)
        if now is not None and not now.ended:
            with suppress(Rejected):  # it ended meanwhile, or its document did with it
                tell(place, _commands(verb, now), run=name)
    if verb == "stop":
        for name in live:
            for state in changes(place, time.monotonic() + STOP_TIMEOUT_S, name):
                if state.ended:
                    break
    return [name for name in names if name in live]


def halt(place: FleetPlace, *, dry_run: bool = False) -> list[str]:
    """Pauses every run of a workflow that has attempts running, ends these without spending a
    retry, and returns the runs; `resume` goes on with them.
    """
    found = []
    for state in live_states(place):
        if "workflow" not in state.about or not state.running:
            continue
        found.append(state.run)
        if dry_run:
            continue
        ends = [name for name in state.running if state.steps[name].step.kind != "subplan"]
        holds = [m.HoldStep(step=name, stop=True, reason="stopped by hand") for name in ends]
        with suppress(Rejected):  # it ended meanwhile
            tell(place, [m.PauseRun(reason="stopped by hand"), *holds], run=state.run)
        for now in changes(place, time.monotonic() + STOP_TIMEOUT_S, state.run):
            if now.ended or not now.running.keys() & set(ends):
                break
    return found


def wait_for_runs(
    place: FleetPlace, names: Sequence[str], timeout_s: float | None, *, any_one: bool = False
) -> tuple[bool | None, dict[str, str]]:
    """Waits until runs have ended, `any_one` of them or all; returns whether those that did have
    succeeded (None: time ran out), and the state of each in one word.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        words = {name: str(run_status(place, name)["state"]) for name in names}
        ended = [word == "succeeded" for word in words.values() if word in ENDS]
        if len(ended) == len(words) or (any_one and ended):
            return all(ended), words
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            return None, words
        until = now + LOOK_S if deadline is None else min(now + LOOK_S, deadline)
        live = next(name for name, word in words.items() if word not in ENDS)
        for state in changes(place, until, live):
            if state.ended:
                break
