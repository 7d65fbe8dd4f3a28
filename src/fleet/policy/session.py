"""How the hook judges a session: its patterns, what a person has allowed for good, and the record.

What the policy decided without a person is one line each in `session/policy.jsonl` of the attempt's
folder, up to a size; it is there to be seen, and decides nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time

from fleet.policy import Policy, pattern_of
from fleet.policy.tools import COMMAND, CWD, PATH, URL

RECORD = "policy.jsonl"
RECORD_BYTES = 1 << 20
SHOWN_CHARS = 2_000
ABOUT_CHARS = 200
ANSWERS = 1_000
SHORTEST_SECRET = 4
JOINTS = re.compile(r"&&|[|][|]?|;|\n")
GUARD = "PreToolUse"
"""The event before every tool, which is only ever answered to deny."""

BEFORE = "BeforeTool"
"""What Gemini CLI calls it."""

PLAIN_REQUEST = "permissionRequest"
"""What Copilot CLI calls a permission that it wants."""


def verdict(told: object, folder: str, event: dict[str, object], name: str) -> tuple[str, str]:
    """Returns (`allow`, `deny` or `ask`, the pattern or the reason) of an event that asks, and
    records what is decided; nothing where a program that only tells of a tool may go on by itself.

    Raises for a policy that cannot be read.
    """
    if not isinstance(told, dict):
        raise TypeError("a policy is keys and values")
    worktree = str(told["worktree"])
    policy = Policy([*_texts(told.get("allow")), *_for_good(folder)], _texts(told.get("deny")))
    tool, wanted = str(event.get("tool_name") or ""), event.get("tool_input")
    decision, why = policy.decide(tool, wanted, worktree, str(event.get("cwd") or ""))
    if decision == "ask" and told.get("otherwise") == "deny" and (why or name != GUARD):
        decision, why = "deny", ""
    if name == GUARD and (decision == "allow" or (decision == "ask" and not why)):
        return "", ""
    if decision != "ask":
        with contextlib.suppress(OSError):
            record(folder, decision, why, tool, wanted)
    return decision, why


def offer(told: object, event: dict[str, object]) -> str:
    """Returns the pattern by which a person may allow just this for good, empty for none."""
    if not isinstance(told, dict):
        return ""
    worktree, cwd = str(told.get("worktree") or ""), str(event.get("cwd") or "")
    if not worktree:
        return ""
    found = pattern_of(str(event.get("tool_name") or ""), event.get("tool_input"), worktree, cwd)
    return found if _masked(found) == found else ""


def answer_to(
    called: str, event: dict[str, object], decision: str, note: str, grant: object = None
) -> dict[str, object]:
    """Returns a decision as the event that is `called` so takes it; `grant` is how its program is
    told to let a tool through, where only that does.
    """
    denied = decision == "deny"
    if called == BEFORE:
        told: dict[str, object] = {"decision": decision, **({"reason": note} if denied else {})}
        more = {"hookEventName": called, "tool_input": _granted(grant, event)} if grant else {}
        return {**told, "hookSpecificOutput": more} if more and not denied else told
    behavior: dict[str, object] = {"behavior": decision, **({"message": note} if denied else {})}
    if called == PLAIN_REQUEST:
        return behavior
    own: dict[str, object] = {"decision": behavior}
    if called == GUARD:
        own = {"permissionDecision": decision, "permissionDecisionReason": note}
    return {"hookSpecificOutput": {"hookEventName": called, **own}}


def _granted(grant: object, event: dict[str, object]) -> dict[str, object]:
    """Returns a tool's input with the word of `grant` in it, at the key that its `tools` name: in
    the path of a command's folder the word is left again at once, so that it means the same.
    """
    assert isinstance(grant, dict)
    word, key = str(grant["word"]), str(grant["tools"][event["tool_name"]])
    wanted = event.get("tool_input")
    told = dict(wanted) if isinstance(wanted, dict) else {}
    if key not in CWD:
        return {**told, key: word}
    here = str(event.get("cwd") or "/")
    below = os.path.relpath(os.path.join(here, str(told.get(key) or "")), here)
    return {**told, key: f"{word}/../{below}"}


def shown(wanted: object) -> str:
    """Returns what a tool is used on, for a person who decides: without the secrets of the session;
    what is left out is told.
    """
    text = json.dumps(wanted) if wanted else ""
    if isinstance(wanted, dict):
        subjects = (wanted.get(key) for key in (*COMMAND, *PATH, *URL))
        text = next((one for one in subjects if isinstance(one, str) and one), text)
    text = _masked(text)
    left, half = len(text) - SHOWN_CHARS, SHOWN_CHARS // 2
    told = f"{text[:half]} [... {left} characters are left out ...] {text[-half:]}"
    return told if left > 0 else text


def record(folder: str, decision: str, why: str, tool: str, wanted: object) -> None:
    """Adds one decision to the session's record."""
    told = wanted if isinstance(wanted, dict) else {}
    subjects = (str(told[key]) for key in (*COMMAND, *PATH, *URL) if told.get(key))
    path = os.path.join(folder, "session", RECORD)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    line = {
        "at_ms": time.time_ns() // 1_000_000,
        "decision": decision,
        "why": why,
        "tool": tool[:ABOUT_CHARS],
        "about": _masked(next(subjects, ""))[:ABOUT_CHARS],
    }
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(handle).st_size < RECORD_BYTES:
            os.write(handle, json.dumps(line).encode() + b"\n")
    finally:
        os.close(handle)


def _masked(text: str) -> str:
    """Returns a text without the secrets of the session."""
    for name in os.environ.get("FLEET_SECRETS", "").split():
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, f"[{name}]")
    return text


def _texts(told: object) -> list[str]:
    if told is None:
        return []
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise ValueError("a policy is lists of patterns")
    return told


def _for_good(folder: str) -> list[str]:
    """Returns the patterns that a person has allowed in this attempt."""
    place = os.path.join(folder, "answers")
    found = []
    names = os.listdir(place) if os.path.isdir(place) else []
    for name in sorted(names)[-ANSWERS:]:
        try:
            with open(os.path.join(place, name), encoding="utf-8") as file:
                answer = json.load(file)
        except (OSError, ValueError):
            continue
        if isinstance(answer, dict) and answer.get("value") == "always":
            found.append(str(answer.get("pattern") or ""))
    return [one for one in found if one]


def is_unasked(told: object, event: dict[str, object]) -> bool:
    """Returns whether a program's own rules (`told`: its tools, and beginnings of commands) allow
    what it only tells of; what they do not name it will ask about.
    """
    rules = told if isinstance(told, dict) else {}
    if event.get("tool_name") in (rules.get("tools") or ()):
        return True
    wanted = event.get("tool_input")
    command = wanted.get("command") if isinstance(wanted, dict) else None
    if not isinstance(command, str):
        return False
    begun = tuple(f"{one} " for one in rules.get("commands") or ())
    return all(f"{part.strip()} ".startswith(begun) for part in JOINTS.split(command))
