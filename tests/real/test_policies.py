"""Patterns that allow and deny, kept by the programs themselves: what a person is not asked about,
and what no mode lets through.
"""

from __future__ import annotations

import pytest

from fleet.adapters.model.calls import Call
from support.model_server import ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real

COMMITTING = ["run: git add *", "run: git commit *"]


def of(*names: str) -> pytest.MarkDecorator:
    """Runs a test once for each of these programs."""
    return pytest.mark.parametrize("real", names, indirect=True)


def asked(real, what: str) -> dict[str, object]:
    """Returns the open question about `what`, once it is there."""

    def look() -> dict[str, object] | None:
        found = real.must("inbox", "--json").json()["questions"]
        return next((one for one in found if what in one["message"]), None)

    return until(look, f"a question about {what}")


def questions(real) -> list[str]:
    """Returns the messages of all questions that were ever raised."""
    return [
        one["question"]["message"] for one in real.history() if one["event"] == "question-raised"
    ]


@of("claude", "codex")
def test_what_is_denied_by_pattern_is_denied_in_yolo_too(real, server: ModelServer):
    real.env["IS_SANDBOX"] = "1"  # claude as root takes `yolo` only where it is told that
    hidden = "touch pushed && env A=1 git -C . push origin HEAD"
    model = real.declare(
        server,
        [Turn.run(hidden), *real.work("ada")],
        permissions={"mode": "yolo", "deny": ["run: git push *", "run: touch kept"]},
    )
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert not (real.worktree("ada") / "pushed").exists(), "all of a denied command is denied"
    assert "denied by `run: git push *`" in model.asked(1)
    told = real.ended("ada/work")["evidence"]["policy"]
    assert (told["allowed"], told["denied"]) == (0, 1)
    assert told["last"][0]["about"] == hidden
    shown = real.must("report").stdout
    assert "denied by `run: git push *`: Bash touch pushed" in shown
    assert questions(real) == []


@of("gemini", "opencode", "copilot")
def test_one_session_is_denied_asked_and_answered_by_pattern(real, server: ModelServer):
    denied, made = Turn.run("touch made.tmp; git -C . push"), Turn.run("touch made.tmp")
    write, _, said = real.work("ada")
    model = real.declare(
        server,
        [denied, made, made, write, Turn.run("rm made.tmp; git add . && git commit -m a"), said],
        permissions={
            "mode": "ask",
            "allow": ["edit: *.md", "run: rm made.tmp", *COMMITTING],
            "deny": ["run: git push *"],
        },
    )
    real.must("launch", "--all")
    question = asked(real, "touch made.tmp")
    assert "denied by `run: git push *`" in model.asked(1)
    assert not (real.worktree("ada") / "made.tmp").exists(), "nothing of it is done"
    real.must("approve", question["id"], "--always")
    assert real.wait("ada").code == 0
    assert len(questions(real)) == 1, "what was approved for good is not asked again"
    assert real.git("show", "--name-only", "--format=", "fleet/ada") == "ada.md"
    told = real.ended("ada/work")["evidence"]["policy"]
    assert (told["allowed"], told["denied"]) == (3, 1)


@of("claude")
def test_what_is_allowed_by_pattern_is_not_asked_and_all_else_is_until_it_expires(real, server):
    more = Turn.run("touch more.tmp && git add ada.md")
    real.declare(
        server,
        [more, *real.work("ada")],
        permissions={
            "mode": "ask", "allow": ["edit: *.md", *COMMITTING], "deny": ["mcp"], "expires": "3s"
        },
    )  # fmt: skip
    real.must("launch", "--all")
    question = asked(real, "more.tmp")
    assert question["default"] == "deny"
    assert question["expires_at"]
    assert real.wait("ada").code == 0
    assert not (real.worktree("ada") / "more.tmp").exists()
    assert real.git("show", "fleet/ada:ada.md") == "good"
    assert len(questions(real)) == 1
    (answer,) = [one for one in real.history() if one["event"] == "question-answered"]
    assert (answer["value"], answer["by"]) == ("deny", "timeout")
    assert real.ended("ada/work")["evidence"]["policy"]["allowed"] == 2


@of("claude")
def test_what_is_approved_for_good_is_not_asked_again(real, server: ModelServer):
    made = Turn.run("touch made.tmp")
    real.declare(
        server,
        [made, made, Turn.run("rm made.tmp"), *real.work("ada")],
        permissions={"mode": "ask", "allow": ["edit", *COMMITTING]},
    )
    real.must("launch", "--all")
    question = asked(real, "touch made.tmp")
    assert question["pattern"] == "run: touch made.tmp"
    assert "--always allows `run: touch made.tmp`" in real.must("inbox").stdout
    real.must("approve", question["id"], "--always")
    real.must("reject", asked(real, "rm made.tmp")["id"], "--reason", "keep it")
    assert real.wait("ada", "--for", "working").code == 0
    until(lambda: real.row("ada")["state"] != "working", "the end of the work")
    assert len(questions(real)) == 2
    assert real.ended("ada/work")["evidence"]["policy"]["allowed"] == 3
    assert (real.worktree("ada") / "made.tmp").exists()


@of("claude")
def test_in_mode_deny_only_what_is_allowed_is_done(real, server: ModelServer):
    model = real.declare(
        server,
        [Turn.run("touch more.tmp"), *real.work("ada")],
        permissions={"mode": "deny", "allow": ["edit: ada.md", *COMMITTING]},
    )
    real.must("launch", "--all")
    assert real.wait("ada").code == 0
    assert not (real.worktree("ada") / "more.tmp").exists()
    assert "not among what is allowed" in model.asked(1)
    assert questions(real) == []


@of("codex")
def test_codex_in_its_terminal_is_answered_by_pattern(real, server: ModelServer):
    told = {"sandbox_permissions": "require_escalated", "justification": "it must be so"}
    calls = [
        Turn(calls=(Call("exec_command", {"cmd": f"touch {name}", **told}),))
        for name in ("one.tmp", "two.tmp")
    ]
    real.declare(
        server,
        [*calls, *real.work("ada")],
        mode="interactive",
        permissions={"mode": "ask", "allow": ["run: touch one.tmp"]},
    )
    real.must("launch", "--all")
    question = asked(real, "two.tmp")
    assert (real.worktree("ada") / "one.tmp").exists()
    real.must("approve", question["id"])
    assert real.wait("ada").code == 0
    assert [one for one in questions(real) if "one.tmp" in one] == []
