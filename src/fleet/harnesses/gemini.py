"""gemini: Gemini CLI. Headless with JSON events on standard output and the brief on standard
input; or in its terminal.

The session's id is chosen here. Hooks come in by an extension: of its settings, only the person's,
the repository's and those that root wrote could hold any. So its home is a folder of the attempt's
that leads to everything in the person's own, and holds that extension besides. Its approval mode
and a policy file in the attempt's folder say what it may do; without a person, what it would ask
about is refused, and in its terminal only that can answer. It has no judge of its own, so `auto` is
`edits`. It does not run in a folder that it does not trust, and every worktree is a new folder, so
fleet trusts each for it. NO_RELAUNCH: its parent process would swallow signals. Its shell sees no
git configuration but the repository's, so the identity must be there, and hooks of git do not run.
The last `result` event tells success; in its terminal, its transcript tells usage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
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
TRANSCRIPT_BYTES: Final = 8 << 20
MODES: Final = {
    "ask": "default",
    "edits": "auto_edit",
    "auto": "auto_edit",
    "plan": "plan",
    "deny": "default",
    "yolo": "yolo",
}
ASKED_FOR: Final = (
    *("run_shell_command", "write_file", "replace"),
    *("web_fetch", "google_web_search", "save_memory"),
)
PRIORITY: Final = 100
QUIET: Final = {
    "GEMINI_TELEMETRY_ENABLED": "false",
    "GEMINI_CLI_NO_RELAUNCH": "true",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
}
# Only a default: the user's own settings outrank it. The program passes it over unless it and all
# folders above it are root's alone.
SETTINGS: Final = {
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}
EVENTS: Final = {
    "SessionStart": "SessionStart",
    "UserPromptSubmit": "BeforeAgent",
    "PostToolUse": "AfterTool",
    "Notification": "Notification",
    "Stop": "AfterAgent",
    "SessionEnd": "SessionEnd",
}
"""What it calls the events of the hook."""

HOME: Final = Path(hooks.SESSION, "gemini")
OWN: Final = ".gemini"
KEPT: Final = ("tmp", "history", "projects.json")
"""What it makes in its home when it is not there: sessions, without which none is gone on with."""

MACHINES: Final = Path("/etc/gemini-cli/system-defaults.json")


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the command; `resume` is the id of a former attempt's session."""
    words = ["--resume", resume] if resume else ["--session-id", chosen_session(folder)]
    words += ["--approval-mode", MODES[agent.permissions]]
    links, files = _links(agent, folder), _extension(agent, folder)
    rules = _rules(agent.permissions)
    if rules:
        files[folder / "policy.toml"] = rules
        words += ["--policy", str(folder / "policy.toml")]
    if agent.model:
        words += ["--model", agent.model]
    words += agent.words
    home = {"GEMINI_CLI_HOME": str(folder / HOME)}
    env = {**QUIET, **agent.env, **home, "FLEET_BRIEF": str(brief)}
    if not MACHINES.exists():
        defaults = folder / "gemini.json"
        files[defaults] = json.dumps(SETTINGS)
        env.setdefault("GEMINI_CLI_SYSTEM_DEFAULTS_PATH", str(defaults))
    if agent.mode == "interactive":
        argv = ["gemini", *words, f"--prompt-interactive={opening(brief)}"]
        return Preparation(argv=argv, env=env, stdout="pane", files=files, links=links)
    argv = ["gemini", "--output-format", "stream-json", *words]
    return Preparation(argv=argv, env=env, stdin=brief, files=files, links=links)


def _extension(agent: AgentFacts, folder: Path) -> dict[Path, str]:
    """Returns the files of the extension that hooks a session, and what its hook is told."""
    interactive = agent.mode == "interactive"
    told = {
        EVENTS[event]: [
            {
                "hooks": [
                    {
                        "type": "command",
                        "command": hooks.command(),
                        "timeout": hooks.limit_of(event) * 1000,
                    }
                ]
            }
        ]
        for event in hooks.events("Notification", interactive=interactive)
        if event in EVENTS and (interactive or event != "Notification")
    }
    place = folder / HOME / OWN / "extensions" / "fleet"
    return {
        place / "gemini-extension.json": json.dumps({"name": "fleet", "version": "1.0.0"}),
        place / "hooks" / "hooks.json": json.dumps({"hooks": told}),
        **hooks.wishes(folder),
    }


def _links(agent: AgentFacts, folder: Path) -> dict[Path, Path]:
    """Returns what leads from the session's home to the person's own, and where that has kept no
    sessions yet, to those of the attempt before.
    """
    told = {**os.environ, **agent.env}
    own = Path(told.get("GEMINI_CLI_HOME") or told.get("HOME") or Path.home())
    made = folder / HOME
    links = {made / one.name: one for one in (own / ".env",) if one.exists()}
    for place in (Path(OWN), Path(OWN, "extensions")):
        links |= {made / place / one: own / place / one for one in _names(own / place)}
    links.pop(made / OWN / "extensions", None)
    links.pop(made / OWN / "extensions" / "fleet", None)
    if folder.name.isdecimal():
        before = folder.parent / str(int(folder.name) - 1) / HOME / OWN
        for name in KEPT:
            if made / OWN / name not in links and (before / name).exists():
                links[made / OWN / name] = (before / name).resolve()
    return links


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names only
    except OSError:
        return []


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the last `result` event says."""
    events = json_lines(folder.stdout_tail(TAIL_BYTES))
    result: dict[str, Any] = next((e for e in reversed(events) if e.get("type") == "result"), {})
    error = result.get("error")
    complaint = str(error.get("message", "")) if isinstance(error, dict) else ""
    output = _output(events)
    heard = Heard(
        done=result.get("status") == "success",
        worked=output is not None or any(e.get("type") == "tool_use" for e in events),
        complaint=complaint,
        output=output,
        session=next((str(e["session_id"]) for e in events if e.get("session_id")), None),
        usage=_usage(result) or _told_usage(folder),
    )
    return judge(ended, folder, heard)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the program and its version, or the problem with its cure."""
    return find_program("gemini", environ, "npm install -g @google/gemini-cli (it needs node 20)")


def _rules(permissions: str) -> str:
    """Returns the policy file: what the approval mode alone would ask about and must not."""
    if MODES[permissions] == "auto_edit":
        told = {
            "toolName": "run_shell_command",
            "commandPrefix": list(COMMITS),
            "decision": "allow",
        }
    elif permissions == "deny":
        told = {"toolName": list(ASKED_FOR), "decision": "deny"}
    else:
        return ""
    # A list or a text of plain words is written alike in JSON and TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    return "\n".join(["[[rule]]", *lines, f"priority = {PRIORITY}", ""])


def _output(events: list[dict[str, Any]]) -> str | None:
    """Returns what it said last: its pieces since its last tool."""
    pieces: list[str] = []
    for event in events:
        if event.get("type") == "message" and event.get("role") == "assistant":
            pieces.append(str(event.get("content", "")))
        elif event.get("type") in {"tool_use", "message"}:
            pieces.clear()
    return "".join(pieces) or None


def _usage(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out."""
    told = result.get("stats")
    told = told if isinstance(told, dict) else {}
    names = {"input_tokens": "input", "cached_tokens": "cached", "output_tokens": "output_tokens"}
    found = {name: told.get(key) for name, key in names.items()}
    return {name: count for name, count in found.items() if isinstance(count, int | float)}


def _told_usage(folder: AttemptFolder) -> dict[str, float]:
    """Returns the same as its transcript tells it, of what was said since the attempt began."""
    try:
        began = datetime.fromtimestamp((folder.path / "claim").stat().st_mtime, UTC)
    except OSError:
        return {}
    session = str(hooks.turn_of(folder.path).get("session") or "")[:8]
    if not session or not hooks.SESSION_ID.fullmatch(session):
        return {}
    told: dict[str, dict[str, Any]] = {}
    for path in (folder.path / HOME / OWN).glob(f"tmp/*/chats/session-*-{session}.jsonl"):
        for one in json_lines(tail(path, TRANSCRIPT_BYTES)):
            if isinstance(one.get("tokens"), dict) and _is_since(one.get("timestamp"), began):
                told[str(one.get("id"))] = one["tokens"]  # each is told again as its tools end
    total: dict[str, float] = {}
    for used in told.values():
        cached = int(used.get("cached") or 0)
        counts = {
            "input_tokens": int(used.get("input") or 0) - cached,
            "cached_tokens": cached,
            "output_tokens": int(used.get("output") or 0),
        }
        total = {name: total.get(name, 0) + count for name, count in counts.items()}
    return total


def _is_since(at: object, began: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(at)) >= began
    except (ValueError, TypeError):
        return False
