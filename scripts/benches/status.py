"""What a look costs: `fleet status --json` with 200 tasks, `fleet --help`, in bare Python starts.

    main([-n=ROUNDS])

The floor is `python -c pass` with the same interpreter, so that the machine falls out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import scenes

TASKS = 200


def launched(root: Path) -> None:
    """Gives a fleet a journal in which all of its tasks were launched, and lets the agents end."""
    scenes.timed(scenes.fleet("-C", str(root), "launch", "--all"))
    scenes.end_fleet(root)


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 15)
    with scenes.scratch() as folder:
        planned, begun = (
            scenes.write_fleet(
                scenes.make_repository(folder / name, 100), TASKS, "exec sleep 600", port="auto"
            )
            for name in ("planned", "begun")
        )
        launched(begun)
        run = {
            "bare": [sys.executable, "-c", "pass"],
            "help": scenes.fleet("--help"),
            "planned": scenes.fleet("-C", str(planned), "status", "--json"),
            "begun": scenes.fleet("-C", str(begun), "status", "--json"),
        }
        for case in run.values():
            scenes.timed(case)
        found = scenes.in_turn(
            rounds, **{name: partial(scenes.timed, case) for name, case in run.items()}
        )
    figures = [
        scenes.ratio(
            f"status --json, {TASKS} tasks, nothing launched", found["planned"], found["bare"], 12
        ),
        scenes.ratio(f"status --json, {TASKS} tasks launched", found["begun"], found["bare"], 12),
        scenes.ratio("--help", found["help"], found["bare"], 8),
    ]
    return scenes.show("status", "scripts/bench status", figures)
