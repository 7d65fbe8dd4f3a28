from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters import lease
from fleet.adapters.lease import Held, Lease, holder

RACER = """
import os, sys, time
from pathlib import Path
from fleet.adapters.lease import Held, Lease
sys.stdin.readline()
try:
    held = Lease.acquire(Path(sys.argv[1]))
    print("won", os.getpid(), flush=True)
    sys.stdin.read()
except Held as error:
    print("lost", error.pid, flush=True)
"""


def racer(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(lease.__file__).parents[2])}
    argv = [sys.executable, "-c", RACER, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=environment)


def test_of_fifty_racers_one_wins_and_the_others_name_it(tmp_path):
    racers = [racer(tmp_path) for _ in range(50)]
    for one in racers:
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.stdout.readline().split() for one in racers]
    for one in racers:
        one.communicate()
    winners = [pid for word, pid in said if word == "won"]
    assert len(winners) == 1
    assert {pid for _, pid in said} == set(winners)


def test_a_killed_holder_holds_nothing(tmp_path):
    with racer(tmp_path) as one:
        one.stdin.write("\n")
        one.stdin.flush()
        assert one.stdout.readline().startswith("won")
        assert holder(tmp_path).pid == one.pid
        one.send_signal(signal.SIGKILL)
        one.wait()
    assert (tmp_path / "coordinator.json").exists()
    assert holder(tmp_path) is None
    Lease.acquire(tmp_path).release()


def test_a_reused_pid_is_nobody(tmp_path):
    with Lease.acquire(tmp_path, version="1", socket_name="s") as held:
        assert holder(tmp_path) == held.identity
        with pytest.raises(Held, match=str(os.getpid())):
            Lease.acquire(tmp_path)
        path = tmp_path / "coordinator.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "start": 1}))
        assert holder(tmp_path) is None
    assert holder(tmp_path) is None


def test_children_do_not_keep_the_lease(tmp_path):
    held = Lease.acquire(tmp_path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held.release()
        Lease.acquire(tmp_path).release()
        child.kill()
