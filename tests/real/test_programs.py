"""Claude Code and Codex themselves, driven by fleet, against a scripted model."""

from __future__ import annotations

import time

import pytest

from support.model_server import ModelServer, Turn

pytestmark = pytest.mark.real
each_program = pytest.mark.parametrize("real", ["claude", "codex"], indirect=True)


@each_program
def test_a_task_is_briefed_done_committed_and_judged(real, server: ModelServer):
    model = real.declare(server, real.work("ada"))
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "Write ada.md, dear ada." in model.asked(0)
    assert "Keep to the rules." in model.asked(0)
    assert real.git("show", "fleet/ada:ada.md") == "good"
    output = real.ended("ada/work")["output"]
    assert output["said"] == "It is written."
    assert len(output["session"]) == 36
    assert output["session"] in str(model.played[0])
    used = output["usage"]
    assert (used["input_tokens"], used["cached_tokens"], used["output_tokens"]) == (30, 12, 6)
    assert real.row("ada")["facts"]["verified"]
    real.nothing_runs()


@each_program
def test_an_exit_0_without_work_is_sent_back_with_the_evidence(real, server: ModelServer):
    model = real.declare(server, [Turn("All done!"), *real.work("ada")])
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "no file ada.md is committed" not in model.asked(0)
    assert "no file ada.md is committed" in model.asked(1)
    assert real.row("ada")["attempt"] == 2
    assert len(real.attempts()) == 2


@each_program
@pytest.mark.parametrize("status", [429, 529])
def test_a_limit_for_good_is_the_accounts_and_no_retry_is_spent(real, server: ModelServer, status):
    real.declare(server, [Turn("This is too much.", status=status, for_good=True)])
    real.must("launch", "--all")
    outcome = real.ended("ada/work")
    assert (outcome["failure"], outcome["account"]) == ("account", f"account:{real.name}"), outcome
    assert real.row("ada")["attempt"] == 1


@pytest.mark.parametrize("real", ["codex"], indirect=True)
def test_a_usage_limit_lasts_until_its_reset(real, server: ModelServer):
    opens = int(time.time()) + 2 * 86_400
    detail = {"plan_type": "plus", "resets_at": opens}
    turn = Turn("no more", status=429, kind="usage_limit_reached", detail=detail, for_good=True)
    real.declare(server, [turn])
    real.must("launch", "--all")
    outcome = real.ended("ada/work")
    assert (outcome["failure"], outcome["account"]) == ("account", "account:codex"), outcome
    assert 0 <= outcome["until_ms"] - opens * 1000 <= 60_000, outcome
    assert real.row("ada")["attempt"] == 1
