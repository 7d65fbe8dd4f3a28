"""Use cases that set tasks going or hold them: launch, stop, pause, resume, skip, send.

A launch starts the fleet's run when there is none, brings the run up to the documents, releases the
asked tasks, and returns when each agent is seen to live or something else has become of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.app.place import PLAN_RUN, FleetPlace, resolve_task, task_facts
from fleet.app.revising import bring_up_to_date, foreseen, lowered
from fleet.app.telling import changes, ensure_coordinator, prepare_coordinator, tell
from fleet.core import messages as m
from fleet.core.state import CLOSED, SETTLED_STANDINGS, Standing, State
from fleet.errors import FleetError, NotFound, Rejected
from fleet.views.tasks import (
    TaskSteps,
    answering,
    kept_back,
    name_of,
    needing_people,
    phases_of,
    state_of,
    tasks_of,
    waiting_for,
)

ALIVE_TIMEOUT_S = 60.0
"""How long a launch waits to see its agents live; they go on starting when it is over."""

LIFE_POLL_S = 0.02
"""How often it is looked for agents that come to life or go."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launch has come to for one task."""

    task: str
    agent: str
    state: str
    worktree: str
    branch: str
    port: int | None
    session: str | None
    text: str = ""


def launch(
    place: FleetPlace,
    ids: Sequence[str] = (),
    *,
    every: bool = False,
    phase: str | None = None,
    when_ready: bool = False,
    dry_run: bool = False,
    tell_of: Callable[[Launched], None] = lambda _: None,
) -> list[Launched]:
    """Releases tasks and returns what each has come to; raises Rejected when one may not start yet.

    `every` and `phase` queue what is not ready, as `when_ready` does for `ids`.
    """
    if not dry_run:
        prepare_coordinator(place)  # it loads its program while the documents are read
    if place.run_state() is None:
        # A name that means nothing is to be refused before the run is started for it.
        chosen(place, None, ids, every=every, phase=phase)
    state = foreseen(place)
    tasks = chosen(place, state, ids, every=every, phase=phase, ready=True)
    queue = when_ready or every or phase is not None
    require_sandboxes(state, tasks)
    if dry_run:
        return [_would_launch(state, task, queue=queue) for task in tasks]
    state = begun(place)
    refusals = [] if queue else refusals_of(state, tasks)
    if refusals:
        later = any(" yet: " in text for text in refusals)
        hint = "--when-ready starts it as soon as it may" if later else "fleet status"
        raise Rejected("\n".join(refusals), hint=hint)
    steps = releasable(state, tasks)
    if steps:
        tell(place, [m.ReleaseStep(steps=steps)])
    return wait_for_life(place, tasks, tell_of)


def require_sandboxes(state: State, tasks: Sequence[str]) -> None:
    """Raises Rejected, with the cure, when an agent is to be sandboxed where that cannot work."""
    steps = tasks_of(state)
    for name in tasks:
        work = steps[name].last_work
        agent = work.step.params.get("agent") if work else None
        told = agent.get("sandbox") if isinstance(agent, Mapping) else None
        if told:
            from fleet.adapters.sandbox import problem

            trouble = problem(counted=told.get("processes") is not None)
            if trouble is not None:
                text = f"{name} cannot be sandboxed: {trouble.text}"
                raise Rejected(text, hint=trouble.cure)


def begun(place: FleetPlace) -> State:
    """Returns the fleet's run, started when there is none and brought up to the documents.

    A run that is under way has a coordinator afterwards, also when the last one was killed.
    """
    state = place.run_state()
    if state is None:
        prepare_coordinator(place)
        plan = lowered(place)
        try:
            tell(place, [m.StartRun(run=PLAN_RUN, plan=plan)])
        except Rejected:
            # Somebody else has started it in the meantime, from the same documents.
            if place.run_state() is None:
                raise
    else:
        bring_up_to_date(place, state)
        if not state.ended:
            ensure_coordinator(place)
    found = place.run_state()
    assert found is not None, "a run that was started is in the journal"
    return found


def chosen(
    place: FleetPlace,
    state: State | None,
    ids: Sequence[str],
    *,
    every: bool = False,
    phase: str | None = None,
    ready: bool = False,
) -> list[str]:
    """Returns the tasks that a command's ids, `--all` or `--phase` mean, in plan order.

    With `ready` an agent means the next of its tasks that may be launched.
    """
    facts = (
        task_facts(state)
        if state
        else {name: {"phase": task.phase} for name, task in place.documents.tasks.items()}
    )
    if every:
        return list(facts)
    if phase is not None:
        phases = list(dict.fromkeys(str(fact["phase"]) for fact in facts.values() if fact["phase"]))
        if phase not in phases:
            raise NotFound("phase", phase, phases)
        return [name for name, fact in facts.items() if fact["phase"] == phase]
    if not ids:
        raise FleetError(
            "no task was named", hint="name a task or an agent; see --help for what means several"
        )
    return list(dict.fromkeys(resolve_task(place, name, state, ready=ready) for name in ids))


def refusals_of(state: State, tasks: Sequence[str]) -> list[str]:
    """Returns why tasks may not start now: what each still needs, or that it has ended."""
    found = []
    steps = tasks_of(state)
    for name in tasks:
        task = steps[name]
        first = task.worktree
        assert first is not None, "every task has a worktree step"
        if state.steps[name].standing in SETTLED_STANDINGS:
            found.append(f"{name} is {word_of(state, task)} already")
        elif first.standing is Standing.UNREACHED:
            found.append(f"{name} cannot start: what it needs has failed")
        elif first.standing is Standing.WAITING:
            missing = [
                name_of(state, need.step)
                for need in first.step.needs
                if state.steps[need.step].standing not in CLOSED
            ]
            found.append(f"{name} cannot start yet: it needs {', '.join(missing)}")
    return found


def word_of(state: State, task: TaskSteps) -> str:
    """Returns the state of a task in one word."""
    phase = phases_of(state).get(str(task.facts.get("phase") or ""))
    return state_of(task, phase, needing_people(state))


def releasable(state: State, tasks: Sequence[str]) -> tuple[str, ...]:
    """Returns the steps that have to be released, or lifted from a hold, for tasks to go."""
    steps = tasks_of(state)
    return tuple(
        one.step.id
        for name in tasks
        for one in steps[name].inner
        if one.standing not in SETTLED_STANDINGS and not one.may_start
    )


def wait_for_life(
    place: FleetPlace, tasks: Sequence[str], tell_of: Callable[[Launched], None]
) -> list[Launched]:
    """Returns what became of launched tasks once each lives, ended, waits, asks or was not to be
    started.
    """
    deadline = time.monotonic() + ALIVE_TIMEOUT_S
    found: dict[str, Launched] = {}
    rows: list[Launched] = []
    for state in changes(place, deadline, poll_s=LIFE_POLL_S):
        steps = tasks_of(state)
        rows = [found.get(name) or _launched(state, steps[name]) for name in tasks]
        for row in rows:
            if row.task not in found and (row.state != "starting" or row.text):
                found[row.task] = row
                tell_of(row)
        if len(found) == len(tasks):
            break
    for row in rows:
        if row.task not in found:
            tell_of(row)
    return rows


def _hour_of(at_ms: int) -> str:
    from fleet.app.calendars import hour_of

    return hour_of(at_ms)


def _launched(state: State, task: TaskSteps) -> Launched:
    facts = task.facts
    word = word_of(state, task)
    work = task.last_work
    output: Any = task.worktree.output if task.worktree else None
    waits = waiting_for(state, task, state.at_ms, _hour_of)
    if (
        word == "ready"
        and task.worktree is not None
        and task.worktree.standing is Standing.SUCCEEDED
    ):
        word = "starting" if not waits else word
    if word == "starting" and work is not None and kept_back(state, work, state.at_ms):
        word = "ready"
    failed = next((one for one in task.inner if one.text and one.standing is Standing.ASKING), None)
    text = failed.text if failed else (f"waits for {', '.join(waits)}" if waits else "")
    again = next((one for one in task.inner if one.standing is Standing.BACKOFF), None)
    if again is not None and again.text:
        text = f"{again.text.splitlines()[0]}; {', '.join(waits)}"
    return Launched(
        task=str(facts["id"]),
        agent=str(facts["agent"]),
        state=word,
        worktree=str(facts["worktree"]),
        branch=str(facts["branch"]),
        port=(output or {}).get("port"),
        session=work.facts.get("session") if work else None,  # type: ignore[arg-type]
        text=text,
    )


def _would_launch(state: State, name: str, *, queue: bool) -> Launched:
    facts = tasks_of(state)[name].facts
    refusals = refusals_of(state, [name])
    word = "would launch" if not refusals else "would wait" if queue else "would be refused"
    port = facts.get("port")
    return Launched(
        task=name,
        agent=str(facts["agent"]),
        state=word,
        worktree=str(facts["worktree"]),
        branch=str(facts["branch"]),
        port=port if isinstance(port, int) else None,
        session=None,
        text=" ".join(refusals),
    )


# --- holding and going on -------------------------------------------------------------------------


def running_state(place: FleetPlace) -> State:
    """Returns the fleet's run; raises FleetError when nothing was launched yet."""
    state = place.run_state()
    if state is None:
        raise FleetError(
            "nothing was launched yet", hint="fleet launch TASK starts the fleet's run"
        )
    return state


def _current_steps(state: State, task: str) -> list[str]:
    inner = tasks_of(state)[task].inner
    live = [one for one in inner if one.standing not in SETTLED_STANDINGS]
    return [one.step.id for one in live]


def stop(place: FleetPlace, ids: Sequence[str], *, every: bool = False) -> list[str]:
    """Ends the attempts of tasks, spends no retry, holds them, and returns their ids."""
    return _hold(place, ids, every=every, end=True)


def pause(place: FleetPlace, ids: Sequence[str], *, every: bool = False) -> list[str]:
    """Starts nothing more of tasks (of the whole run without ids); what runs goes on."""
    if not ids or every:
        running_state(place)
        tell(place, [m.PauseRun()])
        return []
    return _hold(place, ids, every=False, end=False)


def _hold(place: FleetPlace, ids: Sequence[str], *, every: bool, end: bool) -> list[str]:
    state = running_state(place)
    tasks = chosen(place, state, ids, every=every)
    held = []
    commands: list[m.Command] = []
    for task in tasks:
        steps = _current_steps(state, task)
        if not steps:
            if not every:
                raise Rejected(f"{task} has ended already; there is nothing to hold")
            continue
        live = [step for step in steps if step in state.running] or steps[:1]
        if every and end and live[0] not in state.running:
            continue
        commands += [_holds(step, end=end) for step in live]
        held.append(task)
    if every and end:  # those who answer have no task
        live = [name for name, one in answering(state).items() if one.step.id in state.running]
        held += live
        commands += [_holds(answering(state)[name].step.id, end=True) for name in live]
    if commands:
        tell(place, commands)
    if end:
        wait_until_quiet(place, held)
    return held


def _holds(step: str, *, end: bool) -> m.Command:
    reason = "stopped by hand" if end else "paused by hand"
    return m.HoldStep(step=step, stop=end, reason=reason)


def wait_until_quiet(place: FleetPlace, tasks: Sequence[str]) -> None:
    """Waits until no attempt of the tasks runs any more, as long as a launch would wait."""
    deadline = time.monotonic() + ALIVE_TIMEOUT_S
    for state in changes(place, deadline, poll_s=LIFE_POLL_S):
        whole = {state.steps[step].step.whole for step in state.running}
        if not whole & set(tasks):
            return


def skip(place: FleetPlace, ids: Sequence[str], reason: str = "") -> list[str]:
    """Counts tasks as succeeded for what depends on them, and returns their ids."""
    state = running_state(place)
    tasks = chosen(place, state, ids)
    for task in tasks:
        steps = (*_current_steps(state, task), task)
        open_steps = [s for s in steps if state.steps[s].standing not in SETTLED_STANDINGS]
        if not open_steps:
            raise Rejected(f"{task} has ended already; there is nothing to skip")
        tell(place, [m.SkipStep(steps=tuple(open_steps), reason=reason)])
    return tasks


def send(place: FleetPlace, name: str, text: str) -> str:
    """Sends a note to the running attempt of a task and returns the task's id."""
    state = running_state(place)
    task = resolve_task(place, name, state)
    for step in _current_steps(state, task):
        if step in state.running:
            tell(place, [m.SendNote(step=step, text=text)])
            return task
    raise Rejected(f"{task} has no running agent to read a note")
