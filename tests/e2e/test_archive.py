"""Runs of workflows that are long over leave the journal, and nothing of what they were is lost."""

from __future__ import annotations

import gzip
import json
import signal

import pytest

from fleet.app.place import FleetPlace
from fleet.app.workflows import Asked, follow, start_run
from support.crash_walks import OF_AN_ARCHIVE
from support.scripted_fleet import ScriptedFleet

SHORT = """
name: short
steps:
  - {id: say, type: shell, command: echo said}
  - {id: end, type: return, value: "{{ steps.say.output }}"}
"""


@pytest.mark.parametrize("point", OF_AN_ARCHIVE)
def test_what_is_over_is_archived_with_all_its_events(fleet: ScriptedFleet, point: str) -> None:
    fleet.put("workflows/short.yaml", SHORT)
    fleet.write()
    runs = [fleet.must("run", "short", "--wait", "--json").json()["run"] for _ in range(2)]
    threaded = [
        fleet.must("run", "short", "--thread", "t", "--wait", "--json").json()["run"]
        for _ in range(2)
    ]
    told = {run: fleet.must("history", run, "--json").stdout for run in runs}
    assert fleet("clean", "--runs", "1").stderr == "no run of a workflow is that old\n"
    shown = fleet.must("clean", "--runs", "0", "--dry-run").stdout
    assert "4 runs would be archived" in shown
    died = fleet("clean", "--runs", "0", env={"FLEET_CRASH_AT": point})
    assert died.code == -signal.SIGKILL
    assert len(fleet.must("runs", "--json").json()["runs"]) == 4, "nothing has left yet"

    done = fleet.must("clean", "--runs", "0", "--json").json()
    assert [one["run"] for one in done["runs"]] == [*runs, *threaded]
    assert {one["kept"] for one in done["runs"]} == {""}
    assert fleet.must("runs", "--json").json()["runs"] == []
    assert fleet("history", runs[0]).code == 1
    for run in runs:
        with gzip.open(fleet.state / "archive" / f"{run}.jsonl.gz", "rt") as file:
            events = [json.loads(line) for line in file]
        assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
        assert len(events) == len(told[run].splitlines())
        assert not (fleet.state / "attempts" / run).exists()
    last = fleet.must("run", "short", "--wait", "--json").json()
    assert (last["state"], last["result"]) == ("succeeded", "said")


def test_no_run_gets_the_id_of_one_that_was(fleet: ScriptedFleet, monkeypatch) -> None:
    fleet.put("workflows/short.yaml", SHORT)
    fleet.write()
    place = FleetPlace(fleet.root)
    ids = iter(["aaaaaa", "aaaaaa", "bbbbbb", "aaaaaa", "bbbbbb", "cccccc"])
    monkeypatch.setattr("fleet.app.workflows.secrets.token_hex", lambda _: next(ids))

    def started() -> str:
        (run,) = start_run(place, "short", Asked(inputs={}, roles={}))
        assert follow(place, run)["state"] == "succeeded"
        return run

    assert [started(), started()] == ["short-aaaaaa", "short-bbbbbb"]
    fleet.must("clean", "--runs", "0")
    assert started() == "short-cccccc"


def test_what_is_needed_is_kept_with_the_reason(fleet: ScriptedFleet) -> None:
    asks = "name: asks\nsteps: [{id: ask, type: prompt, message: Well?}]\n"
    fleet.put("workflows/short.yaml", SHORT)
    fleet.put("workflows/asks.yaml", asks)
    fleet.write()
    old = fleet.must("run", "short", "--thread", "t", "--wait", "--json").json()["run"]
    live = fleet.must("run", "asks", "--thread", "t").stdout.split()[-1]
    refused = fleet("clean", "--runs", "0")
    assert (refused.code, refused.stdout) == (
        0,
        f"· {old}: kept: {live} of its thread is younger\n",
    )
