"""What attempts have used, as amounts by name (tokens, money, turns), and what may be used in all.

The names are the harnesses' own and mean nothing here, but for one rule: what ends in `_share` is a
level and no amount, so the latest one counts, where all others add up. A budget is of the users of
a limit in one run. It holds back whatever would start, never what runs, so it may be overdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from fleet.records import record

LEVEL = "_share"


def add_usage(total: Mapping[str, float], usage: Mapping[str, float]) -> dict[str, float]:
    """Returns what was used in all, after one attempt or several more."""
    found = dict(total)
    for name, amount in usage.items():
        found[name] = amount if name.endswith(LEVEL) else found.get(name, 0) + amount
    return found


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
    """Returns a budget after an attempt."""
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
