"""The gate of a phase or a checkpoint: its conditions in a terminal, and as a page in Markdown for
a pull request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.render.running import published, short, tick
from fleet.render.text import escaped, line, row_of, wrapped

DIGEST: Final = 19  # `sha256:` and twelve characters; JSON has them all


def gate_text(gate: Mapping[str, Any], columns: int = 100) -> str:
    """Returns a gate with each of its conditions, and why those that are not met are not."""
    word = "open" if gate["gate"] == "open" else "closed"
    if gate.get("checkpoint"):
        return _checkpoint_text(gate, word, columns)
    if gate["merged_as"]:
        word = f"open, landed as {short(gate['merged_as'])}"
    lines = [line(f"gate {gate['phase']}: {word}")]
    lines += [f"  {published(gate[key])}" for key in ("pull_request", "pushed") if gate.get(key)]
    for one in gate["conditions"]:
        lines += _condition(one, columns)
    return "\n".join(lines)


def _condition(one: Mapping[str, Any], columns: int) -> list[str]:
    """Returns a condition on its lines, and why where it is not met."""
    mark = tick(bool(one["met"]))
    first, *rest = wrapped(line(str(one["text"])), columns - 4) or [""]
    lines = [f"  {mark} {first}", *(f"    {more}" for more in rest)]
    return lines if one["met"] else [*lines, *wrapped(str(one["evidence"]), columns, "      ")]


def _checkpoint_text(gate: Mapping[str, Any], word: str, columns: int) -> str:
    """Returns a checkpoint by the groups of its list, in each what is not met first."""
    one = gate["checkpoint"]
    told = ", skipped by a person" if one["skipped"] else ""
    name = f" ({line(one['name'])})" if one["name"] != one["id"] else ""
    if one["items"]:
        told += f", {one['met']} of {one['items']} items met"
    lines = wrapped(f"checkpoint {line(one['id'])}{name}: {word}{told}", columns)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in gate["conditions"]:
        groups.setdefault(str(one["group"]), []).append(one)
    for group, conditions in groups.items():
        met = sum(bool(one["met"]) for one in conditions)
        lines.append(f"  {line(group)}: {met} of {len(conditions)}")
        for one in sorted(conditions, key=lambda one: bool(one["met"])):
            lines += [f"  {row}" for row in _condition(one, columns - 2)]
    return "\n".join(lines)


def gate_markdown(gate: Mapping[str, Any]) -> str:
    """Returns the gate as a manifest: every condition with its commit, time, source and digest."""
    point = gate.get("checkpoint")
    title = f"Checkpoint {escaped(point['id'])}" if point else f"Gate {escaped(gate['phase'])}"
    lines = [f"# {title}: {gate['gate']}", "", _standing(gate)]
    heads = ("", "condition", "evidence", "commit", "at", "by", "digest")
    rows = [
        (
            "yes" if one["met"] else "**no**",
            *(escaped(str(one[name])) for name in ("text", "evidence")),
            *_source(one),
        )
        for one in gate["conditions"]
    ]
    lines += ["", row_of(heads), row_of(["---"] * len(heads)), *map(row_of, rows)]
    if gate["metrics"]:
        heads = ("metric", "value", "target", "commit", "at", "by", "digest")
        rows = [
            (
                escaped(f"{one['task']}: {one['name']}"),
                escaped(f"{_number(one['value'])} {one['unit'] or ''}".strip()),
                escaped(one["target"] or "-"),
                *_source(one),
            )
            for one in gate["metrics"]
        ]
        lines += ["", row_of(heads), row_of(["---"] * len(heads)), *map(row_of, rows)]
    return "\n".join(lines)


def _standing(gate: Mapping[str, Any]) -> str:
    if gate["merged_as"]:
        return f"Run {escaped(gate['run'])}, landed as {short(gate['merged_as'])}."
    missing = len(gate["missing"])
    told = "nothing is missing" if not missing else f"{missing} missing"
    return f"Run {escaped(gate['run'])}, {told}."


def _source(one: Mapping[str, Any]) -> tuple[str, ...]:
    commit = short(one["commit"]) if one["commit"] else "-"
    told = [escaped(str(one[name] or "-")) for name in ("at", "by")]
    return (commit, *told, escaped(str(one["digest"] or "-")[:DIGEST]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
