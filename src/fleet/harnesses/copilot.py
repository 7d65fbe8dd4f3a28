"""copilot: GitHub Copilot CLI. Headless with JSON events on standard output and the brief on
standard input; or in its terminal.

The session's id is chosen here. Hooks come in by a plugin folder of the attempt's, beside whatever
the person and the repository have. What it may do are rules for its tools; what they leave open is
asked in the inbox. It tells its hook of what it allows by itself, too, so the hook knows what that
is; what is wrongly held to be allowed, it still asks about in its terminal, or refuses. It has no
judge that could be relied on, so `auto` is `edits`; `plan` and `deny` refuse writing and commands
themselves. In its terminal it asks first whether the folder is to be trusted, unless the main
checkout is. Its `result` event tells success (it ends with 0 after a signal, too), and its usage
stands in a file that it writes at its end; while it runs its transcript tells usage, and in its
terminal what it said, a little late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord, tail
from fleet.harnesses import COMMITS, TESTED, AgentFacts, Heard, Report, json_lines, judge
from fleet.harnesses.meters import LineMeter, Tally, began_ms, home_of, only_file, session_of
from fleet.harnesses.profile import PERMISSION, Asked, HookUp, Mode, Profile, Version

TAIL_BYTES: Final = 1 << 20
USAGE_FILE: Final = "usage.json"
PLUGIN: Final = "plugin"
EVENTS: Final = ("{asks}", "Stop")
# It would ask its hook about what it allows by itself, too.
ASKING: Final = {"asks": "PermissionRequest"}
LOOKS: Final = (
    *("cat", "cd", "echo", "grep", "head", "ls", "pwd", "rg", "tail", "wc"),
    *("git diff", "git log", "git show", "git status"),
)
"""Commands that it never asks about."""

EDITING: Final = {
    **ASKING,
    "edit": "edit",
    "commits": COMMITS,
    PERMISSION: (
        "--allow-tool=write",
        *(f"--allow-tool=shell({command}:*)" for command in COMMITS),
    ),
}
LOOKING: Final = ("--deny-tool=write", "--deny-tool=shell")
PRINTING: Final = ("--output-format=json", "--no-ask-user")
PROFILE: Final = Profile(
    name="GitHub Copilot CLI",
    program="copilot",
    install="npm install -g @github/copilot",
    version=Version(tested=TESTED["copilot"]),
    words=(
        f"--plugin-dir={{folder}}/{PLUGIN}",
        *("--no-auto-update", "--disable-client-telemetry"),
        f"--usage-output-file={{folder}}/{USAGE_FILE}",
        "{permission}",
        "--model={model}",
        "{args}",
    ),
    headless=Mode(
        start=(*PRINTING, "--session-id={session}", "{words}"),
        resume=(*PRINTING, "--resume={session}", "{words}"),
        stdin="{text}",
        events=EVENTS,
    ),
    interactive=Mode(
        start=("--session-id={session}", "{words}", "--interactive={opening}"),
        resume=("--resume={session}", "{words}", "--interactive={opening}"),
        events=(*hooks.TELLING, *EVENTS, "Notification"),
    ),
    permissions={
        "ask": ASKING,
        "edits": EDITING,
        "auto": EDITING,
        "plan": {PERMISSION: ("--mode=plan", *LOOKING)},
        "deny": {PERMISSION: LOOKING},
        "yolo": {PERMISSION: ("--allow-all",)},
    },
    # A variable of the user's that allows everything would outrank the rules.
    env={"COPILOT_AUTO_UPDATE": "false", "COPILOT_ALLOW_ALL": "false"},
    files={
        f"{PLUGIN}/plugin.json": json.dumps({"name": "fleet", "hooks": "hooks.json"}),
        f"{PLUGIN}/hooks.json": '{"version": 1, "hooks": {hooks}}',
    },
    hooks="copilot",
    unasked={"tools": ("{edit}",), "commands": (*LOOKS, "{commits}")},
    reads="copilot",
    measures=("tokens",),
)


def hook_up(asked: Asked) -> HookUp:
    """Returns the hooks as its plugin holds them, in JSON."""
    found = {
        event: [{"type": "command", "command": hooks.command(), "timeout": hooks.limit_of(event)}]
        for event in asked.events
    }
    return HookUp(fill=json.dumps(found))


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what its `result` event and its last error say."""
    events = json_lines(folder.stdout_tail(TAIL_BYTES))
    result: dict[str, Any] = next((e for e in reversed(events) if e.get("type") == "result"), {})
    error = next((_told(e) for e in reversed(events) if e.get("type") == "session.error"), {})
    status = error.get("statusCode")
    answers = [_told(event) for event in events if event.get("type") == "assistant.message"]
    heard = Heard(
        done=result.get("exitCode") == 0,
        worked=bool(answers),
        complaint=str(error.get("message") or ""),
        status=status if isinstance(status, int) else None,
        output=next((str(one["content"]) for one in reversed(answers) if one.get("content")), None),
        session=str(result["sessionId"]) if result.get("sessionId") else None,
        usage=_usage(folder.path / USAGE_FILE),
    )
    return judge(ended, folder, heard)


def said(agent: AgentFacts, folder: Path, since_ms: int) -> str | None:
    """Returns what was said last in a session that has ended; None for nothing since the last
    prompt, or since then: an answer to what was asked before is stale.
    """
    path, since = _transcript(agent, folder), Tally(since_ms)
    for event in reversed(json_lines(tail(path, TAIL_BYTES)) if path is not None else []):
        if event.get("type") == "user.message" or since.is_earlier(event):
            return None
        text = _told(event).get("content") if event.get("type") == "assistant.message" else None
        if isinstance(text, str) and text:
            return text
    return None


def meter(agent: AgentFacts, folder: Path) -> LineMeter:
    """Returns what counts the answers in its transcript; the file that it writes at its end tells
    of a session that was gone on with as a whole.
    """
    find = partial(_transcript, agent, folder)
    return LineMeter("transcript", find, _count, Tally(began_ms(folder)), exact=True)


def _transcript(agent: AgentFacts, folder: Path) -> Path | None:
    session = session_of(folder)
    home = home_of(agent, "COPILOT_HOME", ".copilot")
    return only_file(home, f"session-state/{session}/events.jsonl") if session else None


def _count(tally: Tally, event: Mapping[str, Any]) -> None:
    used = _told(event).get("usage") if event.get("type") == "session.usage_record" else None
    if isinstance(used, dict) and not tally.is_earlier(event):
        tally.add({**_counts(used), "turns": 1})


def _counts(used: Mapping[str, Any]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out."""
    cached = int(used.get("cacheReadTokens") or 0)
    return {
        "input_tokens": int(used.get("inputTokens") or 0) - cached,
        "cached_tokens": cached,
        "output_tokens": int(used.get("outputTokens") or 0),
    }


def _told(event: Mapping[str, Any]) -> dict[str, Any]:
    told = event.get("data")
    return told if isinstance(told, dict) else {}


def _usage(path: Path) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, and the requests, over all models."""
    total: dict[str, float] = {}
    try:
        models = json.loads(tail(path, TAIL_BYTES)).get("modelMetrics", {}).values()
        for model in models:
            counts = {**_counts(model["usage"]), "turns": model["requests"]["count"]}
            total = {name: total.get(name, 0) + count for name, count in counts.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return total
