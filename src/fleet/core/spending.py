"""What attempts have used, as amounts by name (tokens, money, turns), and what may be used in all.

The names are the harnesses' own and mean nothing here, but for one rule: what ends in `_share` is a
level and no amount, so the latest one counts, where all others add up. A budget is of the users of
a limit in one run. Once it is spent, whatever runs of it is stopped and nothing more of it starts;
what was used before that was known is overdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from fleet.records import record

LEVEL = "_share"
DIGITS = 9
"""To so many digits amounts are kept, or the sums of their parts would be off by a hair."""


def add_usage(total: Mapping[str, float], usage: Mapping[str, float]) -> dict[str, float]:
    """Returns what was used in all, after one attempt or several more."""
    found = dict(total)
    for name, amount in usage.items():
        known = 0 if name.endswith(LEVEL) else found.get(name, 0)
        found[name] = round(known + amount, DIGITS)
    return found


def still_untold(live: Mapping[str, float], usage: Mapping[str, float]) -> dict[str, float]:
    """Returns what an attempt's usage adds to that which it was known to have used so far."""
    return {
        name: amount if name.endswith(LEVEL) else amount - live.get(name, 0)
        for name, amount in usage.items()
    }


@record()
class Budget:
    """`amounts` is one budget and `allowed` all that was granted; `asked` is the question about
    its end, also once that was answered, until there is more to spend.
    """

    amounts: Mapping[str, float]
    allowed: Mapping[str, float]
    spent: Mapping[str, float] = field(default_factory=dict)
    asked: str = ""

    @property
    def gone(self) -> tuple[str, ...]:
        """What has been spent: the names of amounts of which nothing is left."""
        return tuple(n for n, most in self.allowed.items() if self.spent.get(n, 0) >= most)


def spend(budget: Budget, usage: Mapping[str, float]) -> Budget:
    """Returns a budget after an attempt, or a part of one."""
    return replace(budget, spent=add_usage(budget.spent, usage))


def enlarge(budget: Budget) -> Budget:
    """Returns a budget with as much again on top of what was allowed, or of what was spent."""
    allowed = {
        name: max(budget.allowed[name], budget.spent.get(name, 0)) + amount
        for name, amount in budget.amounts.items()
    }
    return replace(budget, allowed=allowed, asked="")


def resize(budget: Budget | None, amounts: Mapping[str, float]) -> Budget:
    """Returns a budget of other amounts; what was spent, and granted beyond the first, stays."""
    if budget is None:
        return Budget(amounts=amounts, allowed=amounts)
    granted = {n: most - budget.amounts[n] for n, most in budget.allowed.items()}
    allowed = {name: amount + granted.get(name, 0) for name, amount in amounts.items()}
    return replace(budget, amounts=amounts, allowed=allowed)
