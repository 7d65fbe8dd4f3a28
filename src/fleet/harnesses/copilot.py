"""copilot: GitHub Copilot CLI. Headless with JSON events on standard output and the brief on
standard input; or in its terminal.

The session's id is chosen here. Hooks come in by a plugin folder of the attempt's, beside whatever
the person and the repository have. What it may do are rules for its tools; what they leave open is
asked in the inbox. It tells its hook of what it allows by itself, too, so the hook knows what that
is; what is wrongly held to be allowed, it still asks about in its terminal, or refuses. It has no
judge that could be relied on, so `auto` is `edits`; `plan` and `deny` refuse writing and commands
themselves. In its terminal it asks first whether the folder is to be trusted, unless the main
checkout is. Its `result` event tells success (it ends with 0 after a signal, too), and its usage
stands in a file that it writes at its end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord, tail
from fleet.harnesses import (
    COMMITS,
    AgentFacts,
    Found,
    Heard,
    Preparation,
    Report,
    chosen_session,
    find_program,
    json_lines,
    judge,
    opening,
)

MEASURES: Final = ("tokens",)
TAIL_BYTES: Final = 1 << 20
USAGE_FILE: Final = "usage.json"
EDITING: Final = (
    "--allow-tool=write",
    *(f"--allow-tool=shell({command}:*)" for command in COMMITS),
)
LOOKING: Final = ("--deny-tool=write", "--deny-tool=shell")
PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "ask": (),
    "edits": EDITING,
    "auto": EDITING,
    "plan": ("--mode=plan", *LOOKING),
    "deny": LOOKING,
    "yolo": ("--allow-all",),
}
ASKING: Final = frozenset({"ask", "edits", "auto"})
LOOKS: Final = (
    *("cat", "cd", "echo", "grep", "head", "ls", "pwd", "rg", "tail", "wc"),
    *("git diff", "git log", "git show", "git status"),
)
"""Commands that it never asks about."""

PLUGIN: Final = "plugin"
# A variable of the user's that allows everything would outrank the rules.
QUIET: Final = {"COPILOT_AUTO_UPDATE": "false", "COPILOT_ALLOW_ALL": "false"}


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the command; `resume` is the id of a former attempt's session."""
    words = [f"--resume={resume}" if resume else f"--session-id={chosen_session(folder)}"]
    words += [f"--plugin-dir={folder / PLUGIN}", "--no-auto-update", "--disable-client-telemetry"]
    words += [f"--usage-output-file={folder / USAGE_FILE}", *PERMISSIONS[agent.permissions]]
    if agent.model:
        words.append(f"--model={agent.model}")
    words += agent.words
    env = {**QUIET, **agent.env, "FLEET_BRIEF": str(brief)}
    files = _plugin(agent, folder)
    if agent.mode == "interactive":
        argv = ["copilot", *words, f"--interactive={opening(brief)}"]
        return Preparation(argv=argv, env=env, stdout="pane", files=files)
    argv = ["copilot", "--output-format=json", "--no-ask-user", *words]
    return Preparation(argv=argv, env=env, stdin=brief, files=files)


def _plugin(agent: AgentFacts, folder: Path) -> dict[Path, str]:
    """Returns the files of the plugin that hooks a session, and what its hook is told."""
    interactive = agent.mode == "interactive"
    edits = agent.permissions != "ask"
    named = hooks.events(*(("Notification",) if interactive else ()), interactive=interactive)
    told = {
        event: [{"type": "command", "command": hooks.command(), "timeout": hooks.limit_of(event)}]
        for event in named
        if event != "PermissionRequest" or agent.permissions in ASKING
    }
    unasked = {
        "tools": ["edit"] if edits else [],
        "commands": [*LOOKS, *(COMMITS if edits else ())],
    }
    return {
        folder / PLUGIN / "plugin.json": json.dumps({"name": "fleet", "hooks": "hooks.json"}),
        folder / PLUGIN / "hooks.json": json.dumps({"version": 1, "hooks": told}),
        **hooks.wishes(folder, unasked=unasked),
    }


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


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the program and its version, or the problem with its cure."""
    return find_program("copilot", environ, "npm install -g @github/copilot")


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
