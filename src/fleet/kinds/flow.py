"""What the kinds of a workflow's steps share: what a step sees, and how its scope is ended.

No kind itself. Whatever is wrong with an expression is the step's own failure, told as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.adapters.layout import scratch_path
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure, Patch
from fleet.core.state import UNSTARTED, StepState
from fleet.errors import FleetError
from fleet.files.flows.lowering import joined, lower_list, spot_of
from fleet.files.flows.scope import Scope
from fleet.kinds import Work
from fleet.views.flows import flow_of


def scope_of(work: Work) -> Scope:
    """Returns what the step of an attempt sees; raises FleetError for a function that is not
    there.
    """
    one = work.look(work.step.id)
    assert one is not None, "an attempt's step is in its run"
    scope = Scope(
        look=work.look,
        one=one,
        folder=work.world.state,
        now_ms=work.now_ms,
        thread=lambda: thread_of(work),
        known=work.world.found_in(work.run),
    )
    if scope.flow.get("tools"):
        from fleet.adapters.functions import load_functions

        scope.functions = load_functions(work.world.root, scope.bundle["functions"])
    return scope


def thread_of(work: Work) -> Mapping[str, Any]:
    """Returns what earlier runs of the same thread have put out, {} outside of a thread."""
    start = work.look(".start")
    name = str(flow_of(start).get("thread") or "") if start is not None else ""
    return work.world.thread(name, work.run) if name else {}


def own_tree(work: Work) -> Mapping[str, Any] | None:
    """Returns the worktree that was made for a step itself, None where it works in a folder."""
    tree = work.look(f"{work.step.whole}.tree")
    output: Any = tree.output if tree is not None else None
    return output if isinstance(output, Mapping) else None


def place_of(work: Work, judged: StepState) -> Path:
    """Returns the folder in which a step of the run has worked."""
    output: Any = judged.output
    tree = work.look(f"{judged.step.whole}.tree")
    place: Any = tree.output if tree is not None else None
    if place is None and judged.step.kind == "agent":
        place = output["worktree"]
    if place is not None:
        return Path(place["path"])
    folder = scratch_path(work.world.state, work.run, judged.step.whole) / "work"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def otherwise(work: Work, scope: Scope, reason: str) -> Patch:
    """Returns the patch that goes to a step's `else`, before what stands behind the step."""
    spot = spot_of(scope.flow, work.run)
    spot = replace(spot, at=(*spot.at, "else"), pos=(*spot.pos, 0))
    steps, ends = lower_list(scope.bundle, spot, [work.step.id])
    one = work.look(work.step.whole)
    assert one is not None, "what has `else` has a join"
    join = joined(one.step, ends, last=work.step.id)
    return Patch(put=(*steps, join), reason=f"{scope.flow['id']} {reason}")


def failed(text: str, **rest: Any) -> Outcome:
    """Returns the outcome of a step that has failed at what it is to do."""
    return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text, **rest)


def attempted(work: Work, what: Callable[[Scope], Outcome]) -> Outcome:
    """Returns the outcome that `what` makes of what a step sees, FAILED for what is refused or for
    a variable that it waits for and that nothing has set.
    """
    try:
        scope = scope_of(work)
        lacking = scope.lacking() if "at" in scope.flow else []
        if lacking:
            return failed(f"nothing that ran has set: {', '.join(lacking)}")
        return what(scope)
    except FleetError as refused:
        return failed(f"{refused.text} {refused.hint}".strip())
    except LookupError as lost:
        return failed(f"the workflow that this run follows has no such place: {lost}")


def at_once(work: Work, what: Callable[[Scope], Outcome]) -> Outcome | None:
    """Returns the same; None where the fleet's own functions may be called: that takes a thread."""
    return None if work.params["flow"].get("tools") else attempted(work, what)


async def attempt(work: Work, what: Callable[[Scope], Outcome]) -> Outcome:
    """Returns the same; from a thread where it takes one."""
    found = at_once(work, what)
    if found is None:
        found = await work.world.in_thread(attempted, work, what)
    return found


def evaluated(work: Work) -> Outcome:
    """Returns what a step comes to that only evaluates."""
    return attempted(work, lambda scope: _evaluate(work, scope))


def _evaluate(work: Work, scope: Scope) -> Outcome:
    kind = scope.flow["type"]
    if kind == "start":
        return Outcome(ending=Ending.SUCCEEDED, output=_start(scope))
    if kind == "return":
        value = scope.evaluate(scope.step.get("value"))
        return Outcome(ending=Ending.SUCCEEDED, output=value, patch=_ending(work, scope))
    return Outcome(ending=Ending.SUCCEEDED, output=scope.evaluate(scope.step["updates"]))


def _start(scope: Scope) -> dict[str, Any]:
    told = {name: scope.flow[name] for name in ("inputs", "item", "index") if name in scope.flow}
    if scope.flow.get("outer") is not None:
        return {**told, "state": {}}
    return {**told, "state": scope.evaluate(scope.form["initial_state"])}


def _ending(work: Work, scope: Scope) -> Patch | None:
    """Returns the patch that ends a scope with this step: what stands behind it is dropped."""
    end = work.look(f"{scope.flow['scope']}.end")
    assert end is not None, "a scope has an end"
    if [need.step for need in end.step.needs] == [work.step.id]:
        return None
    drop: dict[str, None] = {}
    todo = [work.step.id]
    while todo:
        for name in work.behind(todo.pop()):
            one = work.look(name)
            if one is None or name == end.step.id or name in drop:
                continue
            if one.standing in UNSTARTED and not one.attempt:
                drop[name] = None
                todo.append(name)
    put = (joined(end.step, [work.step.id], last=work.step.id),)
    return Patch(put=put, drop=tuple(drop), reason=f"{scope.flow['id']} returns")
