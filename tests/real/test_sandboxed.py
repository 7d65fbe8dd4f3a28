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


@pytest.mark.parametrize(
    "real", ["claude", "codex", "opencode", "gemini", "copilot", "aider", "mini"], indirect=True
)
def test_a_task_is_briefed_done_committed_and_judged_inside(real, server: ModelServer):
    model = real.declare(server, real.work("ada"), sandbox=shut_in(server, real.name))
    real.must("launch", "--all")
    assert real.wait("ada", timeout_s=120).code == 0
    assert "Write ada.md, dear ada." in model.asked(0)
    assert real.git("show", "fleet/ada:ada.md") == "good"
    assert real.ended("ada/work")["output"]["said"].endswith("It is written.")
    assert not (real.attempts()[0].parent / "home").exists()
    real.nothing_runs()
