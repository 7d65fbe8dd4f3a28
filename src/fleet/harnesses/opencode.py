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
    find_program,
    json_lines,
    judge,
    opening,
)
from fleet.harnesses.meters import Meter, Tally

MEASURES: Final = ("tokens", "usd")
TAIL_BYTES: Final = 8 << 20  # all of its steps count, not only the last
READING: Final = dict.fromkeys(("read", "glob", "grep", "list", "todoread", "todowrite"), "allow")
ASKED_FOR: Final = ("edit", "bash", "webfetch", "websearch", "external_directory")
QUIET: Final = {
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
    words = ["--session", resume] if resume else []
    if agent.permissions == "plan":
        words += ["--agent", "plan"]
    if agent.model:
        words += ["--model", agent.model]
    words += agent.words
    env = {
        **QUIET,
        "OPENCODE_PERMISSION": json.dumps(_rules(agent)),
        **agent.env,
        "FLEET_BRIEF": str(brief),
    }
    if agent.mode == "interactive":
        argv = ["opencode", *words, f"--prompt={opening(brief)}"]
        return Preparation(argv=argv, env=env, stdout="pane")
    return Preparation(argv=["opencode", "run", "--format", "json", *words], env=env, stdin=brief)


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


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the program and its version, or the problem with its cure."""
    return find_program("opencode", environ, "npm install -g opencode-ai")


def meter(agent: AgentFacts, folder: Path) -> Meter | None:
    """Returns what counts its steps on standard output; in its terminal it tells none."""
    if agent.mode == "interactive":
        return None
    return Meter("standard output", lambda: AttemptFolder(folder).stdout, _count)


def _count(tally: Tally, event: Mapping[str, Any]) -> None:
    if event.get("type") == "step_finish":
        tally.add(_usage([_part(event)]))


def _rules(agent: AgentFacts) -> dict[str, object]:
    """Returns what it may do; of the rules that fit, the last one counts."""
    if agent.permissions == "yolo":
        return {"*": "allow"}
    if agent.permissions in {"plan", "deny"}:
        return {"*": "deny", **READING}
    unsure = "ask" if agent.mode == "interactive" else "deny"
    asked = dict.fromkeys(ASKED_FOR, unsure)
    if agent.permissions == "ask":
        return {**asked}
    commits = {f"{command} *": "allow" for command in COMMITS}
    return {**asked, "edit": "allow", "bash": {"*": unsure, **commits}}


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
