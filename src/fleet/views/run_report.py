"""What runs of a workflow came to, `fleet.runreport/1`: each step's delays and tries, how often
steps succeeded, percentiles, and the chain of needs and waits that determined a run's end.

Three spans make up a step's time: *queued*, from when its needs were met until it first started (a
limit that is full, a brief, a worktree); *ran*, all its attempts; *waited*, between them (for an
answer, or before another try). Percentiles are by the nearest rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from fleet.core.plan import JOIN
from fleet.core.state import State, StepState
from fleet.views.flows import DONE, flow_of
from fleet.views.report import Attempt, usage_of
from fleet.views.runs import END, OPEN, rows_of, run_of

TimeOf = Callable[[int], str]

COMPOSITE: Final = ("condition", "while", "repeat", "foreach", "workflow")
"""Types whose time is that of the steps within: counted there."""

PREPARES: Final = ("brief", "worktree")
"""Kinds that make ready what an agent then does: a part of its delay."""

PERCENTS: Final = (50, 95, 99)
WORTH_MS: Final = 50
"""A wait that is shorter is not told the cause of."""


def report_of_runs(
    name: str,
    runs: Sequence[tuple[State, Sequence[Attempt]]],
    now_ms: int,
    time_of: TimeOf,
) -> dict[str, Any]:
    """Returns the report of runs, in their order, each with its steps, and their totals."""
    rows = [_run(state, attempts, now_ms, time_of) for state, attempts in runs]
    steps = [step for row in rows for step in row["steps"]]
    return {
        "schema": "fleet.runreport/1",
        "name": name,
        "now": time_of(now_ms),
        "runs": rows,
        "totals": {
            "runs": len(rows),
            "succeeded": sum(row["state"] == "succeeded" for row in rows),
            "failed": sum(row["state"] == "failed" for row in rows),
            "took_s": round(sum(row["took_s"] for row in rows), 3),
            **_totals(steps),
        },
    }


@dataclass(frozen=True, slots=True)
class _Spans:
    """How long a step was queued, ran and waited, in milliseconds."""

    queued_ms: int
    ran_ms: int
    waited_ms: int


def _run(state: State, attempts: Sequence[Attempt], now_ms: int, time_of: TimeOf) -> dict[str, Any]:
    now_ms = state.ended_ms or now_ms  # for what was open when the run ended, time ended with it
    told = run_of(state, time_of)
    parts_of = rows_of(state)
    by_row: dict[str, list[Attempt]] = {}
    for one in attempts:
        by_row.setdefault(one.whole, []).append(one)
    steps = []
    for row in told["steps"]:
        parts, own = parts_of[row["id"]], by_row.get(row["id"], [])
        steps.append(_step(state, row, parts, own, now_ms))
    return {
        **{key: told[key] for key in ("run", "workflow", "thread", "state")},
        "started_at": told["started_at"],
        "ended_at": told["ended_at"],
        "took_s": _s(now_ms - state.started_ms),
        "steps": steps,
        **_totals(steps),
        "critical_path": _critical_path(state, attempts, now_ms),
    }


def _step(
    state: State,
    row: Mapping[str, Any],
    parts: Sequence[StepState],
    attempts: Sequence[Attempt],
    now_ms: int,
) -> dict[str, Any]:
    own = [one for one in attempts if one.kind not in PREPARES]
    spans = _spans(state, parts, own, now_ms)
    composite = row["type"] in COMPOSITE
    return {
        **{key: row[key] for key in ("id", "parent", "type", "agent", "state")},
        **{key: row[key] for key in ("queued_at", "started_at", "ended_at")},
        "queued_s": _s(spans.queued_ms) if own else None,
        "ran_s": _s(spans.ran_ms) if own and not composite else None,
        "waited_s": _s(spans.waited_ms) if own and not composite else None,
        "attempts": row["attempts"],
        "retries": max(0, row["attempts"] - 1),
        "usage": usage_of(one.usage for one in attempts),
        "error": row["error"],
    }


def _spans(state: State, parts: Sequence[StepState], own: Sequence[Attempt], now_ms: int) -> _Spans:
    """Returns the spans of a row, from when what it first needed was over to its last try."""
    if not own:
        return _Spans(0, 0, 0)
    names = {one.step.id for one in parts}
    first = min(parts, key=lambda one: (one.first_ms or now_ms + 1, one.step.kind == JOIN))
    needs = [need.step for need in first.step.needs if need.step not in names]
    met_ms = max((_ended(state.known(name)) for name in needs), default=0)
    begun_ms = min(one.started_ms for one in own)
    ran_ms = sum(one.ran_ms(now_ms) for one in own)
    lasts = any(one.standing in OPEN for one in parts)
    ended_ms = now_ms if lasts else max(one.ended_ms or now_ms for one in own)
    queued_ms = max(0, begun_ms - max(met_ms, state.started_ms))
    return _Spans(queued_ms, ran_ms, max(0, ended_ms - begun_ms - ran_ms))


def _ended(one: StepState | None) -> int:
    return one.ended_ms if one is not None else 0


def _totals(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns counts, rates and percentiles of the steps that work themselves."""
    own = [one for one in steps if one["type"] not in COMPOSITE]
    succeeded = sum(one["state"] in DONE for one in own)
    failed = sum(one["state"] == "failed" for one in own)
    over = succeeded + failed
    return {
        "counts": {
            "steps": len(own),
            "succeeded": succeeded,
            "failed": failed,
            "attempts": sum(one["attempts"] for one in own),
            "retries": sum(one["retries"] for one in own),
        },
        "success_rate": round(succeeded / over, 4) if over else None,
        "failure_rate": round(failed / over, 4) if over else None,
        "queued_s": _percentiles(one["queued_s"] for one in own),
        "ran_s": _percentiles(one["ran_s"] for one in own),
        "usage": usage_of(one["usage"] for one in steps),
    }


def _percentiles(values: Iterable[float | None]) -> dict[str, float] | None:
    """Returns {p50, p95, p99, max} by the nearest rank, None for no values."""
    found = sorted(one for one in values if one is not None)
    if not found:
        return None
    ranked = {f"p{share}": found[ceil(share / 100 * len(found)) - 1] for share in PERCENTS}
    return {**ranked, "max": found[-1]}


# --- what determined the end ----------------------------------------------------------------------


def _critical_path(state: State, attempts: Sequence[Attempt], now_ms: int) -> list[dict[str, Any]]:
    """Returns the chain that ended last, from the start of the run on: each step with its spans,
    which add up to the run's whole time. A run that goes on has the chain up to now.
    """
    ran: dict[str, int] = {}
    for attempt in attempts:
        ran[attempt.step] = ran.get(attempt.step, 0) + attempt.ran_ms(now_ms)
    rows = rows_of(state)
    found: list[_Link] = []
    at_ms = state.started_ms
    for one in reversed(_chain(state)):
        named = one.step.whole in rows and one.step.kind != JOIN
        ended_ms = now_ms if one.standing in OPEN else one.ended_ms or now_ms
        begun_ms = min(max(one.first_ms or ended_ms, at_ms), ended_ms)
        took_ms = 0 if one.step.kind in PREPARES or not named else ended_ms - begun_ms
        ran_ms = min(ran.get(one.step.id, 0), took_ms)
        whole_ms = max(0, ended_ms - at_ms)
        spans = _Spans(whole_ms - took_ms, ran_ms, took_ms - ran_ms)
        _add(found, one.step.whole if named else "", spans, _causes(state, one, spans))
        at_ms = max(at_ms, ended_ms)
    return [
        {
            "id": link.name,
            "queued_s": _s(link.queued_ms),
            "ran_s": _s(link.ran_ms),
            "waited_s": _s(link.waited_ms),
            "waits_for": list(link.causes),
        }
        for link in found
        if link.name
    ]


@dataclass(slots=True)
class _Link:
    """A step of the chain, with its spans in milliseconds."""

    name: str
    queued_ms: int = 0
    ran_ms: int = 0
    waited_ms: int = 0
    causes: dict[str, None] = field(default_factory=dict)


def _causes(state: State, one: StepState, spans: _Spans) -> list[str]:
    """Returns what kept a step, as far as a run can tell: limits that it uses, an answer, a pause
    before another try; nothing for what is too short to matter.
    """
    found = []
    if spans.queued_ms >= WORTH_MS and one.step.kind not in PREPARES:
        own = f"{state.run}/"
        for name in sorted(one.step.uses.keys() & state.limits.keys()):
            inner = f"max_parallel of {name.removeprefix(own)}"
            found.append(inner if name.startswith(own) else f"limit {name}")
    if spans.waited_ms >= WORTH_MS:
        asked = {other.step for other in state.answers.values()}
        asked |= {other.step for other in state.questions.values()}
        answer = one.step.kind == "ask" or one.step.id in asked
        found.append("an answer" if answer else "another try")
    return found


def _add(found: list[_Link], name: str, spans: _Spans, causes: Iterable[str]) -> None:
    """Adds spans to the row at the end of a chain, or as a further row; what has no name (the
    start of a scope, a join) adds to its neighbour.
    """
    if found and not found[-1].name:
        found[-1].name = name
    elif not found or name not in ("", found[-1].name):
        found.append(_Link(name))
    link = found[-1]
    link.causes |= dict.fromkeys(causes)
    if link.ran_ms:  # it has started: what comes now stands between its tries
        link.waited_ms += spans.queued_ms
    else:
        link.queued_ms += spans.queued_ms
    link.ran_ms += spans.ran_ms
    link.waited_ms += spans.waited_ms


def _chain(state: State) -> list[StepState]:
    """Returns the steps of the chain that ended last, the last one first."""
    steps = [state.steps[name] for name in state.steps]
    live = [one for one in steps if one.standing in OPEN and one.first_ms and one.attempt]
    over = [one for one in steps if one.ended_ms]
    end = state.known(END)
    if end is not None and end.ended_ms:
        one: StepState | None = end
    elif live:
        one = min(live, key=lambda live_one: live_one.first_ms)
    else:
        one = max(over, key=_lateness, default=None)
    found: list[StepState] = []
    while one is not None and len(found) <= len(steps):
        found.append(one)
        needs = [state.known(need.step) for need in one.step.needs]
        met = [need for need in needs if need is not None and need.ended_ms]
        one = max(met, key=_lateness, default=None)
    return found


def _lateness(one: StepState) -> tuple[int, list[int]]:
    return one.ended_ms, list(flow_of(one).get("pos") or ())


def _s(ms: int) -> float:
    return round(ms / 1000, 3)
