"""The kind `map`: a foreach becomes a scope for each of its items, a sub-workflow one scope.

All stand in the outcome's patch, before the join, whose value is the list of what the items put
out, in their order. `max_parallel` is a limit that every step within uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Patch, Step
from fleet.files.flows.inputs import checked_inputs
from fleet.files.flows.lowering import Spot, joined, scope_steps, spot_of
from fleet.files.flows.scope import Scope
from fleet.kinds import Work
from fleet.kinds.flow import at_once, attempt, failed

MAX_ITEMS: Final = 10_000


def settle(work: Work) -> Outcome | None:
    """Returns what `run` does; None where functions of the fleet are called."""
    return at_once(work, lambda scope: _expanded(work, scope))


async def run(work: Work) -> Outcome:
    """Returns the outcome with the patch that holds a scope for each item; FAILED for no list."""
    return await attempt(work, lambda scope: _expanded(work, scope))


def _expanded(work: Work, scope: Scope) -> Outcome:
    one = work.params["flow"]["type"] == "workflow"
    return (_subworkflow if one else _foreach)(work, scope)


def _foreach(work: Work, scope: Scope) -> Outcome:
    step, main = scope.step, work.step.whole
    items = scope.evaluate(step["items"])
    if not isinstance(items, list):
        return failed(f"`items` came to {type(items).__name__}, which is no list")
    if len(items) > MAX_ITEMS:
        return failed(f"`items` has {len(items)} entries; {MAX_ITEMS} at most")
    spot, limits = _bounded(work, scope)
    steps: list[Step] = []
    for index, item in enumerate(items):
        prefix = f"{main}[{index}]/"
        place = replace(spot, scope=prefix, prefix=prefix, pos=(*spot.pos, index))
        names: dict[str, Any] = {"item": item, "index": index}
        if "task" in step:
            place = _called(scope, place, step["task"])
            names |= {"outer": None, "inputs": _inputs(scope, place, names)}
        else:
            place = replace(place, at=(*place.at, "steps"))
            names["outer"] = scope.flow["scope"]
        steps += scope_steps(scope.bundle, place, [work.step.id], names)
    ends = [f"{main}[{index}]/.end" for index in range(len(items))] or [work.step.id]
    join = joined(_join(work), ends, each=len(items), closed=work.step.id)
    reason = f"{len(items)} items of {scope.flow['id']}"
    patch = Patch(put=(*steps, join), limits=limits, reason=reason)
    return Outcome(ending=Ending.SUCCEEDED, output={"items": len(items)}, patch=patch)


def _subworkflow(work: Work, scope: Scope) -> Outcome:
    step, main = scope.step, work.step.whole
    spot = replace(spot_of(scope.flow, work.run), scope=f"{main}/", prefix=f"{main}/")
    spot = _called(scope, spot, step.get("workflow") or step["file"])
    names = {"outer": None, "inputs": _inputs(scope, spot, {})}
    steps = scope_steps(scope.bundle, spot, [work.step.id], names)
    end = f"{main}/.end"
    join = joined(_join(work), [end], last=end, closed=work.step.id)
    patch = Patch(put=(*steps, join), reason=f"{scope.flow['id']} begins")
    return Outcome(ending=Ending.SUCCEEDED, patch=patch)


def _bounded(work: Work, scope: Scope) -> tuple[Spot, Mapping[str, int]]:
    """Returns where items are lowered to, and the limit that bounds how many go on at once."""
    spot = spot_of(scope.flow, work.run)
    role = str(scope.step.get("agent") or "").removeprefix("@")
    spot = replace(spot, agent=role or spot.agent)
    most = scope.step.get("max_parallel")
    if most is None:
        return spot, {}
    name = f"{work.run}/{work.step.whole}"
    return replace(spot, uses={**spot.uses, name: 1}), {name: most}


def _called(scope: Scope, spot: Spot, name: str) -> Spot:
    """Returns the spot in another workflow, closed to what is around it."""
    return replace(spot, of=scope.bundle["links"][name], at=("steps",))


def _inputs(scope: Scope, spot: Spot, names: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the inputs of a called workflow: as the step says, else those that the item names."""
    declared = scope.bundle["workflows"][spot.of]["inputs"]
    said: Any = scope.step.get("inputs")
    if said is not None:
        given = scope.evaluate_with(said, names)
    else:
        item = names.get("item")
        given = {k: v for k, v in item.items() if k in declared} if isinstance(item, dict) else {}
    return checked_inputs(declared, given)


def _join(work: Work) -> Step:
    one = work.look(work.step.whole)
    assert one is not None, "what expands has a join"
    return one.step
