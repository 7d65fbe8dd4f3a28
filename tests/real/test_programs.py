"""The agent programs themselves, driven by fleet, against a scripted model. Each shows what it can
show soon: not every program is run through every test.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from fleet.adapters.model.calls import Usage
from support.model_server import ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real
PATIENCE_S = 240
"""How long what a program does is waited for: some take long to start on a loaded machine."""


def of(*names: str) -> pytest.MarkDecorator:
    """Runs a test once for each of these programs."""
    return pytest.mark.parametrize("real", names, indirect=True)


@of("claude", "codex", "opencode", "gemini", "copilot", "aider", "mini")
def test_a_task_is_briefed_done_committed_and_judged(real, server: ModelServer):
    model = real.declare(server, real.work("ada"))
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "Write ada.md, dear ada." in model.asked(0)
    assert "Keep to the rules." in model.asked(0)
    assert real.git("show", "fleet/ada:ada.md") == "good"
    output = real.ended("ada/work")["output"]
    assert output["said"].endswith("It is written.")
    if real.name not in {"aider", "mini"}:  # they have no sessions of their own
        assert len(output["session"]) >= 30
    if real.name in {"claude", "codex"}:  # they tell it to their model
        assert output["session"] in str(model.played[0])
    used = output["usage"]
    if real.name == "aider":  # counts no cached ones, and not the commit's message
        assert (used["input_tokens"], used["output_tokens"]) == (14, 2)
    else:
        assert (used["input_tokens"], used["cached_tokens"], used["output_tokens"]) == (30, 12, 6)
    assert real.row("ada")["facts"]["verified"]
    assert real.git("status", "--porcelain", cwd=real.worktree("ada")) == ""
    real.nothing_runs()


@of("claude", "codex", "copilot", "gemini", "opencode")
def test_a_turn_that_ends_without_work_is_sent_back_within_the_attempt(real, server: ModelServer):
    model = real.declare(server, [Turn("All done!"), *real.work("ada")])
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "no file ada.md is committed" not in model.asked(0)
    assert "no file ada.md is committed" in model.asked(1)
    assert real.row("ada")["attempt"] == 1
    assert len(real.attempts()) == 1


@pytest.mark.parametrize(
    ("real", "status"),
    [
        *(("claude", 429), ("claude", 529), ("codex", 429), ("codex", 529)),
        *(("gemini", 429), ("mini", 529)),
        ("copilot", 529),  # the others try again for a minute or more: what they say is recorded
    ],
    indirect=["real"],
)
def test_a_limit_for_good_is_the_accounts_and_no_retry_is_spent(real, server: ModelServer, status):
    real.declare(server, [Turn("This is too much.", status=status, for_good=True)])
    real.must("launch", "--all")
    outcome = real.ended("ada/work")
    assert (outcome["failure"], outcome["account"]) == ("account", f"account:{real.name}"), outcome
    assert real.row("ada")["attempt"] == 1


@of("gemini")
def test_whose_hooks_are_off_is_let_through_nothing_that_they_would_ask_about(real, server):
    model = real.declare(server, [Turn.run("touch more.md"), *real.work("ada")])
    settings = real.home / ".gemini/settings.json"
    told = json.loads(settings.read_text())
    settings.write_text(json.dumps({**told, "hooksConfig": {"enabled": False}}))
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "denied by policy" in model.asked(1)
    assert not (real.worktree("ada") / "more.md").exists()


@of("codex")
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


@of("claude", "codex")
def test_a_turn_that_never_delivers_is_sent_back_so_often_and_then_judged(real, server):
    model = real.declare(server, [Turn("Done.")] * 12)
    real.must("launch", "--all")
    until(lambda: len(real.attempts()) > 1, "a second attempt", PATIENCE_S)
    assert len(model.played) >= 3
    assert real.ended("ada/check")["evidence"]["deliverables"][0]["met"] is False


@of("claude", "copilot")
def test_permissions_are_asked_in_the_inbox_and_answered_from_the_command_line(real, server):
    more = [] if real.name == "claude" else [Turn.run("touch more.md")]
    model = real.declare(server, [*more, *real.work("ada")], permissions="ask")
    real.must("launch", "--all")

    def asked(what: str) -> dict[str, object]:
        def look() -> dict[str, object] | None:
            found = real.must("inbox", "--json").json()["questions"]
            return next((one for one in found if what in one["message"]), None)

        return until(look, f"a question about {what}", PATIENCE_S)

    if real.name != "claude":  # what is denied is not done, and the agent is told so
        question = asked("touch more.md")
        real.must("reject", question["id"], "--reason", "No more of it.")
    question = asked("ada.md")
    assert question["choices"] == ["allow", "deny", "always"]
    row = real.row("ada")
    assert (row["state"], row["evidence"]["source"]) == ("needs-you", "hook")
    real.must("approve", question["id"])
    real.must("approve", asked("git add")["id"])
    assert real.wait("ada").code == 0
    assert real.git("show", "fleet/ada:ada.md") == "good"
    assert real.must("inbox", "--json").json()["questions"] == []
    assert not (real.worktree("ada") / "more.md").exists()
    assert not more or "No more of it." in model.asked(1)


@of("claude", "codex")
def test_a_printed_copy_under_another_name_drives_the_program_alike(real, server: ModelServer):
    real.put("harnesses/mine.yaml", real.must("agents", "show", real.name, "--yaml").stdout)
    model = real.declare(server, [Turn("All done!"), *real.work("ada")], harness="mine")
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "Write ada.md, dear ada." in model.asked(0)
    assert "no file ada.md is committed" in model.asked(1)  # by its hooks, within the attempt
    assert len(real.attempts()) == 1
    output = real.ended("ada/work")["output"]
    assert output["session"] in str(model.played[0])
    assert output["usage"]["tokens"] > 0
    found = real.must("agents", "show", "mine", "--json").json()
    assert (found["source"], found["agents"]) == ("harnesses/mine.yaml", ["ada"])


@of("claude", "codex", "gemini", "copilot")
def test_a_session_that_was_lost_is_gone_on_with(real, server):
    first, *rest = real.work("ada")
    model = real.declare(server, [first, Turn("Wait.", fault="hang"), *rest])
    real.must("launch", "--all")
    until(lambda: len(model.played) == 2, "the turn that hangs", PATIENCE_S)
    real.tmux("kill-server")
    assert real.wait("ada").code == 0
    assert len(real.attempts()) == 2
    assert "Write ada.md, dear ada." in model.asked(2)
    assert "it was lost" in model.asked(2)
    told = [one["outcome"]["output"]["session"] for one in real.history()
            if one["event"] == "attempt-ended" and one["step"] == "ada/work"
            and one["outcome"].get("output")]  # fmt: skip
    assert len(told[-1]) >= 30
    if real.name in {"claude", "codex"}:  # they tell it to their model
        assert told[-1] in str(model.played[0])


@pytest.mark.parametrize(
    ("real", "mode"),
    [("claude", "headless"), ("claude", "interactive"), ("codex", "headless"),
     ("codex", "interactive"), ("gemini", "headless"), ("copilot", "headless")],
    indirect=["real"],
)  # fmt: skip
def test_a_budget_ends_what_runs_and_raised_it_goes_on(real, server, mode):
    first, *rest = real.work("ada")
    first = replace(first, usage=Usage(read=5_000, cached=100, written=200))
    hang = Turn("Wait.", fault="hang")
    model = real.declare(server, [first, hang, *rest], mode=mode, limits={"tokens": 4_000})
    real.must("launch", "--all")
    (asked,) = until(lambda: real.status()["questions"], "the question about the budget")
    assert asked["kind"] == "budget"
    row = real.row("ada")
    assert 5_000 <= row["usage"]["tokens"] <= 5_400, row["usage"]
    assert row["waiting_for"] == ["budget of agent ada"]
    assert not real.sessions()
    played = len(model.played)  # it may have been ended before it had written, and asked again
    model.turns[played:] = rest if (real.worktree("ada") / "ada.md").exists() else real.work("ada")
    real.must("answer", asked["id"], "raise")
    assert real.wait("ada").code == 0
    assert "ada.md" in model.asked(played), "its session goes on"
    if mode == "headless":
        assert "was stopped by fleet" in model.asked(played)
    told = [one["outcome"] for one in real.history()
            if one["event"] == "attempt-ended" and one["step"] == "ada/work"]  # fmt: skip
    assert [one["ending"] for one in told] == ["stopped", "succeeded"]
    assert real.row("ada")["usage"]["tokens"] <= 5_400, "nothing is counted twice"


@of("claude", "codex", "gemini", "opencode", "copilot")
def test_a_session_in_its_terminal_ends_once_its_turn_ends_with_everything_in_place(real, server):
    model = real.declare(server, [Turn("Not yet."), *real.work("ada")], mode="interactive")
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert "no file ada.md is committed" in model.asked(1)
    assert real.row("ada")["attempt"] == 1
    output = real.ended("ada/work")["output"]
    assert output["said"].endswith("It is written.")
    if real.name in {"gemini", "opencode", "copilot"}:  # told by files, for want of an output
        assert output["usage"]["output_tokens"] == 8
    real.nothing_runs()


@of("aider")
def test_aider_in_its_terminal_says_that_it_waits(real, server):
    real.declare(server, real.work("ada"), mode="interactive", args=["--yes-always"])
    real.must("launch", "--all")
    real.must("send", "ada", "Do what the brief says.")
    until(lambda: real.row("ada")["turn"] == "idle", "word that it waits", PATIENCE_S)
    assert real.row("ada")["evidence"]["source"] == "hook"
    real.must("stop", "ada")


GRAPH = {
    "workflow": [
        {"id": "first", "role": "ada", "task": "Say the word."},
        {"id": "second", "role": "ada", "task": "Heard {first.output}?", "deps": ["first"]},
    ]
}


@of("codex")
def test_a_program_plays_a_role_of_a_workflow_in_a_folder_that_is_no_repository(real, server):
    model = real.declare(server, [Turn("The word is {second.output}."), Turn("Heard.")])
    path = real.put("graph.json", json.dumps(GRAPH))
    done = real.must("run", path, "--wait", "--json", timeout_s=PATIENCE_S)
    run = done.json()
    assert run["result"] == {"second": "Heard."}, run
    assert run["steps"][0]["output"] == "The word is {second.output}."
    assert "Say the word." in model.asked(0)
    assert "Heard The word is {second.output}.?" in model.asked(1)
    report = real.must("report", run["run"], "--json").json()
    assert report["totals"]["usage"]["output_tokens"] > 0
    real.nothing_runs()
