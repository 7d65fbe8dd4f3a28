"""claude: Claude Code. Headless with JSON events on standard output and the brief on standard
input; or in its terminal.

The session's id is chosen here, so that it is known before the first event. Hooks come in by a
settings file of the attempt's folder, beside whatever the person and the repository have. A
permission mode is always given: the program's own default decides by itself. The last `result`
event tells success; the exit code does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.core.plan import Failure
from fleet.harnesses import (
    COMMITS,
    LIMIT_WORDS,
    TESTED,
    AgentFacts,
    Report,
    ending,
    json_lines,
    last_words,
)
from fleet.harnesses.meters import LineMeter, Tally, began_ms, home_of, only_file
from fleet.harnesses.profile import Asked, HookUp, Mode, Profile, Version

PRINTING: Final = ("-p", "--output-format", "stream-json", "--verbose")
WORDS: Final = ("{words}", "--max-budget-usd", "{limits.usd}", "{args}")
OPENING: Final = ("{words}", "{args}", "--", "Read {brief} and do what it asks.")
TAIL_BYTES: Final = 1 << 20
# What a mode would ask about is asked in the inbox: with `edits` alone every commit would be.
COMMITTING: Final = ",".join(f"Bash({command} *)" for command in COMMITS)
EVENTS: Final = ("PermissionRequest", "Stop", "Notification", "StopFailure")
PROFILE: Final = Profile(
    name="Claude Code",
    program="claude",
    install="npm install -g @anthropic-ai/claude-code",
    version=Version(tested=TESTED["claude"]),
    words=(
        *("--permission-mode", "{permission}"),
        *("--settings", "{folder}/settings.json"),
        "--allowedTools={allowed}",
        *("--model", "{model}"),
        *("--append-system-prompt", "{prompt}"),
    ),
    headless=Mode(
        start=(*PRINTING, "--session-id", "{session}", *WORDS),
        resume=(*PRINTING, "--resume", "{session}", *WORDS),
        stdin="{text}",
        events=EVENTS,
    ),
    interactive=Mode(
        start=("--session-id", "{session}", *OPENING),
        resume=("--resume", "{session}", *OPENING),
        events=(*hooks.TELLING, *EVENTS),
    ),
    permissions={
        "ask": {"permission": "manual"},
        "edits": {"permission": "acceptEdits", "allowed": COMMITTING},
        "auto": {"permission": "auto"},
        "plan": {"permission": "plan"},
        "deny": {"permission": "dontAsk"},
        "yolo": {"permission": "bypassPermissions"},
    },
    # Root is refused `yolo` outside of a sandbox.
    sandboxed={"yolo": {"shut_in": "1"}},
    env={
        "IS_SANDBOX": "{shut_in}",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    },
    files={"settings.json": '{"hooks": {hooks}}'},
    hooks="claude",
    reads="claude",
    measures=("tokens", "usd"),
)
_LIMITED = re.compile(rf"{LIMIT_WORDS}|\b(session|weekly) limit\b|rate_limit_error", re.IGNORECASE)
_RESET = re.compile(r"limit reached\|(\d{10})\b")


def hook_up(asked: Asked) -> HookUp:
    """Returns the hooks as its settings hold them, in JSON."""
    found: dict[str, object] = {}
    for event in asked.events:
        one = {"type": "command", "command": hooks.command(), "timeout": hooks.limit_of(event)}
        found[event] = [{"hooks": [one]}]
    return HookUp(fill=json.dumps(found))


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the last `result` event says;
    without one, what the exit code and the last words say.
    """
    events = json_lines(folder.stdout_tail(TAIL_BYTES))
    session = next((str(e["session_id"]) for e in reversed(events) if e.get("session_id")), None)
    result = next((e for e in reversed(events) if e.get("type") == "result"), None)
    usage = {**_usage(result or {}), **_context_share(events, result or {})}
    report = ending(ended, folder)
    if report is not None:
        return Report(
            ok=False, text=report.text, failure=report.failure, session=session, usage=usage
        )
    assert ended is not None
    if result is None:
        if ended.code == 0 and not folder.stdout_tail(
            1
        ):  # in its terminal: it says nothing to a program
            return Report(ok=True, text="it exited with 0", session=session)
        said = last_words(folder.output_tail())
        limited = _LIMITED.search(folder.output_tail()) is not None
        failure = Failure.ACCOUNT if limited else Failure.AGENT
        return Report(
            ok=False,
            text=f"it ended with {ended.code} and no result{said}",
            failure=failure,
            session=session,
            usage=usage,
            resume_at_ms=_reset_ms(events, said),
        )
    text = str(result.get("result") or result.get("errors") or result.get("subtype") or "")
    if result.get("subtype") == "success" and not result.get("is_error") and ended.code == 0:
        return Report(
            ok=True, text="it reported success", output=text, session=session, usage=usage
        )
    spoken = f"{text}\n{_synthetic(events)}"
    if result.get("api_error_status") in {429, 529} or _LIMITED.search(spoken):
        failure = Failure.ACCOUNT
    elif result.get("terminal_reason") == "api_error" or (
        result.get("is_error") and result.get("subtype") == "success"
    ):
        failure = Failure.AGENT
    else:
        failure = Failure.TASK
    return Report(
        ok=False,
        text=f"it reported {result.get('subtype')}{last_words(text)}",
        failure=failure,
        output=text,
        session=session,
        usage=usage,
        resume_at_ms=_reset_ms(events, spoken),
    )


def meter(agent: AgentFacts, folder: Path) -> LineMeter:
    """Returns what counts its answers: of its standard output, in its terminal of its transcript.

    What an answer has put out is told there when it begins, so tokens out are a lower bound.
    """
    if agent.mode == "headless":
        return LineMeter("standard output", lambda: AttemptFolder(folder).stdout, _count)
    home = home_of(agent, "CLAUDE_CONFIG_DIR", ".claude")

    def find() -> Path | None:
        session = hooks.session_of(folder, None)
        return only_file(home, f"projects/*/{session}.jsonl") if session else None

    return LineMeter("transcript", find, _count, Tally(began_ms(folder)))


def _count(tally: Tally, event: Mapping[str, Any]) -> None:
    """Counts an answer once, though each of its parts tells its usage, or all at the end."""
    if event.get("type") == "result":
        tally.amounts.update(_usage(event))
    message = event.get("message")
    if event.get("type") != "assistant" or not isinstance(message, dict):
        return
    used = message.get("usage")
    if not isinstance(used, dict) or message.get("model") == "<synthetic>":
        return
    if tally.is_earlier(event):
        return
    tally.add_once(str(message.get("id")), {**_usage({"usage": used}), "turns": 1})


def _usage(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns tokens in (cached ones apart), out, and what it cost."""
    told = result.get("usage") or {}
    names = {
        "input_tokens": told.get("input_tokens"),
        "output_tokens": told.get("output_tokens"),
        "cached_tokens": told.get("cache_read_input_tokens"),
        "usd": result.get("total_cost_usd"),
        "turns": result.get("num_turns"),
    }
    return {name: value for name, value in names.items() if isinstance(value, int | float)}


def _context_share(events: list[dict[str, Any]], result: Mapping[str, Any]) -> dict[str, float]:
    """Returns how full the context was at the last answer, where the program names its size."""
    models = (result.get("modelUsage") or {}).values()
    sizes = [one.get("contextWindow") for one in models if isinstance(one, dict)]
    room = max((size for size in sizes if isinstance(size, int)), default=0)
    said = [e["message"] for e in events if e.get("type") == "assistant" and e.get("message")]
    told = next((one.get("usage") for one in reversed(said) if isinstance(one, dict)), None) or {}
    read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    taken = sum(int(told.get(name) or 0) for name in (*read, "output_tokens"))
    return {"context_share": round(taken / room, 3)} if room and taken else {}


def _synthetic(events: list[dict[str, Any]]) -> str:
    """Returns what the program itself said in the place of a model."""
    texts = []
    for event in events:
        message = event.get("message")
        if isinstance(message, dict) and message.get("model") == "<synthetic>":
            texts += [
                str(part.get("text", ""))
                for part in message.get("content") or []
                if isinstance(part, dict)
            ]
    return "\n".join(texts)


def _reset_ms(events: list[dict[str, Any]], text: str) -> int | None:
    for event in reversed(events):
        told = event.get("rate_limit_info")
        if (
            isinstance(told, dict)
            and told.get("status") == "rejected"
            and isinstance(told.get("resetsAt"), int)
        ):
            return int(told["resetsAt"]) * 1000
    found = _RESET.search(text)
    return int(found[1]) * 1000 if found else None
