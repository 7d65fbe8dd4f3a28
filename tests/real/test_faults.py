"""What the agent programs themselves do when something is wrong, and what fleet makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from support.model_server import CODEX_CONFIG, ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real


def question(real, topic: str = "blocked") -> dict[str, Any]:
    """Returns the question about a session, that waits in its terminal, say, once there is one."""

    def look() -> dict[str, Any] | None:
        found = real.must("inbox", "--json").json()["questions"]
        return next((one for one in found if one["topic"] == topic), None)

    return until(look, "a question about the session")


def types(real, *keys: str) -> None:
    """Types into the pane, as a person who is attached does."""
    session = real.row("ada")["session"]
    assert real.tmux("send-keys", "-t", f"={session}:", *keys).returncode == 0


@pytest.mark.parametrize(
    ("real", "keys"),
    [("claude", ("Down", "Enter")), ("codex", ("Enter",))],
    indirect=["real"],
)
def test_a_folder_that_is_not_trusted_needs_a_person_who_says_so_in_the_pane(
    real, server: ModelServer, keys
):
    real.declare(server, real.work("ada"), mode="interactive")
    settings = real.home / ".claude.json"
    if real.name == "claude":
        told = json.loads(settings.read_text())
        settings.write_text(json.dumps({**told, "projects": {}}))
    else:
        settings = real.home / ".codex/config.toml"
        settings.write_text(settings.read_text().partition("[projects")[0])
        assert "[projects" in CODEX_CONFIG
    real.must("launch", "--all")
    asked = question(real)
    assert "trusted" in asked["message"]
    assert "fleet attach ada" in asked["message"]
    row = real.row("ada")
    assert (row["state"], row["evidence"]["source"]) == ("needs-you", "screen")
    types(real, *keys)
    assert real.wait("ada").code == 0
    assert real.row("ada")["attempt"] == 1
    assert real.must("inbox", "--json").json()["questions"] == []


@pytest.mark.parametrize("real", ["claude"], indirect=True)
def test_a_turn_that_hangs_is_asked_about_and_interrupted_it_is_idle_by_the_programs_own_word(
    real, server: ModelServer
):
    hangs = Turn("Wait.", fault="hang", for_good=True)
    model = real.declare(server, [hangs], mode="interactive", limits={"idle": "5s"})
    real.must("launch", "--all")
    until(lambda: model.played, "the turn that hangs")
    assert real.row("ada")["turn"] == "working"
    asked = question(real, "idle")  # though its terminal is drawn all the time
    assert "no progress" in asked["message"]
    types(real, "Escape")
    row = until(lambda: (r := real.row("ada"))["turn"] == "idle" and r, "an idle turn", 60)
    assert row["evidence"]["source"] == "program"
    assert row["evidence"]["doubt"] is None
    assert row["attempt"] == 1


@pytest.mark.parametrize(
    ("real", "cure"), [("claude", "/login"), ("codex", "SCRIPTED_KEY")], indirect=["real"]
)
def test_without_a_login_the_failure_is_the_agents_and_names_the_cure(
    real, server: ModelServer, cure
):
    model = real.declare(server, [Turn("never asked")])
    path = real.root / "agents/ada.yaml"
    told = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**told, "secrets": []}))
    real.must("launch", "--all")
    outcome = real.ended("ada/work")
    assert outcome["failure"] == "agent", outcome
    assert cure in outcome["text"]
    assert model.played == []
    row = real.row("ada")
    assert (row["state"], row["attempt"]) == ("starting", 1), "the next try is not at once"


@pytest.mark.parametrize("real", ["claude", "codex"], indirect=True)
def test_without_a_login_a_session_in_its_terminal_needs_a_person(real, server: ModelServer):
    real.declare(server, [Turn("never asked")], mode="interactive")
    path = real.root / "agents/ada.yaml"
    told = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**told, "secrets": []}))
    real.must("launch", "--all")
    assert "fleet attach ada" in question(real)["message"]
    assert real.row("ada")["state"] == "needs-you"
    assert real.row("ada")["attempt"] == 1


@pytest.mark.parametrize("real", ["claude", "codex", "gemini", "copilot"], indirect=True)
def test_a_key_that_is_refused_is_the_agents_failure_in_the_services_words(
    real, server: ModelServer
):
    real.declare(server, [Turn("this key is revoked", status=401, for_good=True)])
    real.must("launch", "--all")
    outcome = real.ended("ada/work")
    assert outcome["failure"] == "agent", outcome
    assert ("HTTP 401" if real.name == "copilot" else "revoked") in outcome["text"], outcome
    assert real.row("ada")["attempt"] == 1


@pytest.mark.parametrize(
    ("real", "fault"),
    [
        *(("claude", "cut"), ("codex", "malformed"), ("copilot", "cut"), ("gemini", "malformed")),
        *(("opencode", "cut"), ("aider", "malformed")),
    ],
    indirect=["real"],
)
def test_an_answer_that_breaks_off_costs_no_task(real, server: ModelServer, fault):
    real.declare(server, [Turn("This is the beginning.", fault=fault), *real.work("ada")])
    real.must("launch", "--all")
    assert real.wait("ada", timeout_s=80).code == 0
    ends = [one["outcome"] for one in real.history() if one["event"] == "attempt-ended"]
    assert {one["failure"] for one in ends if one.get("failure")} <= {"agent", "task"}, ends


@pytest.mark.parametrize("real", ["claude"], indirect=True)
def test_after_a_reboot_each_program_goes_on_with_its_own_session(real, server: ModelServer):
    programs = {"ada": "claude", "bob": "codex", "cy": "opencode", "di": "claude"}
    models = {}
    for name, program in programs.items():
        mode = {"mode": "interactive"} if name == "di" else {}
        first, *rest = real.work(name)
        hang = Turn("Wait.", fault="hang")
        models[name] = real.plays(server, name, program, [first, hang, *rest], **mode)
    real.task("sh", '[ "$FLEET_ATTEMPT" = 1 ] && sleep 984\n' + real.delivers("sh"))
    real.write()
    real.must("launch", "--all")
    for name, model in models.items():
        until(lambda model=model: len(model.played) == 2, f"the turn of {name} that hangs", 80)
    real.reboot()
    said = real.must("resume", timeout_s=90).stdout
    assert all(name in said for name in (*programs, "sh"))
    assert real.wait(*programs, "sh", timeout_s=80).code == 0
    for name, model in models.items():
        assert real.row(name)["attempt"] == 2
        if name == "di":  # in its terminal it is told where its brief lies
            told = [f"di%2Fwork/{number}/brief.md" for number in (1, 2)]
        else:
            told = [f"Write {name}.md, dear {name}.", "it was lost"]
        assert all(one in model.asked(2) for one in told), "its own thoughts, and what happened"
    real.nothing_runs()
