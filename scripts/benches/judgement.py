"""What judgement costs: a change of a large plan that runs, and others who are answered meanwhile.

    main([-n=ROUNDS])

A plan of 10,000 tasks is live in a coordinator; 100 tasks are put before as many of it. Checked and
applied is from the command's mail to its result. Others report meanwhile; their floor is the same
report while nothing else is told. What `asking` measures is told with it.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asking
import scenes

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace

TASKS, PHASES, ADDED, IDLE = 10_000, 10, 100, 40
APPLIED_S = 1.0


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 3)
    with scenes.scratch() as folder:
        root = fleet_at(folder / "plan")
        with scenes.coordinator(root):
            figures = adapted(root, rounds)
        scenes.end_fleet(root)
    figures += asking.asked_before()
    return scenes.show("judgement", "scripts/bench judgement", figures)


def fleet_at(root: Path) -> Path:
    """Returns the root of a fleet whose tasks stand in phases, each behind the one at half its
    number; what changes it is inside of its envelope.
    """
    scenes.write_fleet(scenes.make_repository(root, 10), TASKS, "true")
    size = TASKS // PHASES
    for number in range(TASKS):
        path, first = root / f"tasks/t{number}.md", number // size * size
        keys = f"phase: p{number // size}\n"
        if number > first:
            keys += f"dependencies: [t{first + (number - first) // 2}]\n"
        path.write_text(path.read_text().replace("agent: crew\n", f"agent: crew\n{keys}", 1))
    top = root / "coordination.md"
    phases = ", ".join(f"{{id: p{number}}}" for number in range(PHASES))
    keys = f"phases: [{phases}]\nenvelope: {{max_days: 100}}\n"
    top.write_text(top.read_text().replace("base: main\n", f"base: main\n{keys}"))
    return root


def adapted(root: Path, rounds: int) -> list[scenes.Figure]:
    """Returns what it costs to change the plan, by a command and by a step of its own."""
    from fleet.app.place import FleetPlace
    from fleet.app.revising import lowered
    from fleet.app.telling import tell
    from fleet.core import messages as m
    from fleet.core.plan import Patch
    from fleet.files.adapting import adapt_step

    place = FleetPlace(root)
    tell(place, [m.StartRun(run="plan", plan=lowered(place))])
    idle = [report(place) for _ in range(IDLE)]
    worked, applied, beside, waiting = [], [], [], []
    for number in range(rounds):
        began = time.perf_counter()
        command = m.RevisePlan(patch=work_out(place, change(f"c{number}")))
        worked.append(time.perf_counter() - began)
        took, others = meanwhile(place, lambda told=command: tell(place, [told]))
        applied.append(took)
        beside += others
        step = adapt_step(f"own{number}", change(f"s{number}"), needs=(), whole="")
        put = m.RevisePlan(patch=Patch(put=(step,)))

        def by_itself(told: m.RevisePlan = put, name: str = step.id) -> None:
            tell(place, [told])
            scenes.until(lambda: standing(place, name) == "succeeded")

        waiting += meanwhile(place, by_itself)[1]
    return [
        scenes.Figure(
            f"{ADDED} tasks onto {TASKS:,}: checked and applied",
            f"{min(applied):.2f} s",
            f"< {APPLIED_S:g} s",
            min(applied) < APPLIED_S,
            f"median {statistics.median(applied):.2f} s; worked out before in {min(worked):.1f} s",
        ),
        others_meanwhile("others while it is applied", beside, idle),
        others_meanwhile("others while a step of the plan works it out", waiting, idle),
    ]


def others_meanwhile(name: str, busy: list[float], idle: list[float]) -> scenes.Figure:
    """Returns how much longer others' commands take, by the medians."""
    middle, floor = statistics.median(busy), statistics.median(idle)
    told = f"longest {max(busy) * 1000:.0f} ms of {len(busy)}; idle {floor * 1000:.1f} ms"
    return scenes.Figure(name, f"{middle / floor:.1f}x", "", None, told)


def change(name: str) -> Mapping[str, Any]:
    """Returns a change that puts a task before each of some tasks of the middle phase."""
    first = TASKS // 2
    return {
        "insert": [
            {
                "task": {"id": f"{name}-{number}", "agent": "crew", "days": 2},
                "before": f"t{first + 1 + number}",
            }
            for number in range(ADDED)
        ],
        "reason": name,
    }


def work_out(place: FleetPlace, wanted: Mapping[str, Any]) -> Any:
    """Returns the patch of a change for the run as it stands."""
    from fleet.files.changes.changing import followed_by, prepare, revise

    state = place.run_state()
    assert state is not None, "the run was started"
    prepared = prepare(place.root, place.state, wanted, followed_by(state), lambda _: None)
    return revise(state, prepared).patch


def meanwhile(place: FleetPlace, what: Callable[[], object]) -> tuple[float, list[float]]:
    """Returns how long something took, and how long each report took that was told beside it."""
    took: list[float] = []

    def run() -> None:
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)

    busy = threading.Thread(target=run)
    busy.start()
    others = []
    while busy.is_alive() or not others:
        others.append(report(place))
    busy.join()
    return took[0], others


def report(place: FleetPlace) -> float:
    """Returns how long a check-in took, from its mail to its result, in seconds."""
    from fleet.app.telling import tell
    from fleet.core import messages as m

    began = time.perf_counter()
    tell(place, [m.CheckIn(step="t0", done="some of it")])
    return time.perf_counter() - began


def standing(place: FleetPlace, step: str) -> str:
    """Returns how a step of the plan stands."""
    state = place.run_state()
    one = state.known(step) if state is not None else None
    return str(one.standing) if one is not None else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
