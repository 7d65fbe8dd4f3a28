"""The use case that goes on with a run which has failed: what failed is tried again, behind itself.

A settled step stays settled. Each step that has failed gets a further copy, which needs the failed
one on its failure and in whose place it stands for what waited; what succeeded is not touched. The
file is read again, so that what was mended in it counts; a file of another shape is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet.app.place import FleetPlace
from fleet.app.runs import find_run
from fleet.app.telling import tell
from fleet.app.workflows import kept, loaded
from fleet.core import messages as m
from fleet.core.plan import FAILED, Need, NeedsChange, Patch, Step
from fleet.core.state import UNSTARTED, Standing
from fleet.errors import Rejected
from fleet.files.flows.documents import step_at
from fleet.files.flows.lowering import judging_steps, role_of

if TYPE_CHECKING:
    from fleet.core.state import State, StepState

Bundle = Mapping[str, Any]


def resume_run(
    place: FleetPlace, name: str, roles: Mapping[str, str], *, dry_run: bool = False
) -> str:
    """Goes on with a run that has failed, unless `dry_run`, and returns its id; raises Rejected for
    any other, and InvalidPlan when its file does not hold any more.
    """
    run = find_run(place, name)
    state = place.run_state(run)
    assert state is not None, "a run that was found is in the journal"
    if state.ended != "failed":
        word = f"has {state.ended}" if state.ended else "goes on"
        raise Rejected(f"{run} {word}; only a run that has failed is resumed")
    told: Any = state.about
    found, _ = loaded(place, told["file"], {**told.get("roles", {}), **roles})
    number = int(run.rpartition(".")[2]) - 1 if state.parent else 0
    if number >= len(found):
        raise Rejected(f"{told['file']} has no document {number + 1} any more")
    if dry_run:
        return run
    digest = kept(place, found[number])
    patch = redo_patch(state, found[number].bundle, digest)
    tell(place, [m.RevisePlan(patch=patch)], run=run)
    if state.parent:
        _redo_sequence(place, state.parent[0], run)
    return run


def redo_patch(state: State, bundle: Bundle, digest: str) -> Patch:
    """Returns the patch that puts a copy behind each step that failed and that nothing took up."""
    put: list[Step] = []
    renewed: dict[str, Step] = {}
    for name in sorted(state.failures):
        edges = state.dependents.get(name, [])
        if any(on == FAILED for _, on in edges):
            continue
        copies = _copies(state, state.steps[name], bundle, digest)
        put += copies
        for other, _ in edges:
            one = state.steps[other]
            if one.standing in UNSTARTED:
                step = renewed.get(other) or _renewed(one.step, bundle, digest)
                moved = [
                    replace(need, step=copies[-1].id) if need.step == name else need
                    for need in step.needs
                ]
                renewed[other] = _with_last(replace(step, needs=tuple(moved)), name, copies[-1].id)
    for name in state.steps:
        one = state.steps[name]
        if one.standing is Standing.UNREACHED and not one.attempt and name not in renewed:
            renewed[name] = _renewed(one.step, bundle, digest)
    return Patch(put=(*put, *renewed.values()), reason="resumed")


def _copies(state: State, one: StepState, bundle: Bundle, digest: str) -> list[Step]:
    """Returns a further copy of a failed step, an agent's with what it is told anew; one that
    verifies has all its rounds again.
    """
    step = _renewed(one.step, bundle, digest)
    base, number = step.whole if step.kind == "agent" else step.id, 2
    while {f"{base}.{number}", f"{base}.brief.{number}"} & state.steps.keys():
        number += 1
    behind = Need(step=step.id, on=FAILED)
    if step.kind == "verify":
        return _judging_anew(state, step, bundle, behind)
    copy = replace(step, id=f"{base}.{number}", needs=(*step.needs, behind), released=True)
    told = [need for need in step.needs if state.steps[need.step].step.kind == "brief"]
    if not told:
        return [copy]
    brief = _renewed(state.steps[told[0].step].step, bundle, digest)
    again = replace(brief, id=f"{brief.id}.{number}", needs=(*brief.needs, behind))
    rest = [need for need in step.needs if need not in told]
    return [again, replace(copy, needs=(Need(step=again.id), *rest, behind))]


def _judging_anew(state: State, step: Step, bundle: Bundle, behind: Need) -> list[Step]:
    """Returns a further copy of a step that verifies, behind the agent that judges once more."""
    told: Any = step.params["flow"]
    flow = {name: value for name, value in told.items() if name != "judging"}
    number = 2
    while f"{step.whole}.open.{number}" in state.steps:
        number += 1
    needs: tuple[Need, ...] = (*step.needs, behind)
    judges: list[Step] = []
    if any(state.steps[need.step].step.whole == step.whole for need in step.needs):
        now = step_at(bundle["workflows"][flow["of"]], flow["at"])
        judges = judging_steps(bundle, flow, now, (behind,), f".{number}")
        needs = (Need(step=judges[-1].id), behind)
    copy = replace(
        step, id=f"{step.whole}.open.{number}", params={"flow": flow}, needs=needs, released=True
    )
    return [*judges, copy]


def _renewed(step: Step, bundle: Bundle, digest: str) -> Step:
    """Returns a step as the file has it now; raises Rejected when it stands elsewhere there."""
    flow: Any = step.params.get("flow")
    if not isinstance(flow, Mapping):
        return step
    told = {**flow, "bundle": digest}
    params = {**step.params, "flow": told}
    if "at" in flow:
        try:
            now = step_at(bundle["workflows"][flow["of"]], flow["at"])
        except LookupError:
            now = {}
        if now.get("id") != flow["id"] or now.get("type") != flow["type"]:
            raise Rejected(
                f"step {flow['id']!r} does not stand where it stood in the file",
                hint="a run of the new file begins anew: fleet run FILE",
            )
        if step.kind == "agent":
            role = role_of(bundle, now, flow.get("agent", ""))
            params["agent"] = bundle["agents"][role]["agent"]
            return replace(
                step, params=params, uses={**step.uses, **bundle["agents"][role]["uses"]}
            )
    return replace(step, params=params)


def _with_last(step: Step, name: str, successor: str) -> Step:
    """Returns a join whose value is the successor's where it was the failed step's."""
    flow: Any = step.params.get("flow")
    if isinstance(flow, Mapping) and flow.get("last") == name:
        return replace(step, params={**step.params, "flow": {**flow, "last": successor}})
    return step


def _redo_sequence(place: FleetPlace, whole: str, run: str) -> None:
    """Has the documents of a file go on behind the one that was resumed."""
    state = place.run_state(whole)
    if state is None or state.ended != "failed":
        return
    for name in sorted(state.failures):
        edges = state.dependents.get(name, [])
        step = state.steps[name].step
        if step.params.get("run") == run and not any(on == FAILED for _, on in edges):
            break
    else:
        return
    again = replace(step, id=f"{name}.again", needs=(Need(step=name, on=FAILED),))
    put = (again,)
    needs = {other: NeedsChange(add=(Need(step=again.id),), remove=(name,)) for other, _ in edges}
    tell(place, [m.RevisePlan(patch=Patch(put=put, needs=needs, reason="resumed"))], run=whole)
