"""The demo ends as its story says, leaves nothing behind, and says so when a step goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.app.demo import tell_story
from fleet.app.demo.story import Chapter, Do, Ending, read_story
from support.demos import demo_folders

PATIENCE_S = 60


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
        (Do("fleet check", lacks=("6 tasks",)), "says '6 tasks'"),
        (Do("fleet check"), "shows 0 merges, not 4"),
    ],
    ids=["code", "text", "beyond", "end"],
)
def test_a_step_that_goes_wrong_is_said_and_fails_the_demo(act, sentence, footprint):
    planted = replace(read_story("shop"), chapters=(Chapter("planted", "", (act,)),))
    told: list[str] = []
    assert tell_story(planted, told.append) == 1
    assert sentence in told[-1]


def test_keep_leaves_the_repository_and_says_where(footprint):
    told: list[str] = []
    before = demo_folders()
    silent = replace(read_story("shop"), chapters=(), ending=Ending())
    assert tell_story(silent, told.append, keep=True) == 0
    (kept,) = demo_folders() - before
    try:
        assert (kept / "shop/coordination.md").is_file()
        assert any(str(kept) in text for text in told)
    finally:
        subprocess.run(["rm", "-rf", str(kept)], check=True)


def test_a_demo_that_is_not_there_is_told_with_those_that_are(fleet_cli):
    wrong = fleet_cli("demo", "rest")
    assert wrong.code == 1
    assert "no demo 'rest'" in wrong.stderr
    assert "shop" in wrong.stderr
