from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters import process
from fleet.adapters.process import ExitWatch, Identity, Members

DOUBLE_FORK = """
import os, time, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
os.wait()
"""


def until(true, limit_s=20):
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
    return found


@pytest.fixture
def zoo():
    """Starts a shell script as an attempt's wrapper would be: in its own session, with a marker."""
    value, started = uuid.uuid4().hex, []
    marker = f"FLEET_ATTEMPT_KEY={value}"

    def start(script, *argv):
        child = subprocess.Popen(
            ["sh", "-c", script, "sh", *argv],
            env={**os.environ, "FLEET_ATTEMPT_KEY": value},
            start_new_session=True,
        )
        started.append(child)
        return child, Members(roots=(process.identify(child.pid),), marker=marker)

    yield start
    process.reap(Members(marker=marker), 0)
    for child in started:
        child.kill()
        child.wait()


def test_a_process_is_more_than_its_pid(zoo):
    child, known = zoo("exec sleep 600")
    (who,) = known.roots
    assert process.alive(who)
    strangers = [
        replace(who, start_ticks=who.start_ticks + 1),
        replace(who, boot_id="another"),
        Identity(2**22, 1, process.boot_id()),
    ]
    for stranger in strangers:
        assert not process.alive(stranger)
        assert not process.send_signal(stranger, signal.SIGKILL)
        assert process.reap(Members(roots=(stranger,)), 0) == set()
    assert process.alive(who)
    assert not process.alive(None)
    assert child.poll() is None


def test_a_zombie_is_dead(zoo):
    child, known = zoo("exec sleep 600")
    child.send_signal(signal.SIGKILL)
    until(lambda: not process.alive(known.roots[0]))
    assert Path(f"/proc/{child.pid}").exists()
    assert process.identify(child.pid) is None


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & exec sleep 600",
        "setsid sleep 600 & exec sleep 600",
        "nohup sleep 600 >/dev/null 2>&1 & exec sleep 600",
        "env -i sleep 600 & exec sleep 600",
        "env -i setsid sleep 600 & exec sleep 600",
        "trap '' TERM HUP; sleep 600 & exec sleep 600",
        '"$1" -c "$2"; exec sleep 600',
        "kill -STOP $$; exec sleep 600",
    ],
)
def test_all_of_an_attempt_is_ended(zoo, script):
    child, known = zoo(script, sys.executable, DOUBLE_FORK)
    wanted = 1 if "STOP" in script else 2
    until(lambda: len(process.members(known)) >= wanted)
    found = process.members(known)
    assert process.reap(known, 0.2) == set()
    assert not any(map(process.alive, found))
    assert child.wait() is not None


@pytest.mark.parametrize("script", ["env -i sleep 600 &", "setsid sleep 600 &", '"$1" -c "$2"'])
def test_orphans_are_found_when_their_wrapper_is_gone(zoo, script):
    child, known = zoo(f"{script}\nsleep 0.3; exit 0", sys.executable, DOUBLE_FORK)
    child.wait()
    assert not process.alive(known.roots[0])
    found = until(lambda: process.members(known))
    assert process.reap(known, 0.1) == set()
    assert not any(map(process.alive, found))


def test_who_asks_is_never_a_member(zoo):
    _, known = zoo("exec sleep 600")
    me = process.identify(os.getpid())
    roots = (*known.roots,)
    found = process.members(Members(roots=roots, marker=f"HOME={os.environ['HOME']}"))
    assert me not in found
    assert known.roots[0] in found


def test_the_grace_is_for_those_who_end_by_themselves(zoo, tmp_path):
    mark = tmp_path / "tidy"
    child, known = zoo(
        f"trap 'echo > {mark}; exit 3' TERM; echo > {mark}.up; while :; do sleep 0.01; done"
    )
    until(mark.with_suffix(".up").exists)
    assert process.reap(known, 10) == set()
    assert child.wait() == 3
    assert mark.exists()


def test_the_end_of_two_hundred_is_noticed_without_polling(zoo):
    child, _ = zoo("for i in $(seq 200); do sleep 600 & done; echo; wait")
    pids = until(
        lambda: (ids := [int(p) for p in _children(child.pid)]) and len(ids) == 200 and ids
    )
    them = [process.identify(pid) for pid in pids]

    async def scene():
        ended, done = [], asyncio.Event()

        def on_exit(who):
            ended.append(who)
            if len(ended) == 199:
                done.set()

        watch = ExitWatch(on_exit)
        assert all(map(watch.add, them))
        assert watch.add(them[0])
        watch.discard(them[0])
        for who in them:
            os.kill(who.pid, signal.SIGKILL)
        await asyncio.wait_for(done.wait(), 20)
        assert len(watch) == 0
        watch.close()
        assert not watch.add(them[1])
        return ended

    assert set(asyncio.run(scene())) == set(them[1:])


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
