"""How good and how fast schedules are: PSPLIB instances against their optima, and the critical
path.

    main([DIR])   DIR holds PSPLIB `.sm` files with `optimum.csv` (problem,optimum) beside them

Figures of the critical path are ratios to plain arithmetic over integers in the same run, so that
they mean the same on every machine.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fleet.core.levelling import Dice, level
from fleet.core.schedule import Activity, timetable


def main(argv: Sequence[str]) -> int:
    """Prints the tables; returns 0, or 2 when a named folder holds no instances."""
    for count in (10_000, 100_000):
        measure_critical_path(count)
    return max((measure_folder(Path(folder)) for folder in argv), default=0)


def measure_folder(folder: Path) -> int:
    """Prints the deviation from the optimum (percent) and the time (s) over a folder's
    instances.
    """
    known = folder / "optimum.csv"
    if not known.is_file():
        print(f"{folder}: no optimum.csv beside the .sm files", file=sys.stderr)
        return 2
    with known.open(newline="") as lines:
        optima = {row["problem"]: int(row["optimum"]) for row in csv.DictReader(lines)}
    deviations, seconds = [], []
    for name, optimum in sorted(optima.items()):
        activities, limits = read_instance(folder / name)
        started = time.perf_counter()
        days = level(activities, limits).days
        seconds.append(time.perf_counter() - started)
        assert days >= optimum, f"{name}: {days} days beats the proven optimum {optimum}"
        deviations.append(100 * (days - optimum) / optimum)
    count = len(deviations)
    print(f"{folder.name}: {count} instances, {sum(not d for d in deviations)} of them optimal")
    print(f"  deviation   mean {sum(deviations) / count:.3f} %   worst {max(deviations):.2f} %")
    print(f"  time        mean {sum(seconds) / count:.3f} s   worst {max(seconds):.3f} s")
    return 0


def read_instance(path: Path) -> tuple[list[Activity], dict[str, int]]:
    """Returns the activities and limits of a single-mode PSPLIB file (Kolisch and Sprecher,
    1997).
    """
    parts = path.read_text().split("*" * 72)
    rows = [[line.split() for line in part.strip().splitlines()] for part in parts]
    sections = {" ".join(part[0]): part for part in rows if part}
    needs: dict[str, list[str]] = {}
    for one, _, _, *followers in sections["PRECEDENCE RELATIONS:"][2:]:
        for follower in followers:
            needs.setdefault(follower, []).append(one)
    _, names, capacities = sections["RESOURCEAVAILABILITIES:"]
    names = [f"{letter}{number}" for letter, number in zip(names[::2], names[1::2], strict=True)]
    activities = [
        Activity(
            id=one,
            days=int(days),
            needs=tuple(needs.get(one, ())),
            uses={name: int(units) for name, units in zip(names, uses, strict=True) if int(units)},
        )
        for one, _, days, *uses in sections["REQUESTS/DURATIONS:"][3:]
    ]
    return activities, dict(zip(names, map(int, capacities), strict=True))


def measure_critical_path(count: int) -> None:
    """Prints the time of `timetable` on a plan in order and on one shuffled, as ratios to the
    floor.
    """
    ordered = sample_plan(count)
    dice = Dice(1)
    shuffled = sorted(ordered, key=lambda _: dice.roll())
    for name, activities in (("in order", ordered), ("shuffled", shuffled)):
        index = {activity.id: i for i, activity in enumerate(activities)}
        lengths = [int(activity.days * 1000) for activity in activities]
        needs = [[index[need] for need in activity.needs] for activity in activities]
        floor = best_of(5, lambda: plain_arithmetic(lengths, needs))  # noqa: B023
        ours = best_of(5, lambda: timetable(activities))  # noqa: B023
        assert timetable(activities).days * 1000 == plain_arithmetic(lengths, needs)
        print(f"critical path of {count:,} tasks, {name}: {ours * 1000:.1f} ms, "
              f"{ours / floor:.2f} times plain arithmetic ({floor * 1000:.1f} ms)")  # fmt: skip


def sample_plan(count: int) -> list[Activity]:
    """Returns a plan of `count` tasks of half days to five days, each with one to three recent
    needs.
    """
    dice = Dice(count)
    plan: list[Activity] = []
    for i in range(count):
        near = min(i, 50)
        needs = {f"task-{i - 1 - dice.below(near)}" for _ in range(1 + dice.below(3)) if near}
        plan.append(Activity(id=f"task-{i}", days=(1 + dice.below(10)) / 2, needs=tuple(needs)))
    return plan


def plain_arithmetic(lengths: list[int], needs: list[list[int]]) -> int:
    """The floor: topological order, forward and backward pass over integers; returns the
    makespan.
    """
    followers: list[list[int]] = [[] for _ in needs]
    missing = [len(mine) for mine in needs]
    for i, mine in enumerate(needs):
        for need in mine:
            followers[need].append(i)
    order = [i for i, count in enumerate(missing) if not count]
    starts = [0] * len(needs)
    for i in order:
        end = starts[i] + lengths[i]
        for follower in followers[i]:
            if starts[follower] < end:  # noqa: PLR1730 - max() is slower
                starts[follower] = end
            missing[follower] -= 1
            if not missing[follower]:
                order.append(follower)
    finish = max(start + length for start, length in zip(starts, lengths, strict=True))
    late_starts = [0] * len(needs)
    for i in reversed(order):
        late = finish
        for follower in followers[i]:
            if late_starts[follower] < late:  # noqa: PLR1730 - max() is slower
                late = late_starts[follower]
        late_starts[i] = late - lengths[i]
    return finish


def best_of(times: int, call: Callable[[], object]) -> float:
    """Returns the shortest of so many calls, in seconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
