"""What verifiers have concluded, round by round, as rows and in words; nothing is judged here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.core.state import Standing, StepState
from fleet.views.tasks import TaskSteps

GRAVE: Final = ("critical", "high")
SEVERITIES: Final = (*GRAVE, "medium", "low", "info")
"""How bad a finding is, the worst first."""


def verdict_in(check: StepState) -> Mapping[str, Any] | None:
    """Returns the verdict that a verifier's check has kept, None where it has none."""
    kept: Any = check.output if check.standing is Standing.SUCCEEDED else check.evidence
    told = kept.get("verdict") if isinstance(kept, Mapping) else None
    return told if isinstance(told, Mapping) else None


def verdicts_of(task: TaskSteps) -> list[dict[str, Any]]:
    """Returns {task, step, passed, commits, findings, red, back, moved, overtaken, digest} of each
    round that a verifier has concluded, oldest first; nothing for other tasks.
    """
    found = [(one, verdict_in(one)) for one in task.checks]
    return [
        {"task": task.join.step.id, "step": one.step.id, **told}
        for one, told in found
        if told is not None
    ]


def grave_first(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns findings, the gravest first, else in their order."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one["severity"]))


def found_in(verdict: Mapping[str, Any], task: str = "") -> str:
    """Returns what a verdict rests on as one line: its findings, of one task where it is named, and
    the checks that were red; nothing when that is nothing.
    """
    about = [one for one in verdict["findings"] if not task or one.get("task") in (None, task)]
    red = [f"check {text!r} failed" for text in verdict.get("red", ())]
    return "; ".join([*([summary(about)] if about else []), *red])


def summary(findings: Sequence[Mapping[str, Any]]) -> str:
    """Returns findings as one line: the gravest in its words, and how many more there are."""
    if not findings:
        return ""
    first, *rest = grave_first(findings)
    more = f"; {len(rest)} more finding{'s' * (len(rest) != 1)}" if rest else ""
    about = f"{first['task']}: " if first.get("task") else ""
    return f"{first['severity']}: {about}{' '.join(str(first['text']).split())}{more}"
