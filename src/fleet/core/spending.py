"""What attempts have used, as amounts by name: tokens, money, turns.

The names are the harnesses' own and mean nothing here, but for one rule: what ends in `_share` is a
level and no amount, so the latest one counts, where all others add up.
"""

from __future__ import annotations

from collections.abc import Mapping

LEVEL = "_share"


def add_usage(total: Mapping[str, float], usage: Mapping[str, float]) -> dict[str, float]:
    """Returns what was used in all, after one attempt or several more."""
    found = dict(total)
    for name, amount in usage.items():
        found[name] = amount if name.endswith(LEVEL) else found.get(name, 0) + amount
    return found
