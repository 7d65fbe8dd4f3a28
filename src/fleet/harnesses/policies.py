"""Patterns that allow and deny, as each program is held to them.

Law: what is denied by pattern is denied in every mode, by the program's hook before each tool and,
where the program has words of its own for it, by those too; a program that cannot be held to it is
refused. What is allowed by pattern is answered in the place of a person, so it needs a program that
asks. How patterns are matched is `fleet.policy`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.policy import Rule
from fleet.policy.matching import ANY, MANY

GUARD: Final = "PreToolUse"
"""The event before each use of a tool, hooked only where something is denied by pattern."""

GUARDED: Final = ("claude", "codex", "gemini", "opencode", "copilot")
"""Programs whose hooks refuse a tool before it is used, in every mode."""

_ANSWERED: Final = dict.fromkeys(("headless", "interactive"), ("ask", "edits", "auto", "deny"))
ASKING: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "claude": {
        "headless": ("ask", "edits", "auto", "deny", "yolo"),
        "interactive": ("ask", "edits", "auto", "deny", "yolo"),
    },
    "codex": {"interactive": ("ask",)},
    "gemini": _ANSWERED,
    "opencode": _ANSWERED,
    "copilot": _ANSWERED,
}
"""Program -> mode -> the permissions in which what is allowed by pattern has a use. Under `deny`
the program asks as it does under `ask`, and its hook denies what is not allowed."""

SERVERS: Final[Mapping[str, str]] = {
    "gemini": "take it out: in its terminal it asks there, headless it refuses",
    "opencode": "allow the tool by its own name, such as `server_tool`",
    "copilot": "allow the tool by its own name, such as `server-tool`",
}
"""Programs whose tools of MCP servers no pattern of servers allows -> what to do instead."""

SEPARATORS: Final = frozenset(",()")
"""What a rule of claude's may not hold, where several stand in one argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How a session is held to its patterns: what its hook is told, the permissions that its
    program is started with, the events that it is hooked for and words that it is given besides.
    """

    wishes: Mapping[str, object]
    permissions: str
    guards: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def refusal(
    harness: object, mode: str, permissions: str, told: Mapping[str, Any]
) -> tuple[str, str, str] | None:
    """Returns why a program cannot be held to patterns: the key, the problem, its cure; None where
    it can. `told` are {allow, deny}; what is allowed for the whole fleet is left out of it.
    """
    name = harness if isinstance(harness, str) else "a command"
    if told.get("deny") and name not in GUARDED:
        return (
            "deny",
            f"{name} cannot be held to what is denied by pattern",
            f"{', '.join(GUARDED)} can; for others take it out, or shut the agent in a sandbox",
        )
    if told.get("allow") and permissions not in ASKING.get(name, {}).get(mode, ()):
        return (
            "allow",
            f"{name} {mode} with permissions {permissions!r} never asks: a pattern allows nothing",
            "take it out, or choose a mode that asks",
        )
    server = next((one for one in told.get("allow") or () if _is_of_server(one)), None)
    if server is not None and name in SERVERS:
        return "allow", f"{name} cannot be held to {server!r}", SERVERS[name]
    return None


def _is_of_server(pattern: str) -> bool:
    return pattern.partition(":")[0].strip() == "mcp"


def hold(
    harness: object,
    permissions: str,
    told: Mapping[str, Any],
    always: Sequence[str],
    worktree: Path,
) -> Held:
    """Returns how a session is held to the patterns that it is `told` ({allow, deny, expires_ms})
    and to those that a person has allowed since.
    """
    allow = [*told.get("allow", ()), *always]
    deny = list(told.get("deny", ()))
    if permissions == "plan":
        allow = []  # a plan changes nothing
    policy: dict[str, object] = {"worktree": str(worktree), "allow": allow, "deny": deny}
    if (
        permissions == "deny"
        and allow
        and "deny" in ASKING.get(str(harness), {}).get("headless", ())
    ):
        # It asks, and the hook answers: what is not allowed is denied without a person.
        policy["otherwise"], permissions = "deny", "ask"
    wishes: dict[str, object] = {"policy": policy}
    if told.get("expires_ms"):
        wishes["ask_s"] = told["expires_ms"] / 1000
    return Held(
        wishes=wishes,
        permissions=permissions,
        guards=(GUARD,) if deny else (),
        words=_words(harness, deny, worktree),
    )


def joined(wishes: str, held: Held) -> str:
    """Returns what a session asks of fleet, with its policy in it."""
    return json.dumps({**json.loads(wishes), **held.wishes})


def _words(harness: object, deny: Sequence[str], worktree: Path) -> tuple[str, ...]:
    """Returns the program's own words for what is denied, as far as it has them: they hold, too,
    should its hook ever fail to start.
    """
    if harness != "claude":
        return ()
    rules = [rule for text in deny for rule in _of_claude(Rule(text), worktree)]
    return (f"--disallowedTools={','.join(rules)}",) if rules else ()


def _of_claude(rule: Rule, worktree: Path) -> list[str]:
    """Returns claude's rules for a pattern; none where it would mean something else there."""
    if rule.kind == "tool":
        return [rule.text] if "*" not in rule.text else []
    subject = rule.subject
    if not subject.isascii() or SEPARATORS & {*subject} or any(sign in subject for sign in "\"'\\"):
        return []
    names = {"run": "Bash", "edit": "Edit", "read": "Read", "fetch": "WebFetch"}
    if rule.kind not in names:
        return []
    name = names[rule.kind]
    if not rule.parts:
        return ["Edit", "Write", "NotebookEdit"] if rule.kind == "edit" else [name]
    if rule.kind == "run":
        plain = not any(ANY in part for part in rule.parts) and MANY not in rule.parts[:-1]
        bare = [f"Bash({subject.removesuffix(' *')})"] if subject.endswith(" *") else []
        return [f"Bash({subject})", *bare] if plain else []
    if rule.kind == "fetch":
        return [f"WebFetch(domain:{subject})"] if "*" not in subject else []
    top = "" if rule.parts[0] == "/" else f"{worktree}/"
    return [f"{name}(/{top}{subject.removeprefix('./')})"] if not subject.startswith("~") else []
