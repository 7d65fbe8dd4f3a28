"""What the kernel costs: an event on a large plan against a small one, many runs, and recovery.

    main([])      ratios are of one machine in one run; times are the best of several, in ms

Nothing is written: what a synced journal adds is measured where the journal is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import TypeVar

from fleet import codec
from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve
from fleet.core.plan import Need, Plan, Step, plan_of
from fleet.core.state import State

Result = TypeVar("Result")

RUNS, STEPS, ROUNDS, SOME = 1_000, 5, 5, 60
Run = tuple[State, list[str]]


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 0."""
    del argv
    for name, shape in (("chain", chain), ("fan", fan), ("net", net)):
        small, large = per_event(shape(100)), per_event(shape(10_000))
        row(f"an outcome, {name} of 100 steps", small, "1.00")
        row(f"an outcome, {name} of 10,000 steps", large, f"{large / small:.2f}")
    spent, runs = best(many_runs)
    events = sum(len(lines) for _, lines in runs)
    row(f"{RUNS} runs of {STEPS} steps, {events} events, with codec", spent)
    spent, _ = best(lambda: live_run(chain(100), 100))
    row("a chain of 100 steps, with codec", spent)
    live = [live_run(chain(STEPS), 2) for _ in range(RUNS)]
    row(f"{RUNS} live runs folded from events", best(lambda: folded(live))[0])
    texts = [codec.dump_state(state) for state, _ in live]
    row(f"{RUNS} live runs from snapshots", best(lambda: [codec.load_state(t) for t in texts])[0])
    return 0


def row(name: str, spent_s: float, ratio: str = "") -> None:
    """Prints one row: what, milliseconds, ratio to the row that is 1.00."""
    print(f"{name:<56} {spent_s * 1000:>10.3f} ms {ratio:>8}")


def best(measured: Callable[[], Result]) -> tuple[float, Result]:
    """Returns the shortest time (s) of several rounds and the last result."""
    times = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        found = measured()
        times.append(perf_counter() - begun)
    return min(times), found


def chain(size: int) -> Plan:
    """Steps one behind the other."""
    return plan_of("chain", (_step(n, [n - 1] if n else []) for n in range(size)))


def fan(size: int) -> Plan:
    """Steps side by side under one limit."""
    steps = (_step(n, [], uses={"agents": 1}) for n in range(size))
    return plan_of("fan", steps, limits={"agents": 1})


def net(size: int) -> Plan:
    """Each step needs three earlier ones."""
    return plan_of("net", (_step(n, range(max(0, n - 3), n)) for n in range(size)))


def _step(number: int, needs: Iterable[int], **rest: dict[str, int]) -> Step:
    return Step(id=f"s{number}", kind="set", needs=tuple(Need(step=f"s{n}") for n in needs), **rest)


def told(state: State | None, command: m.Command, lines: list[str]) -> State:
    """Returns the state after a command; appends its encoded events."""
    for event in decide(state, command):
        lines.append(codec.dumps(event))
        state = evolve(state, event)
    assert state is not None
    return state


def succeeded(number: int) -> m.ReportOutcome:
    """The report that a step has succeeded."""
    outcome = m.Outcome(ending=m.Ending.SUCCEEDED, output={"value": number})
    return m.ReportOutcome(step=f"s{number}", attempt=1, outcome=outcome, at_ms=2)


def per_event(plan: Plan) -> float:
    """Returns the time (s) that one outcome costs in the middle of a plan, the median of some."""
    lines: list[str] = []
    state = told(None, m.StartRun(run="r", plan=plan, at_ms=1), lines)
    limited = bool(plan.limits)
    times = []
    for number in range(SOME):
        if limited:
            state = told(state, m.Tick(grants=(f"s{number}",), at_ms=1), lines)
        begun = perf_counter()
        state = told(state, succeeded(number), lines)
        times.append(perf_counter() - begun)
    return sorted(times)[SOME // 2]


def live_run(plan: Plan, outcomes: int) -> Run:
    """Returns a run after so many outcomes, with its encoded events."""
    lines: list[str] = []
    state = told(None, m.StartRun(run="r", plan=plan, at_ms=1), lines)
    for number in range(outcomes):
        state = told(state, succeeded(number), lines)
    return state, lines


def many_runs() -> list[Run]:
    """Returns runs that were played to their end, each command through the codec."""
    plan = chain(STEPS)
    return [live_run(plan, STEPS) for _ in range(RUNS)]


def folded(live: list[Run]) -> list[State | None]:
    """Returns the states that encoded journals make."""
    states = []
    for _, lines in live:
        state = None
        for line in lines:
            state = evolve(state, codec.loads_event(line))
        states.append(state)
    return states


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
