"""What a plan of many task files costs: `fleet plan --json` against reading and parsing them.

    main([-n=ROUNDS])

The floor is one Python process that reads the same files and parses their heads with libyaml's
loader, and nothing more. Cold: no cache of documents; warm: the cache of the run before.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import scenes

TASKS = 1_000
PARSE = """
import pathlib, sys, yaml
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.md")):
    yaml.load(path.read_text().split("---", 2)[1], yaml.CSafeLoader)
"""
MORE = {
    "priority": "high",
    "days": "2",
    "deliverables": "[DONE.md, docs/notes.md]",
    "checks": "['python3 -m pytest -q', {name: lint, command: [ruff, check]}]",
    "risks": "[{text: it may take longer than it should, mitigation: begin early}]",
    "metrics": "[{name: coverage, baseline: 60, target: '>=85', unit: '%'}]",
    "evidence": "[All tests are green, Nothing is left open]",
}


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 5)
    with scenes.scratch() as folder:
        root = scenes.write_fleet(
            scenes.make_repository(folder / "plan", 10), TASKS, "true", **MORE
        )
        for number in range(1, TASKS):
            path = root / f"tasks/t{number}.md"
            path.write_text(
                path.read_text().replace(
                    "agent: crew\n", f"agent: crew\ndependencies: [t{number // 2}]\n"
                )
            )
        argv_plan = scenes.fleet("-C", str(root), "plan", "--json")

        def cold() -> float:
            shutil.rmtree(root / ".fleet", ignore_errors=True)
            return scenes.timed(argv_plan)

        def floor() -> float:
            return scenes.timed([sys.executable, "-c", PARSE, str(root / "tasks")])

        found = scenes.in_turn(rounds, floor=floor, cold=cold, warm=lambda: scenes.timed(argv_plan))
        edited = Path(root / "tasks/t7.md")
        edited.write_text(edited.read_text() + "\nOne line more.\n")
        one = [scenes.timed(argv_plan)]
    figures = [
        scenes.ratio(f"plan --json, {TASKS:,} files, no cache", found["cold"], found["floor"], 2),
        scenes.ratio("the same with the cache", found["warm"], found["floor"], 2),
        scenes.ratio("the same, one file edited", one, found["floor"], 2),
    ]
    return scenes.show("plan", "scripts/bench plan", figures)
