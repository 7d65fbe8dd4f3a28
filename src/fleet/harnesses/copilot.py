"""copilot: GitHub Copilot CLI. Headless with JSON events on standard output and the brief on
standard input; or in its terminal.

The session's id is chosen here. What it may do are rules for its tools; without a person, what it
would ask about is refused. It has no judge that could be relied on, so `auto` is `edits`; `plan`
and `deny` refuse writing and commands themselves. In its terminal it asks once in each new
worktree whether the folder is to be trusted, and that is left to a person. Its `result` event tells
success (it ends with 0 after a signal, too), and its usage stands in a file that it writes at its
end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters.attempts import AttemptFolder, ExitRecord, tail
from fleet.harnesses import COMMITS, TESTED, Heard, Report, json_lines, judge
from fleet.harnesses.profile import PERMISSION, Mode, Profile, Version

TAIL_BYTES: Final = 1 << 20
USAGE_FILE: Final = "usage.json"
EDITING: Final = {
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
    ),
    interactive=Mode(
        start=("--session-id={session}", "{words}", "--interactive={opening}"),
        resume=("--resume={session}", "{words}", "--interactive={opening}"),
    ),
    permissions={
        "ask": {},
        "edits": EDITING,
        "auto": EDITING,
        "plan": {PERMISSION: ("--mode=plan", *LOOKING)},
        "deny": {PERMISSION: LOOKING},
        "yolo": {PERMISSION: ("--allow-all",)},
    },
    # A variable of the user's that allows everything would outrank the rules.
    env={"COPILOT_AUTO_UPDATE": "false", "COPILOT_ALLOW_ALL": "false"},
    reads="copilot",
    measures=("tokens",),
)


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


def _told(event: Mapping[str, Any]) -> dict[str, Any]:
    told = event.get("data")
    return told if isinstance(told, dict) else {}


def _usage(path: Path) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, and the requests, over all models."""
    total: dict[str, float] = {}
    try:
        models = json.loads(tail(path, TAIL_BYTES)).get("modelMetrics", {}).values()
        for model in models:
            used, cached = model["usage"], model["usage"]["cacheReadTokens"]
            counts = {
                "input_tokens": used["inputTokens"] - cached,
                "cached_tokens": cached,
                "output_tokens": used["outputTokens"],
                "turns": model["requests"]["count"],
            }
            total = {name: total.get(name, 0) + count for name, count in counts.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return total
