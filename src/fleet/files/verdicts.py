"""The verdict of a verifier: the form that it must have, and who is sent back by it.

    {passed: false, findings: [{severity: high, text, evidence, task?}], commits?: {task: id}}

What did not pass names at least one finding, each with its evidence; what passed holds none that is
high or critical. A finding without `task` is about all that was judged. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fleet.errors import Problem
from fleet.views.verdicts import GRAVE, SEVERITIES

if TYPE_CHECKING:
    from fleet.files.documents import Check, TaskDocument
    from fleet.files.fleet import Fleet

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
    """Returns which of the judged tasks are sent back, in their order: those that the grave
    findings are about (without any, all findings), and all where one of these names none.
    """
    grave = [one for one in findings if one["severity"] in GRAVE]
    named = {one.get("task") for one in grave or findings}
    return [name for name in tasks if not named or None in named or name in named]


def asked_of(task: TaskDocument, check: Check) -> str:
    """Returns what an agent among a task's checks is told: its instructions, and what the task was
    to do and to leave.
    """
    wanted = "".join(f"\n- {one.text}" for one in task.deliverables)
    form = json.dumps(check.verdict, indent=1) if check.verdict else ""
    parts = [
        check.instructions or "Judge whether this is done, and done well.",
        f"What `{task.id}` was to do:\n\n{task.body.strip() or task.name or task.id}",
        f"It was to leave:\n{wanted}" if wanted else "",
        f"Your verdict holds this JSON Schema besides:\n\n```json\n{form}\n```" if form else "",
    ]
    return "\n\n".join(part for part in parts if part)


def verdicts_have_a_form(fleet: Fleet) -> Iterator[Problem]:
    """Yields each place where what a document asks of a verdict besides is no JSON Schema."""
    asked = [
        (task.id, number, each.verdict)
        for task in fleet.tasks.values()
        for number, each in enumerate(task.checks)
        if isinstance(each.verdict, Mapping)
    ]
    if not asked:
        return
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    for task, number, form in asked:
        try:
            Draft202012Validator.check_schema(form)
        except SchemaError as wrong:
            place = fleet.place("task", task, "checks", number, "verdict")
            yield Problem(f"it is no JSON Schema: {wrong.message}", place)
