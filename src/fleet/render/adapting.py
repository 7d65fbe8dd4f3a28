"""A change of the plan as text: what comes and goes, what that does to the schedule, and what came
of it.

Ids and reasons come from whoever proposed the change: everything goes through `line` or `wrapped`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.render.text import line, wrapped
from fleet.views.plan import number

LISTED: Final = 20
"""The most tasks whose slack is spelled out."""


def adapting_text(found: Mapping[str, Any], columns: int, *, outcome: bool = True) -> str:
    """Returns the change with what it does, and last what became of it, if that is wanted."""
    told = [*wrapped(str(found["reason"]) or "No reason was given.", columns)]
    if "graph" in found:
        told += ["", *_graph(found, columns), "", *_schedule(found["schedule"], columns)]
    if outcome:
        told += ["", *_outcome(found, columns)]
    return "\n".join(told) + "\n"


def _graph(found: Mapping[str, Any], columns: int) -> list[str]:
    graph, running = found["graph"], found["running"]
    lines = []
    for one in graph["added"]:
        needs = f", needs {', '.join(one['needs'])}" if one["needs"] else ""
        days = f"{number(one['days'])} day{'' if one['days'] == 1 else 's'}"
        who = one["agent"] or "no agent"
        lines.append(f"+ {one['id']} ({who}, {one['phase']}, {days}{needs})")
    for one in graph["needs"]:
        lines += [f"~ {one['task']} also needs {', '.join(one['added'])}"] if one["added"] else []
        gone = ", ".join(one["removed"])
        lines += [f"~ {one['task']} no longer needs {gone}"] if gone else []
    lines += [f"- {name}" for name in graph["dropped"]]
    words = {
        "stop": "is stopped and goes on behind that",
        "leave": "goes on; what waits for it waits for that too",
    }
    lines += [
        f"! {name} {words[what]}" if name not in graph["dropped"] else f"! {name} is stopped"
        for name, what in running.items()
    ]
    return [cut for one in lines for cut in wrapped(one, columns, "  ")]


def _schedule(told: Mapping[str, Any], columns: int) -> list[str]:
    before, after = told["finish"]["before"], told["finish"]["after"]
    if before["day"] == after["day"]:
        lines = [f"finish stays on day {after['day']}, {after['date']}"]
    else:
        days = f"from day {before['day']} to day {after['day']}"
        lines = [f"finish moves {days} ({before['date']} to {after['date']})"]
    path = told["critical_path"]
    chain = " -> ".join(path["after"])
    same = path["before"] == path["after"]
    lines.append(f"{'critical path as before' if same else 'new critical path'}: {chain}")
    moved = [_slack(one) for one in told["slack"]]
    if moved:
        more = len(moved) - LISTED
        rest = f" and {more} more" if more > 0 else ""
        lines.append(f"slack: {', '.join(moved[:LISTED])}{rest}")
    return [cut for one in lines for cut in wrapped(one, columns, "  ")]


def _slack(one: Mapping[str, Any]) -> str:
    return f"{one['task']} {number(one['before'])} -> {number(one['after'])}"


def _outcome(found: Mapping[str, Any], columns: int) -> list[str]:
    state = found["state"]
    outside = _outside(found["against"], columns)
    if state == "taken":
        return ["nothing to do: the plan has taken this change up already"]
    if state == "applied":
        return wrapped(f"applied as revision {found['revision']}", columns)
    if state == "asked":
        name = line(str(found["question"]))
        text = f"asked as {name}: fleet approve {name}, or fleet reject {name} --reason ..."
        return [*outside, *wrapped(text, columns)]
    return [*outside, f"{state}; nothing was done"]


def _outside(against: Sequence[str], columns: int) -> list[str]:
    told = (f"outside of the envelope: {one}" for one in against)
    return [cut for one in told for cut in wrapped(one, columns)]
