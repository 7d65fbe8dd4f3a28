"""What a change does to a plan, as everybody is shown it: graph, schedule and longest chain.

Two lowered plans in, plain values out. Days are those of the schedule that a plan carries: planned
under the limits, counted from 1; dates are handed in as a function, because views know no calendar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from fleet.core.plan import JOIN, Plan


def difference(before: Plan, after: Plan, date_of: Callable[[int], str]) -> dict[str, Any]:
    """Returns {graph: {added, needs, dropped}, schedule: {finish, moved_days, critical_path,
    slack}}: what one plan is that the other was not.
    """
    return {"graph": _graph(before, after), "schedule": _schedule(before, after, date_of)}


def schedule_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what is another in the schedule that a plan carries in its `about`: the finish, the
    longest chain; nothing where nobody planned.
    """
    old, new = _timing(before), _timing(after)
    if not (old["chain"] and new["chain"]):
        return ()
    words = []
    if _day(old) != _day(new):
        words.append(f"finish moves from day {_day(old)} to day {_day(new)}")
    if old["chain"] != new["chain"]:
        words.append(f"new critical path: {' -> '.join(new['chain'])}")
    return tuple(words)


def _graph(before: Plan, after: Plan) -> dict[str, Any]:
    old, new = _tasks(before), _tasks(after)
    needs = []
    for name, now in new.items():
        had, has = old.get(name, now)["dependencies"], now["dependencies"]
        told = {
            "task": name,
            "added": [one for one in has if one not in had],
            "removed": [one for one in had if one not in has],
        }
        if told["added"] or told["removed"]:
            needs.append(told)
    return {
        "added": [_added(told) for name, told in new.items() if name not in old],
        "needs": needs,
        "dropped": [name for name in old if name not in new],
    }


def _tasks(plan: Plan) -> dict[str, Mapping[str, Any]]:
    return {
        name: step.params["task"]  # type: ignore[misc]
        for name, step in plan.steps.items()
        if step.kind == JOIN and "task" in step.params
    }


def _added(facts: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "name", "agent", "phase", "days")
    return {**{name: facts[name] for name in kept}, "needs": list(facts["dependencies"])}


def _schedule(before: Plan, after: Plan, date_of: Callable[[int], str]) -> dict[str, Any]:
    old, new = _timing(before.about), _timing(after.about)
    slack = [
        {"task": name, "before": old["slots"][name][2], "after": slot[2]}
        for name, slot in new["slots"].items()
        if name in old["slots"] and abs(old["slots"][name][2] - slot[2]) > 1e-9
    ]
    return {
        "finish": {
            which: {"day": _day(told), "date": date_of(_day(told))}
            for which, told in (("before", old), ("after", new))
        },
        "moved_days": round(new["days"] - old["days"], 3),
        "critical_path": {"before": list(old["chain"]), "after": list(new["chain"])},
        "slack": sorted(slack, key=lambda one: one["after"]),
    }


def _timing(about: Mapping[str, Any]) -> dict[str, Any]:
    told: Any = about.get("schedule") or {}
    return {"days": 0.0, "slots": {}, "chain": [], **told}


def _day(timing: Mapping[str, Any]) -> int:
    return max(1, ceil(float(timing["days"])))
