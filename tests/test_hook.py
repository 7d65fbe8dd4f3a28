"""`fleet hook` as agent programs call it: events on standard input, in a folder of an attempt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fleet.hook
from fleet.adapters.mailbox import Mailbox
from fleet.codec import loads_command
from fleet.core import messages as m
from support.scripted_fleet import until

HOOK = [sys.executable, "-I", "-S", str(Path(fleet.hook.__file__))]


class Attempt:
    """An attempt's folder in a state folder whose coordinator is this test."""

    def __init__(self, top: Path) -> None:
        self.state = top / ".fleet"
        self.folder = self.state / "attempts" / "plan" / "a%2Fwork" / "2"
        self.folder.mkdir(parents=True)
        self.mailbox = Mailbox(self.state)
        self.wishes(wait_s=30)
        (self.state / "coordinator.json").write_text(json.dumps({"pid": os.getpid()}))

    def wishes(self, **told: object) -> None:
        (self.folder / "hooks.json").write_text(json.dumps({"stop": True, **told}))

    def start(self, **event: object) -> subprocess.Popen[str]:
        """Starts the hook with one event."""
        told = {"FLEET_BRIEF": str(self.folder / "brief.md"), "FLEET_AGENT": "ada"}
        hook = subprocess.Popen(
            HOOK,
            env=told,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert hook.stdin is not None
        hook.stdin.write(json.dumps({"session_id": "s-1", **event}))
        hook.stdin.close()
        hook.stdin = None
        return hook

    def told(self, **event: object) -> str:
        """Returns what the hook prints for an event."""
        said, trouble = self.start(**event).communicate()
        assert not trouble
        return said

    @property
    def turn(self) -> str:
        return str(json.loads((self.folder / "session/turn.json").read_text())["turn"])

    def mail(self) -> list[m.Command]:
        """Returns the commands that were mailed since, and forgets them."""
        mails = self.mailbox.take()
        self.mailbox.delete([mail.id for mail in mails])
        plain: list[Any] = [mail.body["command"] for mail in mails]
        assert all(one["run"] == "plan" and one["by"] == "agent:ada" for one in plain)
        return [loads_command(json.dumps(one)) for one in plain]

    def answer(self, where: str, **told: object) -> str:
        """Answers the one request that waits in a folder, and returns its name."""

        def waiting() -> str | None:
            folder = self.folder / "session" / where
            return next((p.name for p in folder.glob("[0-9]*") if "." not in p.name), None)

        name: str = until(waiting, f"a request in {where}")
        answers = self.folder / "answers"
        answers.mkdir(exist_ok=True)
        draft = answers / f".{name}"
        draft.write_text(json.dumps(told))
        draft.replace(answers / f"{name}.json")
        return name


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


def test_the_turn_is_kept_and_mailed_when_it_changes(attempt: Attempt) -> None:
    assert attempt.told(hook_event_name="UserPromptSubmit") == ""
    (progress,) = attempt.mail()
    assert isinstance(progress, m.ReportProgress)
    assert (progress.step, progress.attempt) == ("a/work", 2)
    assert (progress.facts["turn"], progress.facts["program_session"]) == ("working", "s-1")
    assert attempt.told(hook_event_name="PostToolUse", tool_name="Bash") == ""
    assert attempt.mail() == []
    attempt.told(hook_event_name="Notification", notification_type="idle_prompt")
    assert attempt.turn == "idle"
    attempt.told(hook_event_name="Stop", agent_id="inner")
    assert attempt.turn == "idle", "an agent inside the agent ended its turn, not the session"
    attempt.told(hook_event_name="Stop", background_tasks=[{"id": 1}])
    assert attempt.turn == "working", "what runs on in the background speaks again"
    attempt.told(hook_event_name="StopFailure")
    assert attempt.turn == "failed"


@pytest.mark.parametrize(
    ("answer", "behavior"),
    [({"value": "allow", "note": ""}, "allow"), ({"value": "deny", "note": "not that"}, "deny")],
)
def test_a_permission_is_asked_and_answered(
    attempt: Attempt, answer: dict[str, str], behavior: str
) -> None:
    hook = attempt.start(
        hook_event_name="PermissionRequest", tool_name="Bash", tool_input={"command": "rm -rf x"}
    )
    request = attempt.answer("asked", **answer)
    said = json.loads(hook.communicate()[0])["hookSpecificOutput"]["decision"]
    assert said["behavior"] == behavior
    assert said.get("message", "") == answer["note"]
    _, asked, goes_on = attempt.mail()
    assert isinstance(asked, m.RaiseQuestion)
    assert isinstance(goes_on, m.ReportProgress)
    assert goes_on.facts["turn"] == attempt.turn == "working"
    question = asked.question
    assert question.message == "May it use Bash? rm -rf x"
    assert (question.then, question.default, question.about["request"]) == (
        m.Then.REPLY,
        "deny",
        request,
    )
    assert not list((attempt.folder / "session/asked").iterdir())


def test_copilots_requests_are_asked_but_for_what_it_allows_itself(attempt: Attempt) -> None:
    attempt.wishes(wait_s=30, unasked={"tools": ["edit"], "commands": ["git add", "ls"]})

    def wanted(tool: str, command: str = "") -> dict[str, object]:
        told = {"toolName": tool, "toolInput": {"command": command} if command else {}}
        return {"hookName": "permissionRequest", "sessionId": "s-2", **told}

    for passed in (wanted("edit"), wanted("bash", "git add a && ls"), wanted("bash", "ls; ls -l")):
        assert attempt.told(**passed) == ""
        assert attempt.mail() == []
    for command in ("git add a && rm b", "lsof", "git push", "ls | sh"):
        hook = attempt.start(**wanted("bash", command))
        attempt.answer("asked", value="deny", note="No.")
        assert json.loads(hook.communicate()[0]) == {"behavior": "deny", "message": "No."}
        _, asked, _ = attempt.mail()
        assert isinstance(asked, m.RaiseQuestion)
        assert asked.question.message == f"May it use bash? {command}"
        attempt.told(hook_event_name="PostToolUse")
        attempt.mail()


def test_what_only_the_terminal_can_answer_is_shown_until_it_is(attempt: Attempt) -> None:
    told = {"notification_type": "permission_prompt", "message": "Path: /etc"}
    attempt.told(hook_event_name="Notification", **told)
    _, asked = attempt.mail()
    assert isinstance(asked, m.RaiseQuestion)
    assert asked.question.message.endswith("Path: /etc")
    assert "fleet attach" in asked.question.message
    attempt.told(hook_event_name="PostToolUse")
    _, closed = attempt.mail()
    assert isinstance(closed, m.AnswerQuestion)
    assert closed.id == asked.question.about["request"]


def test_the_last_words_are_found_in_the_transcript(attempt: Attempt, tmp_path: Path) -> None:
    transcript = tmp_path / "events.jsonl"
    lines = [{"type": "assistant.message", "data": {"content": one}} for one in ("No.", "Done.")]
    transcript.write_text("\n".join(map(json.dumps, [*lines, {"type": "x"}])))
    hook = attempt.start(hook_event_name="Stop", transcript_path=str(transcript))
    stop = attempt.answer("stops", block=False)
    hook.communicate()
    assert json.loads((attempt.folder / "session/stops" / stop).read_text()) == {"said": "Done."}


def test_a_question_that_was_answered_in_the_program_is_closed(attempt: Attempt) -> None:
    hook = attempt.start(hook_event_name="PermissionRequest", tool_name="Bash")
    until((attempt.folder / "session/asked").exists, "a request")
    until(lambda: len(list((attempt.state / "mailbox/new").iterdir())) == 2, "its mail")
    hook.kill()  # as the program does once somebody answered in its own dialog
    hook.communicate()
    _, asked = attempt.mail()
    assert isinstance(asked, m.RaiseQuestion)
    attempt.told(hook_event_name="PostToolUse")
    _, closed = attempt.mail()
    assert isinstance(closed, m.AnswerQuestion)
    assert (closed.id, closed.value) == (asked.question.about["request"], "allow")


def test_a_turn_that_is_not_done_is_sent_back(attempt: Attempt) -> None:
    for answer, said in (({"block": True, "reason": "no a.md"}, "no a.md"), ({"block": False}, "")):
        hook = attempt.start(hook_event_name="Stop", last_assistant_message="Done.")
        stop = attempt.answer("stops", **answer)
        printed = hook.communicate()[0]
        assert bool(printed) is bool(said)
        if said:
            assert json.loads(printed) == {"decision": "block", "reason": said}
        told = attempt.folder / "session/stops" / stop
        assert json.loads(told.read_text()) == {"said": "Done."}
        told.unlink()


def test_nobody_there_to_answer_stops_no_agent(attempt: Attempt) -> None:
    attempt.wishes(wait_s=0.2)
    assert attempt.told(hook_event_name="Stop") == ""
    (attempt.state / "coordinator.json").unlink()
    attempt.wishes(wait_s=3600)
    assert attempt.told(hook_event_name="Stop") == ""


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]", b"\xff\xfe", b'{"hook_event_name": 7}'])
def test_garbage_and_strangers_are_passed_over(attempt: Attempt, garbage: bytes) -> None:
    for told in ({}, {"FLEET_BRIEF": str(attempt.folder / "brief.md")}, {"FLEET_BRIEF": "/"}):
        done = subprocess.run(HOOK, input=garbage, env=told, capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")


def test_it_loads_the_standard_library_only() -> None:
    program = f"import sys; exec(open({HOOK[-1]!r}).read(), {{}}); print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert outside <= {"__main__"}
    assert not {"asyncio", "subprocess", "pathlib", "typing", "dataclasses"} & set(loaded)
