"""The brief: everything that an agent is told at its start, as one Markdown text. Pure text
building.

What others wrote (agents' last words, outputs of commands) stands in fenced blocks, shortened, so
that it is read as material and breaks nothing around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SAID_CHARS: Final = 4_000
TAIL_CHARS: Final = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a brief is made of;
    `earlier` are the findings of attempts that were not enough, oldest first.
    """

    task: str
    name: str
    agent: str
    branch: str
    worktree: str
    attempt: int
    port: int | None = None
    rules: str = ""
    prompt: str = ""
    body: str = ""
    deliverables: Sequence[str] = ()
    checks: Sequence[str] = ()
    evidence: Sequence[str] = ()
    dependencies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    earlier: Sequence[str] = ()
    answers: Sequence[tuple[str, str]] = ()
    note: str = ""
    note_from: str = "A person"
    scratch: bool = False
    """Whether it works in a folder that is no worktree: there is nothing to commit then."""


def write(told: Told) -> str:
    """Returns the brief."""
    parts = [
        f"# {told.name}",
        _place(told),
        _again(told),
        _section("Rules for every agent", told.rules),
        _section(f"You are {told.agent}", told.prompt),
        _section("Task", told.body),
        _wanted(told),
        _dependencies(told.dependencies),
        _answers(told.answers),
        _SCRATCH if told.scratch else _COMMANDS,
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def findings(evidence: Mapping[str, Any], text: str = "") -> str:
    """Returns what a check found wrong, in words with the tails of what failed;
    `text` where it found nothing.
    """
    lines = [f"- {evidence['branch']}"] if evidence.get("branch") else []
    lines += [
        f"- deliverable `{one['text']}`: {one.get('why')}"
        for one in evidence.get("deliverables") or ()
        if not one.get("met")
    ]
    for one in evidence.get("checks") or ():
        if not one.get("passed"):
            lines.append(f"- check `{one['text']}`: {one.get('why')}")
            if one.get("tail"):
                lines.append(fence(str(one["tail"]), TAIL_CHARS))
    return "\n".join(lines) or text


def fence(text: str, limit: int) -> str:
    """Returns the end of `text` as a fenced block that nothing in it can close."""
    shown = text[-limit:]
    ticks = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    bar = "`" * max(3, ticks + 1)
    return f"{bar}text\n{shown}\n{bar}"


def _place(told: Told) -> str:
    if told.scratch:
        return (
            f"Step `{told.task}`, agent `{told.agent}`, attempt {told.attempt}.\n"
            f"You work in the folder `{told.worktree}`; what you say last is your output."
        )
    lines = [
        f"Task `{told.task}`, agent `{told.agent}`, attempt {told.attempt}.",
        f"You work in the git worktree `{told.worktree}`, on branch `{told.branch}`, only there.",
    ]
    if told.port:
        lines.append(f"Port {told.port} is reserved for you (also in PORT).")
    return "\n".join(lines)


def _again(told: Told) -> str:
    parts = []
    if told.note:
        parts.append(f"{told.note_from} sent this work back:\n\n{fence(told.note, SAID_CHARS)}")
    parts += told.earlier
    if not parts:
        return ""
    head = (
        "What was there was not enough. What you find in the worktree is from then; go on from it."
    )
    return _section("Before you begin: what failed", "\n\n".join([head, *parts]))


def _wanted(told: Told) -> str:
    lines: list[str] = []
    if told.scratch:
        return ""
    if told.deliverables:
        lines.append(f"Committed on `{told.branch}`, new or changed since its start:")
        lines += [f"- {one}" for one in told.deliverables]
    if told.checks:
        lines += ["", "These must pass in the worktree, at the commit:"]
        lines += [f"- {one}" for one in told.checks]
    if told.evidence:
        lines += ["", "Show this in what you say at the end:"]
        lines += [f"- {one}" for one in told.evidence]
    lines += [
        "",
        "Only what is committed counts. Whether it is there is looked at afterwards, not believed.",
    ]
    return _section("What you must leave", "\n".join(lines))


def _dependencies(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for task, output in found.items():
        commit = (
            f" at commit {str(output['commit'])[:12]}, which is in your worktree"
            if output.get("commit")
            else ""
        )
        lines.append(f"- `{task}` is done{commit}.")
        files = [str(one["text"]) for one in output.get("deliverables") or ()]
        if files:
            lines.append(f"  It left: {', '.join(files)}")
        if output.get("said"):
            lines += ["", fence(str(output["said"]), SAID_CHARS), ""]
    return _section("What came before", "\n".join(lines))


def _answers(answers: Sequence[tuple[str, str]]) -> str:
    return _section("Answers to earlier questions", "\n".join(f"- {q}\n  {a}" for q, a in answers))


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip()}" if text.strip() else ""


_COMMANDS: Final = """\
## While you work

- `fleet checkin --done "..." --next "..." [--blocker "..."]` at least once a day and when something
changes.
- `fleet ask "..." [--topic T]` when you cannot decide alone.
- `fleet done [--output FILE]` when you are finished, after the last commit; then end.
- Commit often, on your branch. Do not switch branches, and do not touch other worktrees or the base
branch."""

_SCRATCH: Final = """\
## While you work

- `fleet ask "..." [--topic T]` when you cannot decide alone.
- `fleet done [--output FILE]` when you are finished, to give your output as a file; then end."""
