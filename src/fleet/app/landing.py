"""The use case that lands phases: gates must be open, the base moves to what was judged only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet.app.landed import Landing, landing_of
from fleet.app.launching import begun
from fleet.app.place import FleetPlace
from fleet.app.revising import foreseen
from fleet.app.telling import changes, tell
from fleet.core import messages as m
from fleet.core.state import CLOSED, OpenQuestion, Standing, State, StepState
from fleet.errors import FleetError, NotFound, Rejected
from fleet.kinds.merge import LAND_REST
from fleet.views.tasks import PhaseSteps, phases_before, phases_of, tasks_of

if TYPE_CHECKING:
    from fleet.app.publishing import Publisher

MERGE_TIMEOUT_S = 6 * 3600.0


def merge(
    place: FleetPlace,
    names: Sequence[str] = (),
    *,
    dry_run: bool = False,
    land_rest: bool = False,
    resolver: str = "",
    publisher: Publisher | None = None,
    tell_of: Callable[[str], None] = lambda _: None,
) -> list[Landing]:
    """Lands phases in order and returns what became of each; stops at the first that did not land.

    Without names the first phase that has not landed is meant. With `land_rest` what is green
    without the tasks that break a phase lands without being asked. A conflict is handed to the
    agent `resolver` as a task. What landed, and what lands by a pull request, goes to a remote by
    the `publisher`. Raises Rejected at a closed gate.
    """
    if resolver and resolver not in place.documents.agents:
        raise NotFound("agent", resolver, list(place.documents.agents))
    state = foreseen(place) if dry_run else begun(place)
    found: list[Landing] = []
    for name in phases_meant(state, names):
        phase = phases_of(state)[name]
        if phase.landed is not None:
            found.append(_published(publisher, state, landing_of(name, phase)))
            continue
        missing = closed_because(state, phase)
        if missing:
            raise Rejected(
                f"the gate of {name} is closed:\n" + "\n".join(f"  {text}" for text in missing),
                hint=f"fleet gate {name}",
            )
        if dry_run:
            told = f"would be merged{publisher.intent(phase) if publisher else ''}"
            found.append(Landing(name, landed=False, text=told, tasks=dict(phase.pinned)))
            continue
        assert phase.merge is not None
        if phase.merge.settled:
            raise Rejected(f"the merge of {name} has {phase.merge.standing} for good")
        tell_of(name)
        before = phase.merge.attempt
        tell(place, [_go_ahead(state, phase.merge)])
        found.append(wait_for_landing(place, name, before, land_rest=land_rest))
        if not found[-1].landed:
            if resolver and "conflict" in found[-1].evidence:
                found[-1] = _resolve(place, found[-1], resolver)
            found[-1] = _published(publisher, begun(place), found[-1])
            break
        state = begun(place)
        found[-1] = _published(publisher, state, found[-1])
    return found


def _published(publisher: Publisher | None, state: State, landing: Landing) -> Landing:
    return publisher.publish(state, landing) if publisher is not None else landing


def _resolve(place: FleetPlace, landing: Landing, agent: str) -> Landing:
    """Makes a task of a conflict, for an agent, and returns what became of the landing."""
    from fleet.files.changes.resolving import Clash, resolve_patch
    from fleet.files.kept import keep_text

    state, told = begun(place), landing.evidence["conflict"]
    phase = phases_of(state)[landing.phase]
    commits = {**phase.pinned, **_pinned_before(phase)}
    clash = Clash(
        phase=landing.phase,
        task=told["task"],
        commit=commits[told["task"]],
        others={one: commits[one] for one in told["with"] if one in commits},
        paths=told["paths"],
        text=told["text"],
    )
    gate = phase.gates[-1].step.id
    name, patch, texts = resolve_patch(place.followed(state), state, clash, agent, gate)
    for digest, text in texts.items():
        keep_text(place.state, digest, text)
    tell(place, [m.RevisePlan(patch=patch)])
    text = f"{landing.text}. {agent} resolves it as task {name}; then: fleet merge {landing.phase}"
    return replace(landing, text=text, evidence={**landing.evidence, "resolved_by": name})


def _pinned_before(phase: PhaseSteps) -> dict[str, str]:
    """Returns the commits that the last gate of a phase has pinned that has opened."""
    for gate in reversed(phase.gates):
        output: Any = gate.output
        if gate.standing is Standing.SUCCEEDED and output:
            return dict(output["commits"])
    return {}


def _go_ahead(state: State, merge_step: StepState) -> m.Command:
    """Returns what lets a merge begin: its release or, where it asks how to go on, the answer."""
    for asked in state.questions.values():
        if asked.step == merge_step.step.id and asked.question.then is m.Then.LADDER:
            return m.AnswerQuestion(id=asked.id, value="retry")
    return m.ReleaseStep(steps=(merge_step.step.id,))


def phases_meant(state: State, names: Sequence[str]) -> list[str]:
    """Returns the phases that ids mean; a task means its phase when it is alone in it."""
    phases, tasks = phases_of(state), tasks_of(state)
    if not names:
        left = [name for name, phase in phases.items() if phase.landed is None]
        if not left:
            raise FleetError("every phase has landed; there is nothing to merge")
        return left[:1]
    found: list[str] = []
    for name in names:
        if name in phases:
            found.append(name)
        elif name in tasks:
            phase = str(tasks[name].facts.get("phase") or "")
            mates = [one for one, task in tasks.items() if task.facts.get("phase") == phase]
            if len(mates) > 1:
                raise Rejected(
                    f"{name} lands with its phase: {', '.join(mates)}", hint=f"fleet merge {phase}"
                )
            found.append(phase or next(reversed(phases)))
        else:
            close = [one for one in phases if one.startswith(name)]
            if len(close) != 1:
                raise NotFound("phase", name, list(phases))
            found.append(close[0])
    order = list(phases)
    return sorted(dict.fromkeys(found), key=order.index)


def closed_because(state: State, phase: PhaseSteps) -> list[str]:
    """Returns what keeps a phase's gate closed, in words; nothing when it is open or judged now."""
    gate = phase.gates[-1]
    if gate.standing in (Standing.SUCCEEDED, Standing.RUNNING, Standing.READY):
        return [f"{before} is landed: not yet" for before in phases_before(state, phase)]
    found = []
    for need in gate.step.needs:
        one = state.steps[need.step]
        if one.standing not in CLOSED:
            what = (
                f"{one.step.whole} is landed"
                if one.step.kind == "merge"
                else f"{one.step.whole} is verified"
            )
            found.append(f"{what}: not yet")
        elif one.standing is not Standing.SUCCEEDED and one.standing is not Standing.SKIPPED:
            found.append(f"{one.step.whole or need.step} has {one.standing}")
    found += [
        f"approval: fleet approve {question.id}"
        for question in state.questions.values()
        if question.step == gate.step.id
    ]
    return found or [gate.text or f"the gate is {gate.standing}"]


def wait_for_landing(
    place: FleetPlace, name: str, before: int, *, land_rest: bool = False
) -> Landing:
    """Waits for the merge that was just released and returns what became of it."""
    deadline = time.monotonic() + MERGE_TIMEOUT_S
    for state in changes(place, deadline):
        phase = phases_of(state)[name]
        merge_step = phase.merge
        assert merge_step is not None
        if phase.landed is not None:
            return landing_of(name, phase)
        asked = _about_rest(state, merge_step) if land_rest else None
        if asked is not None:
            tell(place, [m.AnswerQuestion(id=asked.id, value=LAND_REST)])
            continue
        if merge_step.attempt > before and _is_back(merge_step):
            return Landing(
                name, landed=False, text=merge_step.text, evidence=dict(merge_step.evidence)
            )
        gate = phase.gates[-1]
        if gate.standing is Standing.ASKING:
            return Landing(
                name, landed=False, text="the gate waits for an approval; see: fleet inbox"
            )
        failed = [one for one in tasks_of(state).values() if one.facts.get("phase") == name]
        asking = [t.join.step.id for t in failed for c in t.checks if c.standing is Standing.ASKING]
        if asking:
            return Landing(
                name, landed=False, text=f"{', '.join(asking)} must be judged again and needs you"
            )
    raise FleetError(f"the merge of {name} goes on; it was not over in time", hint="fleet status")


def _about_rest(state: State, merge_step: StepState) -> OpenQuestion | None:
    """Returns the question of a merge whether what is green without the culprits may land."""
    return next(
        (
            asked
            for asked in state.questions.values()
            if asked.step == merge_step.step.id and LAND_REST in asked.question.choices
        ),
        None,
    )


def _is_back(merge_step: StepState) -> bool:
    """Whether the attempt ended without landing: held back for a person, or asking."""
    if merge_step.standing in (Standing.RUNNING, Standing.BACKOFF):
        return False
    return merge_step.standing is not Standing.SUCCEEDED and bool(
        not merge_step.released or merge_step.standing in (Standing.ASKING, Standing.FAILED)
    )
