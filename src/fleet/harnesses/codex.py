"""codex: Codex CLI. `codex exec --json` with the brief on standard input; or in its terminal.

`codex exec` never asks. Its `workspace-write` sandbox keeps git's folders read-only, so the common
one and the worktree's own are named as writable: else nothing could be committed in a linked
worktree. Inside fleet's sandbox it has none of its own where it may write: that would need what is
closed there, and could hold nothing that is not held already. It chooses the id of its session
itself. `turn.completed` tells success; an `item` of type `error` is often only a warning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.core.plan import Failure
from fleet.harnesses import (
    LIMIT_WORDS,
    TESTED,
    AgentFacts,
    Report,
    ending,
    json_lines,
    last_words,
    wait_ms,
)
from fleet.harnesses.meters import LineMeter, Tally, began_ms, home_of, only_file
from fleet.harnesses.profile import Asked, HookUp, Mode, Profile, Version

TAIL_BYTES: Final = 1 << 20
OPENING: Final = ("--", "Read {brief} and do what it asks.")
EVENTS: Final = ("PermissionRequest", "Stop")
OPEN: Final = {"sandbox": "danger-full-access"}
MAY_WRITE: Final = {"sandbox": "workspace-write", "approval": "never"}
MAY_READ: Final = {"sandbox": "read-only", "approval": "never"}
PROFILE: Final = Profile(
    name="Codex CLI",
    program="codex",
    install="npm install -g @openai/codex",
    version=Version(tested=TESTED["codex"]),
    words=(
        # Without it the program passes over every hook that nobody has reviewed in its terminal.
        "--dangerously-bypass-hook-trust",
        *("-c", "check_for_update_on_startup=false"),
        *("-c", "features.daemon_auto_start=false"),
        *("-c", 'sandbox_mode="{sandbox}"'),
        *("-c", 'approval_policy="{approval}"'),
        *("-c", "sandbox_workspace_write.writable_roots={git_folders:json}"),
        "{hooks}",
        *("-m", "{model}"),
        "{args}",
    ),
    headless=Mode(
        start=("exec", "--json", "{words}", "-"),  # "-" reads the prompt from standard input
        resume=("exec", "--json", "{words}", "resume", "{session}", "-"),
        stdin="{prompt}\n\n{text}",
        events=EVENTS,
    ),
    interactive=Mode(
        start=("--no-alt-screen", "{words}", *OPENING),
        resume=("resume", "{words}", "{session}", *OPENING),
        permissions={"ask": {**MAY_WRITE, "approval": "on-request"}},
        # Without a sandbox of its own it would ask for nothing "on request".
        sandboxed={"ask": {**OPEN, "approval": "untrusted"}},
        events=(*hooks.TELLING, *EVENTS, "Interrupt"),
    ),
    permissions={
        "ask": MAY_WRITE,
        "edits": MAY_WRITE,
        "auto": MAY_WRITE,
        "plan": MAY_READ,
        "deny": MAY_READ,
        "yolo": {**OPEN, "approval": "never"},
    },
    sandboxed={"ask": OPEN, "edits": OPEN, "auto": OPEN},
    hooks="codex",
    reads="codex",
    measures=("tokens",),
)
_LIMITED = re.compile(rf"{LIMIT_WORDS}|quota", re.IGNORECASE)
_AT = re.compile(
    r"try again at (?:([A-Z][a-z]{2}) (\d{1,2})(?:st|nd|rd|th), (\d{4}) )?(\d{1,2}:\d{2} [AP]M)"
)
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000


def hook_up(asked: Asked) -> HookUp:
    """Returns the words that set the hooks, as TOML."""
    told = f'type="command", command={json.dumps(hooks.command())}'
    settings = [
        f"hooks.{event}=[{{hooks=[{{{told}, timeout={hooks.limit_of(event)}}}]}}]"
        for event in asked.events
    ]
    return HookUp(fill=[word for setting in settings for word in ("-c", setting)])


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the last turn says; without one, what the exit code and the last words say."""
    events = json_lines(folder.stdout_tail(TAIL_BYTES))
    session = _thread(folder)
    last: dict[str, Any] = next(
        (e for e in reversed(events) if e.get("type") in {"turn.completed", "turn.failed"}), {}
    )
    usage = _usage(events)
    report = ending(ended, folder)
    if report is not None:
        return Report(
            ok=False, text=report.text, failure=report.failure, session=session, usage=usage
        )
    assert ended is not None
    output = next(
        (str(e["item"].get("text", "")) for e in reversed(events) if _is_message(e)), None
    )
    if ended.code == 0 and (last.get("type") == "turn.completed" or not folder.stdout_tail(1)):
        return Report(
            ok=True, text="it completed its turn", output=output, session=session, usage=usage
        )
    said = _complaint(last, events) or last_words(folder.output_tail()).removeprefix(": ")
    limited = _LIMITED.search(said) is not None
    started = any(e.get("type") == "turn.started" for e in events)
    resume_at = _reset_ms(said, ended.ended_at_ms) if limited else None
    return Report(
        ok=False,
        text=f"it ended with {ended.code}: {said}" if said else f"it ended with {ended.code}",
        failure=Failure.ACCOUNT
        if limited
        else Failure.AGENT
        if last or not started
        else Failure.TASK,
        output=output,
        session=session,
        usage=usage,
        resume_at_ms=resume_at,
    )


def meter(agent: AgentFacts, folder: Path) -> LineMeter:
    """Returns what counts the turns in its rollout file, for its output tells them at the end."""
    home = home_of(agent, "CODEX_HOME", ".codex")

    def find() -> Path | None:
        session = hooks.session_of(folder, _thread(AttemptFolder(folder)))
        return only_file(home, f"sessions/*/*/*/rollout-*-{session}.jsonl") if session else None

    return LineMeter("rollout file", find, _count, Tally(began_ms(folder)), exact=True)


def _thread(folder: AttemptFolder) -> str | None:
    """Returns the id of its session, which its first words tell."""
    events = json_lines(folder.stdout_head())
    return next((str(e["thread_id"]) for e in events if e.get("type") == "thread.started"), None)


def _count(tally: Tally, event: Mapping[str, Any]) -> None:
    """Takes the latest totals of the session, less those of before the attempt."""
    payload = event.get("payload")
    info = payload.get("info") if isinstance(payload, dict) else None
    if not isinstance(info, dict) or not isinstance(info.get("total_token_usage"), dict):
        return
    total = _counts(info["total_token_usage"])
    if tally.is_earlier(event):
        tally.marks["before"] = total
        return
    before = tally.marks.get("before", {})
    tally.amounts.update({name: count - before.get(name, 0) for name, count in total.items()})
    last, room = info.get("last_token_usage"), info.get("model_context_window")
    if isinstance(last, dict) and isinstance(room, int) and room > 0:
        tally.amounts["context_share"] = round(int(last.get("total_tokens") or 0) / room, 3)


def _counts(told: Mapping[str, Any]) -> dict[str, int]:
    """Returns tokens in (cached ones apart) and out."""
    cached = int(told.get("cached_input_tokens") or 0)
    return {
        "input_tokens": int(told.get("input_tokens") or 0) - cached,
        "cached_tokens": cached,
        "output_tokens": int(told.get("output_tokens") or 0),
    }


def _is_message(event: Mapping[str, Any]) -> bool:
    found = event.get("item")
    return (
        event.get("type") == "item.completed"
        and isinstance(found, dict)
        and found.get("type") == "agent_message"
    )


def _usage(events: list[dict[str, Any]]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, over all turns."""
    total: dict[str, float] = {}
    for event in events:
        told = event.get("usage")
        if event.get("type") == "turn.completed" and isinstance(told, dict):
            counts = {**_counts(told), "turns": 1}
            total = {name: total.get(name, 0) + count for name, count in counts.items()}
    return total


def _complaint(last: Mapping[str, Any], events: list[dict[str, Any]]) -> str:
    error = last.get("error")
    if isinstance(error, dict):
        return str(error.get("message", ""))
    return next(
        (str(e.get("message", "")) for e in reversed(events) if e.get("type") == "error"), ""
    )


def _reset_ms(text: str, ended_at_ms: int) -> int | None:
    """Returns when the account opens again, by the words of an answer that was given then.

    A time of day is in the local zone, and today's if no date stands before it; it is cut to the
    minute, so the minute after it counts.
    """
    if (wait := wait_ms(text)) is not None:
        return ended_at_ms + wait
    if not (found := _AT.search(text)):
        return None
    month, day, year, clock = found.groups()
    today = datetime.fromtimestamp(ended_at_ms / 1000, UTC).astimezone()
    date = f"{month} {day} {year}" if month else today.strftime("%b %d %Y")
    try:
        told = datetime.strptime(f"{date} {clock}", "%b %d %Y %I:%M %p").astimezone()
    except ValueError:
        return None
    at_ms = int(told.timestamp()) * 1000 + MINUTE_MS
    return at_ms if month or at_ms > ended_at_ms else at_ms + DAY_MS
