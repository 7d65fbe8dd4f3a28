"""`fleet hook`: what an agent program calls when something happens in its session.

Law: the standard library only and nothing of fleet, for it starts hundreds of times a day in front
of every tool call. It reads one event (Claude Code's vocabulary, which others model theirs on; what
they name otherwise is translated) on standard input, keeps the latest in the attempt's folder, and
mails what changes: the state of the turn, a permission that is wanted. It answers the program only
where it has something to say; else it prints nothing and ends with 0, whatever goes wrong: no agent
may fail for want of fleet.

In the attempt's folder, which FLEET_BRIEF lies in:
    hooks.json          what this session asks fleet about: {"stop": bool, "wait_s": seconds,
                        "unasked": what its program tells of and allows by its own rules,
                        "grant": {tools, word}: what only this hook lets through}; and
                        what it may do: {"ask_s": seconds, "policy": {allow, deny, ...}}
    session/turn.json   the latest event: {turn, event, at_ms, session, tool}
    session/stops/ID    a turn that has ended and waits for `answers/ID.json`: {block, reason}
    session/asked/ID    a permission that is asked for, with this process's pid
    answers/ID.json     what the coordinator answers

Of these only `session` is written here, also inside a sandbox. What patterns allow or deny is
judged by `fleet.policy`, which is loaded only where there are any, or a person is asked; where they
cannot be read, nothing that they might deny goes through.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

TURNS = {
    "SessionStart": "started",
    "UserPromptSubmit": "working",
    "PreToolUse": "working",
    "PostToolUse": "working",
    "PostToolUseFailure": "working",
    "PermissionRequest": "asking",
    "Stop": "ended",
    "StopFailure": "failed",
    "Interrupt": "idle",
    "SessionEnd": "over",
}
ASKED_BY = ("PermissionRequest", "PreToolUse")
"""Events by which a program asks whether it may; the second only where something is denied."""

NOT_ALLOWED = "It is not among what is allowed."
NOTICES = {"permission_prompt": "asking", "ToolPermission": "asking", "idle_prompt": "idle"}
BEFORE = "BeforeTool"
"""Gemini CLI's PreToolUse. Its answer can only deny; what is to be let through is granted by a
change of the tool's input, which a rule of its policy wants to see."""

EVENTS = {
    "BeforeAgent": "UserPromptSubmit",
    BEFORE: "PreToolUse",
    "AfterTool": "PostToolUse",
    "AfterAgent": "Stop",
}
"""Gemini CLI's names of events."""

FIELDS = {
    "sessionId": "session_id",
    "toolName": "tool_name",
    "toolInput": "tool_input",
    "prompt_response": "last_assistant_message",
}
"""What Copilot CLI and Gemini CLI name otherwise."""

PLAIN_REQUEST = "permissionRequest"
"""What Copilot CLI calls a permission that it wants; it takes the decision alone as an answer."""

SHOWN_CHARS = 2_000
POLL_S = 0.01
ABSENT_S = 5.0
"""How long a coordinator that is not there is waited for."""

WAIT_S = 3600.0
"""How long an answer is waited for, unless the session says otherwise."""

LATE_S = 15.0
"""How much longer than the question itself this waits: its expiry is an answer, too."""


def main() -> int:
    """Takes one event, prints what its program is answered and returns 0."""
    raw = sys.stdin.buffer.read()
    name, answer = "", None
    try:
        event = json.loads(raw)
        name = str(event.get("hook_event_name") or "")
        if brief := os.environ.get("FLEET_BRIEF"):
            session = Session(os.path.dirname(brief))
            try:
                session.take(event)
            finally:
                answer = session.answer
    except Exception:  # noqa: BLE001 - nothing here may stop an agent, or let through what it must not
        asked = [one for one in (BEFORE, "PreToolUse") if f'"{one}"'.encode() in raw]
        if answer is None and (name in asked or (asked and not name)):
            answer = _denial(name or asked[0])
    if answer is not None:
        sys.stdout.write(json.dumps(answer))
        sys.stdout.flush()
    return 0


class Session:
    """The attempt whose program calls; its folder says which it is."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        rest, attempt = os.path.split(folder)
        rest, step = os.path.split(rest)
        rest, self.run = os.path.split(rest)
        self.attempt = int(attempt)
        self.step = step.replace("%2F", "/").replace("%25", "%")
        self.state = os.path.dirname(rest)
        self.wishes = _read(self._at("hooks.json"))
        self.answer: dict[str, object] | None = None
        self._called = ""

    def take(self, event: dict[str, object]) -> None:
        """Keeps an event, mails what it changes and sets what the program is answered."""
        event = {FIELDS.get(key, key): value for key, value in event.items()}
        plain = event.get("hookName") == PLAIN_REQUEST
        self._called = PLAIN_REQUEST if plain else str(event.get("hook_event_name") or "")
        asks = plain or self._grants(event)
        name = "PermissionRequest" if asks else EVENTS.get(self._called, self._called)
        turn = TURNS.get(name) or NOTICES.get(str(event.get("notification_type") or ""))
        inner = bool(event.get("agent_id"))  # of an agent inside the agent: not the session's turn
        decision, why = self._judge(event, name)
        if name == "Stop" and (event.get("background_tasks") or event.get("session_crons")):
            turn = "working"  # what it leaves running speaks again
        if decision == "ask":  # what a program allows itself may still be denied by the policy
            if why or not self._is_unasked(event):
                self._permit(event, name, why)
            return
        if decision:  # first of all: nothing that fails lets it through
            turn = "working"
            note = f"It is denied by `{why}`." if why else NOT_ALLOWED
            self._decide(event, decision, note)
        if turn and (not inner or turn == "asking"):
            self._note(event, name, turn)
        self._close_answered(allowed=name == "PostToolUse")
        if turn == "asking" and not self._asked():
            self._point_at_terminal(event)
        elif turn == "ended" and not inner and self.wishes.get("stop"):
            self._end(event)

    # --- the turn ---------------------------------------------------------------------------------

    def _note(self, event: dict[str, object], name: str, turn: str) -> None:
        before = _read(self._at("session", "turn.json"))
        now_ms = time.time_ns() // 1_000_000
        session = str(event.get("session_id") or before.get("session") or "")
        tool = str(event.get("tool_name") or "")
        seen = {"turn": turn, "event": name, "at_ms": now_ms, "session": session, "tool": tool}
        _write(self._at("session", "turn.json"), seen)
        if (before.get("turn"), before.get("session")) != (turn, session):
            facts = {"turn": turn, "turn_at_ms": now_ms, "program_session": session}
            whose = {"step": self.step, "attempt": self.attempt}
            self._mail({"is": "report-progress", **whose, "facts": facts})

    # --- permissions ------------------------------------------------------------------------------

    def _judge(self, event: dict[str, object], name: str) -> tuple[str, str]:
        """Returns what the policy says (`allow`, `deny`, `ask`) and why; nothing where the program
        goes on by itself.
        """
        told = self.wishes.get("policy")
        if name not in ASKED_BY:
            return "", ""
        if told is None and (self.wishes or name == "PermissionRequest"):
            return ("ask" if name == "PermissionRequest" else ""), ""
        try:
            _reach_policies()
            from fleet.policy.session import verdict

            return verdict(told, self.folder, event, name)
        except Exception:  # noqa: BLE001 - a fault lets nothing through
            return "deny" if name == "PreToolUse" else "ask", "a policy that cannot be read"

    def _is_unasked(self, event: dict[str, object]) -> bool:
        """Whether its program's own rules allow what it tells of, so that it will not be asked."""
        if "unasked" not in self.wishes:
            return False
        _reach_policies()
        from fleet.policy.session import is_unasked

        return is_unasked(self.wishes["unasked"], event)

    def _grants(self, event: dict[str, object]) -> bool:
        """Whether it is here that a tool is allowed: its program lets it through no other way."""
        grant = self.wishes.get("grant")
        tools = grant.get("tools") if isinstance(grant, dict) else None
        return self._called == BEFORE and event.get("tool_name") in (tools or ())

    def _decide(self, event: dict[str, object], decision: str, note: str) -> None:
        _reach_policies()
        from fleet.policy.session import answer_to

        grant = self.wishes["grant"] if self._grants(event) else None
        self.answer = answer_to(self._called, event, decision, note, grant)

    def _permit(self, event: dict[str, object], name: str, why: str) -> None:
        """Asks a person and takes the answer; without one, the program asks by itself if it can,
        and else it is denied.
        """
        found = None
        try:
            self._note(event, name, "asking")
            self._close_answered(allowed=False)
            found = self._ask(event, why)
        finally:
            if found is not None or "PreToolUse" in (name, EVENTS.get(self._called)):
                told = found or {"note": "Nobody was there to be asked."}
                allowed = told.get("value") in ("allow", "always")
                note = str(told.get("note") or "It was denied.")
                self._decide(event, "allow" if allowed else "deny", note)
        if found is not None:
            self._note(event, name, "working")

    def _ask(self, event: dict[str, object], why: str) -> dict[str, object] | None:
        """Asks a person for a permission and returns the answer, None when there is none."""
        tool = str(event.get("tool_name") or "a tool")
        wait_s = float(self.wishes.get("ask_s") or self.wishes.get("wait_s") or WAIT_S)  # type: ignore[arg-type]
        pattern = about = ""
        with contextlib.suppress(Exception):
            _reach_policies()
            from fleet.policy.session import offer, shown

            about = shown(event.get("tool_input"))
            pattern = offer(self.wishes.get("policy"), event)
        asked = f"May it use {tool}? {about}".strip()
        more: dict[str, object] = {
            "choices": ["allow", "deny", *(["always"] if pattern else [])],
            "default": "deny",
            "expires_at_ms": int((time.time() + wait_s) * 1000),
        }
        asked = f"{asked} ({why})" if why else asked
        request = self._raise(asked, more, {"tool": tool, "pattern": pattern})
        found = self._answer(request, wait_s + LATE_S)
        with contextlib.suppress(OSError):
            os.unlink(self._at("session", "asked", request))
        return found

    def _point_at_terminal(self, event: dict[str, object]) -> None:
        """Says that the program asks in its terminal, which nobody else can answer; its next event
        closes the question.
        """
        where = f"fleet attach {os.environ.get('FLEET_TASK', '')}".strip()
        said = str(event.get("message") or "")[:SHOWN_CHARS]
        message = f"It asks in its terminal ({where}). {said}"
        self._raise(message, {"choices": ["seen"]}, {}, closes="seen")

    def _raise(
        self, message: str, more: dict[str, object], about: dict[str, object], closes: str = ""
    ) -> str:
        """Mails a question of this process, with a marker beside it; returns the request's name."""
        request = f"{time.time_ns()}-{os.getpid()}"
        _write(self._at("session", "asked", request), {"pid": os.getpid(), "closes": closes})
        question = {
            "message": message.strip(),
            "kind": "choice",
            "topic": "permission",
            "then": "reply",
            "about": {"request": request, **about},
            **more,
        }
        self._mail({"is": "raise-question", "step": self.step, "question": question})
        return request

    def _close_answered(self, *, allowed: bool) -> None:
        """Closes questions that were answered in the program itself: it has ended their hooks."""
        for name in self._asked():
            path = self._at("session", "asked", name)
            asked = _read(path)
            if not os.path.exists(f"/proc/{asked.get('pid')}"):
                value = str(asked.get("closes") or ("allow" if allowed else "deny"))
                told = {"id": name, "value": value, "note": "It was answered in the session."}
                self._mail({"is": "answer-question", **told})
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def _asked(self) -> list[str]:
        folder = self._at("session", "asked")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return [one for one in names if not one.startswith(".")]

    # --- the end of a turn ------------------------------------------------------------------------

    def _end(self, event: dict[str, object]) -> None:
        """Lets fleet judge what was done; prints what is missing, which sends the agent back."""
        stop = f"{time.time_ns()}-{os.getpid()}"
        said = str(event.get("last_assistant_message") or "")
        _write(self._at("session", "stops", stop), {"said": said})
        self._poke()
        found = self._answer(stop, float(self.wishes.get("wait_s") or WAIT_S))  # type: ignore[arg-type]
        if found is not None and found.get("block"):
            self.answer = {"decision": "block", "reason": str(found.get("reason") or "")}

    # --- the coordinator --------------------------------------------------------------------------

    def _answer(self, name: str, wait_s: float) -> dict[str, object] | None:
        """Returns an answer once it is there; None when it is late or nobody can give it."""
        path, until = self._at("answers", f"{name}.json"), time.monotonic() + wait_s
        absent = 0.0
        while time.monotonic() < until:
            if os.path.exists(path):
                return _read(path)
            time.sleep(POLL_S)
            absent = 0.0 if self._attended() else absent + POLL_S
            if absent > ABSENT_S:
                return None
        return None

    def _attended(self) -> bool:
        if os.environ.get("FLEET_SANDBOX"):  # no other process is seen from there
            return True
        pid = _read(os.path.join(self.state, "coordinator.json")).get("pid")
        return os.path.exists(f"/proc/{pid}")

    def _mail(self, command: dict[str, object]) -> None:
        """Puts a command into the mailbox as its protocol says: whole, synced, then renamed."""
        now_ns = time.time_ns()
        name = f"{now_ns:020d}-{os.getpid():010d}-000000-{os.urandom(4).hex()}"
        who = f"agent:{os.environ.get('FLEET_AGENT', '')}"
        told = {"run": self.run, **command, "by": who}
        body = {"id": name, "sent_at_ms": now_ns // 1_000_000, "actor": who, "command": told}
        box = os.path.join(self.state, "mailbox")
        draft = os.path.join(box, "tmp", name)
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        # What is no text may stand in a name.
        with open(handle, "w", encoding="utf-8", errors="replace") as file:
            json.dump(body, file, ensure_ascii=False)
            file.flush()
            os.fsync(handle)
        os.rename(draft, os.path.join(box, "new", f"{name}.json"))
        self._poke()

    def _poke(self) -> None:
        with contextlib.suppress(OSError):
            handle = os.open(os.path.join(self.state, "wake"), os.O_WRONLY | os.O_NONBLOCK)
            os.write(handle, b"\n")
            os.close(handle)

    def _at(self, *names: str) -> str:
        return os.path.join(self.folder, *names)


def _reach_policies() -> None:
    """Makes the package findable: run by its path, this file knows of none."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _denial(called: str) -> dict[str, object]:
    """Returns what keeps a tool from being used where nothing could be judged."""
    why = "It cannot be judged."
    if called == BEFORE:
        return {"decision": "deny", "reason": why}
    told = {"permissionDecision": "deny", "permissionDecisionReason": why}
    return {"hookSpecificOutput": {"hookEventName": called, **told}}


def _read(path: str) -> dict[str, object]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: str, told: dict[str, object]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    folder, name = os.path.split(path)
    draft = os.path.join(folder, f".{name}.{os.getpid()}")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(draft, path)


if __name__ == "__main__":
    sys.exit(main())
