"""gemini: Gemini CLI. Headless with JSON events on standard output and the brief on standard
input; or in its terminal.

The session's id is chosen here. Its approval mode and a policy file in the attempt's folder say
what it may do; without a person, what it would ask about is refused. It has no judge of its own, so
`auto` is `edits`. It does not run in a folder that it does not trust, and every worktree is a new
folder, so fleet trusts each for it. NO_RELAUNCH: its parent process would swallow signals. Its
shell sees no git configuration but the repository's, so the identity must be there, and hooks of
git do not run. The last `result` event tells success.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters.attempts import AttemptFolder, ExitRecord
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
# Only a default: the user's own settings outrank it. The program passes it over where anybody may
# write into a folder above it.
SETTINGS: Final = {
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}
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
    files = {}
    rules = _rules(agent.permissions)
    if rules:
        files[folder / "policy.toml"] = rules
        words += ["--policy", str(folder / "policy.toml")]
    if agent.model:
        words += ["--model", agent.model]
    words += agent.words
    env = {**QUIET, **agent.env, "FLEET_BRIEF": str(brief)}
    if not MACHINES.exists():
        defaults = folder / "gemini.json"
        files[defaults] = json.dumps(SETTINGS)
        env.setdefault("GEMINI_CLI_SYSTEM_DEFAULTS_PATH", str(defaults))
    if agent.mode == "interactive":
        argv = ["gemini", *words, f"--prompt-interactive={opening(brief)}"]
        return Preparation(argv=argv, env=env, stdout="pane", files=files)
    argv = ["gemini", "--output-format", "stream-json", *words]
    return Preparation(argv=argv, env=env, stdin=brief, files=files)


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
        usage=_usage(result),
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
