"""Runs of workflows as text: one with its steps, and the list of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fleet.render.text import cut, line

SHOWN: Final = 60


def run_text(run: Mapping[str, Any], columns: int) -> str:
    """Returns a run: its state, each step with times, tries and first words, its result."""
    thread = f", thread {run['thread']}" if run["thread"] else ""
    lines = [f"{run['run']}: {run['workflow']}{thread}: {run['state']}"]
    width = max((len(one["id"]) + 2 * one["id"].count("/") for one in run["steps"]), default=0)
    for one in run["steps"]:
        deep = one["id"].count("/")
        name = f"{'  ' * deep}{one['id']}"
        tries = f"{one['attempts']} tries" if one["attempts"] > 1 else ""
        said = one["error"] or _first(one["output"])
        told = f"  {name:<{min(width, 40)}}  {one['state']:<11} {_took(one):>8}  {tries} {said}"
        lines.append(cut(line(told.rstrip()), columns))
    lines += [
        cut(line(f"  ? {asked['id']}: {_first(asked['message'])}"), columns)
        for asked in run["questions"]
    ]
    if run["result"] is not None and run["ended_at"]:
        lines.append(cut(line(f"result: {_first(run['result'])}"), columns))
    return "\n".join(lines)


def runs_text(rows: Sequence[Mapping[str, Any]], columns: int) -> str:
    """Returns the runs of workflows, one a line."""
    if not rows:
        return "no workflow was run yet"
    width = max(len(one["run"]) for one in rows)
    lines = [
        f"{one['run']:<{width}}  {one['state']:<9}  {one['started_at']}  {one['workflow']}"
        for one in rows
    ]
    return "\n".join(cut(line(row), columns) for row in lines)


def _took(step: Mapping[str, Any]) -> str:
    if not step["started_at"] or not step["ended_at"]:
        return ""
    took = datetime.fromisoformat(step["ended_at"]) - datetime.fromisoformat(step["started_at"])
    return f"{took.total_seconds():.1f} s"


def _first(value: Any) -> str:
    told = "" if value is None else json.dumps(value, ensure_ascii=False)
    text = value if isinstance(value, str) else told
    return " ".join(text.split())[:200]
