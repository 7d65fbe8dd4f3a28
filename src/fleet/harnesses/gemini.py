"""gemini: Gemini CLI. Headless with JSON events on standard output and the brief on standard
input; or in its terminal.

The session's id is chosen here. Hooks come in by an extension: of its settings, only the person's,
the repository's and those that root wrote could hold any. So its home is a folder of the attempt's
that leads to everything in the person's own, and holds that extension besides. Its approval mode
and policy files in the attempt's folder say what it may do; it has no judge of its own, so `auto`
is `edits`.

No hook of its can allow a tool, but its hook before a tool may change the tool's input, and its
policy looks at the input after that. So what it would ask about is asked by that hook in the inbox,
and allowed by a rule for inputs that hold a word of the attempt's own, which the hook adds. Without
the hook, whyever it is not called, that word is missing: headless the tool is refused, and in its
terminal only that can answer. So are tools of MCP servers, which would be handed the word, and
whatever its policy wants a person for in every mode, such as edits of build files.

It does not run in a folder that it does not trust, and every worktree is a new folder, so
fleet trusts each for it. NO_RELAUNCH: its parent process would swallow signals. Its shell sees no
git configuration but the repository's, so the identity must be there, and hooks of git do not run.
The last `result` event tells success and usage; while it runs, and in its terminal, its transcript
tells usage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import COMMITS, TESTED, AgentFacts, Heard, Report, json_lines, judge
from fleet.harnesses.meters import (
    LineMeter,
    Tally,
    began_ms,
    files_below,
    lies_at,
    session_of,
    size_of,
)
from fleet.harnesses.profile import PERMISSION, Absent, Asked, Fills, HookUp, Mode, Profile, Version

TAIL_BYTES: Final = 1 << 20
ASKED_FOR: Final = (
    *("run_shell_command", "write_file", "replace"),
    *("web_fetch", "google_web_search", "save_memory"),
)
GRANTED: Final = {
    "run_shell_command": "dir_path",
    **dict.fromkeys(("write_file", "replace", "web_fetch", "activate_skill"), "fleet"),
}
"""What it asks about and its hook may allow, with the key of the input that then holds the word: of
a command it must be the folder, the only other thing that is left when its parts are looked at."""

BEFORE: Final = "BeforeTool"
UNJUDGED: Final = {"decision": "deny", "reason": "It cannot be judged."}
# Only a default: the user's own settings outrank it. The program passes it over unless it and all
# folders above it are root's alone.
SETTINGS: Final = {
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}
EVENTS: Final = {
    "SessionStart": "SessionStart",
    "UserPromptSubmit": "BeforeAgent",
    "PermissionRequest": BEFORE,
    "PreToolUse": BEFORE,
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

MACHINES: Final = "/etc/gemini-cli/system-defaults.json"


def _rules(**told: object) -> str:
    # A list or a text of plain words is written alike in JSON and TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    return "\n".join(["[[rule]]", *lines, "priority = 100", ""])


def _rule(**told: object) -> Fills:
    """Returns what fills the policy: what the approval mode alone would ask about and must not."""
    return {"rules": _rules(**told), "policy": "{folder}/policy.toml"}


ASKS: Final = {"asks": "PermissionRequest"}
EDITING: Final = {
    PERMISSION: "auto_edit",
    **ASKS,
    "edits": ("write_file", "replace", "web_fetch"),
    "commits": COMMITS,
    **_rule(toolName="run_shell_command", commandPrefix=list(COMMITS), decision="allow"),
}
PROFILE: Final = Profile(
    name="Gemini CLI",
    program="gemini",
    install="npm install -g @google/gemini-cli (it needs node 20)",
    version=Version(tested=TESTED["gemini"]),
    words=(
        *("--approval-mode", "{permission}"),
        *("--policy", "{policy}"),
        *("--policy", "{hooks}"),
        *("--model", "{model}"),
        "{args}",
    ),
    headless=Mode(
        start=("--output-format", "stream-json", "--session-id", "{session}", "{words}"),
        resume=("--output-format", "stream-json", "--resume", "{session}", "{words}"),
        stdin="{text}",
        events=("{asks}", "Stop"),
    ),
    interactive=Mode(
        start=("--session-id", "{session}", "{words}", "--prompt-interactive={opening}"),
        resume=("--resume", "{session}", "{words}", "--prompt-interactive={opening}"),
        events=(*hooks.TELLING, "{asks}", "Stop", "Notification"),
    ),
    permissions={
        "ask": {PERMISSION: "default", **ASKS},
        "edits": EDITING,
        "auto": EDITING,
        "plan": {PERMISSION: "plan"},
        "deny": {PERMISSION: "default", **_rule(toolName=list(ASKED_FOR), decision="deny")},
        "yolo": {PERMISSION: "yolo"},
    },
    absent={"defaults": Absent(path=MACHINES, fill="{folder}/gemini.json")},
    env={
        "GEMINI_TELEMETRY_ENABLED": "false",
        "GEMINI_CLI_NO_RELAUNCH": "true",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_CLI_SYSTEM_DEFAULTS_PATH": "{defaults}",
    },
    files={"policy.toml": "{rules}", "gemini.json": json.dumps(SETTINGS)},
    hooks="gemini",
    unasked={"tools": ("{edits}",), "commands": ("{commits}",)},
    reads="gemini",
    measures=("tokens",),
)


def hook_up(asked: Asked) -> HookUp:
    """Returns a home with the extension that hooks the session, and what leads from there to the
    person's own; and where it asks, the rule for what its hook has allowed, as its file's path.
    """
    home = asked.folder / HOME
    place = home / OWN / "extensions" / "fleet"
    told = {EVENTS.get(event, event): [_hook(event, asked.events)] for event in asked.events}
    found = HookUp(
        env={"GEMINI_CLI_HOME": str(home)},
        files={
            place / "gemini-extension.json": json.dumps({"name": "fleet", "version": "1.0.0"}),
            place / "hooks" / "hooks.json": json.dumps({"hooks": told}),
        },
        links=_links(asked.agent, asked.folder),
    )
    if "PermissionRequest" not in asked.events:
        return found
    word, rules = f"granted-{token_hex(8)}", asked.folder / "granted.toml"
    allow = {"toolName": list(GRANTED), "argsPattern": word, "decision": "allow"}
    return replace(
        found,
        fill=str(rules),
        files={**found.files, rules: _rules(**allow, allowRedirection=True)},
        wishes={"grant": {"tools": GRANTED, "word": word}},
    )


def _hook(event: str, events: Sequence[str]) -> dict[str, object]:
    """Returns the hook of an event; where nothing is denied, only what it asks about needs one."""
    before = EVENTS.get(event) == BEFORE
    words = hooks.guard(json.dumps(UNJUDGED)) if before else hooks.command()
    one = {"type": "command", "command": words, "timeout": hooks.limit_of(event) * 1000}
    only = f"^({'|'.join(GRANTED)})$" if before and "PreToolUse" not in events else ""
    return {"hooks": [one], **({"matcher": only} if only else {})}


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
        usage=_usage(result),
    )
    return judge(ended, folder, heard)


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
    """Returns tokens in (cached ones apart) and out: those of its thoughts, too, which only the
    total holds.
    """
    told = result.get("stats")
    told = told if isinstance(told, dict) else {}
    names = {"input_tokens": "input", "cached_tokens": "cached", "output_tokens": "output_tokens"}
    found = {name: told.get(key) for name, key in names.items()}
    read, total = told.get("input_tokens"), told.get("total_tokens")
    if isinstance(read, int) and isinstance(total, int) and total > read:
        found["output_tokens"] = total - read
    return {name: count for name, count in found.items() if isinstance(count, int | float)}


def meter(agent: AgentFacts, folder: Path) -> LineMeter:
    """Returns what counts the answers in its transcript, for its output tells them at the end."""
    find = partial(_transcript, agent, folder)
    return LineMeter("transcript", find, _count, Tally(began_ms(folder)))


def _transcript(agent: AgentFacts, folder: Path) -> Path | None:
    """Returns the transcript of its session, below the home that was made for it; where that leads
    to sessions that were kept before, as it was made to. Going on with a session it begins another
    file for it, and then leaves that at its head: the longest is meant.
    """
    session = session_of(folder)
    if session is None:
        return None
    name, tmp = f"*/chats/session-*-{session[:8]}.jsonl", HOME / OWN / "tmp"
    if not (folder / tmp).is_symlink():
        found = files_below(folder, f"{tmp}/{name}")
    else:
        kept = _links(agent, folder).get(folder / tmp)
        found = [] if kept is None else files_below(lies_at(agent, kept), name)
    return max(found, key=size_of, default=None)


def _count(tally: Tally, event: Mapping[str, Any]) -> None:
    """Counts an answer once, though it is told again as its tools end."""
    told = event.get("tokens")
    if not isinstance(told, dict) or tally.is_earlier(event):
        return
    cached = int(told.get("cached") or 0)
    counts = {
        "input_tokens": int(told.get("input") or 0) - cached,
        "cached_tokens": cached,
        "output_tokens": int(told.get("output") or 0) + int(told.get("thoughts") or 0),
    }
    tally.add_once(str(event.get("id")), counts)
