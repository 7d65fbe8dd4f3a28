"""Whether an assumption is disproved, or its proof is only not good enough yet.

What disproves is what decides: a number outside of its bound, a command that says no, a judge's
verdict. A proof without its evidence, and one whose measure says nothing, has proved nothing either
way: that is the work of who was to prove it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.kinds import Work

NOT_RUN: Final = (126, 127)
"""What a shell exits with that could not run a command."""

Rows = Sequence[Mapping[str, Any]]


def disproved(work: Work, own: Sequence[str], checks: Rows, tries: int) -> bool:
    """Whether something follows now: the plan says what, what decides has said no, and it was tried
    as often as the document lets it. `own` is what is wrong with the proof itself.
    """
    told: Any = work.params.get("proof") or {}
    return bool(told.get("then")) and _decides(own, checks) and tries >= int(told["attempts"])


def tries_at(work: Work, own: Sequence[str], checks: Rows) -> int:
    """Returns how often work may be tried that is red for this: a proof that says no as often as
    its document says, what is not good enough as any task.
    """
    told: Any = work.params.get("proof")
    if told and _decides(own, checks):
        return int(told["attempts"])
    return int(work.params.get("attempts") or 1)


def in_words(checks: Rows) -> str:
    """Returns what has disproved an assumption, in one line."""
    return "; ".join(f"{one['text']}: {one['why']}" for one in checks if not one["passed"])


def _decides(own: Sequence[str], checks: Rows) -> bool:
    return not own and all(_says_no(one) for one in checks if not one["passed"])


def _says_no(row: Mapping[str, Any]) -> bool:
    """Whether a red check says that something is not so, and not only that it could not be found
    out: it was not there or not run, was ended, ran out of time, meddled, or printed no number.
    """
    if "target" in row:
        return row["met"] is False
    code = row.get("code") or 0
    return "judge" in row or (code > 0 and code not in NOT_RUN)
