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

from fleet.files.verdicts import EXAMPLE
from fleet.views.verdicts import GRAVE, SEVERITIES, grave_first

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
    replanned: str = ""
    """What came before the task while it was being worked on, and why."""
    note: str = ""
    note_from: str = "A person"
    judges: Sequence[tuple[str, str, str]] = ()
    """What a verifier judges: task, branch, commit."""
    judged_before: str = ""
    """What it found in the round before."""
    looks_only: bool = False
    """Whether it judges in the worktree of the very task that it judges, and leaves nothing."""
    scratch: bool = False
    """Whether it works in a folder that is no worktree: there is nothing to commit then."""


def write(told: Told) -> str:
    """Returns the brief."""
    parts = [
        f"# {told.name}",
        _place(told),
        _section("The plan has changed", told.replanned),
        _again(told),
        _section("Rules for every agent", told.rules),
        _section(f"You are {told.agent}", told.prompt),
        _section("Task", told.body),
        _judging(told),
        _wanted(told),
        _dependencies(told.dependencies),
        _answers(told.answers),
        _SCRATCH if told.scratch or told.looks_only else _COMMANDS,
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
    for one in evidence.get("evidence") or ():
        if not one.get("met"):
            lines.append(f"- evidence `{one['text']}`: {one.get('why')}")
            lines += [fence(str(one["tail"]), TAIL_CHARS)] if one.get("tail") else []
    for one in evidence.get("checks") or ():
        if not one.get("passed"):
            lines.append(f"- check `{one['text']}`: {one.get('why')}")
            if one.get("tail"):
                lines.append(fence(str(one["tail"]), TAIL_CHARS))
    return "\n".join(lines) or text


def verdict(evidence: Mapping[str, Any], task: str = "") -> str:
    """Returns what a verifier found, the gravest first, each with its evidence: all of it, or what
    concerns one task.
    """
    told: Mapping[str, Any] = evidence.get("verdict") or {}
    lines = []
    for one in grave_first(told.get("findings") or ()):
        about = one.get("task")
        if task and about not in (None, task):
            continue
        where = f" in `{about}`" if about and not task else ""
        text = " ".join(str(one["text"]).split())
        lines += [f"- {one['severity']}{where}: {text}", fence(str(one["evidence"]), TAIL_CHARS)]
    red = [one for one in evidence.get("checks") or () if not one.get("passed")]
    return "\n".join([*lines, *([findings({"checks": red})] if red else [])])


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
    if told.looks_only:
        lines.append("It is that of the task which you judge: change and commit nothing there.")
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


def _judging(told: Told) -> str:
    if not told.judges:
        return ""
    lines = [
        "You judge the work of others. It is in your worktree, put together, at these commits:"
    ]
    lines += [f"- `{task}`: `{branch}` at {sha[:12]}" for task, branch, sha in told.judges]
    lines += [
        "",
        "Judge it, do not mend it: what does not pass is sent back with what you found. Leave",
        "these branches alone. What you say last (or give to `fleet done --output FILE`) is your",
        "verdict, as JSON alone or in a last fenced block:",
        "",
        f"```json\n{EXAMPLE}\n```",
        "",
        f"`severity` is {', '.join(SEVERITIES)}. What passes has no {' or '.join(GRAVE)} finding,",
        "what does not pass has one at least. Leave `task` out where it is about all of them.",
    ]
    if told.judged_before:
        lines += ["", "This is what you found in the round before, at other commits:", ""]
        lines.append(told.judged_before)
    return _section("What you judge", "\n".join(lines))


def _wanted(told: Told) -> str:
    lines: list[str] = []
    if told.scratch or told.looks_only:
        return ""
    if told.deliverables:
        lines.append(f"Committed on `{told.branch}`, new or changed since its start:")
        lines += [f"- {one}" for one in told.deliverables]
    if told.checks:
        whose = "These are run when you are done; red, they send what you judge back:"
        plain = "These must pass in the worktree, at the commit:"
        lines += ["", whose if told.judges else plain]
        lines += [f"- {one}" for one in told.checks]
    if told.evidence:
        lines += ["", "Show this, each by a committed file if there is one"]
        lines += ['(`fleet done --evidence "TEXT=FILE"`), else in what you say at the end:']
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
        if output.get("proof"):
            lines += _proved(output["proof"])
        if output.get("said"):
            lines += ["", fence(str(output["said"]), SAID_CHARS), ""]
    return _section("What came before", "\n".join(lines))


def _proved(proof: Mapping[str, Any]) -> list[str]:
    """Returns whether what was taken for granted holds, and how to go on."""
    text = " ".join(str(proof["text"]).split())
    if not proof["why"]:
        return [f"  It was to prove, and has: {text}"]
    lines = [f"  It was to prove, and has disproved: {text}", fence(proof["why"], SAID_CHARS)]
    if proof["answers"]:
        lines += ["  So this was decided:", fence("\n\n".join(proof["answers"]), SAID_CHARS)]
    return lines


def _answers(answers: Sequence[tuple[str, str]]) -> str:
    return _section("Answers to earlier questions", "\n".join(f"- {q}\n  {a}" for q, a in answers))


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip()}" if text.strip() else ""


_COMMANDS: Final = """\
## While you work

- `fleet checkin --done "..." --next "..." [--blocker "..."]` at least once a day and when something
changes.
- `fleet ask "..." [--topic T]` when you cannot decide alone; `--waits-for TASK` where you need the
work of another task.
- `fleet done [--output FILE] [--evidence "TEXT=FILE"]` when you are finished, after the last
commit; then end.
- Commit often, on your branch. Do not switch branches, and do not touch other worktrees or the base
branch."""

_SCRATCH: Final = """\
## While you work

- `fleet ask "..." [--topic T]` when you cannot decide alone.
- `fleet done [--output FILE]` when you are finished, to give your output as a file; then end."""
