"""The workflows that benches run: lists of steps, as a file of the step dialect has them."""

from __future__ import annotations

import random
from typing import Any

SEED = 20_261_129
Steps = list[dict[str, Any]]


def chain(count: int) -> Steps:
    """Returns steps that count one after the other."""
    updates = {"n": "{{ state.n + 1 }}"}
    return [{"id": f"s{n}", "type": "set_state", "updates": updates} for n in range(count)]


def far(count: int) -> Steps:
    """Returns a chain in which each step looks back to the very beginning."""
    told = [{f"v{n}": "{{ state.base + 1 }}"} for n in range(count)]
    return [{"id": f"s{n}", "type": "set_state", "updates": one} for n, one in enumerate(told)]


def conditions(count: int) -> Steps:
    """Returns a chain of conditions, each with one step in its branch."""
    inside = {"type": "set_state", "updates": {"m": 1}}
    asks = {"type": "condition", "if": "state.n == 0"}
    return [{"id": f"s{n}", **asks, "then": [{"id": f"t{n}", **inside}]} for n in range(count)]


def calls(count: int) -> Steps:
    """Returns a chain of calls of a Python function."""
    call = {"type": "mcp_call", "tool": "bench.double", "parameters": {"value": "{{ state.n }}"}}
    return [{"id": f"s{n}", **call} for n in range(count)]


def graph(count: int) -> Steps:
    """Returns a random graph: each step needs one to three of the twenty before it."""
    chance, found = random.Random(SEED), chain(count)  # noqa: S311 - the same graph each time
    for n, step in enumerate(found):
        before = range(max(0, n - 20), n)
        some = chance.sample(before, min(n, chance.randint(1, 3)))
        step["needs"] = [f"s{one}" for one in sorted(some)]
    return found


def each(count: int) -> Steps:
    """Returns a foreach with one step for each item."""
    one = {"id": "one", "type": "set_state", "updates": {"m": "{{ item + 1 }}"}}
    return [{"id": "all", "type": "foreach", "items": list(range(count)), "steps": [one]}]


def agents(count: int) -> Steps:
    """Returns agents' steps that need nothing of one another."""
    said = {"type": "delegate", "agent": "one", "instructions": "Do nothing.", "needs": []}
    return [{"id": f"a{n}", **said} for n in range(count)]
