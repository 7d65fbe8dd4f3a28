"""Launches, gates, merges, questions, events and metrics as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.render.text import ascii_only, line, plain, table, wrapped

TICKS = {True: "✔", False: "✘", None: "·"}
ASCII_TICKS = {True: "+", False: "x", None: "."}


def tick(met: bool | None) -> str:  # noqa: FBT001 - a mark of three values
    """Returns a mark for yes, no and unknown."""
    return (ASCII_TICKS if ascii_only() else TICKS)[met]


def launch_text(row: Any) -> str:
    """Returns one launched task as lines."""
    head = f"{row.task}  {row.agent}  {row.state}"
    if row.text:
        head += f": {row.text.splitlines()[0]}"
    lines = [line(head)]
    if row.state not in ("waiting", "ready", "held"):
        lines.append(line(f"  worktree {row.worktree}   branch {row.branch}"))
    if row.port:
        lines.append(f"  port     {row.port}")
    if row.session:
        lines.append(line(f"  session  {row.session}"))
    return "\n".join(lines)


def next_steps(rows: Sequence[Any]) -> str:
    """Returns what a person may want to type next."""
    live = [row.task for row in rows if row.session]
    if any(row.state == "needs-you" for row in rows):
        return "next: fleet inbox"
    if live:
        return line(
            f"next: fleet status   fleet attach {live[0]} (leave with C-b d)   fleet logs -f {live[0]}"
        )
    return "next: fleet status"


def gate_text(gate: Mapping[str, Any]) -> str:
    """Returns a gate with each of its conditions."""
    word = "open" if gate["gate"] == "open" else "closed"
    if gate["merged_as"]:
        word = f"open, landed as {str(gate['merged_as'])[:10]}"
    lines = [line(f"gate {gate['phase']}: {word}")]
    for one in gate["conditions"]:
        lines.append(f"  {tick(bool(one['met']))} {line(one['text'])}")
        if not one["met"] or one["commit"]:
            shown = str(one["evidence"]) or ""
            lines += wrapped(shown, 100, "      ") if not one["met"] else []
    return "\n".join(lines)


def landing_text(row: Any) -> str:
    """Returns what became of a phase's merge."""
    if not row.landed:
        lines = [line(f"{tick(False)} {row.phase}: not landed, the base is untouched")]
        lines += wrapped(row.text, 100, "    ")
        for check in row.evidence.get("checks", ()):
            if not check.get("passed"):
                lines += wrapped(str(check.get("tail", "")), 100, "      ")
        return "\n".join(lines)
    lines = [line(f"{tick(True)} {row.phase}: {str(row.before)[:10]} -> {str(row.commit)[:10]}")]
    lines += [line(f"    {name}  {str(sha)[:10]}") for name, sha in row.tasks.items()]
    if row.tag:
        lines.append(line(f"    tag {row.tag}"))
    if row.undo:
        lines.append(line(f"    undo ref {row.undo}"))
    return "\n".join(lines)


def inbox_text(questions: Sequence[Mapping[str, Any]], columns: int = 100) -> str:
    """Returns open questions, each with how to answer it."""
    if not questions:
        return "nothing needs you"
    lines = []
    for one in questions:
        slack = one["slack_days"]
        rides = (
            "on the critical path" if slack == 0 else "" if slack is None else f"slack {slack:g} d"
        )
        lines.append(line(f"{one['id']}  {one['task'] or one['step']}  {one['kind']}  {rides}"))
        lines += wrapped(str(one["message"]), columns, "    ")
        choices = one["choices"]
        if "approve" in choices:
            lines.append(
                line(f"    fleet approve {one['id']}   fleet reject {one['id']} --reason ...")
            )
        else:
            lines.append(line(f"    fleet answer {one['id']} {'|'.join(choices) or 'TEXT'}"))
    return "\n".join(lines)


def event_text(event: Mapping[str, Any]) -> str:
    """Returns one event as a line."""
    told = {k: v for k, v in event.items() if k not in ("schema", "run", "seq", "at", "event")}
    step = told.pop("step", "")
    rest = json.dumps(told, ensure_ascii=False) if told else ""
    return line(f"{event['seq']:>5} {event['at']} {event['event']:<19} {step} {rest[:400]}")


def metrics_text(found: Mapping[str, Any], columns: int = 100) -> str:
    """Returns every metric with baseline, target and measured value."""
    rows = [
        [
            tick(one["met"]),
            str(one["task"] or "(fleet)"),
            str(one["name"]),
            _value(one["baseline"], one["unit"]),
            str(one["target"] or "-"),
            _value(one["measured"], one["unit"]),
        ]
        for one in found["metrics"]
    ]
    if not rows:
        return "no metrics are declared"
    return "\n".join(
        table(rows, ["", "TASK", "METRIC", "BASELINE", "TARGET", "MEASURED"], columns, 2)
    )


def _value(value: float | None, unit: str) -> str:
    return "-" if value is None else plain(f"{value:g}{unit}")
