"""Proofs of concept as rows: what each is about, whether it holds, what follows if not. Nothing is
judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.core.state import Standing
from fleet.views.tasks import TaskSteps

REJECTED = "rejected"
"""The label of a step whose change of the plan a person did not approve: it goes on as it was."""


def proof_row(task: TaskSteps) -> dict[str, Any] | None:
    """Returns {of, text, holds, why, value, op, target, unit, then, followed, rejected} of a proof,
    None of another task. `holds` is None until it was found out, `followed` whether what follows is
    done, `rejected` whether a person would not have it.
    """
    told = task.facts.get("proof")
    if not told:
        return None
    verified: Mapping[str, Any] = task.verified or {}
    why = verified.get("disproved")
    last = next((one for one in reversed(task.checks) if one.attempt), None)
    kept: Any = (last.output or last.evidence) if last is not None else None
    measured: Mapping[str, Any] = next(
        (one for one in (kept or {}).get("checks") or () if one.get("target") is not None), {}
    )
    then = [f"{name} {value}" for rung in told["then"] for name, value in rung.items()]
    done = task.remedies and all(
        one.standing in (Standing.SUCCEEDED, Standing.SKIPPED) for one in task.remedies
    )
    return {
        "of": told["of"],
        "text": told["text"],
        "holds": False if why else (True if verified else None),
        "why": why or None,
        **{name: measured.get(name) for name in ("value", "op", "target", "unit")},
        "then": then,
        "followed": bool(done) if why else None,
        "rejected": any(one.label == REJECTED for one in task.remedies),
    }


def proof_in_words(row: Mapping[str, Any]) -> str:
    """Returns whether an assumption holds, in words, with what was measured."""
    if row["holds"] is None:
        return "not proved yet"
    value = ""
    if row["value"] is not None:
        unit = f" {row['unit']}" if row["unit"] else ""
        value = f": {row['value']:g}{unit}, {row['op']} {row['target']:g} is wanted"
    if row["holds"]:
        return f"holds{value}"
    then = f"; {', then '.join(row['then'])}" if row["then"] else ""
    then += ", which was rejected" if row["rejected"] else ""
    return f"disproved{value or ': ' + str(row['why'])}{then}"


def evidence_rows(name: str, task: TaskSteps) -> list[dict[str, Any]]:
    """Returns what a task has shown, as its last check kept it: {task, text, how, met, why, commit,
    digest, file, command, code}.
    """
    last = next((one for one in reversed(task.checks) if one.output or one.evidence), None)
    kept: Any = (last.output or last.evidence) if last is not None else {}
    names = ("text", "how", "met", "why", "commit", "digest", "file", "command", "code")
    return [
        {"task": name, **{key: one.get(key) for key in names}} for one in kept.get("evidence", ())
    ]
