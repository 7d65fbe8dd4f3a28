"""What workflows cost: stub"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import scenes

CHAIN, NODES, ITEMS, AGENTS, AT_ONCE, SEED = 100, 500, 1_000, 100, 50, 20_261_129

FUNCTIONS = "def double(value):\n    return 2 * value\n"


def fleet_at(folder: Path) -> Path:
    """Returns the root of a fleet with one function and no task that matters."""
    root = scenes.write_fleet(scenes.make_repository(folder, 3), 1, "true")
    (root / "tools.py").write_text(FUNCTIONS)
    (root / "coordination.md").write_text(
        "---\nfleet: bench\nbase: main\nlimits: {agents: %d}\n"
        "functions: {bench.double: 'tools:double'}\n---\n" % AT_ONCE
    )
    (root / "workflows").mkdir()
    return root


def flow(root: Path, name: str, steps: list[dict[str, Any]], **more: Any) -> str:
    """Writes a workflow of the step dialect and returns its path."""
    told = {"name": name, "initial_state": {"n": 0}, "steps": steps, **more}
    path = root / f"workflows/{name}.yaml"
    path.write_text(json.dumps(told))
    return str(path)


def update(number: int, **more: Any) -> dict[str, Any]:
    """Returns a step that updates the state from what it was."""
    return {
        "id": f"s{number}", "type": "set_state", "updates": {"n": "{{ state.n + 1 }}"}, **more,
    }  # fmt: skip


def chain(count: int) -> list[dict[str, Any]]:
    return [update(number) for number in range(count)]


def mixed(count: int) -> list[dict[str, Any]]:
    """Returns a chain of updates, conditions and calls of a function, in turn."""
    found = []
    for n in range(count):
        if n % 3 == 0:
            found.append(update(n))
        elif n % 3 == 1:
            found.append(
                {
                    "id": f"s{n}",
                    "type": "condition",
                    "if": "state.n >= 0",
                    "then": [{"id": f"t{n}", "type": "set_state", "updates": {"m": n}}],
                }
            )
        else:
            found.append(
                {
                    "id": f"s{n}",
                    "type": "mcp_call",
                    "tool": "bench.double",
                    "parameters": {"value": "{{ state.n }}"},
                }
            )
    return found


def graph(count: int) -> list[dict[str, Any]]:
    """Returns a random graph: each step needs up to three of the twenty before it."""
    chance = random.Random(SEED)
    found = []
    for n in range(count):
        some = sorted(chance.sample(range(max(0, n - 20), n), min(n, chance.randint(1, 3))))
        found.append(update(n, needs=[f"s{one}" for one in some]))
    return found


def each(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": "all",
            "type": "foreach",
            "items": list(range(count)),
            "steps": [{"id": "one", "type": "set_state", "updates": {"m": "{{ item + 1 }}"}}],
        }
    ]
