"""How sure a finish is: Monte Carlo over low, likely and high durations.

Lives here: drawing durations and counting finishes. Durations follow the beta distribution of PERT
(Malcolm, Roseboom, Clark and Fazar, 1959; mean = (low + 4 likely + high) / 6), drawn from a table
of its quantiles. Under limits every draw keeps the order of the levelled schedule: people do not
replan each time that something takes longer. The same seed gives the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from fleet.core.levelling import SEED, Dice, level
from fleet.core.placing import Work, place, sequence
from fleet.core.schedule import UNITS, Activity, timetable
from fleet.errors import InvalidPlan, Problem

QUANTILES = 128
GRID = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """Days within which half, 80 % and 95 % of the runs ended, and each id's share of critical
    runs.
    """

    p50: float
    p80: float
    p95: float
    criticality: Mapping[str, float]


def forecast_risk(
    activities: Sequence[Activity],
    spreads: Mapping[str, tuple[float, float, float]],
    *,
    runs: int = 2000,
    seed: int = SEED,
    limits: Mapping[str, int] | None = None,
) -> Risk:
    """Returns the finish in days at three probabilities, and how often each activity was critical.

    `spreads` maps ids to (low, likely, high) days; others take their `days`. Critical in a run are
    those on a chain without a gap to its finish. Raises InvalidPlan as `level` does, and when a
    spread is not low <= likely <= high.
    """
    _check(spreads)
    assert runs > 0, "a forecast of no runs"
    limits = limits or {}
    planned = level(activities, limits, rounds=0) if limits else timetable(activities)
    work, order = sequence(activities, limits, planned)
    tables = _tables(activities, spreads, work)
    dice = Dice(seed)
    lengths = list(work.lengths)
    tight = [0] * len(lengths)
    finishes = []
    for _ in range(runs):
        for i, table in tables:
            roll = dice.roll() >> 11
            at, part = roll >> 46, roll & ((1 << 46) - 1)
            lengths[i] = table[at] + ((table[at + 1] - table[at]) * part >> 46)
        if work.shares:
            ends, finish = place(work, order, work.needs, lengths)
        else:
            ends, finish = _ends(work.needs, lengths)
        finishes.append(finish)
        _count_critical(work, lengths, ends, finish, tight)
    finishes.sort()
    p50, p80, p95 = (finishes[-(-share * runs // 100) - 1] / UNITS for share in (50, 80, 95))
    criticality = dict.fromkeys((activity.id for activity in activities), 0.0)
    for i, at in enumerate(work.origin):
        criticality[activities[at].id] = tight[i] / runs
    return Risk(p50=p50, p80=p80, p95=p95, criticality=criticality)


def _check(spreads: Mapping[str, tuple[float, float, float]]) -> None:
    problems = [
        Problem(
            f"{name!r} takes from {low} over {likely} to {high} days",
            hint="give 0 <= low <= likely <= high",
        )
        for name, (low, likely, high) in spreads.items()
        if not (0 <= low <= likely <= high and isfinite(high))
    ]
    if problems:
        raise InvalidPlan(problems)


def _tables(
    activities: Sequence[Activity],
    spreads: Mapping[str, tuple[float, float, float]],
    work: Work,
) -> list[tuple[int, list[int]]]:
    """Returns (index, quantiles in units) of every activity whose duration is drawn."""
    shapes: dict[float, list[float]] = {}
    tables = []
    for i, at in enumerate(work.origin):
        if activities[at].id not in spreads:
            continue
        low, likely, high = spreads[activities[at].id]
        if low == high:
            tables.append((i, [round(low * UNITS)] * (QUANTILES + 1)))
            continue
        shape = (likely - low) / (high - low)
        if shape not in shapes:
            shapes[shape] = pert_quantiles(shape)
        tables.append((i, [round((low + (high - low) * q) * UNITS) for q in shapes[shape]]))
    return tables


def pert_quantiles(mode: float) -> list[float]:
    """Returns QUANTILES + 1 evenly spaced quantiles of the PERT beta distribution on 0 to 1.

    `mode` (0 to 1) is the likeliest value. Summed by the midpoint rule over GRID steps.
    """
    left, right = 4 * mode, 4 * (1 - mode)
    sums = [0.0]
    for step in range(GRID):
        x = (step + 0.5) / GRID
        sums.append(sums[-1] + x**left * (1 - x) ** right)
    found, step = [0.0], 0
    for rank in range(1, QUANTILES):
        target = sums[-1] * rank / QUANTILES
        while sums[step + 1] < target:
            step += 1
        found.append((step + (target - sums[step]) / (sums[step + 1] - sums[step])) / GRID)
    return [*found, 1.0]


def _ends(needs: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[list[int], int]:
    ends: list[int] = []
    for mine, length in zip(needs, lengths, strict=True):
        start = 0
        for need in mine:
            if ends[need] > start:  # noqa: PLR1730 - max() is slower
                start = ends[need]
        ends.append(start + length)
    return ends, max(ends, default=0)


def _count_critical(
    work: Work, lengths: Sequence[int], ends: Sequence[int], finish: int, tight: list[int]
) -> None:
    """Adds one for each activity on a chain without a gap, by needs or shared limits, to the
    finish.
    """
    enders: dict[int, list[int]] = {}
    if work.shares:
        for i, end in enumerate(ends):
            enders.setdefault(end, []).append(i)
    stack = [i for i, end in enumerate(ends) if end == finish]
    seen = set(stack)
    while stack:
        i = stack.pop()
        tight[i] += 1
        start = ends[i] - lengths[i]
        if not start:
            continue
        for need in work.needs[i]:
            if ends[need] == start and need not in seen:
                seen.add(need)
                stack.append(need)
        for rival in enders.get(start, ()):
            if rival not in seen and work.rivals(i, rival):
                seen.add(rival)
                stack.append(rival)
