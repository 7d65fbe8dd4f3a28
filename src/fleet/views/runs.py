"""Runs of workflows as rows: `fleet.run/1`, and what each of its steps has put out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleet.core.plan import JOIN
from fleet.core.state import SETTLED_STANDINGS, Standing, State, StepState
from fleet.views.flows import DONE, flow_of, value_of

END = ".end"
"""The join of a run's own scope."""

OPEN = (Standing.RUNNING, Standing.ASKING, Standing.BACKOFF, Standing.READY, Standing.FAILING)


def run_of(state: State, time_of: Callable[[int], str]) -> dict[str, Any]:
    """Returns `fleet.run/1`: a run of a workflow as it stands, its steps in document order."""
    rows = rows_of(state)
    parents = _parents(rows)
    word = state.ended or ("waiting" if _only_asks(state) else "running")
    return {
        "schema": "fleet.run/1",
        "run": state.run,
        "workflow": state.about.get("workflow"),
        "thread": state.about.get("thread") or None,
        "state": word,
        "started_at": time_of(state.started_ms),
        "ended_at": time_of(state.ended_ms) if state.ended else None,
        "result": result_of(state),
        "steps": _with_failed_parts(
            [
                {**_row(state, name, parts, time_of), "parent": parents[name]}
                for name, parts in rows.items()
            ]
        ),
        "questions": [
            {
                "id": asked.id,
                "step": asked.step.removesuffix(".open"),
                "kind": asked.question.kind,
                "message": asked.question.message,
                "choices": list(asked.question.choices),
                "asked_at": time_of(asked.at_ms),
                "slack_days": None,
            }
            for asked in (() if state.ended else state.questions.values())
        ],
    }


def _with_failed_parts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows with those told as failed that cannot end because a step within them has."""
    by_name = {row["id"]: row for row in rows}
    for row in reversed(rows):  # what is within comes after what it is within
        outer = by_name.get(row["parent"] or "")
        if row["state"] != "failed" or outer is None or outer["state"] != "unreached":
            continue
        outer |= {"state": "failed", "ended_at": row["ended_at"], "error": f"{row['id']} failed"}
    return rows


def result_of(state: State) -> Any:
    """Returns what a run came to: what its `return` gives; of the graph dialect the outputs, by id,
    of the steps that succeeded and behind which none did.
    """
    if state.about.get("dialect") == "graph":
        done = {
            name: main.step.id
            for name, parts in rows_of(state).items()
            if (main := main_of(name, parts)).standing in DONE
        }
        return {
            name: value_of(state.known, main)
            for name, main in done.items()
            if not any(state.steps[one].step.whole in done for one in _behind(state, main))
        }
    end = state.known(END)
    last = state.known(str(flow_of(end).get("last") or "")) if end is not None else None
    if last is None or flow_of(last).get("type") != "return" or last.standing not in DONE:
        return None
    return value_of(state.known, last.step.id)


def _behind(state: State, name: str) -> list[str]:
    return [one for one, _ in state.dependents.get(name, ())]


def outputs_of(state: State) -> dict[str, object]:
    """Returns what the steps at the top of a workflow have put out, by their ids."""
    found: dict[str, object] = {}
    for name, parts in rows_of(state).items():
        main = main_of(name, parts)
        if main.standing in DONE and not flow_of(main).get("scope"):
            found[str(flow_of(main)["id"])] = value_of(state.known, main.step.id)
    return found


def rows_of(state: State) -> dict[str, list[StepState]]:
    """Returns the kernel steps of each document step, by what it is called, in document order."""
    found: dict[str, list[StepState]] = {}
    for one in _steps(state):
        if flow_of(one).get("type") not in (None, "start", "end") or one.step.kind == "worktree":
            found.setdefault(one.step.whole, []).append(one)
    kept = {name: parts for name, parts in found.items() if any(map(flow_of, parts))}
    return dict(sorted(kept.items(), key=lambda row: _place(row[1])))


def _parents(rows: Mapping[str, list[StepState]]) -> dict[str, str | None]:
    """Returns the row that each row stands within: the condition or approval whose branch it is
    of, else the loop, foreach or sub-workflow after which it is called.
    """
    flows = {name: flow_of(main_of(name, parts)) for name, parts in rows.items()}
    places = {_stands(flow, flow["at"]): name for name, flow in flows.items()}
    found: dict[str, str | None] = {}
    for name, flow in flows.items():
        at = list(flow["at"])
        outer = str(flow["prefix"])[:-1]
        if outer.endswith("]"):
            outer = outer.rpartition("[")[0]
        branch = len(at) > 2 and at[-2] in ("then", "else")
        found[name] = places.get(_stands(flow, at[:-2])) if branch else outer or None
    return found


def _stands(flow: Mapping[str, Any], at: list[str | int]) -> tuple[Any, ...]:
    return (flow["prefix"], *at)


def _place(parts: list[StepState]) -> list[int]:
    return min(list(flow_of(one)["pos"]) for one in parts if flow_of(one))


def _steps(state: State) -> Iterator[StepState]:
    for name in state.steps:
        yield state.steps[name]


def main_of(name: str, parts: list[StepState]) -> StepState:
    """Returns the step that speaks for a row: its join, else the latest copy of the one that has
    its name.
    """
    mains = [one for one in parts if flow_of(one).get("main")]
    if not mains:
        return parts[-1]
    joins = [one for one in mains if one.step.kind == JOIN]
    return (
        joins or [max(mains, key=lambda one: (one.step.id != name, one.first_ms, one.step.id))]
    )[0]


def _row(
    state: State, name: str, parts: list[StepState], time_of: Callable[[int], str]
) -> dict[str, Any]:
    main = main_of(name, parts)
    standing, text = main.standing, main.text
    others = [one for one in parts if _speaks_for(one, main)]
    speaks = max(others, key=lambda one: (one.standing in OPEN, one.ended_ms), default=None)
    if standing in (Standing.WAITING, Standing.UNREACHED) and speaks is not None:
        standing, text = speaks.standing, speaks.text
    if state.ended == Standing.CANCELLED and standing not in SETTLED_STANDINGS:
        standing = Standing.CANCELLED
    flow = flow_of(main)
    needs = _needs(state, parts)
    begun = min((one.first_ms for one in parts if one.first_ms), default=0)
    if main.step.kind == "agent" and main.first_ms:
        begun = main.first_ms
    over = standing in DONE or standing in (Standing.FAILED, Standing.CANCELLED)
    ended = max((one.ended_ms for one in parts), default=0) if over else 0
    queued = max((one.ended_ms for one in _needed(state, parts)), default=0)
    reached = standing not in (Standing.WAITING, Standing.UNREACHED)
    worker = next((one for one in (main, *parts) if one.step.kind == "agent"), None)
    agent: Any = worker.step.params.get("agent") if worker is not None else None
    aside = (JOIN, "brief", "worktree", *(("agent",) if flow["type"] == "verify" else ()))
    tries = [one for one in parts if one.step.kind not in aside]
    asks = main.step.kind == "ask" or any(one.step.kind == "ask" for one in parts)
    return {
        "id": name,
        "type": flow["type"],
        "agent": agent["id"] if agent else None,
        "state": str(standing),
        "attempts": min(sum(one.attempt for one in tries), 1) if asks else _tries(tries, flow),
        "queued_at": time_of(max(queued, state.started_ms)) if reached else None,
        "started_at": time_of(begun) if begun else None,
        "ended_at": time_of(ended) if ended else None,
        "needs": [one for one in needs if not one.endswith((".start", END))],
        "output": value_of(state.known, main.step.id) if standing in DONE else None,
        "error": text or None if standing not in DONE else None,
    }


def _tries(tries: list[StepState], flow: Mapping[str, Any]) -> int:
    looped = flow["type"] in ("condition", "while", "repeat", "foreach", "workflow")
    count = sum(one.attempt for one in tries)
    return min(count, 1) if looped else count


def _speaks_for(one: StepState, main: StepState) -> bool:
    """Returns whether a part tells more of its row than the main step that waits for it."""
    if one is main or one.step.id.partition(".")[0] == "":
        return False
    return one.standing in OPEN or one.standing is Standing.FAILED


def _needs(state: State, parts: list[StepState]) -> list[str]:
    """Returns the rows that a row needs; those within it are its own affair."""
    return list(dict.fromkeys(one.step.whole or one.step.id for one in _needed(state, parts)))


def _needed(state: State, parts: list[StepState]) -> list[StepState]:
    """Returns the steps that a row needs and that are not its own."""
    own = {one.step.id for one in parts}
    needs = (need.step for one in parts if one.step.kind != JOIN for need in one.step.needs)
    found = (state.known(name) for name in dict.fromkeys(needs) if name not in own)
    return [one for one in found if one is not None]


def _only_asks(state: State) -> bool:
    return bool(state.questions) and not state.running
