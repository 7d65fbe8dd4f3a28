"""Limits held by the kernel's own control groups, as root and as `nobody` in a delegated one.

They need a cgroup v2 whose controllers may be written: elsewhere they are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.adapters.sandbox import wardens
from fleet.adapters.warden import cage
from support.scripted_fleet import until

NOBODY = 65_534
PLAIN_PYTHON = "/usr/bin/python3"
MIB = 1 << 20


class Ground:
    """A control group in which somebody may make others, and what runs there with a warden."""

    def __init__(self, path: Path, user: int | None, folder: Path) -> None:
        self.path, self.user, self.folder = path, user, folder

    def argv(self, script: str, **limits: int) -> list[str]:
        warden = wardens.outside(self.folder, **limits)
        who = [] if self.user is None else ["setpriv", f"--reuid={self.user}", "--clear-groups"]
        if self.user is not None:
            warden = [PLAIN_PYTHON, *warden[warden.index("-I") :]]
        command = shlex.join([*who, *warden, "/bin/sh", "-c", script])
        scope = self.path / f"scope-{uuid.uuid4().hex}"  # as systemd gives one to each
        scope.mkdir()
        if self.user is not None:
            for one in (scope, *scope.glob("cgroup.*")):
                os.chown(one, self.user, self.user)
        return ["/bin/sh", "-c", f"echo $$ > {scope}/cgroup.procs && exec {command}"]

    def __call__(self, script: str, **limits: int) -> tuple[int, dict[str, int]]:
        """Returns the exit code, and what the limits had to do."""
        done = subprocess.run(
            self.argv(script, **limits), capture_output=True, text=True, check=False, timeout=120
        )
        assert "fleet:" not in done.stderr, done.stderr
        return done.returncode, json.loads((self.folder / "held.json").read_text())

    def left(self) -> list[str]:
        """Returns the names of groups that wardens have made."""
        return [one.name for one in self.path.rglob("fleet-*")]


@pytest.fixture(params=["self", "nobody"])
def ground(request, tmp_path: Path) -> Iterator[Ground]:
    if os.geteuid() != 0:
        pytest.skip("only root can make a group and hand it over")
    try:
        made = cage.make(64 * MIB, 16)
    except OSError as why:
        pytest.skip(f"no control group can be made here: {why}")
    made.end()
    if Path(cage.SYSTEMD).is_dir():
        pytest.skip("groups are systemd's here")
    if request.param == "nobody" and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    path = Path(made.path).parent / f"test-{uuid.uuid4().hex}"
    path.mkdir()
    user = None
    if request.param == "nobody":
        user = NOBODY
        for one in (path, *path.glob("cgroup.*")):
            os.chown(one, user, user)
    folder = Path("/tmp", path.name)  # tmp_path's parents are closed to others
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    yield Ground(path, user, folder)
    shutil.rmtree(folder)
    for one in sorted(path.rglob("*/"), reverse=True):
        if one.is_dir():
            one.rmdir()
    path.rmdir()


def eat(mib: int, then: str = "") -> str:
    """Returns a command that really takes so much memory."""
    return f"{PLAIN_PYTHON} -c 'b = bytearray(b\"x\") * ({mib} << 20); {then}'"


def test_who_takes_too_much_is_killed_and_it_is_told(ground):
    code, held = ground(f"exec {eat(200)}", memory_bytes=100 * MIB)
    assert code == 137
    assert held["oom_kills"] == 1
    assert 0 < held["memory_peak_bytes"] <= 100 * MIB
    code, held = ground(eat(30), memory_bytes=100 * MIB)
    assert (code, held["oom_kills"]) == (0, 0)
    assert ground.left() == []


def test_memory_is_of_all_together(ground):
    """Each would fit alone; all have theirs before the first ends."""
    wait = eat(60, "import time; time.sleep(600)")
    script = (
        f"for n in 1 2 3; do {wait} & done; "
        "while [ $(jobs -r | wc -l) = 3 ]; do sleep 0.1; done; kill $(jobs -p); exit 0"
    )
    _, held = ground(f"exec bash -c {shlex.quote(script)}", memory_bytes=150 * MIB)
    assert held["oom_kills"] >= 1


def test_processes_are_counted_for_root_too(ground):
    bomb = "n=0; while [ $n -lt 60 ]; do sleep 5 & n=$((n + 1)); done; wait"
    code, held = ground(bomb, processes=20)
    assert code != 0
    assert held["forks_refused"] > 0
    code, held = ground("sleep 0 & sleep 0 & wait", processes=20)
    assert (code, held["forks_refused"]) == (0, 0)


def test_what_is_left_ends_with_it(ground):
    """Without a process namespace, as here, only the group still holds it."""
    code, _ = ground("setsid sleep 600 </dev/null >/dev/null 2>&1 & exit 4", processes=20)
    assert code == 4
    assert ground.left() == []


def test_the_empty_group_of_a_warden_that_was_killed_is_removed_by_the_next(ground):
    argv = ground.argv("kill -9 $PPID; exit", processes=20)
    with subprocess.Popen(argv) as warden:
        warden.wait(60)
    (left,) = ground.path.rglob("fleet-*")
    until(lambda: not (left / "cgroup.procs").read_text(), "its end")
    cage.sweep(str(left.parent))
    assert ground.left() == []


def test_where_no_group_can_be_made_nothing_is_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cage, "_grounds", lambda: [str(tmp_path)])
    from fleet.adapters.warden import watch

    (tmp_path / "cgroup.controllers").write_text("cpu io\n")
    told = {"folder": str(tmp_path), "memory_bytes": MIB}
    before = {number: signal.getsignal(number) for number in watch.DEAF}
    try:
        assert watch.main([json.dumps(told), "/bin/sh", "-c", f"touch {tmp_path}/ran"]) == 125
    finally:  # else whatever is started here later is deaf, too
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "the controller memory is not there" in capfd.readouterr().err
    assert not (tmp_path / "ran").exists()
