"""Whether a change of the plan may be applied to a live run, and every reason why not.

A patch is checked as a whole plan is, as far as it reaches and no further, so that its cost follows
its size and not the plan's. It may touch only what has not started, what it stops itself, and the
deferred step that it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.core.graph import with_needs
from fleet.core.messages import Then
from fleet.core.plan import Need, Patch, Step, basis_of, circle, step_problems
from fleet.core.state import SETTLED_STANDINGS, UNSTARTED, State
from fleet.errors import Problem


def patch_problems(state: State, patch: Patch, own: str = "") -> list[Problem]:
    """Returns why a patch may not be applied to a run now; nothing when it may.

    It is checked as a plan is, as far as it reaches: ids, needs, uses, circles; and it may touch
    only what has not started, what it stops itself, and the deferred step `own` that it comes from.
    """
    if patch.basis and patch.basis != basis_of(state.about):
        return [Problem("the plan has changed since this was worked out")]
    problems = [*_untouchable(state, patch, own)]
    after: dict[str, Step] = {step.id: step for step in patch.put}
    if len(after) < len(patch.put):
        problems.append(Problem("a step is put twice"))
    if len(set(patch.drop)) < len(patch.drop):
        problems.append(Problem("a step is dropped twice"))
    for name, change in patch.needs.items():
        one = state.known(name)
        if one is None or name in after or name in patch.drop:
            problems.append(Problem(f"the needs of {name!r} cannot be changed: no such step stays"))
            continue
        gone = set(change.remove) - {need.step for need in one.step.needs}
        problems += [Problem(f"step {name!r} does not need {need!r}") for need in sorted(gone)]
        kept = tuple(need for need in one.step.needs if need.step not in change.remove)
        after[name] = with_needs(one.step, (*kept, *change.add))
    known = _Known(state, after, patch.drop)
    limits = {**state.limits, **patch.limits}
    for step in after.values():
        problems += step_problems(step, known, limits)
    problems += _starved(state, patch, after)
    for name in patch.drop:
        edges = state.dependents.get(name, [])
        left = [d for d, _ in edges if d not in patch.drop and d not in after]
        left += [s.id for s in after.values() if any(n.step == name for n in s.needs)]
        problems += [Problem(f"step {name!r} is dropped, but {d!r} needs it") for d in left]
    if not problems:
        ring = circle(_Needs(state, after))
        if ring:
            problems.append(
                Problem(f"steps would need each other in a circle: {' -> '.join(ring)}")
            )
    return problems


def _untouchable(state: State, patch: Patch, own: str) -> list[Problem]:
    asking = {q.step for q in state.questions.values() if q.question.then is Then.LADDER}
    problems = [
        Problem(f"step {name!r} is not running, so it cannot be stopped")
        for name in patch.stop
        if name not in state.running and name not in asking
    ]
    stopped = {own, *(name for name in patch.stop if name in state.running)}
    for name in (*patch.drop, *(step.id for step in patch.put), *patch.needs):
        one = state.known(name)
        if one is None:
            if name in patch.drop:
                problems.append(Problem(f"step {name!r} is not there to be dropped"))
        elif one.standing not in UNSTARTED and (name not in stopped or name in patch.drop):
            problems.append(Problem(f"step {name!r} is {one.standing} and may not be changed"))
        elif one.attempt and name in patch.drop:
            # Its id could come back, and the number of an attempt is used once.
            problems.append(Problem(f"step {name!r} was tried already: skip it, do not drop it"))
    problems += [
        Problem(f"step {step.id!r} is running and may not use other units")
        for step in patch.put
        if step.id in state.running and step.uses != state.steps[step.id].step.uses
    ]
    return problems


def _starved(state: State, patch: Patch, after: dict[str, Step]) -> list[Problem]:
    """Returns the steps that stay and could never start; looks through all only if a limit
    sinks.
    """
    lower = {n: most for n, most in patch.limits.items() if most < state.limits.get(n, most + 1)}
    if not lower:
        return []
    problems = []
    for name in state.steps:
        one = state.steps[name]
        if name in after or name in patch.drop or one.settled:
            continue
        problems += step_problems(one.step, state.steps, lower)
    return problems


class _Known(dict[str, object]):
    """The ids that will be there after a patch, without listing a whole plan."""

    def __init__(self, state: State, after: dict[str, Step], drop: tuple[str, ...]) -> None:
        super().__init__(after)
        self._state, self._drop = state, drop

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        yield from (name for name in self._state.steps if name not in self._drop)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name in self._state.steps and name not in self._drop)


class _Needs(dict[str, tuple[str, ...]]):
    """The graph from the revised steps upwards; what has settled is a leaf of it."""

    def __init__(self, state: State, after: dict[str, Step]) -> None:
        super().__init__({s.id: _names(s.needs) for s in after.values()})
        self._state = state

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        one = self._state.known(str(name))
        return one is not None and one.standing not in SETTLED_STANDINGS

    def __missing__(self, name: str) -> tuple[str, ...]:
        return _names(self._state.steps[name].step.needs)


def _names(needs: tuple[Need, ...]) -> tuple[str, ...]:
    return tuple(need.step for need in needs)
