"""What is known of a session whose hooks are mute: never more than there is, and nothing dies of
it. The person is the test, who types into the pane.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.scripted_fleet import ScriptedFleet, until

TERMINAL = {"mode": "interactive"}
SECRET = "sesame-00000000"


def blocked(fleet: ScriptedFleet, task: str) -> dict[str, Any]:
    """Returns the question about a task that waits in its terminal, once there is one."""

    def look() -> dict[str, Any] | None:
        found = fleet.must("inbox", "--json").json()["questions"]
        return next((q for q in found if (q["topic"], q["task"]) == ("blocked", task)), None)

    return until(look, f"a question about {task}")


def types(fleet: ScriptedFleet, task: str, *keys: str) -> None:
    """Types into a task's pane, as a person who is attached does."""
    session = fleet.row(task)["session"]
    assert fleet.tmux("send-keys", "-t", f"={session}:", *keys).returncode == 0


def test_a_terminal_that_waits_for_a_person_is_a_question_until_it_goes_on(
    fleet: ScriptedFleet,
) -> None:
    asks = "printf 'Password for ada: '\nread -r word\n[ \"$word\" = sesame ] || exit 7\n"
    on = f"echo; echo thanks\n{fleet.waits('on')}"
    fleet.task("a", asks + on + fleet.delivers("a"), agent=TERMINAL, deliverables=["a.md"])
    fleet.task("b", asks, agent=TERMINAL, attempts=1)
    fleet.write()
    fleet.must("launch", "a", "b")
    other, asked = blocked(fleet, "b"), blocked(fleet, "a")
    assert "a password" in asked["message"]
    assert "fleet attach a" in asked["message"]
    row = fleet.row("a")
    assert (row["state"], row["turn"]) == ("needs-you", "blocked")
    assert row["evidence"]["source"] == "screen"
    assert "Password for ada:" in fleet.must("status", "a").stdout
    fleet.must("answer", other["id"], "stop")
    types(fleet, "a", "sesame", "Enter")
    until(lambda: fleet.row("a")["state"] == "working", "its own way on")
    assert [q["task"] for q in fleet.must("inbox", "--json").json()["questions"]] in (["b"], [])
    fleet.go("on")
    assert fleet.wait("a").code == 0
    until(lambda: "was ended by a person" in fleet.row("b")["why"], "the end of b")
    assert fleet.ran() == {"a 1": 1, "b 1": 1}


CLAUDE = """#!/bin/sh
case $1 in --version) echo "2.1.329 (Claude Code)"; exit;; agents) echo '[]'; exit;; esac
echo "Loading with $TOKEN"
while [ ! -e "{go}" ]; do sleep 0.1; done
{then}
"""


@pytest.fixture
def program(fleet: ScriptedFleet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `claude` of the test's own that calls no hook, first on PATH."""
    path = fleet.put("bin/claude", "", fleet.top)
    path.write_text(CLAUDE.format(go=fleet.gates / "a", then=fleet.delivers("a")))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return path


@pytest.mark.usefixtures("program")
def test_a_session_that_is_mute_from_its_start_is_doubted_shown_and_left_alone(
    fleet: ScriptedFleet,
) -> None:
    fleet.settings["secrets"] = {"TOKEN": f"file:{fleet.put('../token', SECRET).resolve()}"}
    agent = {"harness": "claude", "args": [], "secrets": ["TOKEN"], **TERMINAL}
    fleet.task("a", "", agent=agent, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    row = until(lambda: (r := fleet.row("a"))["evidence"]["doubt"] and r, "a doubt")
    assert (row["state"], row["turn"]) == ("starting", "unknown")
    assert row["evidence"]["source"] == "screen"
    assert "starting?" in fleet.must("status").stdout
    shown = fleet.must("status", "a").stdout
    assert "Loading with [TOKEN]" in shown
    assert "nothing was heard of it since its start" in shown
    assert fleet.must("status", "a", "--json").json()["screen"] == ["Loading with [TOKEN]"]
    assert fleet.must("inbox", "--json").json()["questions"] == []
    fleet.go("a")
    assert fleet.wait("a").code == 0
    assert fleet.row("a")["attempt"] == 1


def test_a_program_that_is_not_installed_is_said_at_launch_with_its_cure(
    fleet: ScriptedFleet,
) -> None:
    nothing = fleet.put("nothing/here", "", fleet.top).parent
    agent = {"harness": "claude", "args": [], "env": {"PATH": str(nothing)}}
    fleet.task("a", "", agent=agent, deliverables=["a.md"])
    fleet.write()
    done = fleet("launch", "a")
    assert done.code == 1
    assert "claude is not on PATH: npm install" in done.stdout
    assert "claude is not on PATH" in fleet.must("status", "--width", "150").stdout
    assert fleet.row("a")["attempt"] == 1
