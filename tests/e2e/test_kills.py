"""Killing anything at any moment: nothing runs twice, nothing is left, all of it ends well."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil

from support.scripted_fleet import PATIENCE_S, ScriptedFleet, until


def test_a_coordinator_killed_again_and_again_runs_each_attempt_once(fleet: ScriptedFleet) -> None:
    names = [f"t{number}" for number in range(6)]
    for number, name in enumerate(names):
        work = "sleep 0.7\n" + fleet.delivers(name)
        if number == 1:
            work = f'if [ "$FLEET_ATTEMPT" = 1 ]; then exit 0; fi\n{work}'
        needs = {"dependencies": [f"t{number - 1}"]} if number in (2, 5) else {}
        if number in (2, 5):
            work = fleet.waits(f"enough-{number}") + work
        phase = "one" if number < 3 else "two"
        fleet.task(name, work, phase=phase, deliverables=[f"{name}.md"], **needs)
    fleet.phases({"id": "one", "merge": "auto"}, {"id": "two", "merge": "auto"})
    fleet.write()
    dice, killed = random.Random(7), set()
    launching = subprocess.Popen(
        [sys.executable, "-m", "fleet", "launch", "--all"],
        cwd=fleet.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        time.sleep(dice.uniform(0, 1.0))
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((fleet.state / "coordinator.json").read_text())
            os.kill(found["pid"], signal.SIGKILL)
            killed.add(found["pid"])
        for number in (2, 5):
            if len(killed) > number:
                fleet.go(f"enough-{number}")
        # A person who asks for something that changes nothing: it is there again afterwards.
        if launching.poll() is not None:
            fleet.must("resume")
            if fleet.history()[-1]["event"] == "run-ended":
                break
    assert launching.wait(10) == 0
    assert len(killed) >= 6
    assert {row["id"]: row["state"] for row in fleet.status()["tasks"]} == dict.fromkeys(
        names, "merged"
    )
    assert fleet.ran() == {f"{name} 1": 1 for name in names} | {"t1 2": 1}
    for name in names:
        assert fleet.git("show", f"main:{name}.md") == "done"
        assert fleet.git("log", "--format=%s", "main").splitlines().count(name) == 1
    seqs = [one["seq"] for one in fleet.history()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert fleet.git("status", "--porcelain") == ""
    fleet.nothing_runs()


def test_whoever_waits_brings_a_killed_coordinator_back(fleet: ScriptedFleet) -> None:
    setup = f'touch "{fleet.gates}/setting-up"; {fleet.waits("set-up")}'
    fleet.task("a", fleet.waits("a") + fleet.delivers("a"), deliverables=["a.md"], setup=[setup])
    fleet.write()

    def waits_over_a_kill(word: str, ready: Callable[[], object], *command: str) -> None:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "fleet", *command],
            cwd=fleet.root,
            stdout=subprocess.DEVNULL,
        )
        until(ready, f"{command[0]} waits")
        first = fleet.coordinator()
        assert first is not None
        os.kill(first, signal.SIGKILL)
        second = until(fleet.coordinator, f"another coordinator, for {command[0]}")
        assert second != first
        fleet.go(word)
        assert waiting.wait(PATIENCE_S) == 0, command

    waits_over_a_kill("set-up", (fleet.gates / "setting-up").exists, "launch", "a")
    assert fleet.row("a")["state"] == "working"
    waits_over_a_kill("a", lambda: True, "wait", "a", "--for", "verified")
    assert fleet.ran() == {"a 1": 1}
    fleet.nothing_runs()


def lost(fleet: ScriptedFleet, count: int) -> None:
    def look() -> bool:
        ends = [e["outcome"] for e in fleet.history() if e["event"] == "attempt-ended"]
        return sum("lost" in e.get("text", "") for e in ends) == count

    until(look, f"{count} attempts that are seen to be lost")


def test_a_killed_agent_or_tmux_server_is_lost_reaped_and_tried_again(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    for name in ("a", "b"):
        script = f"sleep 300 &\n{fleet.waits(name)}kill $!\n{fleet.delivers(name)}"
        fleet.task(name, script, deliverables=[f"{name}.md"], attempts=1)
    fleet.write()
    untouched()
    fleet.must("launch", "a", "b")
    until(lambda: sum(fleet.ran().values()) == 2, "both agents")
    children = {one.pid for one in fleet.agents()}
    fleet.tmux("kill-server")
    lost(fleet, 2)
    fleet.must("retry", "a", "b")
    until(lambda: {"a 2", "b 2"} <= set(fleet.ran()), "a second try after the loss of tmux")
    alive = {one.pid for one in fleet.agents()}
    assert not alive & children, "the lost attempt's processes were not reaped"
    rows = {row["id"]: row for row in fleet.status()["tasks"]}
    assert rows["a"]["state"] == rows["b"]["state"] == "working"
    ended = [
        e for e in fleet.history() if e["event"] == "attempt-ended" and e["step"].endswith("/work")
    ]
    assert {e["outcome"]["failure"] for e in ended} == {"infra"}, ended

    wrapper = rows["a"]["pid"]
    os.kill(wrapper, signal.SIGKILL)
    lost(fleet, 3)
    fleet.must("retry", "a")
    until(lambda: "a 3" in fleet.ran(), "a third try after the loss of the agent")
    fleet.go("a")
    fleet.go("b")
    assert fleet.wait("a", "b").code == 0
    assert fleet.ran() == {"a 1": 1, "a 2": 1, "a 3": 1, "b 1": 1, "b 2": 1}
    fleet.nothing_runs()


def test_the_second_coordinator_says_who_is_there(fleet: ScriptedFleet) -> None:
    fleet.task("a", deliverables=["a.md"])
    fleet.write()
    first = subprocess.Popen(
        [sys.executable, "-m", "fleet", "up"], cwd=fleet.root, stderr=subprocess.PIPE, text=True
    )
    try:
        until(fleet.coordinator, "a coordinator")
        second = fleet("up")
        assert second.code == 1
        assert str(first.pid) in second.stderr, second
        assert "Traceback" not in second.stderr
        fleet.must("launch", "a")
        assert fleet.wait("a").code == 0
        assert fleet.coordinator() == first.pid
        first.send_signal(signal.SIGINT)
        assert first.wait(20) in (0, 130)
    finally:
        first.kill()
        first.communicate()
    assert fleet.coordinator() is None
    assert "no coordinator is running" in fleet.must("down").stdout


def test_twenty_launches_of_one_task_at_once_start_it_once(fleet: ScriptedFleet) -> None:
    fleet.task("a", fleet.waits("a") + fleet.delivers("a"), deliverables=["a.md"])
    fleet.write()
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda _: fleet("launch", "a"), range(20)))
    assert {one.code for one in done} == {0}, [one for one in done if one.code]
    assert len(fleet.sessions()) == 1
    fleet.go("a")
    assert fleet.wait("a").code == 0
    assert fleet.ran() == {"a 1": 1}
    started = [e for e in fleet.history() if e["event"] == "run-started"]
    assert len(started) == 1
    late = fleet("launch", "a")
    assert late.code == 1
    assert "a is accepted already" in late.stderr
    assert "--when-ready" not in late.stderr
    fleet.nothing_runs()


def test_twenty_rapid_launches_and_stops_leave_nothing(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    hangs = 'if [ "$FLEET_ATTEMPT" != 21 ]; then trap "" HUP; sleep 300 & fi\n'
    script = hangs + fleet.waits("a") + fleet.delivers("a")
    fleet.task("a", script, deliverables=["a.md"], attempts=1)
    fleet.write()
    untouched()
    for number in range(1, 21):
        fleet.must("launch", "a")
        fleet.must("stop", "a")
        if number in (1, 20):
            assert fleet.row("a")["state"] == "stopped"
            fleet.nothing_runs()
    tries = fleet.row("a")["attempt"]
    assert tries == 20
    assert set(fleet.ran().values()) <= {1}
    fleet.go("a")
    fleet.must("resume", "a")
    assert fleet.wait("a").code == 0  # no retry was spent: attempts is 1
    assert fleet.row("a")["attempt"] == 21
    fleet.nothing_runs()
    assert not [one for one in psutil.Process().children() if "sleep" in one.name()]


def test_down_leaves_the_agents_and_down_all_does_not(fleet: ScriptedFleet) -> None:
    for name in ("a", "b"):
        fleet.task(name, fleet.waits(name) + fleet.delivers(name), deliverables=[f"{name}.md"])
    fleet.write()
    fleet.must("launch", "--all")
    said = fleet.must("down").stdout
    assert "agents live on" in said
    assert fleet.coordinator() is None
    assert len(fleet.sessions()) == 2
    fleet.go("a")
    until(lambda: not any(name.startswith("a-1") for name in fleet.sessions()), "a's end")
    # nobody was there to hear it; the next command finds out
    fleet.must("resume")
    assert fleet.wait("a").code == 0
    fleet.must("down", "--all")
    fleet.nothing_runs()
    assert fleet.row("b")["state"] == "stopped"
    fleet.go("b")
    fleet.must("resume")
    assert fleet.wait("b").code == 0
    assert fleet.ran() == {"a 1": 1, "b 1": 1, "b 2": 1}


def test_what_an_agent_leaves_running_ends_with_its_attempt(fleet: ScriptedFleet) -> None:
    fleet.task("a", "trap '' HUP\nsleep 300 &\n" + fleet.delivers("a"), deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    try:
        fleet.nothing_runs()
    finally:
        for one in fleet.agents():
            one.kill()
