"""The graph of a live run: what follows along its edges when a step changes its standing.

Needs are counted, not searched: each step keeps how many of its needs are open and how many can no
longer be met, and a change is carried along the edges that it touches, without recursion. Joins
settle here, steps become unreached here, and the ready lists and tails are kept here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import replace

from fleet.core import messages as m
from fleet.core.plan import JOIN, Need, NeedsChange, Step
from fleet.core.spending import Budget, resize
from fleet.core.state import (
    CLOSED,
    FOLLOWING,
    NEVER,
    PENDING,
    Standing,
    State,
    StepState,
    uses_of,
    verdict,
)


def begin(event: m.RunStarted) -> State:
    """Returns the state of a run that has just started: every step where its needs put it."""
    plan = event.plan
    state = State(
        run=event.run,
        name=plan.name,
        about=plan.about,
        limits=plan.limits,
        routes=plan.routes,
        loops=plan.loops,
        parent=event.parent,
        started_ms=event.at_ms,
        at_ms=event.at_ms,
    )
    for name, amounts in plan.budgets.items():
        keep_budget(state, name, resize(None, amounts))
    for step in plan.steps.values():
        state.steps[step.id] = _fresh(step, event.at_ms)
    for step in plan.steps.values():
        for need in step.needs:
            state.dependents.setdefault(need.step, []).append((step.id, need.on))
    for edges in state.dependents.values():
        edges.sort()
    state.unsettled = len(state.steps)
    _measure(state)
    for one in state.steps.values():
        if one.standing is Standing.WAITING and not one.unmet:
            move(state, one, due(one), event.at_ms)
    return state


def keep_budget(state: State, name: str, budget: Budget) -> None:
    """Keeps a budget as it is now, and whether anything that draws on it may start."""
    state.budgets[name] = budget
    (state.shut.add if budget.gone else state.shut.discard)(name)


def _fresh(step: Step, at_ms: int) -> StepState:
    return StepState(step=step, released=step.released, unmet=len(step.needs), since_ms=at_ms)


def _link(state: State, step: Step) -> None:
    for need in step.needs:
        if need.step not in state.dependents:
            state.dependents[need.step] = []
        insort(state.dependents[need.step], (step.id, need.on))


def _unlink(state: State, step: Step) -> None:
    for need in step.needs:
        edges = state.dependents[need.step]
        del edges[bisect_left(edges, (step.id, need.on))]
        if not edges:
            del state.dependents[need.step]


def dependents_of(state: State, step: str) -> list[tuple[str, str]]:
    """Returns the steps that need a step, each with its condition."""
    return state.dependents.get(step, [])


def due(one: StepState) -> Standing:
    """Returns the standing that follows from the needs of a step that nothing else holds.

    A join speaks for what is inside it, so it is out of reach only when nothing inside is open.
    """
    if one.barred and not (one.unmet and one.step.kind == JOIN):
        return Standing.UNREACHED
    if one.unmet:
        return Standing.WAITING
    return Standing.SUCCEEDED if one.step.kind == JOIN else Standing.READY


def move(state: State, first: StepState, standing: Standing, at_ms: int) -> None:
    """Puts a step into a standing and carries what follows along its edges, without recursion."""
    todo = [first]
    while todo:
        one = todo.pop()
        old = one.standing
        new = standing if one is first else due(one)
        if one is not first and not _follows(old, new):
            continue
        if old is Standing.BACKOFF:
            state.alarms.pop(one.step.id, None)
        one.standing = new
        one.since_ms = at_ms
        state.unsettled += (new not in CLOSED) - (old not in CLOSED)
        if one.step.kind == JOIN and new is Standing.SUCCEEDED:
            one.ended_ms = at_ms
        if new is Standing.FAILED:
            state.failures.add(one.step.id)
        list_ready(state, one, listed=old is Standing.READY)
        for name, on in dependents_of(state, one.step.id):
            before, after = verdict(on, old, one.label), verdict(on, new, one.label)
            if before != after:
                other = state.steps[name]
                other.unmet += (after == PENDING) - (before == PENDING)
                other.barred += (after == NEVER) - (before == NEVER)
                todo.append(other)


def _follows(old: Standing, new: Standing) -> bool:
    """Returns whether a step goes where its needs send it; one that backs off only away from
    READY.
    """
    if old is Standing.BACKOFF:
        return new is not Standing.READY
    return new is not old and old in FOLLOWING


def list_ready(state: State, one: StepState, *, listed: bool) -> None:
    """Keeps the ready list true for a step whose standing, release or hold has changed."""
    wanted = one.standing is Standing.READY and one.may_start
    if listed:
        _unlist(state, one)
    if wanted:
        insort(state.ready.setdefault(uses_of(one.step), []), (-one.tail_ms, one.step.id))
        state.agenda.append(one.step.id)


def _unlist(state: State, one: StepState) -> None:
    uses = uses_of(one.step)
    steps = state.ready.get(uses, [])
    key = (-one.tail_ms, one.step.id)
    place = bisect_left(steps, key)
    if place < len(steps) and steps[place] == key:
        del steps[place]
        if not steps:
            del state.ready[uses]


def _measure(state: State) -> None:
    """Sets the tail of each step: the longest way from its start to the end of the run."""
    waiting = {name: len(dependents_of(state, name)) for name in state.steps}
    todo = [name for name, count in waiting.items() if not count]
    while todo:
        one = state.steps[todo.pop()]
        one.tail_ms += one.step.span_ms
        for need in one.step.needs:
            state.steps[need.step].tail_ms = max(state.steps[need.step].tail_ms, one.tail_ms)
            waiting[need.step] -= 1
            if not waiting[need.step]:
                todo.append(need.step)


def _lengthen(state: State, names: Iterable[str]) -> None:
    """Raises the tails of revised steps and of what they need, as far as these have not settled."""
    todo = [state.steps[name] for name in names]
    for one in todo:
        behind = (state.steps[name].tail_ms for name, _ in dependents_of(state, one.step.id))
        _stretch(state, one, max(behind, default=0))
    while todo:
        one = todo.pop()
        needed = (state.steps[need.step] for need in one.step.needs)
        todo += [other for other in needed if _stretch(state, other, one.tail_ms)]


def _stretch(state: State, one: StepState, behind_ms: int) -> bool:
    """Returns whether an open step's tail has grown by one that is so long behind it."""
    tail_ms = behind_ms + one.step.span_ms
    if tail_ms <= one.tail_ms or one.settled:
        return False
    listed = one.standing is Standing.READY and one.may_start
    if listed:
        _unlist(state, one)
    one.tail_ms = tail_ms
    if listed:
        list_ready(state, one, listed=False)
    return True


def revise(state: State, event: m.PlanRevised) -> None:
    """Applies a proved patch: drops, puts, moves needs, and recounts what it touched."""
    patch = event.patch
    state.revision = event.revision
    state.limits = {**state.limits, **patch.limits}
    state.about = {**state.about, **patch.about}
    state.routes = state.routes if patch.routes is None else patch.routes
    state.loops = patch.loops or state.loops
    for name, amounts in patch.budgets.items():
        budget = resize(state.budgets.get(name), amounts)
        if not budget.gone:
            state.questions.pop(budget.asked, None)
        keep_budget(
            state, name, budget if budget.asked in state.questions else replace(budget, asked="")
        )
    for name in patch.drop:
        one = state.steps[name]
        if one.standing is Standing.READY:
            _unlist(state, one)
        _unlink(state, one.step)
        state.unsettled -= one.standing not in CLOSED
        state.alarms.pop(name, None)
        del state.steps[name]
    touched = [step.id for step in patch.put] + [n for n in patch.needs if n in state.steps]
    for step in patch.put:
        _put(state, step, event.at_ms)
    for step in patch.put:
        _link(state, step)
    for name, change in patch.needs.items():
        _reneed(state, state.steps[name], change)
    _lengthen(state, touched)
    revised = [state.steps[name] for name in dict.fromkeys(touched)]
    for one in revised:
        _recount(state, one)
    # What opens again goes first: a join must not settle on a need that the same patch opens.
    for closing in (False, True):
        for one in revised:
            new = due(one)
            if (new in CLOSED) is closing and _follows(one.standing, new):
                move(state, one, new, event.at_ms)
    reopen(state)


def reopen(state: State) -> None:
    """Lets a run that has ended go on when there is something to do in it again."""
    if state.ended and state.unsettled:
        state.ended, state.ended_ms = "", 0


def _put(state: State, step: Step, at_ms: int) -> None:
    if step.id in state.steps:
        one = state.steps[step.id]
        listed = one.standing is Standing.READY
        if listed:
            _unlist(state, one)
        _unlink(state, one.step)
        if one.step.released != step.released:
            one.released = step.released
        one.step = step
        if listed:
            list_ready(state, one, listed=False)
    else:
        state.steps[step.id] = _fresh(step, at_ms)
        state.unsettled += 1


def _reneed(state: State, one: StepState, change: NeedsChange) -> None:
    _unlink(state, one.step)
    kept = tuple(need for need in one.step.needs if need.step not in change.remove)
    added = tuple(need for need in change.add if need not in kept)
    one.step = with_needs(one.step, kept + added)
    _link(state, one.step)


def with_needs(step: Step, needs: tuple[Need, ...]) -> Step:
    """Returns the step with other needs."""
    return Step(
        id=step.id,
        kind=step.kind,
        params=step.params,
        needs=needs,
        uses=step.uses,
        ladder=step.ladder,
        span_ms=step.span_ms,
        whole=step.whole,
        released=step.released,
    )


def _recount(state: State, one: StepState) -> None:
    verdicts = [
        verdict(need.on, state.steps[need.step].standing, state.steps[need.step].label)
        for need in one.step.needs
    ]
    one.unmet, one.barred = verdicts.count(PENDING), verdicts.count(NEVER)
