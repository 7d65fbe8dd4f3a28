"""Codex itself, driven by fleet, against a scripted model."""

from __future__ import annotations

import time

import pytest

from support.model_server import ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real
PROGRAM = "codex"
CONFIG = """\
model = "scripted"
model_provider = "scripted"
[analytics]
enabled = false
[feedback]
enabled = false
[features]
plugins = false
apps = false
remote_plugin = false
[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
"""


def declare(real, server: ModelServer, turns: list[Turn]):
    """Writes a fleet of one agent; returns its model."""
    model = server.play("ada", turns, cwd=real.worktree("ada"))
    real.key = "SCRIPTED_KEY"
    real.put(".codex/config.toml", CONFIG.format(url=model.url), real.home)
    real.agent("ada", {})
    real.write()
    return model


def done(real, name: str) -> list[Turn]:
    """Returns turns that write NAME.md, commit it and say so."""
    return [
        Turn.write(f"{{cwd}}/{name}.md", "good"),
        Turn.run(f"git add {name}.md && git commit -qm {name}"),
        Turn("It is written."),
    ]


def ended(real, step: str) -> dict[str, object]:
    """Returns the outcome of a step's first attempt."""

    def look() -> dict[str, object] | None:
        found = [one for one in real.history() if one.get("step") == step]
        return next((one["outcome"] for one in found if one["event"] == "attempt-ended"), None)

    return until(look, f"the end of {step}")


def test_a_task_is_briefed_done_committed_and_judged(real, server: ModelServer):
    model = declare(real, server, done(real, "ada"))
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "Write ada.md, dear ada." in model.asked(0)
    assert "Keep to the rules." in model.asked(0)
    assert real.git("show", "fleet/ada:ada.md") == "good"
    output = ended(real, "ada/work")["output"]
    assert output["said"] == "It is written."
    assert len(output["session"]) == 36
    assert output["session"] in str(model.played[0])
    used = output["usage"]
    assert (used["input_tokens"], used["cached_tokens"], used["output_tokens"]) == (30, 12, 6)
    assert real.row("ada")["facts"]["verified"]
    real.nothing_runs()


def test_an_exit_0_without_work_is_sent_back_with_the_evidence(real, server: ModelServer):
    model = declare(real, server, [Turn("All done!"), *done(real, "ada")])
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "no file ada.md is committed" not in model.asked(0)
    assert "no file ada.md is committed" in model.asked(1)
    assert real.row("ada")["attempt"] == 2
    assert len(real.attempts()) == 2


def test_a_usage_limit_is_the_accounts_until_its_reset_and_no_retry_is_spent(
    real, server: ModelServer
):
    opens = int(time.time()) + 2 * 86_400
    detail = {"plan_type": "plus", "resets_at": opens}
    turn = Turn("no more", status=429, kind="usage_limit_reached", detail=detail, for_good=True)
    declare(real, server, [turn])
    real.must("launch", "--all")
    outcome = ended(real, "ada/work")
    assert (outcome["failure"], outcome["account"]) == ("account", "codex"), outcome
    assert 0 <= outcome["until_ms"] - opens * 1000 <= 60_000, outcome
    assert real.row("ada")["attempt"] == 1


@pytest.mark.parametrize("status", [429, 529])
def test_an_overload_for_good_is_the_accounts(real, server: ModelServer, status):
    declare(real, server, [Turn("This is too much.", status=status, for_good=True)])
    real.must("launch", "--all")
    outcome = ended(real, "ada/work")
    assert (outcome["failure"], outcome["account"]) == ("account", "codex"), outcome
