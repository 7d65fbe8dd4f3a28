"""The demo ends as its story says, leaves nothing behind, and says so when a step goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fleet.app import demo
from fleet.app.demo import Chapter, Do, run_demo

PATIENCE_S = 60


def demo_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("fleet-demo-*"))


def sockets() -> set[Path]:
    return {path for path in Path(os.environ["TMUX_TMPDIR"]).rglob("fleet-*") if path.is_socket()}


def processes_of(folders: set[Path]) -> list[str]:
    """Returns the command lines of living processes that name or work in one of the folders."""
    names = [os.fsencode(path) for path in folders]
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                told = (process / "cmdline").read_bytes()
                where = os.fsencode((process / "cwd").readlink())
            except OSError:
                continue
            if any(name in told or where.startswith(name) for name in names):
                found.append(told.replace(b"\0", b" ").decode())
    return found


@pytest.fixture(autouse=True)
def _temporary_folder_of_its_own(tmp_path, monkeypatch):
    """Demos of tests that run side by side are not seen by one another."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def footprint():
    """Holds that a demo leaves no folder, no tmux server and no process."""
    folders, servers = demo_folders(), sockets()
    made: set[Path] = set()
    yield made
    assert demo_folders() == folders
    assert sockets() == servers
    deadline = time.monotonic() + 20  # a front door that lost its fleet takes a moment to see it
    while processes_of(made) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(made) == []


def test_the_whole_story(fleet_cli, footprint):
    told = fleet_cli("demo", timeout_s=180)
    assert told.code == 0, told.stdout + told.stderr
    root = Path(told.stdout.split("fleet of six: ")[1].split("\n")[0])
    footprint.add(root.parent)
    assert told.stdout.count("\n$ fleet merge ") == 4
    assert told.stdout.count("\n$ fleet gate ") >= 4
    assert "[exit 1]" in told.stdout
    assert "100 % done" in told.stdout
    assert "5 != 6" in told.stdout


def test_an_interrupted_demo_leaves_nothing(tmp_path, footprint):
    out = tmp_path / "out"
    with out.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "fleet", "demo"],
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    deadline = time.monotonic() + PATIENCE_S
    while b"$ fleet launch agent-2" not in out.read_bytes() and time.monotonic() < deadline:
        assert process.poll() is None, out.read_text()
        time.sleep(0.05)
    footprint.update(demo_folders())
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 130


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (Do("fleet check", 1), "ended with 0, not 1"),
        (Do("fleet check", has=("7 tasks",)), "does not say '7 tasks'"),
        (Do("fleet check"), "does not show four merges"),
    ],
    ids=["code", "text", "end"],
)
def test_a_step_that_goes_wrong_is_said_and_fails_the_demo(act, sentence, monkeypatch, footprint):
    monkeypatch.setattr(demo, "STORY", (Chapter("planted", "", (act,)),))
    told: list[str] = []
    assert run_demo(told.append) == 1
    assert sentence in told[-1]


def test_keep_leaves_the_repository_and_says_where(monkeypatch):
    monkeypatch.setattr(demo, "STORY", ())
    monkeypatch.setattr(demo.Scene, "check_end", lambda _: None)
    told: list[str] = []
    before = demo_folders()
    assert run_demo(told.append, keep=True) == 0
    (kept,) = demo_folders() - before
    try:
        assert (kept / "shop/coordination.md").is_file()
        assert any(str(kept) in text for text in told)
    finally:
        subprocess.run(["rm", "-rf", str(kept)], check=True)
