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

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord, tail
from fleet.harnesses import TESTED, AgentFacts, Heard, Report, judge
from fleet.harnesses.meters import FileMeter
from fleet.harnesses.profile import Mode, Profile, Version

# In the folder that it may write in a sandbox, too.
TRAJECTORY: Final = f"{hooks.SESSION}/trajectory.json"
TRAJECTORY_BYTES: Final = 32 << 20
_CODE = re.compile(r"^\S*Error: Error code: (\d{3})\b", re.MULTILINE)
OWN_LIMITS: Final = frozenset({"LimitsExceeded", "TimeExceeded"})
# JSON is YAML.
RUN: Final = '{"run": {"task": {text:json}}, "agent": {"mode": "{permission}", "confirm_exit": %s}}'
PROFILE: Final = Profile(
    name="mini-swe-agent",
    program="mini",
    install="uv tool install --with mcp mini-swe-agent",
    # The first line of its help names the version.
    version=Version(asked=("--help",), tested=TESTED["mini"]),
    words=(
        *("-c", "{env.MSWEA_MINI_CONFIG_PATH}", "-c", "{folder}/run.yaml"),
        *("-o", f"{{folder}}/{TRAJECTORY}", "-m", "{model}", "{args}"),
    ),
    headless=Mode(
        start=("{words}",),
        permissions={"yolo": {"permission": "yolo"}},
        files={"run.yaml": RUN % "false"},
    ),
    interactive=Mode(
        start=("{words}",),
        permissions={
            "ask": {"permission": "confirm"},
            "edits": {"permission": "confirm"},
            "auto": {"permission": "confirm"},
            "yolo": {"permission": "yolo"},
        },
        files={"run.yaml": RUN % "true"},
    ),
    env={
        "MSWEA_CONFIGURED": "true",  # else its first start asks for a key
        "MSWEA_MINI_CONFIG_PATH": "mini.yaml",
        "MSWEA_SILENT_STARTUP": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
    },
    reads="mini",
    measures=("tokens",),
)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what its trajectory says."""
    try:
        told = json.loads(tail(folder.path / TRAJECTORY, TRAJECTORY_BYTES))
    except ValueError:
        told = {}
    info, messages = _parts(told if isinstance(told, dict) else {})
    last = messages[-1].get("content") if messages else ""
    status = str(info.get("exit_status") or "")
    own = status in OWN_LIMITS
    heard = Heard(
        done=status == "Submitted",
        worked=own or any(one.get("role") == "tool" for one in messages),
        complaint="" if own or not status else f"{status}: {last}",
        status=_http_status(messages),
        output=str(info.get("submission") or "").strip() or None,
        usage=_usage(info, messages),
    )
    return judge(ended, folder, heard)


def meter(agent: AgentFacts, folder: Path) -> FileMeter:
    """Returns what reads its trajectory, which it writes anew after each turn."""
    return FileMeter("trajectory", folder / TRAJECTORY, lambda told: _usage(*_parts(told)))


def _parts(told: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns what a trajectory tells of the run, and its messages."""
    info, messages = told.get("info"), told.get("messages")
    messages = messages if isinstance(messages, list) else []
    told_of = info if isinstance(info, dict) else {}
    return told_of, [one for one in messages if isinstance(one, dict)]


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
