"""What the whole fleet has of each limit, and which wanted steps may start.

Limits, launch rates and account pauses belong to the fleet, not to a run: several runs share them.
`grant` is pure: the runtime keeps the ledger true by telling it what started and ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from fleet.core.plan import MINUTE_MS, NEVER, PER_MINUTE
from fleet.core.state import State, Uses


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts of a limit's users in a window of time."""

    starts: int
    window_ms: int


@dataclass(slots=True)
class Ledger:
    """Limits by name, the units in use, accounts that rest until a time, and recent starts."""

    limits: dict[str, int] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    paused_until_ms: dict[str, int] = field(default_factory=dict)
    starts_ms: dict[str, list[int]] = field(default_factory=dict)

    def allow(self, limits: Mapping[str, int]) -> None:
        """Sets limits, those on starts in a minute among the rates."""
        for name, most in limits.items():
            if name.endswith(PER_MINUTE):
                self.rates[name] = Rate(most, MINUTE_MS)
            else:
                self.limits[name] = most

    def take(self, uses: Uses, at_ms: int) -> None:
        """Books the units of a step that has started."""
        for name, units in uses:
            self.used[name] = self.used.get(name, 0) + units
            if name in self.rates:
                since_ms = at_ms - self.rates[name].window_ms
                recent = [at for at in self.starts_ms.get(name, ()) if at > since_ms]
                self.starts_ms[name] = [*recent, at_ms]

    def give_back(self, uses: Uses) -> None:
        """Books back the units of a step that has ended."""
        for name, units in uses:
            self.used[name] = self.used.get(name, 0) - units
            assert self.used[name] >= 0, f"more of {name!r} was given back than taken"

    def pause(self, account: str, until_ms: int) -> None:
        """Lets nothing that uses an account start before a time; never shortens a pause."""
        self.paused_until_ms[account] = max(until_ms, self.paused_until_ms.get(account, 0))

    def reopen(self, uses: Iterable[str]) -> None:
        """Ends the pauses of accounts that a person tries again before their time."""
        for name in uses:
            self.paused_until_ms.pop(name, None)


def ledger_of(states: Iterable[State], limits: Mapping[str, int]) -> Ledger:
    """Returns the ledger that follows from runs alone (after a start or in a test)."""
    ledger = Ledger()
    ledger.allow(limits)
    for state in states:
        for account, until_ms in state.accounts.items():
            ledger.pause(account, until_ms)
        for step in state.running:
            for name, units in state.steps[step].step.uses.items():
                ledger.used[name] = ledger.used.get(name, 0) + units
        for name, starts in state.starts.items():
            ledger.starts_ms.setdefault(name, []).extend(starts)
    for starts in ledger.starts_ms.values():
        starts.sort()
    return ledger


Wants = Mapping[str, Mapping[Uses, list[tuple[int, str]]]]
"""Run -> units -> [(-tail_ms, step)], each list in order."""


def grant(ledger: Ledger, wanted: Wants, now_ms: int) -> dict[str, list[str]]:
    """Returns the steps of each run that may start now, longest tail first, then run and id.

    Costs O(groups + grants log groups): a group (a run's steps that use the same units) is left as
    soon as its next step does not fit.
    """
    used = dict(ledger.used)
    begun = dict.fromkeys(ledger.rates, 0)
    heads = [
        (steps[0][0], run, steps[0][1], uses, 0)
        for run, groups in wanted.items()
        for uses, steps in groups.items()
        if steps
    ]
    heapify(heads)
    granted: dict[str, list[str]] = {}
    while heads:
        _, run, step, uses, place = heappop(heads)
        if not _fits(ledger, used, begun, uses, now_ms):
            continue
        for name, units in uses:
            used[name] = used.get(name, 0) + units
            if name in begun:
                begun[name] += 1
        granted.setdefault(run, []).append(step)
        steps = wanted[run][uses]
        if place + 1 < len(steps):
            tail, following = steps[place + 1]
            heappush(heads, (tail, run, following, uses, place + 1))
    return granted


def _fits(
    ledger: Ledger, used: Mapping[str, int], begun: Mapping[str, int], uses: Uses, now_ms: int
) -> bool:
    for name, units in uses:
        if name in ledger.limits and used.get(name, 0) + units > ledger.limits[name]:
            return False
        if ledger.paused_until_ms.get(name, 0) > now_ms:
            return False
        if name in ledger.rates:
            rate = ledger.rates[name]
            recent = [at for at in ledger.starts_ms.get(name, ()) if at > now_ms - rate.window_ms]
            if len(recent) + begun[name] >= rate.starts:
                return False
    return True


def next_opening(ledger: Ledger, now_ms: int) -> int | None:
    """Returns when a pause or a launch rate next lets more start, or None when neither is in
    force.
    """
    times = [at for at in ledger.paused_until_ms.values() if now_ms < at < NEVER]
    for name, rate in ledger.rates.items():
        recent = [at for at in ledger.starts_ms.get(name, ()) if at > now_ms - rate.window_ms]
        if len(recent) >= rate.starts:
            times.append(recent[-rate.starts] + rate.window_ms)
    return min(times, default=None)
