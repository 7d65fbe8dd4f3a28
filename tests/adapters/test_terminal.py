"""A terminal without tmux: the wrapper runs in it as in a pane, and it goes with who holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters import process
from fleet.adapters.attempts import KEY_VARIABLE, AttemptFolder, Launch
from fleet.adapters.terminal import Terminal
from support.scripted_fleet import until

ENVIRON = {"PATH": os.environ["PATH"]}


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptFolder:
    return AttemptFolder(tmp_path / "attempts/run/step/1")


def prepare(attempt: AttemptFolder, script: str) -> None:
    place = attempt.path.parent / "place"
    place.mkdir(parents=True)
    launch = Launch(
        key=("run", "step", 1),
        session="step",
        folder=attempt.path,
        worktree=place,
        argv=["/bin/sh", "-c", script],
    )
    attempt.write_spec(launch)


def test_an_attempt_has_a_terminal_that_answers(attempt: AttemptFolder):
    prepare(attempt, "stty size </dev/tty >&2; tty <&2 >&2; echo told; echo $TERM; exit 3")
    with Terminal(attempt.path, ENVIRON) as terminal:
        record = until(attempt.exit_record, "the exit record")
    assert record.code == 3
    shown = attempt.output_tail()
    assert "50 200" in shown
    assert str(terminal.path) in shown
    assert attempt.stdout_tail() == "told\nscreen-256color\n"


def alone(known: process.Members) -> set[process.Identity]:
    found = process.members(known)
    return found if len(found) == 1 else set()


def test_who_keeps_the_terminal_open_is_not_waited_for_and_can_be_found(attempt: AttemptFolder):
    stray = "env -i setsid /bin/sh -c '>ready; exec sleep 600' >/dev/null &"
    # A session leader's end hangs up whoever has not left its session by then.
    prepare(attempt, f"{stray} until [ -e ready ]; do sleep 0.01; done; exit 0")
    with Terminal(attempt.path, ENVIRON) as terminal:
        until(attempt.exit_record, "the exit record")
        claim = attempt.claim()
        assert claim is not None
        marker = f"{KEY_VARIABLE}={attempt.key}"
        known = process.Members(roots=(claim,), marker=marker, pipe=terminal.path)
        (left,) = until(lambda: alone(known), "the stray, without its wrapper")
    assert process.alive(left), "leaving does not wait for it"
    assert process.reap(process.Members(roots=(left,)), 0.1) == set()


def test_the_attempt_is_hung_up_when_its_holder_is_killed(attempt: AttemptFolder):
    prepare(attempt, "exec sleep 600")
    code = (
        "import sys, time, pathlib; from fleet.adapters.terminal import Terminal\n"
        f"with Terminal(pathlib.Path(sys.argv[1]), {ENVIRON!r}): time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(attempt.path)]) as holder:
        claim = until(attempt.claim, "the claim")
        holder.send_signal(signal.SIGKILL)
    marker = f"{KEY_VARIABLE}={attempt.key}"
    known = process.Members(roots=(claim,), marker=marker)
    until(lambda: not process.members(known), "the end of the attempt")
