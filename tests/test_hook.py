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
from fleet.adapters.hooks import decisions_of
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


# --- patterns -------------------------------------------------------------------------------------


class Policed:
    """What a session with patterns is told by its hook."""

    def __init__(self, attempt: Attempt, **policy: object) -> None:
        self.attempt = attempt
        worktree = {"worktree": str(attempt.state.parent)}
        attempt.wishes(wait_s=30, policy={"allow": [], "deny": [], **worktree, **policy})

    def decided(self, name: str, command: str) -> dict[str, Any] | None:
        """Returns what the hook decides at once about a command."""
        told = {"tool_name": "Bash", "tool_input": {"command": command}}
        said = self.attempt.told(hook_event_name=name, **told)
        return json.loads(said)["hookSpecificOutput"] if said else None


def test_patterns_answer_in_the_place_of_a_person(attempt: Attempt) -> None:
    policed = Policed(attempt, allow=["run: make *"], deny=["run: git push *"])
    allowed = policed.decided("PermissionRequest", "make it")
    assert allowed == {"hookEventName": "PermissionRequest", "decision": {"behavior": "allow"}}
    for name in ("PermissionRequest", "PreToolUse"):
        denied = policed.decided(name, "make && git push")
        assert "denied by `run: git push *`" in json.dumps(denied)
    assert denied is not None
    assert denied["permissionDecision"] == "deny"
    assert policed.decided("PreToolUse", "make it") is None, "it is the program's to ask"
    (progress,) = attempt.mail()
    assert isinstance(progress, m.ReportProgress), "nobody is asked"
    assert progress.facts["turn"] == "working"
    found = decisions_of(attempt.folder)
    assert (found["allowed"], found["denied"]) == (1, 2)
    assert found["last"][0]["about"] == "make it"


def test_what_may_be_denied_is_asked_before_it_is_done(attempt: Attempt) -> None:
    Policed(attempt, deny=["run: git push *"])
    for value, decision in (("allow", "allow"), ("deny", "deny")):
        hook = attempt.start(
            hook_event_name="PreToolUse", tool_name="Bash", tool_input={"command": "$X push"}
        )
        attempt.answer("asked", value=value, note="")
        said = json.loads(hook.communicate()[0])["hookSpecificOutput"]
        assert said["permissionDecision"] == decision
        (asked,) = [one for one in attempt.mail() if isinstance(one, m.RaiseQuestion)]
        assert "it may be what `run: git push *` denies" in asked.question.message
        assert asked.question.choices == ("allow", "deny")


def test_what_was_allowed_for_good_is_not_asked_again(attempt: Attempt) -> None:
    policed = Policed(attempt)
    told = {"tool_name": "Bash", "tool_input": {"command": "make it"}}
    hook = attempt.start(hook_event_name="PermissionRequest", **told)
    attempt.answer("asked", value="always", note="", pattern="run: make it")
    assert json.loads(hook.communicate()[0])["hookSpecificOutput"]["decision"] == {
        "behavior": "allow"
    }
    (asked,) = [one for one in attempt.mail() if isinstance(one, m.RaiseQuestion)]
    assert asked.question.choices == ("allow", "deny", "always")
    assert asked.question.about["pattern"] == "run: make it"
    again = policed.decided("PermissionRequest", "make it")
    assert again is not None
    assert again["decision"]["behavior"] == "allow"
    Policed(attempt, deny=["run: make *"])
    denied = policed.decided("PermissionRequest", "make it")
    assert denied is not None
    assert denied["decision"]["behavior"] == "deny"


def test_where_nothing_else_is_allowed_nobody_is_asked(attempt: Attempt) -> None:
    policed = Policed(attempt, allow=["run: make *"], otherwise="deny")
    for command in ("ls", "$X", "make 'it"):
        denied = policed.decided("PermissionRequest", command)
        assert denied is not None
        assert denied["decision"]["behavior"] == "deny"
    assert [one for one in attempt.mail() if isinstance(one, m.RaiseQuestion)] == []


@pytest.mark.parametrize(
    "wishes",
    [
        "",
        "{",
        '{"policy": {"deny": ["no pattern at all"], "worktree": "/"}}',
        '{"policy": {"deny": "run", "worktree": "/"}}',
        '{"policy": {"deny": ["run: git push *"]}}',
    ],
)
def test_a_policy_that_cannot_be_read_lets_nothing_through(attempt: Attempt, wishes: str) -> None:
    (attempt.folder / "hooks.json").write_text(wishes)
    told = {"tool_name": "Bash", "tool_input": {"command": "ls"}}
    said = attempt.told(hook_event_name="PreToolUse", **told)
    assert json.loads(said)["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_what_a_person_decides_about_is_shown_or_said_to_be_left_out(attempt: Attempt) -> None:
    hook = attempt.start(
        hook_event_name="PermissionRequest",
        tool_name="Bash",
        tool_input={"command": f"echo {'x' * 5_000}; rm -rf kept"},
    )
    attempt.answer("asked", value="deny")
    hook.communicate()
    (asked,) = [one for one in attempt.mail() if isinstance(one, m.RaiseQuestion)]
    assert "characters are left out" in asked.question.message
    assert "rm -rf kept" in asked.question.message


def test_the_record_of_decisions_is_read_as_what_anybody_may_have_written(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    record = session / "policy.jsonl"
    record.write_bytes(b'{"decision": "deny"}\n\xff\n[1]\n{"decision": 7}\n{"decision": "allow"')
    assert decisions_of(tmp_path) == {
        "allowed": 0, "denied": 1,
        "last": [{"at_ms": 0, "decision": "deny", "why": "", "tool": "", "about": ""}],
    }  # fmt: skip
    record.unlink()
    record.symlink_to("/etc/passwd")
    assert decisions_of(tmp_path) == {}


def test_nothing_that_fails_lets_through_what_is_denied(attempt: Attempt) -> None:
    policed = Policed(attempt, deny=["run: git push *"])
    (attempt.folder / "session").write_text("no folder")
    denied = policed.decided("PreToolUse", "git push")
    assert denied is not None
    assert denied["permissionDecision"] == "deny"
    asked = policed.decided("PreToolUse", "$X push")
    assert asked is not None
    assert asked["permissionDecision"] == "deny"
    deep = f'{{"hook_event_name": "PreToolUse", "tool_input": {"[" * 100_000}'
    told = {"FLEET_BRIEF": str(attempt.folder / "brief.md")}
    done = subprocess.run(HOOK, input=deep, env=told, capture_output=True, text=True, check=True)
    assert '"deny"' in done.stdout


# --- other programs' events -----------------------------------------------------------------------

GRANT = {"tools": {"run_shell_command": "dir_path", "write_file": "fleet"}, "word": "granted-7"}


def before_tool(tool: str, **wanted: object) -> dict[str, object]:
    """Returns Gemini CLI's event before a tool, as it was recorded."""
    transcript = "/h/.gemini/tmp/repo/chats/session-2026-11-29T17-56-6c9e198c.jsonl"
    told = {"transcript_path": transcript, "timestamp": "2026-11-29T17:56:02.116Z"}
    told |= {"hook_event_name": "BeforeTool", "cwd": "/srv/tree", "tool_name": tool}
    return {**told, "tool_input": wanted}


def test_gemini_is_denied_granted_and_asked_before_a_tool(attempt: Attempt) -> None:
    attempt.wishes(
        wait_s=30,
        unasked={"tools": ["write_file"], "commands": ["git commit"]},
        grant=GRANT,
        policy={"allow": ["run: make *"], "deny": ["run: git push *"], "worktree": "/srv/tree"},
    )
    denied = json.loads(attempt.told(**before_tool("run_shell_command", command="git push")))
    assert denied == {"decision": "deny", "reason": "It is denied by `run: git push *`."}
    for given, folder in (("", "."), ("sub", "sub"), ("/srv/tree/sub/x", "sub/x")):
        wanted = {"command": "make it", **({"dir_path": given} if given else {})}
        told = json.loads(attempt.told(**before_tool("run_shell_command", **wanted)))
        changed = told["hookSpecificOutput"]["tool_input"]
        assert changed == {"command": "make it", "dir_path": f"granted-7/../{folder}"}
    for passed in (
        before_tool("write_file", file_path="a", content="x"),
        before_tool("run_shell_command", command="git commit -m x"),
        before_tool("read_file", file_path="a"),
    ):
        assert attempt.told(**passed) == "", "its own rules say what becomes of it"
    attempt.mail()
    for value, decision in (("deny", "deny"), ("always", "allow")):
        hook = attempt.start(**before_tool("run_shell_command", command="touch a"))
        attempt.answer("asked", value=value, note="", pattern="run: touch a")
        assert json.loads(hook.communicate()[0])["decision"] == decision
        (asked,) = [one for one in attempt.mail() if isinstance(one, m.RaiseQuestion)]
        assert asked.question.message == "May it use run_shell_command? touch a"
        assert asked.question.about["pattern"] == "run: touch a"
    again = json.loads(attempt.told(**before_tool("run_shell_command", command="touch a")))
    assert again["hookSpecificOutput"]["tool_input"]["dir_path"] == "granted-7/../."
    found = decisions_of(attempt.folder)
    assert (found["allowed"], found["denied"]) == (4, 1)


def test_gemini_is_asked_without_any_pattern(attempt: Attempt) -> None:
    attempt.wishes(wait_s=30, grant=GRANT)
    hook = attempt.start(**before_tool("write_file", file_path="a", content="x"))
    attempt.answer("asked", value="allow", note="")
    told = json.loads(hook.communicate()[0])["hookSpecificOutput"]["tool_input"]
    assert told == {"file_path": "a", "content": "x", "fleet": "granted-7"}


@pytest.mark.parametrize("broken", ["wishes", "session", "event", "mailbox"])
@pytest.mark.parametrize("called", ["BeforeTool", "PreToolUse"])
def test_what_cannot_be_judged_is_denied_in_each_programs_shape(
    attempt: Attempt, called: str, broken: str
) -> None:
    policy = {"allow": [], "deny": ["run: git push *"], "worktree": "/srv/tree"}
    attempt.wishes(wait_s=1, grant=GRANT, policy=policy)
    event = {**before_tool("run_shell_command", command="$X push"), "hook_event_name": called}
    raw, brief = json.dumps(event), str(attempt.folder / "brief.md")
    if broken == "wishes":
        (attempt.folder / "hooks.json").write_text("{")
    elif broken == "session":
        brief = str(attempt.folder.parent / "no-attempt/brief.md")
    elif broken == "event":
        raw = raw[:-1]
    else:
        (attempt.state / "coordinator.json").unlink()
        for place in (attempt.state / "mailbox").iterdir():
            place.rename(place.with_name(f"no-{place.name}"))
    told = {"FLEET_BRIEF": brief}
    done = subprocess.run(HOOK, input=raw, env=told, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    found = said if called == "BeforeTool" else said["hookSpecificOutput"]
    assert "deny" in (found.get("decision"), found.get("permissionDecision"))


def test_copilots_event_before_a_tool_is_denied_by_what_it_calls_a_tool(attempt: Attempt) -> None:
    Policed(attempt, deny=["edit: docs/**"], worktree="/srv/tree")
    told = attempt.told(
        hook_event_name="PreToolUse",
        timestamp="2026-11-29T17:57:34.271Z",
        cwd="/srv/tree",
        tool_name="Write",
        tool_input={"path": "/srv/tree/docs/a.md", "file_text": "good"},
    )
    assert json.loads(told)["hookSpecificOutput"]["permissionDecision"] == "deny"
