"""The step by which a plan changes itself: its constructor, used by whatever lowers to one.

Pure. What a change means is told in `proposals`, what becomes of it in `changing`, and what the
step does in `kinds.adapt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import Failure, Retry, Step
from fleet.files.trouble import machine_ladder

if TYPE_CHECKING:
    from fleet.core.plan import Need

ALREADY: Final = "already"
"""The label of an adapt step whose change the run has taken up before."""

TRIES: Final = 4
"""How often a step tries again whose patch was refused: the run had moved on from it."""


def adapt_step(
    id: str,  # noqa: A002 - as a step calls it
    change: str | Mapping[str, Any],
    *,
    needs: Iterable[Need],
    whole: str,
    why: str = "",
) -> Step:
    """Returns a step that applies a change of the plan: the name of a patch of coordination.md, or
    the change itself. `why` is what a person reads who is asked about it.
    """
    again = Retry(times=TRIES, backoff_ms=200, on=frozenset({Failure.TASK}))
    return Step(
        id=id,
        kind="adapt",
        params={"change": change, "why": why},
        needs=tuple(needs),
        ladder=(again, *machine_ladder(f"The plan could not be changed by {id}.")),
        whole=whole,
    )
