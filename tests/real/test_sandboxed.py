"""Real agent programs in a sandbox: briefed, done, committed and judged as they are outside."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.adapters import sandbox
from support.model_server import ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real

SETTINGS = {
    "claude": ["~/.claude.json"],
    "codex": ["~/.codex/config.toml"],
    "opencode": ["~/.config/opencode"],
    "gemini": ["~/.gemini/settings.json"],
}
"""What each program finds of its settings in the home of its sandbox."""


@pytest.fixture(autouse=True)
def bwrap() -> None:
    trouble = sandbox.problem()
    if trouble is not None:
        pytest.skip(f"no sandbox here: {trouble.text}")


def shut_in(server: ModelServer, name: str, **more: object) -> dict[str, Any]:
    """Returns a sandbox out of which only the model is reached."""
    place = server.url.removeprefix("http://")
    told: dict[str, Any] = {"kind": "bwrap", "network": [place], **more}
    return {**told, "copy": SETTINGS[name]} if name in SETTINGS else told


@pytest.mark.parametrize("real", ["claude", "codex", "opencode", "gemini"], indirect=True)
def test_a_task_is_briefed_done_committed_and_judged_inside(real, server: ModelServer):
    model = real.declare(server, real.work("ada"), sandbox=shut_in(server, real.name))
    real.must("launch", "--all")
    assert real.wait("ada", timeout_s=80).code == 0
    assert "Write ada.md, dear ada." in model.asked(0)
    assert real.git("show", "fleet/ada:ada.md") == "good"
    assert real.ended("ada/work")["output"]["said"].endswith("It is written.")
    assert not (real.attempts()[0].parent / "home").exists()
    real.nothing_runs()


@pytest.mark.parametrize("real", ["claude"], indirect=True)
def test_permissions_are_asked_from_inside_and_a_lost_session_is_gone_on_with(real, server):
    """By hooks and mail from inside; what the program remembers lies in the home that is kept."""
    first, *rest = real.work("ada")
    turns = [first, Turn("Wait.", fault="hang"), *rest]
    told = shut_in(server, real.name)
    model = real.declare(server, turns, sandbox=told, permissions="ask")
    real.must("launch", "--all")

    def asked(what: str) -> str | None:
        found = real.must("inbox", "--json").json()["questions"]
        return next((one["id"] for one in found if what in one["message"]), None)

    real.must("approve", until(lambda: asked("ada.md"), "a permission to write"))
    until(lambda: len(model.played) == 2, "the turn that hangs")
    assert (real.attempts()[0].parent / "home/.claude").is_dir()
    real.tmux("kill-server")
    real.must("approve", until(lambda: asked("git add"), "a permission to commit"))
    assert real.wait("ada", timeout_s=80).code == 0
    assert "it was lost" in model.asked(2)
    assert "Write ada.md, dear ada." in model.asked(2), "its session is gone on with"
    assert not (real.attempts()[0].parent / "home").exists()
