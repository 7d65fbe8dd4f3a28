"""opencode: OpenCode. `opencode run` with JSON events on standard output and the brief on standard
input; or in its terminal.

It chooses the id of its session itself. What it may do is said in OPENCODE_PERMISSION, which
outranks every file of the user's. Without a person, what it would ask about is denied: a question
that nobody answers would end its turn. It has no judge of its own, so `auto` is `edits`. Usage is
told for each step and summed here. The last `step_finish` tells success, unless an `error` follows;
a limit is retried inside for minutes before it is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import COMMITS, TESTED, Heard, Report, json_lines, judge
from fleet.harnesses.profile import Fills, Mode, Profile, Version

TAIL_BYTES: Final = 8 << 20  # all of its steps count, not only the last
READING: Final = dict.fromkeys(("read", "glob", "grep", "list", "todoread", "todowrite"), "allow")
ASKED_FOR: Final = ("edit", "bash", "webfetch", "websearch", "external_directory")


def _unsure(answer: str) -> dict[str, Fills]:
    """Returns the rules of those permissions that leave something open, which gets that answer; of
    the rules that fit, the last one counts.
    """
    asked = dict.fromkeys(ASKED_FOR, answer)
    commits = {f"{command} *": "allow" for command in COMMITS}
    edits = {"rules": json.dumps({**asked, "edit": "allow", "bash": {"*": answer, **commits}})}
    return {"ask": {"rules": json.dumps(asked)}, "edits": edits, "auto": edits}


LOOKING: Final = {"rules": json.dumps({"*": "deny", **READING})}
PROFILE: Final = Profile(
    name="OpenCode",
    program="opencode",
    install="npm install -g opencode-ai",
    version=Version(tested=TESTED["opencode"]),
    words=("--agent", "{agent}", "--model", "{model}", "{args}"),
    headless=Mode(
        start=("run", "--format", "json", "{words}"),
        resume=("run", "--format", "json", "--session", "{session}", "{words}"),
        stdin="{text}",
        permissions=_unsure("deny"),
    ),
    interactive=Mode(
        start=("{words}", "--prompt={opening}"),
        resume=("--session", "{session}", "{words}", "--prompt={opening}"),
        permissions=_unsure("ask"),
    ),
    permissions={
        "plan": {**LOOKING, "agent": "plan"},
        "deny": LOOKING,
        "yolo": {"rules": json.dumps({"*": "allow"})},
    },
    env={
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_SHARE": "1",
        "OPENCODE_PERMISSION": "{rules}",
    },
    reads="opencode",
    measures=("tokens", "usd"),
)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what its last step or its error says."""
    events = json_lines(folder.stdout_tail(TAIL_BYTES))
    steps = [_part(event) for event in events if event.get("type") == "step_finish"]
    texts = [_part(event).get("text") for event in events if event.get("type") == "text"]
    ends = [event for event in events if event.get("type") in {"step_finish", "error"}]
    complaint, status = _error(ends[-1]) if ends else ("", None)
    heard = Heard(
        done=bool(steps) and not complaint and steps[-1].get("reason") == "stop",
        worked=bool(steps),
        complaint=complaint,
        status=status,
        output=str(texts[-1]) if texts else None,
        session=next((str(e["sessionID"]) for e in events if e.get("sessionID")), None),
        usage=_usage(steps),
    )
    return judge(ended, folder, heard)


def _part(event: Mapping[str, Any]) -> Mapping[str, Any]:
    part = event.get("part")
    return part if isinstance(part, dict) else {}


def _error(event: Mapping[str, Any]) -> tuple[str, int | None]:
    """Returns the words of an error event with the HTTP status behind it; no words for another."""
    if event.get("type") != "error":
        return "", None
    error = event.get("error")
    error = error if isinstance(error, dict) else {"name": str(error)}
    told = error.get("data")
    told = told if isinstance(told, dict) else {}
    status = told.get("statusCode")
    words = [str(error.get("name") or "error"), str(status or ""), str(told.get("message") or "")]
    return " ".join(word for word in words if word), status if isinstance(status, int) else None


def _usage(steps: list[Mapping[str, Any]]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, and what they cost, over all steps."""
    total: dict[str, float] = {}
    for step in steps:
        tokens = step.get("tokens")
        tokens = tokens if isinstance(tokens, dict) else {}
        cache = tokens.get("cache")
        counts = {
            "input_tokens": tokens.get("input"),
            "cached_tokens": cache.get("read") if isinstance(cache, dict) else None,
            "output_tokens": tokens.get("output"),
            "usd": step.get("cost"),
            "turns": 1,
        }
        for name, count in counts.items():
            if isinstance(count, int | float):
                total[name] = total.get(name, 0) + count
    return total
