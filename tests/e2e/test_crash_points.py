"""The coordinator dies at every named point of its work, and the fleet ends as if it had not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.crash_walks import OF_A_LANDING, OF_A_RUN, OF_THE_FRONT_DOOR
from support.scripted_fleet import PATIENCE_S, ScriptedFleet, until

ON_COMING = ("coordinator.after_commit",)
"""Passed before anything was told; the later passings are what matters."""

LATER = [
    f"{point}:{passing}"
    for point in ("journal.before_commit", "journal.after_commit", "coordinator.after_commit")
    for passing in (2, 4, 8, 16)
]
POINTS = [point for point in (*OF_A_RUN, *OF_A_LANDING, *LATER) if point not in ON_COMING]


@pytest.mark.parametrize("point", POINTS)
def test_a_coordinator_that_dies_there_loses_and_repeats_nothing(
    fleet: ScriptedFleet, point: str
) -> None:
    _two_phases(fleet)
    up = subprocess.Popen(
        [sys.executable, "-m", "fleet", "up"],
        cwd=fleet.root,
        env={**os.environ, "FLEET_CRASH_AT": point},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: fleet.coordinator() == up.pid, "the coordinator that is to die")
        fleet.must("launch", "--all", timeout_s=PATIENCE_S)
        _ends_well(fleet)
        assert up.wait(PATIENCE_S) == -signal.SIGKILL, f"{point} was never passed"
    finally:
        up.kill()
        up.wait()


def test_a_front_door_that_dies_once_its_mail_is_there_was_heard(fleet: ScriptedFleet) -> None:
    _two_phases(fleet)
    fleet.must("launch", "--all", "--dry-run")
    (point,) = OF_THE_FRONT_DOOR
    died = fleet("launch", "--all", env={"FLEET_CRASH_AT": point})
    assert died.code == -signal.SIGKILL
    fleet.must("launch", "--all")
    _ends_well(fleet)


def _two_phases(fleet: ScriptedFleet) -> None:
    setup = ["touch set-up"]
    fleet.task("a", phase="one", deliverables=["a.md"], setup=setup)
    fleet.task("b", phase="two", deliverables=["b.md"], setup=setup, dependencies=["a"])
    fleet.phases(
        {"id": "one", "merge": "auto", "tag": "v1"}, {"id": "two", "merge": "auto", "tag": "v2"}
    )
    fleet.put(".gitignore", "set-up\n")
    fleet.write()


def _ends_well(fleet: ScriptedFleet) -> None:
    assert fleet.wait("a", "b", state="merged").code == 0
    assert fleet.ran() == {"a 1": 1, "b 1": 1}
    told = fleet.git("log", "--format=%s", "main").splitlines()
    assert (told.count("a"), told.count("b")) == (1, 1)
    for name, tag in (("a", "v1"), ("b", "v2")):
        assert fleet.git("show", f"{tag}:{name}.md") == "done"
    assert fleet.git("status", "--porcelain") == ""
    assert (fleet.root / "b.md").read_text() == "done\n", "the checkout follows the base"
    seqs = [one["seq"] for one in fleet.history()]
    assert seqs == list(range(1, len(seqs) + 1))
    fleet.nothing_runs()
