"""Use cases that look at runs of workflows: which there are, how one stands, what it came to.

They change nothing. A name is an id of a run, that of a file with several documents (whose runs
stand for it, in their order), a thread, or a unique prefix of an id.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.calendars import time_of
from fleet.app.place import FleetPlace
from fleet.errors import Ambiguous, NotFound
from fleet.views.runs import run_of

if TYPE_CHECKING:
    from fleet.core.state import State
    from fleet.views.report import Attempt

SEQUENCE: Final = "sequence"
"""What the run of a file with several documents says it is of."""


def archive_of(place: FleetPlace, run: str) -> Path:
    """Returns where the events of a run are once it has left the journal."""
    return place.state / "archive" / f"{run}.jsonl.gz"


def find_runs(place: FleetPlace, name: str) -> list[str]:
    """Returns the runs of workflows that a name means, in their order; raises NotFound, and
    Ambiguous where a prefix fits several.
    """
    told = summaries(place)
    found = {one["run"]: [one["run"]] for one in told}
    for one in told:
        whole = one["run"].rpartition(".")[0]
        if one["workflow"] == SEQUENCE:
            found[one["run"]] = []  # those of its documents that have begun, which come later
        elif whole in found:
            found[whole].append(one["run"])
    threads: dict[str, list[str]] = {}
    for one in told:
        threads.setdefault(one["thread"] or "", []).append(one["run"])
    if name in found or (name and name in threads):
        return found.get(name) or threads[name]
    fitting = [
        known
        for known in found
        if known.startswith(name) and not known.rpartition(".")[0].startswith(name)
    ]
    if len(fitting) == 1:
        return found[fitting[0]]
    if fitting:
        raise Ambiguous("run", name, fitting)
    raise NotFound("run", name, [*found, *filter(None, threads)])


def find_run(place: FleetPlace, name: str) -> str:
    """Returns the one run of a workflow that a name means; raises NotFound, and Ambiguous."""
    found = find_runs(place, name)
    if len(found) != 1:
        raise Ambiguous("run", name, found)
    return found[0]


def is_run(place: FleetPlace, name: str) -> bool:
    """Returns whether a name, or a prefix of one, can only be a run's or a thread's."""
    return any(one["run"].startswith(name) or name == one["thread"] for one in summaries(place))


def summaries(place: FleetPlace) -> list[dict[str, Any]]:
    """Returns what the journal tells of each run of a workflow, and of each of a file with several
    documents, the oldest first.
    """
    reader = place.reader()
    if reader is None:
        return []
    with closing(reader):
        rows = [(row, json.loads(row.summary)) for row in reader.runs()]
    found = [
        {"run": row.run, "ended": "" if row.state == "running" else row.state, "thread": "", **told}
        for row, told in rows
        if told.get("workflow") is not None
    ]
    return sorted(found, key=lambda one: (one["started_ms"], one["run"]))


def runs(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.runs/1`: the runs of workflows, the oldest first."""
    rows = []
    for one in summaries(place):
        if one["workflow"] == SEQUENCE:
            continue
        word, asks = one["ended"], 0
        if not word:
            state = place.run_state(one["run"])
            told = run_of(state, time_of) if state is not None else {"state": "running"}
            word, asks = told["state"], len(told.get("questions", ()))
        rows.append(
            {
                "run": one["run"],
                "workflow": one["workflow"],
                "thread": one["thread"] or None,
                "state": word,
                "questions": asks,
                "started_at": time_of(one["started_ms"]),
                "ended_at": time_of(one["ended_ms"]) if one["ended_ms"] else None,
            }
        )
    return {"schema": "fleet.runs/1", "runs": rows}


def run_statuses(place: FleetPlace, name: str) -> list[dict[str, Any]]:
    """Returns `fleet.run/1` of each run that a name means; raises NotFound, and Ambiguous."""
    return [run_status(place, run) for run in find_runs(place, name)]


def run_status(place: FleetPlace, run: str) -> dict[str, Any]:
    """Returns `fleet.run/1` of a run in the journal."""
    return run_of(_state(place, run), time_of)


def run_begun(place: FleetPlace, run: str) -> dict[str, Any]:
    """Returns `fleet.run/1` of a run that was asked for; one behind another document waits."""
    if place.run_state(run) is None:
        return {"schema": "fleet.run/1", "run": run, "state": "waiting"}
    return run_status(place, run)


def run_report(place: FleetPlace, name: str) -> dict[str, Any]:
    """Returns `fleet.runreport/1` of the runs that a name means: what each step took, how often
    it succeeded, and what determined the end; raises NotFound, and Ambiguous.
    """
    from fleet.views.run_report import report_of_runs

    told = [(_state(place, run), _attempts(place, run)) for run in find_runs(place, name)]
    return report_of_runs(name, told, int(time.time() * 1000), time_of)


def _state(place: FleetPlace, run: str) -> State:
    state = place.run_state(run)
    assert state is not None, "a run that was found is in the journal"
    return state


def _attempts(place: FleetPlace, run: str) -> list[Attempt]:
    from fleet import codec
    from fleet.views.report import attempts_of

    reader = place.reader()
    assert reader is not None, "a run that was found is in the journal"
    with closing(reader):
        return attempts_of(codec.loads_event(row.body) for row in reader.events(run))
