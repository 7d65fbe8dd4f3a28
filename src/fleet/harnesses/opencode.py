"""opencode: OpenCode. `opencode run` with JSON events on standard output and the brief on standard
input; or in its terminal.

It chooses the id of its session itself. It has plugins in the place of hooks: fleet's comes in by
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
from fleet.harnesses import (
    COMMITS,
    AgentFacts,
    Found,
    Heard,
    Preparation,
    Report,
    find_program,
    json_lines,
    judge,
    opening,
)

MEASURES: Final = ("tokens", "usd")
TAIL_BYTES: Final = 8 << 20  # all of its steps count, not only the last
READING: Final = dict.fromkeys(("read", "glob", "grep", "list", "todoread", "todowrite"), "allow")
ASKED_FOR: Final = ("edit", "bash", "webfetch", "websearch", "external_directory")
ASKING: Final = frozenset({"ask", "edits", "auto"})
COUNTS: Final = ("input_tokens", "cached_tokens", "output_tokens", "usd", "turns")
USAGE_FILE: Final = "usage.json"
CONTENT: Final = "OPENCODE_CONFIG_CONTENT"
PLUGIN: Final = Path(hooks.__file__).resolve().with_name("opencode.js")
QUIET: Final = {
    "npm_config_fetch_retries": "0",
    "npm_config_fetch_timeout": "10000",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_SHARE": "1",
}


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the command; `resume` is the id of a former attempt's session."""
    words = ["--agent", "plan"] if agent.permissions == "plan" else []
    if agent.model:
        words += ["--model", agent.model]
    words += agent.words
    session = ["--session", resume] if resume else []
    env = {
        **QUIET,
        "OPENCODE_PERMISSION": json.dumps(_rules(agent)),
        **agent.env,
        CONTENT: _content(agent, words),
        "FLEET_BRIEF": str(brief),
    }
    edits = agent.permissions != "ask"
    unasked = {"tools": ["edit"] if edits else [], "commands": list(COMMITS) if edits else []}
    files = hooks.wishes(folder, unasked=unasked)
    if agent.mode == "interactive":
        argv = ["opencode", *session, *words, f"--prompt={opening(brief)}"]
        return Preparation(argv=argv, env=env, stdout="pane", files=files)
    argv = ["opencode", "run", "--format", "json", *session, *words]
    return Preparation(argv=argv, env=env, stdin=brief, files=files)


def _content(agent: AgentFacts, words: list[str]) -> str:
    """Returns the configuration that is handed over in a variable: what the user hands over there,
    and the plugin.
    """
    try:
        told = json.loads(agent.env.get(CONTENT) or os.environ.get(CONTENT) or "{}")
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    options = {
        "hook": hooks.argv(),
        "interactive": agent.mode == "interactive",
        "asks": agent.permissions in ASKING,
        "words": words,
    }
    return json.dumps({**told, "plugin": [*told.get("plugin", ()), [PLUGIN.as_uri(), options]]})


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
        usage=_usage(steps) or _told_usage(folder.path),
    )
    return judge(ended, folder, heard)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the program and its version, or the problem with its cure."""
    return find_program("opencode", environ, "npm install -g opencode-ai")


def _rules(agent: AgentFacts) -> dict[str, object]:
    """Returns what it may do; of the rules that fit, the last one counts."""
    if agent.permissions == "yolo":
        return {"*": "allow"}
    if agent.permissions in {"plan", "deny"}:
        return {"*": "deny", **READING}
    away = (
        "ask" if agent.mode == "interactive" else "deny"
    )  # headless it refuses, and ends its turn
    asked = {**dict.fromkeys(ASKED_FOR, "ask"), "external_directory": away}
    if agent.permissions == "ask":
        return {**asked}
    commits = {f"{command} *": "allow" for command in COMMITS}
    return {**asked, "edit": "allow", "bash": {"*": "ask", **commits}}


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


def _told_usage(folder: Path) -> dict[str, float]:
    """Returns what the plugin counted."""
    told = hooks.read(folder / hooks.SESSION / USAGE_FILE)
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
