"""Which tasks that a change adds may start: they are launched with those that they are for.

A person launches tasks; what is put before a task that was launched would keep it waiting for ever
otherwise. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fleet.core.plan import JOIN, Plan, Step
from fleet.core.state import State


def tasks_in(plan: Plan) -> list[str]:
    """Returns the tasks of a plan, in its order."""
    return [n for n, step in plan.steps.items() if step.kind == JOIN and "task" in step.params]


def launched(state: State, before: Plan, after: Plan, put: Iterable[Step]) -> tuple[Step, ...]:
    """Returns steps that a change puts, new tasks launched where a task that waits for them is;
    such as nothing waits for are where all others of their phase are.
    """
    facts: dict[str, Any] = {name: after.steps[name].params["task"] for name in tasks_in(after)}
    new = {name for name in facts if name not in before.steps}
    behind: dict[str, list[str]] = {}
    old: dict[str, list[str]] = {}
    for name, told in facts.items():
        if name not in new:
            old.setdefault(told["phase"], []).append(name)
        for need in told["dependencies"]:
            behind.setdefault(need, []).append(name)
    free = set()
    for name in new:
        waiting = _all_behind(name, behind) - new
        mates = old.get(facts[name]["phase"], []) if not waiting else []
        if any(_may_start(state, one) for one in waiting) or (
            mates and all(_may_start(state, one) for one in mates)
        ):
            free.add(f"{name}/worktree")
    return tuple(replace(step, released=True) if step.id in free else step for step in put)


def _may_start(state: State, task: str) -> bool:
    """Returns whether a task was launched."""
    one = state.known(f"{task}/worktree")
    return one is not None and one.released


def _all_behind(task: str, behind: Mapping[str, list[str]]) -> set[str]:
    """Returns the tasks that wait for one, directly or not."""
    found: set[str] = set()
    todo = [task]
    while todo:
        new = set(behind.get(todo.pop(), ())) - found
        found |= new
        todo += new
    return found
