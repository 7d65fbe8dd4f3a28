"""Use cases that look: status, wait, history, report, gate, metrics. They change nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleet.app.calendars import clock_of
from fleet.app.observing import observe
from fleet.app.place import PLAN_RUN, FleetPlace, resolve_task
from fleet.app.revising import edit_in_words, planned_state
from fleet.app.telling import changes
from fleet.core.state import Standing
from fleet.errors import Ambiguous, NotFound
from fleet.views.status import phase_order, status_of
from fleet.views.tasks import LINE, phases_of, tasks_of

if TYPE_CHECKING:
    from fleet.core.state import State

OF_A_RUN = ("workflow", "thread", "file", "roles")
"""What the history of a workflow's run says of it first."""

ENDS = ("failed", "skipped", "unreached")


def status(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.status/1`, the daily check-in; of the mere plan before the first launch."""
    state = place.run_state()
    edited = edit_in_words(place, state) if state is not None else []
    state = state or planned_state(place)
    clock = clock_of(state)
    observed = observe(place, state, clock.now_ms, warnings=edited)
    found = status_of(str(state.about.get("fleet") or state.name), state, observed, clock)
    live = _live_runs(place)
    asked = sum(one["questions"] for one in live)
    return {**found, "inbox": found["inbox"] + asked, "runs": live}


def _live_runs(place: FleetPlace) -> list[dict[str, Any]]:
    """Returns the rows of `fleet.runs/1` of runs that go on."""
    reader = place.reader()
    if reader is None:
        return []
    with closing(reader):
        some = any(row.state == "running" and '"workflow"' in row.summary for row in reader.runs())
    if not some:
        return []
    from fleet.app.runs import runs

    return [one for one in runs(place)["runs"] if one["state"] in ("running", "waiting")]


def task_status(place: FleetPlace, name: str) -> list[dict[str, Any]]:
    """Returns `fleet.task/1`: one task's row of the status, its questions, what its session shows;
    `fleet.run/1` of each run where the name is that of runs.

    Raises NotFound for what is neither, and Ambiguous.
    """
    from fleet.app.sessions import screen_lines

    state = place.run_state()
    try:
        task = resolve_task(place, name, state)
    except NotFound:
        from fleet.app.runs import is_run, run_statuses

        if is_run(place, name):
            return run_statuses(place, name)
        raise
    whole = status(place)
    row = next(one for one in whole["tasks"] if one["id"] == task)
    screen = screen_lines(place, state, task) if state is not None else []
    questions = [one for one in whole["questions"] if one["task"] == task]
    told = {"schema": "fleet.task/1", "fleet": whole["fleet"], "now": whole["now"]}
    return [{**told, **row, "questions": questions, "screen": screen}]


def wait(
    place: FleetPlace,
    ids: Sequence[str],
    word: str,
    timeout_s: float | None,
    *,
    any_one: bool = False,
    tell_of: Callable[[str], None] = lambda _: None,
) -> tuple[bool | None, dict[str, str]]:
    """Waits for tasks to come to a state or a later one of the same line.

    Returns whether they did (None: time ran out, False: one no longer can) and each task's state.
    `tell_of` hears, once each, what only a person can move: the wait goes on for as long.
    """
    known = (*LINE, *ENDS, "needs-you", "held", "stopped", "lost")
    if word not in known:
        raise NotFound("state", word, known)
    from fleet.app.launching import chosen, running_state

    tasks = chosen(place, running_state(place), ids)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    told: set[str] = set()
    for state in changes(place, deadline):
        words = words_of(state, tasks)
        met = {name: _has_come(found, word) for name, found in words.items()}
        if any(met.values()) if any_one else all(met.values()):
            return True, words
        lost = [one is False for one in met.values()]
        if all(lost) if any_one else any(lost):
            return False, words
        if state.ended == "cancelled":
            return False, words
        stuck = [
            _moved_by_people(state, name, found)
            for name, found in words.items()
            if met[name] is None
        ]
        for text in dict.fromkeys(stuck):
            if text and text not in told:
                told.add(text)
                tell_of(text)
    return None, words_of(running_state(place), tasks)


def words_of(state: State, tasks: Sequence[str]) -> dict[str, str]:
    """Returns the state of each of some tasks in one word."""
    from fleet.app.launching import word_of

    steps = tasks_of(state)
    return {name: word_of(state, steps[name]) for name in tasks}


def _moved_by_people(state: State, name: str, word: str) -> str:
    """Returns what a person has to do before a task goes on, an empty text when nothing."""
    if word == "needs-you":
        return f"{name} needs you: fleet inbox"
    if word in ("held", "stopped"):
        return f"{name} is {word}: fleet resume {name}"
    first = tasks_of(state)[name].worktree
    if word == "ready" and first is not None and not first.may_start:
        return f"{name} is ready and not launched: fleet launch {name}"
    phase = phases_of(state).get(str(tasks_of(state)[name].facts.get("phase") or ""))
    if word in ("verified", "accepted") and phase is not None and phase.merge is not None:
        merge = phase.merge
        if merge.standing is Standing.READY and not merge.may_start:
            return f"{name} is {word} and its phase not merged: fleet merge {phase.name}"
    if state.paused and word in ("ready", "waiting"):
        return "the run is paused: fleet resume"
    return ""


def _has_come(found: str, word: str) -> bool | None:
    if found == word:
        return True
    if word in LINE:
        if found in LINE:
            return LINE.index(found) >= LINE.index(word) or None
        if found == "skipped":
            return word not in ("merged", "accepted", "verified")
        return False if found in ENDS else None
    return False if found in ENDS or found == "merged" else None


def history(place: FleetPlace, run: str = PLAN_RUN, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yields every journaled event of a run as a plain object, oldest first; an answer says also
    what it is the answer to. Raises NotFound, and Ambiguous where a prefix fits several runs.
    """
    reader = place.reader()
    if reader is None:
        return
    asked: dict[str, dict[str, Any]] = {}
    with closing(reader):
        run = _run_called(run, [row.run for row in reader.runs()])
        for row in reader.events(run, after=after):
            body = json.loads(row.body)
            kind = body.pop("is")
            body.pop("at_ms", None)
            if kind == "run-started":
                plan = body["plan"]
                told = plan.get("about", {})
                about = {name: told[name] for name in OF_A_RUN if told.get(name)}
                body = {"by": body.get("by", ""), **about, "steps": len(plan["steps"])}
            elif kind == "question-raised":
                about = {"step": body["step"]} if body.get("step") else {}  # else of the whole run
                asked[body["id"]] = {**about, "message": body["question"]["message"]}
            elif kind == "question-answered":
                body = {**asked.get(body["id"], {}), **body}
            yield {
                "schema": "fleet.event/1",
                "run": run,
                "seq": row.seq,
                "at": datetime.fromtimestamp(row.at_ms / 1000, UTC)
                .isoformat(timespec="milliseconds")
                .replace("+00:00", "Z"),
                "event": kind,
                **{name: value for name, value in body.items() if name != "run"},
            }


def _run_called(name: str, known: Sequence[str]) -> str:
    """Returns the run that an id or a unique prefix means."""
    fitting = [name] if name in known else [one for one in known if one.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Ambiguous("run", name, fitting)
    raise NotFound("run", name, known)


def report(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.report/1`: what ran, how long, how it ended and what it used."""
    from fleet import codec
    from fleet.views.loops import loops_of
    from fleet.views.report import attempts_of, report_of

    state = place.run_state() or planned_state(place)
    clock, events = clock_of(state), []
    reader = place.reader()
    if reader is not None:
        with closing(reader):
            events = [codec.loads_event(row.body) for row in reader.events(PLAN_RUN)]
    fleet = str(state.about.get("fleet") or state.name)
    loops = loops_of(events, clock.time_of)
    return report_of(fleet, state, attempts_of(events), clock, loops)


def gate(place: FleetPlace, phase: str | None = None) -> list[dict[str, Any]]:
    """Returns `fleet.gate/1` of a phase or a checkpoint, of all without one: conditions and
    evidence.
    """
    state = place.run_state() or planned_state(place)
    points = [name for name, task in tasks_of(state).items() if task.is_checkpoint]
    names = [*points, *phases_of(state)]
    if phase is not None and phase not in names:
        raise NotFound("phase or checkpoint", phase, names)
    clock = clock_of(state)
    observed = observe(place, state, clock.now_ms)
    order = dict(phase_order(tasks_of(state), phases_of(state)))
    wanted = [phase] if phase is not None else names
    from fleet.views.checkpoint import checkpoint_of
    from fleet.views.gate import gate_of

    return [
        checkpoint_of(state, name, observed, clock)
        if name in points
        else gate_of(state, name, order[name], observed, clock)
        for name in wanted
    ]


def metrics(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.metrics/1`: baseline, target and last measured value of every metric."""
    state = place.run_state() or planned_state(place)
    rows: list[dict[str, Any]] = []
    for name, task in tasks_of(state).items():
        measured = _measured(task.checks)
        rows += [
            _metric(name, metric, measured.get(str(metric["name"])))
            for metric in task.facts.get("metrics", ())
        ]
    fleet_wide: Any = state.about.get("metrics", ())
    rows += [_metric("", metric, None) for metric in fleet_wide]
    return {"schema": "fleet.metrics/1", "fleet": state.about.get("fleet"), "metrics": rows}


def _measured(checks: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    for one in reversed(checks):
        found: Any = one.output if one.standing is Standing.SUCCEEDED else one.evidence
        if found and found.get("metrics"):
            return {str(metric["name"]): metric for metric in found["metrics"]}
    return {}


def _metric(
    task: str, metric: Mapping[str, Any], measured: Mapping[str, Any] | None
) -> dict[str, Any]:
    target = metric.get("target")
    return {
        "task": task or None,
        "name": metric["name"],
        "baseline": metric.get("baseline"),
        "target": None if target is None else f"{metric.get('op', '==')}{target:g}",
        "unit": metric.get("unit", ""),
        "measured": (measured or {}).get("value"),
        "met": (measured or {}).get("met"),
    }
