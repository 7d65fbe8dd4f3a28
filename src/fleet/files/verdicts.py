"""The verdict of a verifier: the form that it must have, and what it says in words.

    {passed: false, findings: [{severity: high, text, evidence, task?}], commits?: {task: id}}

What did not pass names at least one finding, each with its evidence; what passed holds none that is
high or critical. A finding without `task` is about all that was judged. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

GRAVE: Final = ("critical", "high")
SEVERITIES: Final = (*GRAVE, "medium", "low", "info")
FINDINGS: Final = 50
"""How many findings a verdict holds at most."""

EXAMPLE: Final = """\
{"passed": false,
 "findings": [{"severity": "high", "task": "TASK", "text": "what is wrong",
               "evidence": "what shows it: a command and its output, file:line"}]}"""


def schema(tasks: Sequence[str]) -> dict[str, Any]:
    """Returns the JSON Schema of a verdict about these tasks."""
    text = {"type": "string", "minLength": 1}
    finding = {
        "type": "object",
        "required": ["severity", "text", "evidence"],
        "properties": {
            "severity": {"enum": list(SEVERITIES)},
            "text": text,
            "evidence": text,
            "task": {"enum": list(tasks)},
        },
    }
    commits = {name: {"type": "string", "pattern": "^[0-9a-f]{7,64}$"} for name in tasks}
    slight = {"items": {"properties": {"severity": {"enum": [*SEVERITIES[len(GRAVE) :]]}}}}
    return {
        "type": "object",
        "required": ["passed", "findings"],
        "properties": {
            "passed": {"type": "boolean"},
            "findings": {"type": "array", "items": finding, "maxItems": FINDINGS},
            "commits": {"type": "object", "properties": commits, "additionalProperties": False},
        },
        "if": {"properties": {"passed": {"const": True}}},
        "then": {"properties": {"findings": slight}},
        "else": {"properties": {"findings": {"minItems": 1}}},
    }


def blamed(findings: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> list[str]:
    """Returns which of the judged tasks findings are about, in their order: all where one of them
    names none, or where there are none.
    """
    named = {one.get("task") for one in findings}
    return [name for name in tasks if not named or None in named or name in named]


def grave_first(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns findings, the gravest first, else in their order."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one["severity"]))


def summary(findings: Sequence[Mapping[str, Any]]) -> str:
    """Returns findings as one line: the gravest in its words, and how many more there are."""
    if not findings:
        return ""
    first, *rest = grave_first(findings)
    more = f"; {len(rest)} more finding{'s' * (len(rest) != 1)}" if rest else ""
    about = f"{first['task']}: " if first.get("task") else ""
    return f"{first['severity']}: {about}{' '.join(str(first['text']).split())}{more}"
