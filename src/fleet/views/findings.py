"""What agents have found, as rows: a finding is a fact of its task's step, kept in the journal.

A fact may have come by anybody's mail, so only what is a whole finding is shown as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fleet.core.state import State

FINDING: Final = "finding:"
"""The beginning of the names of such facts; the finding's id follows."""

SEVERITIES: Final = ("low", "medium", "high", "critical")
LAST_MS: Final = 253_402_300_800_000
"""The end of the year 9999, behind which no moment can be shown."""


def findings_of(state: State, time_of: Callable[[int], str]) -> list[dict[str, Any]]:
    """Returns what the agents of a run have found, by the order of its steps."""
    rows = []
    for step in state.steps:
        one = state.steps[step]
        for name, told in one.facts.items():
            if name.startswith(FINDING) and isinstance(told, Mapping) and _is_whole(told):
                rows.append(
                    {
                        "id": name.removeprefix(FINDING),
                        "run": state.run,
                        "task": one.step.whole or step,
                        "severity": told["severity"],
                        "text": told["text"],
                        "where": told["where"] or None,
                        "by": told["by"],
                        "at": time_of(told["at_ms"]),
                    }
                )
    return rows


def _is_whole(told: Mapping[str, Any]) -> bool:
    words = all(isinstance(told.get(word), str) for word in ("text", "where", "by"))
    at_ms = told.get("at_ms")
    timed = isinstance(at_ms, int) and 0 <= at_ms < LAST_MS
    return words and timed and told.get("severity") in SEVERITIES
