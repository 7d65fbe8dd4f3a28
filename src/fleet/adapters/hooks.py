"""How an agent program is pointed at `fleet hook`, and how what it leaves is read.

Nothing of it goes into the repository or into a person's own configuration: a harness hands it over
by flags and by files of the attempt's folder. What the hook leaves, under `session/`, anybody in
the session could have written: it is read whole, bounded and never through a link or a pipe.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import sys
from pathlib import Path
from typing import Any, Final

SESSION: Final = "session"
"""The folder of an attempt's folder that the hook writes into."""

WISHES: Final = "hooks.json"
RESUMED: Final = "resumed"
"""The file of an attempt's folder that names the session which it goes on with."""

ANSWER_S: Final = 3_600
"""How long a program waits for a person or a judgement; then it goes on as if nobody had come."""

LIMIT_S: Final = 86_400 + 60
"""The time limit of a hook that waits, for the program: later than any that the hook keeps."""

BRIEF_LIMIT_S: Final = 30
"""The time limit of a hook that only tells."""

FILE_BYTES: Final = 1 << 20
DECIDED: Final = "policy.jsonl"
"""What the policy decided, a line each, in the session's folder."""

DECISIONS: Final = {"allow": "allowed", "deny": "denied"}
LAST: Final = 5
SHOWN_CHARS: Final = 200
REQUEST: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,10}")
SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What may be handed to a program as a session's id: never anything that reads as an option."""

WAITING: Final = ("PermissionRequest", "PreToolUse", "Stop")
TELLING: Final = ("SessionStart", "UserPromptSubmit", "PostToolUse", "SessionEnd")
"""What only a session in a terminal tells: headless, a program works for as long as it lives."""


def argv() -> list[str]:
    """Returns what every hook runs; always the same, so that trust in it lasts."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve().parent.parent / "hook.py")]


def command() -> str:
    """Returns the same as a shell command."""
    return shlex.join(argv())


def guard(denial: str) -> str:
    """Returns the same for what comes before a tool, where a program lets through what its hook
    fails to judge: `denial` is said should it not even start.
    """
    return f"{command()} || printf %s {shlex.quote(denial)}"


def wishes(folder: Path, **more: object) -> dict[Path, str]:
    """Returns the file that says what a session asks of fleet: to judge its turns, how long it
    waits, and what `hook` takes `more`.
    """
    return {folder / WISHES: json.dumps({"stop": True, "wait_s": ANSWER_S, **more})}


def limit_of(event: str) -> int:
    """Returns the time limit of an event's hook in seconds."""
    return LIMIT_S if event in WAITING else BRIEF_LIMIT_S


def turn_of(folder: Path) -> dict[str, Any]:
    """Returns an attempt's latest event {turn, event, at_ms, session, tool}, {} when none came."""
    told = read(folder / SESSION / "turn.json")
    if not isinstance(told.get("turn"), str) or not isinstance(told.get("at_ms"), int):
        return {}
    return told


def session_of(folder: Path, said: str | None) -> str | None:
    """Returns the program's own id of its session as the hook told it, else as the program `said`;
    None unless it is one.
    """
    told = str(turn_of(folder).get("session") or said or "")
    return told if SESSION_ID.fullmatch(told) else None


def decisions_of(folder: Path) -> dict[str, Any]:
    """Returns what an attempt's policy decided without a person: {allowed, denied, last: [{at_ms,
    decision, why, tool, about}]}, {} when nothing was.
    """
    raw = _bytes_of(folder / SESSION / DECIDED) or b""
    found: list[dict[str, Any]] = []
    for line in raw.splitlines():
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(told, dict) and told.get("decision") in DECISIONS:
            found.append(told)
    if not found:
        return {}
    counts = {word: sum(one["decision"] == key for one in found) for key, word in DECISIONS.items()}
    return {**counts, "last": [_decision(one) for one in found[-LAST:]]}


def _decision(told: dict[str, Any]) -> dict[str, Any]:
    at_ms = told.get("at_ms")
    words = {name: str(told.get(name) or "")[:SHOWN_CHARS] for name in ("why", "tool", "about")}
    known = at_ms if isinstance(at_ms, int) else 0
    return {"at_ms": known, "decision": told["decision"], **words}


def waiting(folder: Path, what: str) -> list[str]:
    """Returns the names of what waits under `what` (`stops`, `asked`), oldest first."""
    try:
        found = os.listdir(folder / SESSION / what)  # noqa: PTH208 - names only
    except OSError:
        return []
    return sorted(name for name in found if REQUEST.fullmatch(name))


def read(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; {} for what is no such file, or longer than a file of the
    hook's is.
    """
    raw = _bytes_of(path)
    try:
        found = json.loads(raw) if raw is not None and len(raw) <= FILE_BYTES else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _bytes_of(path: Path) -> bytes | None:
    """Returns the bytes of a plain file, one more than allowed at most; None for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor, for what it must not follow
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return file.read(FILE_BYTES + 1)
