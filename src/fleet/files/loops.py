"""What `loops` of coordination.md lowers to: how often is too often, and what follows.

    loops: {after: 3, then: adapt PATCH | escalate ROLE | ask [NAME]}

The kernel sees to questions that are asked again, the check of a task to its rework. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import Ask, Loops, Patch, Revise
from fleet.errors import Problem, did_you_mean
from fleet.files.adapting import adapt_step

if TYPE_CHECKING:
    from fleet.files.documents import Settings
    from fleet.files.fleet import Fleet

RUNGS: Final = ("adapt", "escalate", "ask")
"""What may follow a loop."""


def loops_of(settings: Settings) -> Loops:
    """Returns what a run does about questions that are asked again and again."""
    told = settings.loops
    then = tuple(_rung(one) for one in told.get("then") or ())
    return Loops(after=told["after"], then=then) if "after" in told else Loops(then=then)


def rework_of(settings: Settings) -> dict[str, Any]:
    """Returns the params by which a check knows the same of rework; none where nothing is said."""
    return {"loops": dict(settings.loops)} if settings.loops else {}


def loops_hold(fleet: Fleet) -> Iterator[Problem]:
    """Yields what is wrong with `loops`: what cannot follow a loop, a patch that nobody has."""
    if ("fleet", "") in fleet.broken:
        return
    rungs = fleet.settings.loops.get("then") or ()
    for number, one in enumerate(rungs):
        place = fleet.place("fleet", "", "loops", "then", number)
        word = next((word for word in RUNGS if one.get(word)), "")
        if not word:
            other = next(iter(one))
            hint = "write adapt PATCH, escalate ROLE or ask"
            yield Problem(f"{other!r} cannot follow a loop", place, hint)
        elif word == "adapt" and one["adapt"] not in fleet.settings.patches:
            hint = did_you_mean(one["adapt"], fleet.settings.patches)
            hint = hint or "set it under patches: in coordination.md"
            yield Problem(f"no patch {one['adapt']!r}", place, hint)
        if number and any(rungs[number - 1].get(word) for word in RUNGS[1:]):
            yield Problem("nothing comes after a question", place, "take it out")


def _rung(told: Mapping[str, Any]) -> Revise | Ask:
    patch = told.get("adapt")
    if patch:
        step = adapt_step("loop", patch, needs=(), whole="")
        return Revise(patch=Patch(put=(step,), reason=f"a loop: {patch}"))
    return Ask(message="", whom=str(told.get("escalate") or told["ask"]), choices=())
