"""mini: mini-swe-agent. Its task is a file of its configuration; what it did stands in a file, too.

A shell is its only tool, so there is no `edits` without every command: without a person it runs
with `permissions: yolo` only, and says so before it starts. In its terminal it asks before each
command, unless it is `yolo`; `plan` and `deny` leave nothing that it could do. It has no sessions
to go on with. The `exit_status` in its trajectory tells success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters.attempts import AttemptFolder, ExitRecord, tail
from fleet.errors import Rejected
from fleet.harnesses import (
    NOTHING,
    PERMITTED,
    AgentFacts,
    Found,
    Heard,
    Preparation,
    Report,
    find_program,
    judge,
)

MEASURES: Final = ("tokens",)
TRAJECTORY: Final = "trajectory.json"
TRAJECTORY_BYTES: Final = 32 << 20
_CODE = re.compile(r"^\S*Error: Error code: (\d{3})\b", re.MULTILINE)
OWN_LIMITS: Final = frozenset({"LimitsExceeded", "TimeExceeded"})
QUIET: Final = {
    "MSWEA_CONFIGURED": "true",  # else its first start asks for a key
    "MSWEA_SILENT_STARTUP": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
}


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the command (`resume` means nothing to it); raises Rejected for permissions that it
    cannot keep to.
    """
    interactive = agent.mode == "interactive"
    wild = agent.permissions == "yolo"
    if agent.permissions not in PERMITTED["mini"][agent.mode]:
        raise Rejected(
            f"mini cannot keep to permissions {agent.permissions!r}: a shell is its only tool",
            hint="`permissions: yolo`, or `mode: interactive`, where it asks before each command",
        )
    settings = {
        "run": {"task": brief.read_text(encoding="utf-8")},
        "agent": {"mode": "yolo" if wild else "confirm", "confirm_exit": interactive},
    }
    run = folder / "run.yaml"
    first = agent.env.get("MSWEA_MINI_CONFIG_PATH", "mini.yaml")
    words = ["-c", first, "-c", str(run), "-o", str(folder / TRAJECTORY)]
    if agent.model:
        words += ["-m", agent.model]
    argv = ["mini", *words, *agent.words]
    env = {**QUIET, **agent.env, "FLEET_BRIEF": str(brief)}
    files = {run: json.dumps(settings, ensure_ascii=False)}  # JSON is YAML
    if interactive:
        return Preparation(argv=argv, env=env, stdout="pane", files=files)
    return Preparation(argv=argv, env=env, stdin=NOTHING, files=files)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what its trajectory says."""
    try:
        told = json.loads(tail(folder.path / TRAJECTORY, TRAJECTORY_BYTES))
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    info, messages = told.get("info"), told.get("messages")
    info = info if isinstance(info, dict) else {}
    messages = messages if isinstance(messages, list) else []
    messages = [one for one in messages if isinstance(one, dict)]
    last = messages[-1].get("content") if messages else ""
    status = str(info.get("exit_status") or "")
    usage = _usage(info, messages)
    own = status in OWN_LIMITS
    heard = Heard(
        done=status == "Submitted",
        worked=own or any(one.get("role") == "tool" for one in messages),
        complaint="" if own or not status else f"{status}: {last}",
        status=_http_status(messages),
        output=str(info.get("submission") or "").strip() or None,
        usage=usage,
    )
    return judge(ended, folder, heard)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the program and its version, or the problem with its cure."""
    cure = "uv tool install --with mcp mini-swe-agent"
    return find_program("mini", environ, cure, asked="--help")  # its first line names the version


def _http_status(messages: list[dict[str, Any]]) -> int | None:
    """Returns what the model's server answered with at last, which only the trace of it tells."""
    extra = messages[-1].get("extra") if messages else None
    trace = extra.get("traceback") if isinstance(extra, dict) else None
    found = _CODE.findall(trace) if isinstance(trace, str) else []
    return int(found[-1]) if found else None


def _usage(info: Mapping[str, Any], messages: list[dict[str, Any]]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, and what they cost, over all its turns."""
    stats = info.get("model_stats")
    stats = stats if isinstance(stats, dict) else {}
    total: dict[str, float] = {}
    try:
        for used in [one["extra"]["response"]["usage"] for one in messages if _is_answer(one)]:
            cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            counts = {
                "input_tokens": used["prompt_tokens"] - cached,
                "cached_tokens": cached,
                "output_tokens": used["completion_tokens"],
            }
            total = {name: total.get(name, 0) + count for name, count in counts.items()}
    except (KeyError, TypeError, AttributeError):
        total = {}
    for name, key in (("usd", "instance_cost"), ("turns", "api_calls")):
        if isinstance(stats.get(key), int | float):
            total[name] = stats[key]
    return total


def _is_answer(message: Mapping[str, Any]) -> bool:
    extra = message.get("extra")
    return isinstance(extra, dict) and isinstance(extra.get("response"), dict)
