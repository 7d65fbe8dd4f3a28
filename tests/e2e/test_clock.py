"""Clocks: what a view is told of now changes no run, and a clock set back ends nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from support.scripted_fleet import ScriptedFleet


def test_the_clock_of_views_touches_no_run(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    fleet.task("a", deliverables=["a.md"], days=2)
    fleet.write()
    untouched()
    past = {"FLEET_NOW_MS": "1000000000000"}
    fleet.must("launch", "a", env=past)
    assert fleet.wait("a").code == 0
    seen = fleet.must("status", "--json", env=past).json()
    assert seen["now"].startswith("2001-09-09")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert fleet.history()[0]["at"][:10] in (
        today,
        time.strftime("%Y-%m-%d", time.gmtime(time.time() - 9)),
    )
    times = [one["at"] for one in fleet.history()]
    assert times == sorted(times)


def test_a_clock_set_back_kills_and_repeats_nothing(fleet: ScriptedFleet) -> None:
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed: the clock of one process cannot be set back")
    fleet.task("a", fleet.waits("a") + fleet.delivers("a"), deliverables=["a.md"], timeout="1h")
    fleet.write()
    fleet.must("launch", "a")
    fleet.must("down")
    fleet.must("resume", env={"FAKETIME": "-1d", "LD_PRELOAD": "libfaketime.so.1"})
    fleet.go("a")
    assert fleet.wait("a").code == 0
    times = [one["at"] for one in fleet.history()]
    assert times == sorted(times)
    assert fleet.ran() == {"a 1": 1}
