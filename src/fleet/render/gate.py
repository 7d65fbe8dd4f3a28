"""A phase's gate: its conditions in a terminal, and as a page in Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.render.running import published, short, tick
from fleet.render.text import escaped, line, row_of, wrapped

DIGEST: Final = 19  # `sha256:` and twelve characters; JSON has them all


def gate_text(gate: Mapping[str, Any], columns: int = 100) -> str:
    """Returns a gate with each of its conditions, and why those that are not met are not."""
    word = "open" if gate["gate"] == "open" else "closed"
    if gate["merged_as"]:
        word = f"open, landed as {short(gate['merged_as'])}"
    lines = [line(f"gate {gate['phase']}: {word}")]
    lines += [f"  {published(gate[key])}" for key in ("pull_request", "pushed") if gate.get(key)]
    for one in gate["conditions"]:
        mark = tick(bool(one["met"]))
        first, *rest = wrapped(line(str(one["text"])), columns - 4) or [""]
        lines += [f"  {mark} {first}", *(f"    {more}" for more in rest)]
        if not one["met"]:
            lines += wrapped(str(one["evidence"]), columns, "      ")
    return "\n".join(lines)


def gate_markdown(gate: Mapping[str, Any]) -> str:
    """Returns the gate as a manifest: every condition with its commit, time, source and digest."""
    lines = [f"# Gate {escaped(gate['phase'])}: {gate['gate']}", "", _standing(gate)]
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
