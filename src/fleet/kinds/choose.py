"""The kind `choose`: a condition takes one branch, a loop goes round once more or ends.

What it chooses stands in its outcome's patch: the steps of the branch or of the next round, before
the composite's join, which then waits for their last. A loop that still wants another round after
its `max` has failed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Need, Patch
from fleet.files.flows.lowering import LAST, joined, lower_list, spot_of
from fleet.files.flows.scope import Scope
from fleet.kinds import Work
from fleet.kinds.flow import at_once, attempt, failed


def settle(work: Work) -> Outcome | None:
    """Returns what `run` does; None where functions of the fleet are called."""
    return at_once(work, lambda scope: _chosen(work, scope))


async def run(work: Work) -> Outcome:
    """Returns the outcome with the branch as its label, or the round, and the patch for it."""
    return await attempt(work, lambda scope: _chosen(work, scope))


def _chosen(work: Work, scope: Scope) -> Outcome:
    looped = work.params["flow"]["type"] != "condition"
    return (_round if looped else _branch)(work, scope)


def _branch(work: Work, scope: Scope) -> Outcome:
    step = scope.step
    branch = "then" if scope.holds(step["if"]) else "else"
    patch = None
    if step.get(branch):
        spot = spot_of(scope.flow, work.run)
        spot = replace(spot, at=(*spot.at, branch), pos=(*spot.pos, 0))
        steps, ends = lower_list(scope.bundle, spot, [work.step.id])
        join = _join(work)
        reason = f"{scope.flow['id']} goes to {branch}"
        patch = Patch(put=(*steps, joined(join, ends, last=ends[-1])), reason=reason)
    return Outcome(ending=Ending.SUCCEEDED, label=branch, output={"branch": branch}, patch=patch)


def _round(work: Work, scope: Scope) -> Outcome:
    step, number = scope.step, int(scope.flow.get("round", 1))
    if step["type"] == "while":
        again = scope.holds(step["condition"])
    else:
        again = number == 1 or not scope.holds(step["until"], round=number - 1)
    output: dict[str, Any] = {"rounds": number - 1}
    if not again:
        return Outcome(ending=Ending.SUCCEEDED, label="done", output=output)
    if number > step["max"]:
        return failed(f"after {step['max']} rounds, which is its `max`, it would go on")
    main = work.step.whole
    spot = spot_of(
        {**scope.flow, "pos": scope.flow["loop"] if number > 1 else scope.flow["pos"]}, work.run
    )
    inside = replace(
        spot,
        at=(*spot.at, "steps"),
        prefix=f"{main}[{number}]/",
        pos=(*spot.pos, number),
        round=number,
    )
    steps, ends = lower_list(scope.bundle, inside, [work.step.id])
    flow = {
        **scope.flow,
        "round": number + 1,
        "loop": list(spot.pos),
        "pos": [*spot.pos, number, LAST],
    }
    needs = tuple(Need(step=name) for name in ends)
    following = replace(
        work.step, id=f"{main}.open.{number + 1}", params={"flow": flow}, needs=needs
    )
    join = joined(_join(work), [following.id], last=ends[-1])
    patch = Patch(put=(*steps, following, join), reason=f"round {number} of {scope.flow['id']}")
    return Outcome(ending=Ending.SUCCEEDED, label="again", output=output, patch=patch)


def _join(work: Work) -> Any:
    one = work.look(work.step.whole)
    assert one is not None, "what expands has a join"
    return one.step
