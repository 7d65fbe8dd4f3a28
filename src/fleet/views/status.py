"""The daily check-in as one plain object: `fleet.status/1`.

Everything comes from the run's state and from what was observed of the world just before; dates and
clocks are handed in. What could not be observed is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from fleet.core.plan import QUESTION
from fleet.core.state import CLOSED, OpenQuestion, Standing, State, StepState
from fleet.records import record
from fleet.views.forecast import Forecast, done_share, forecast, planned_share
from fleet.views.proofs import proof_row
from fleet.views.tasks import (
    PhaseSteps,
    TaskSteps,
    kept_back,
    needing_people,
    phases_before,
    phases_of,
    state_of,
    tasks_of,
    waiting_for,
)
from fleet.views.verdicts import verdicts_of


@record(kw_only=False)
class Seen:
    """What was observed of one task's world; None where nothing could be observed."""

    head: str | None = None
    ahead: int | None = None
    behind: int | None = None
    dirty: int | None = None
    port_open: bool | None = None
    session: str | None = None
    pid: int | None = None
    alive: bool | None = None
    source: str = "journal"
    age_s: float | None = None
    turn: str = ""
    """What was last known of its turn: started, working, asking, ended, idle, failed, over, as its
    hooks or the program say, blocked or unknown, as its screen shows; nothing where none tells."""
    doubt: str = ""
    """Why the state may not be believed; nothing when there is no doubt."""
    policy: Mapping[str, Any] | None = None
    """What patterns decided in its session: {allowed, denied, last}."""


@record(kw_only=False)
class Clock:
    """Now, and how milliseconds and working days become dates."""

    now: str
    now_ms: int
    now_day: float
    day_of: Callable[[int], float]
    date_of: Callable[[int], str]
    time_of: Callable[[int], str]
    hour_of: Callable[[int], str] = str
    """A moment on the clock at the wall, with its date if that is not today's."""


@record(kw_only=False)
class Observed:
    """What was observed of the world around a run."""

    tasks: Mapping[str, Seen] = field(default_factory=dict)
    coordinator: Mapping[str, Any] = field(
        default_factory=lambda: {"alive": False, "pid": None, "host": None}
    )
    warnings: Sequence[str] = ()
    clashes: Mapping[tuple[str, str], Sequence[Sequence[Any]]] = field(default_factory=dict)
    """By two tasks (an empty name is the base): [path, kind, lines] of what would conflict."""


def status_of(fleet: str, state: State, observed: Observed, clock: Clock) -> dict[str, Any]:
    """Returns the status of the fleet's run, shaped as contract section 4 says."""
    tasks, phases = tasks_of(state), phases_of(state)
    order = phase_order(tasks, phases)
    outlook = forecast(
        state.about, tasks, [names for _, names in order], clock.day_of, clock.now_day
    )
    asked = needing_people(state)
    scene = _Scene(state, phases, observed, clock, outlook, asked)
    rows = [_task_row(scene, name, task) for name, task in tasks.items()]
    ended = {
        row["id"] for row in rows if row["state"] in ("verified", "accepted", "merged", "skipped")
    }
    return {
        "schema": "fleet.status/1",
        "fleet": fleet,
        "now": clock.now,
        "day": max(1, math.floor(clock.now_day) + 1),
        "of_days": math.ceil(outlook.planned_days),
        "done_pct": done_share(tasks, ended),
        "planned_pct": planned_share(outlook.planned, clock.now_day),
        "finish": clock.date_of(max(1, math.ceil(outlook.planned_days))),
        "forecast_finish": clock.date_of(max(1, math.ceil(outlook.finish))),
        "slip_days": outlook.slip_days,
        "slip_causes": [{"task": name, "days": days} for name, days in outlook.slip_causes],
        "run": {"id": state.run, "state": run_state(state), "revision": state.revision},
        "coordinator": dict(observed.coordinator),
        "inbox": sum(not asked.steps for asked in state.questions.values()),
        "spend": _spend(state, tasks),
        "tasks": rows,
        "phases": [
            _phase_row(state, name, phases[name], {task: tasks[task] for task in names})
            for name, names in order
            if name in phases
        ],
        "questions": questions_of(state, outlook, clock),
        "conflicts": [
            {
                "tasks": [name for name in pair if name],
                "with_base": "" in pair,
                "paths": [str(path) for path, *_ in told],
            }
            for pair, told in observed.clashes.items()
        ],
        "warnings": list(observed.warnings),
    }


def run_state(state: State) -> str:
    """Returns how a run stands in one word."""
    if state.ended:
        return state.ended
    if state.cancelling:
        return "cancelling"
    return "paused" if state.paused else "running"


def phase_order(
    tasks: Mapping[str, TaskSteps], phases: Mapping[str, PhaseSteps]
) -> list[tuple[str, list[str]]]:
    """Returns the phases in order with their tasks; tasks of no phase come last under ""."""
    found: dict[str, list[str]] = {name: [] for name in phases}
    for name, task in tasks.items():
        found.setdefault(str(task.facts.get("phase") or ""), []).append(name)
    return list(found.items())


@record(kw_only=False)
class _Scene:
    """What every row of a status is made from."""

    state: State
    phases: Mapping[str, PhaseSteps]
    observed: Observed
    clock: Clock
    outlook: Forecast
    asked: frozenset[str]

    def phase_of(self, task: TaskSteps) -> PhaseSteps | None:
        return self.phases.get(str(task.facts.get("phase") or ""))

    def word_of(self, name: str, task: TaskSteps) -> str:
        """Returns a task's state; `lost` when its process is seen to be gone."""
        word = state_of(task, self.phase_of(task), self.asked)
        work = task.last_work
        if word == "starting" and work and kept_back(self.state, work, self.clock.now_ms):
            return "ready"  # a limit keeps it from starting, and waiting_for says which
        gone = self.observed.tasks.get(name, Seen()).alive is False
        return "lost" if gone and word in ("working", "starting") else word


def _task_row(scene: _Scene, name: str, task: TaskSteps) -> dict[str, Any]:
    state, clock, outlook = scene.state, scene.clock, scene.outlook
    facts, seen, phase = task.facts, scene.observed.tasks.get(name, Seen()), scene.phase_of(task)
    word = scene.word_of(name, task)
    work, verified = task.last_work, task.verified
    commit = verified.get("commit") if verified else None
    since_ms = max((one.since_ms for one in task.inner), default=0)
    live: Mapping[str, Any] = work.facts if work else {}
    running = work is not None and work.standing is Standing.RUNNING
    landed = phase.landed if phase else None
    return {
        "id": name,
        "name": facts.get("name", name),
        "agent": facts.get("agent"),
        "phase": facts.get("phase"),
        "kind": facts.get("kind", "task"),
        "state": word,
        "attempt": task.attempts,
        "since": clock.time_of(since_ms) if since_ms else None,
        "evidence": {"source": seen.source, "age_s": seen.age_s, "doubt": seen.doubt or None},
        "turn": seen.turn or None,
        "facts": {
            "reported": task.reported,
            "verified": commit is not None and seen.head in (None, commit),
            "accepted": commit is not None and phase is not None and name in phase.pinned,
            "merged": word == "merged",
        },
        "deliverables": _judged(task, "deliverables", facts),
        "checks": _judged(task, "checks", facts),
        "proof": proof_row(task),
        "verdict": next(iter(verdicts_of(task)[::-1]), None),
        "why": _why(task),
        "branch": facts.get("branch"),
        "head": seen.head or (verified or {}).get("commit"),
        "ahead": seen.ahead,
        "behind": seen.behind,
        "dirty": seen.dirty,
        "worktree": facts.get("worktree"),
        "port": _port(task, facts),
        "port_open": seen.port_open,
        "session": live.get("session") if running else None,
        "pid": seen.pid if seen.pid is not None else (live.get("pid") if running else None),
        "last_checkin": _checkin(task, clock),
        "usage": task.usage,
        "usage_seen": _usage_seen(work, clock) if work is not None and work.live else None,
        "policy": seen.policy or (work.evidence.get("policy") if work and work.evidence else None),
        "slack_days": outlook.slack_of(name),
        "waiting_for": waiting_for(state, task, clock.now_ms, clock.hour_of),
        "merged_as": (landed or {}).get("commit") if word == "merged" else None,
    }


def _usage_seen(work: StepState, clock: Clock) -> dict[str, Any]:
    """Returns from where a running attempt's usage is known, and how old that is."""
    at_ms: Any = work.facts.get("usage_at_ms") or 0
    age_s = round(max(0, clock.now_ms - at_ms) / 1000, 1) if at_ms else None
    return {"source": work.facts.get("usage_source"), "age_s": age_s}


def _judged(task: TaskSteps, what: str, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what the latest judgement said of each deliverable or check, unmet before it."""
    for one in reversed(task.checks):
        found: Any = one.output if one.standing is Standing.SUCCEEDED else one.evidence
        if found and found.get(what) is not None:
            return list(found[what])
    if what == "checks":
        return [{"text": text, "passed": None, "at_commit": None} for text in facts.get(what, ())]
    return [
        {"text": text, "met": False, "commit": None, "why": "not judged yet"}
        for text in facts.get(what, ())
    ]


def _why(task: TaskSteps) -> str:
    """Returns the last word of the step that a task that does not go on hangs at."""
    for one in reversed(task.inner):
        if one.standing is Standing.SUCCEEDED:
            return ""
        if one.text and one.standing in (Standing.FAILED, Standing.ASKING, Standing.BACKOFF):
            return one.text
    return ""


def _port(task: TaskSteps, facts: Mapping[str, Any]) -> int | None:
    output: Any = task.worktree.output if task.worktree else None
    port = (output or {}).get("port") or facts.get("port")
    return port if isinstance(port, int) else None


def _checkin(task: TaskSteps, clock: Clock) -> dict[str, Any] | None:
    said = task.join.checkin
    if said is None:
        return None
    at_ms = int(said["at_ms"])  # type: ignore[call-overload]
    return {
        "at": clock.time_of(at_ms),
        "day": max(1, math.floor(clock.day_of(at_ms)) + 1),
        "done": said["done"],
        "next": said["next"],
        "blockers": said["blockers"],
    }


def _spend(state: State, tasks: Mapping[str, TaskSteps]) -> dict[str, Any]:
    usages = [task.usage for task in tasks.values()]
    usages += [dict(one.usage) for one in state.steps.values() if QUESTION in one.step.params]
    return {
        "usd": round(sum(usage.get("usd", 0) for usage in usages), 4),
        "tokens": sum(usage.get("tokens", 0) for usage in usages),
    }


def _phase_row(
    state: State, name: str, phase: PhaseSteps, tasks: Mapping[str, TaskSteps]
) -> dict[str, Any]:
    gate = phase.gates[-1] if phase.gates else None
    landed = phase.landed
    missing = []
    if landed is None:
        missing += [f"{before} is not landed" for before in phases_before(state, phase)]
        missing += [
            f"{task} is not {'passed' if steps.is_checkpoint else 'verified'}"
            for task, steps in tasks.items()
            if steps.join.standing not in (Standing.SUCCEEDED, Standing.SKIPPED)
        ]
        if gate is not None and gate.standing is Standing.ASKING:
            missing.append("approval")
        merge = phase.merge
        if (
            merge is not None
            and merge.attempt
            and merge.text
            and merge.standing is not Standing.RUNNING
            and "candidate" not in merge.evidence
            and not phase.overtaken
        ):
            missing.append(merge.text.splitlines()[0])
        judged = gate is not None and gate.standing is Standing.SUCCEEDED
        if not judged and not missing:
            missing.append("the gate is being judged")
    opened = landed is not None or not missing
    return {
        "id": name,
        "gate": "open" if opened else "closed",
        "missing": missing,
        "merged_as": landed.get("commit") if landed else None,
        **({"undone": phase.undone.get("text")} if phase.undone else {}),
    }


def questions_of(state: State, outlook: Forecast, clock: Clock) -> list[dict[str, Any]]:
    """Returns the open questions, those that cost the least slack first."""
    found = [
        question_row(asked, task_asked_about(state, asked, outlook), outlook, clock)
        for asked in state.questions.values()
    ]
    return sorted(
        found, key=lambda row: (row["slack_days"] is None, row["slack_days"] or 0, row["asked_at"])
    )


def task_asked_about(state: State, asked: OpenQuestion, outlook: Forecast) -> str:
    """Returns the task that a question keeps waiting, the one with the least slack for a question
    about a budget or a quarantine; empty for none.
    """
    one = state.known(asked.step)
    about = asked.question.about
    limit = about.get("budget") or about.get("quarantine")
    if one is not None or limit is None:
        return one.step.whole if one else ""
    held = {
        one.step.whole
        for one in state.steps.values()
        if limit in one.step.uses and one.standing not in CLOSED
    }
    return min(held, key=lambda task: (outlook.slack_of(task) or 0, task), default="")


def question_row(asked: OpenQuestion, task: str, outlook: Forecast, clock: Clock) -> dict[str, Any]:
    """Returns one open question as every door shows it."""
    question = asked.question
    expires_ms, climbs_ms = question.expires_at_ms, asked.climbs_at_ms
    return {
        "id": asked.id,
        "step": asked.step,
        "task": task,
        "kind": question.kind,
        "message": question.message,
        "choices": list(question.choices),
        "whom": question.whom,
        "answering": question.whom if asked.steps else None,
        "passed": list(asked.passed[:-1]),
        "why": asked.why or None,
        "climbs_at": None if climbs_ms is None else clock.time_of(climbs_ms),
        "topic": question.topic,
        "by": asked.by,
        "asked_at": clock.time_of(asked.at_ms),
        "expires_at": None if expires_ms is None else clock.time_of(expires_ms),
        "default": question.default,
        "pattern": str(question.about.get("pattern") or "") or None,
        "slack_days": outlook.slack_of(task),
    }
