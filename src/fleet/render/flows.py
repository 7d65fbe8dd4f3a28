"""Runs of workflows as text: one with its steps as a tree, and the list of all."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fleet.render.text import cut, line, table, width, wrapped

WIDE: Final = 110
"""From here on there is room for who did a step, and when it began."""
SHOWN: Final = 200
"""Characters of an output of which a line shows as many as fit."""


def run_text(run: Mapping[str, Any], columns: int, fleet: str = "fleet") -> str:
    """Returns a run: its state, its steps as a tree with delays, tries and what they put out, its
    open questions with how to answer them, its result, and how a failed one goes on, both by the
    command `fleet`.
    """
    thread = f", thread {run['thread']}" if run["thread"] else ""
    took = f" in {seconds(elapsed(run))}" if run["ended_at"] else ""
    lines = [cut(line(f"{run['run']}: {run['workflow']}{thread}: {run['state']}{took}"), columns)]
    heads, rows = _rows(run["steps"], wide=columns >= WIDE)
    lines += ["", *table(rows, heads, columns, len(heads) - 1)]
    for asked in run["questions"]:
        lines += ["", cut(line(f"? {asked['id']}  {asked['step']}  {asked['kind']}"), columns)]
        lines += wrapped(str(asked["message"]), columns, "    ")
        lines += [f"    {how}" for how in how_to(asked, columns - 4, fleet)]
    if run["result"] is not None and run["ended_at"]:
        lines += ["", *wrapped(f"result: {_whole(run['result'])}", columns)]
    if run["state"] == "failed":
        name = line(run["run"])
        lines += ["", f"why:    {fleet} report {name}", f"go on:  {fleet} run --resume {name}"]
    return "\n".join(lines)


def _rows(steps: Sequence[Mapping[str, Any]], *, wide: bool) -> tuple[list[str], list[list[str]]]:
    """Returns the heads and rows of a run's steps."""
    heads = ["STEP", "STATE", "QUEUED", "RAN", "TRIES", "OUTPUT"]
    rows = []
    for (name, one), began in zip(tree(steps), map(_began, steps), strict=True):
        tries = str(one["attempts"]) if one["attempts"] else "-"
        cells = [name, one["state"], _between(one, "queued_at", "started_at"), _took(one), tries]
        if wide:
            cells[2:2] = [str(one["agent"] or "-"), began]
        rows.append([*cells, str(one["error"] or _first(one["output"]))])
    if wide:
        heads[2:2] = ["AGENT", "BEGAN"]
    return heads, rows


def tree(steps: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the steps of a run with their names as a tree shows them: below the step that each
    stands within, without what its name has from it.
    """
    depths: dict[str, int] = {}
    found = []
    for one in steps:
        parent = one["parent"]
        deep = depths[one["id"]] = depths[parent] + 1 if parent in depths else 0
        name = str(one["id"])
        if parent and name.startswith((f"{parent}/", f"{parent}[")):
            name = name.removeprefix(parent).removeprefix("/")
        elif "/" in name and deep:
            name = name.rpartition("/")[2]
        found.append((f"{'  ' * deep}{name}", one))
    return found


def runs_text(rows: Sequence[Mapping[str, Any]], columns: int) -> str:
    """Returns the runs of workflows, one a line."""
    if not rows:
        return "no workflow was run yet"
    cells = [
        [
            one["run"],
            one["state"] + (f" ({one['questions']} ?)" if one["questions"] else ""),
            moment(one["started_at"]),
            seconds(elapsed(one)) if one["ended_at"] else "-",
            one["thread"] or "-",
            one["workflow"],
        ]
        for one in rows
    ]
    heads = ["RUN", "STATE", "STARTED", "TOOK", "THREAD", "WORKFLOW"]
    return "\n".join(table(cells, heads, columns, len(heads) - 1))


def how_to(asked: Mapping[str, Any], columns: int, fleet: str = "fleet") -> list[str]:
    """Returns the commands that answer a question, on as many lines as they take; `fleet` is how
    the fleet that asks is called.
    """
    choices, name = asked["choices"], asked["id"]
    if {"approve", "allow"} & {*choices}:
        always = " [--always]" if "always" in choices else ""
        told = [f"{fleet} approve {name}{always}", f"{fleet} reject {name} --reason ..."]
        together = "   ".join(told)
        return [together] if width(together) <= columns else told
    said = "|".join(shlex.quote(line(one)) for one in choices)
    climbs = [f"{fleet} answer {name} --escalate"] if asked.get("answering") else []
    return [f"{fleet} answer {name} {said or _meant(asked)}", *climbs]


def _meant(asked: Mapping[str, Any]) -> str:
    return "NUMBER" if asked["kind"] == "number" else "TEXT"


def moment(at: str) -> str:
    """Returns a moment of a journal to the second, in the local time of whoever reads."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def elapsed(one: Mapping[str, Any]) -> float:
    """Returns the seconds from the start to the end of what has both."""
    return _apart(one["started_at"], one["ended_at"])


def _apart(earlier: str, later: str) -> float:
    apart = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    return max(0.0, apart.total_seconds())


def seconds(span: float | None) -> str:
    """Returns a span as a table shows it: two or three digits, of an hour or more two units."""
    if span is None:
        return "-"
    if span < 1:
        return f"{1000 * span:.0f} ms"
    if span < 60:
        return f"{span:.1f} s"
    whole = int(span)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _between(step: Mapping[str, Any], earlier: str, later: str) -> str:
    if not step[earlier] or not step[later]:
        return "-"
    return seconds(_apart(step[earlier], step[later]))


def _took(step: Mapping[str, Any]) -> str:
    if step["started_at"] and not step["ended_at"]:
        return "-" if step["state"] == "unreached" else "..."
    return _between(step, "started_at", "ended_at")


def _began(step: Mapping[str, Any]) -> str:
    return moment(step["started_at"])[11:] if step["started_at"] else "-"


def _first(value: Any) -> str:
    return " ".join(_whole(value).split())[:SHOWN]


def _whole(value: Any) -> str:
    told = "" if value is None else json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else told
