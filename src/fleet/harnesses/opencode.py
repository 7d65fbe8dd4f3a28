"""opencode: OpenCode. `opencode run` with JSON events on standard output and the brief on standard
input; or in its terminal.

It chooses the id of its session itself; in its terminal it would open one again, but pass over what
it is asked, so it begins afresh there. It has plugins in the place of hooks: fleet's comes in by
OPENCODE_CONFIG_CONTENT, beside whatever the person and the repository have. What it may do is said
in OPENCODE_PERMISSION, which outranks every file of the user's; what that leaves open is asked in
the inbox. It has no judge of its own, so `auto` is `edits`. Usage is told for each step and summed
here, in its terminal by the plugin. The last `step_finish` tells success, unless an `error`
follows; a limit is retried inside for minutes before it is told.

With any plugin it waits at its start until the package that plugins are written with is there, or
npm has given up, which without a network takes more than a minute: so npm is told not to try again,
and the plugin takes that back for what the agent runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import COMMITS, TESTED, AgentFacts, Heard, Report, json_lines, judge
from fleet.harnesses.meters import FileMeter, LineMeter, Meter, Tally
from fleet.harnesses.profile import Asked, Fills, HookUp, Mode, Profile, Version

TAIL_BYTES: Final = 8 << 20  # all of its steps count, not only the last
COUNTS: Final = ("input_tokens", "cached_tokens", "output_tokens", "usd", "turns")
USAGE_FILE: Final = "usage.json"
CONTENT: Final = "OPENCODE_CONFIG_CONTENT"
PLUGIN: Final = Path(hooks.__file__).resolve().with_name("opencode.js")
EVENTS: Final = ("{asks}", "Stop")
READING: Final = dict.fromkeys(("read", "glob", "grep", "list", "todoread", "todowrite"), "allow")
EDITORS: Final = ("edit", "write", "multiedit", "patch", "apply_patch")
"""Its tools under the permission `edit`."""

ASKED_FOR: Final = ("edit", "bash", "webfetch", "websearch", "external_directory")


def _unsure(away: str) -> dict[str, Fills]:
    """Returns the rules of those permissions that leave something open; what lies outside of the
    worktree gets the answer `away`. Of the rules that fit, the last one counts.
    """
    asks = {"asks": "PermissionRequest"}
    asked = {**dict.fromkeys(ASKED_FOR, "ask"), "external_directory": away}
    commits = {f"{command} *": "allow" for command in COMMITS}
    rules = json.dumps({**asked, "edit": "allow", "bash": {"*": "ask", **commits}})
    edits = {**asks, "edits": EDITORS, "commits": COMMITS, "rules": rules}
    return {"ask": {**asks, "rules": json.dumps(asked)}, "edits": edits, "auto": edits}


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
        permissions=_unsure("deny"),  # headless it refuses by itself, and ends its turn
        events=EVENTS,
    ),
    interactive=Mode(
        start=("{words}", "--prompt={opening}"),
        permissions=_unsure("ask"),
        events=(*hooks.TELLING, *EVENTS),
    ),
    permissions={
        "plan": {**LOOKING, "agent": "plan"},
        "deny": LOOKING,
        "yolo": {"rules": json.dumps({"*": "allow"})},
    },
    env={
        "npm_config_fetch_retries": "0",
        "npm_config_fetch_timeout": "10000",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_SHARE": "1",
        "OPENCODE_PERMISSION": "{rules}",
    },
    hooks="opencode",
    unasked={"tools": ("{edits}",), "commands": ("{commits}",)},
    reads="opencode",
    measures=("tokens", "usd"),
)


def hook_up(asked: Asked) -> HookUp:
    """Returns the configuration that is handed over in a variable: what the user hands over there,
    and the plugin, which tells of every event, asks where `PermissionRequest` is among them, and
    lets no tool be used unjudged where `PreToolUse` is.
    """
    try:
        told = json.loads(asked.agent.env.get(CONTENT) or os.environ.get(CONTENT) or "{}")
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    options = {
        "hook": hooks.argv(),
        "interactive": asked.agent.mode == "interactive",
        "asks": "PermissionRequest" in asked.events,
        "guards": "PreToolUse" in asked.events,
        "words": asked.words,
    }
    content = {**told, "plugin": [*told.get("plugin", ()), [PLUGIN.as_uri(), options]]}
    return HookUp(env={CONTENT: json.dumps(content)})


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


def meter(agent: AgentFacts, folder: Path) -> Meter:
    """Returns what counts its steps on standard output; in its terminal the plugin counts them."""
    if agent.mode == "interactive":
        return FileMeter("plugin", folder / hooks.SESSION / USAGE_FILE, _told_usage)
    return LineMeter("standard output", lambda: AttemptFolder(folder).stdout, _count)


def _count(tally: Tally, event: Mapping[str, Any]) -> None:
    if event.get("type") == "step_finish":
        tally.add(_usage([_part(event)]))


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


def _told_usage(told: Mapping[str, Any]) -> dict[str, float]:
    """Returns what the plugin counted."""
    return {name: told[name] for name in COUNTS if isinstance(told.get(name), int | float)}


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
