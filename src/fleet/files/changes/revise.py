"""What an edit of the documents means for a run: the patch between two lowerings.

The new plan is compared with the plan that the documents lowered to before, not with the run, which
has grown rework of its own. What has not started takes the change, later rounds of a task as well;
what has started keeps what it was started with, and is named. A task that has begun is not dropped:
it goes on to its end, but no gate waits for it any more. Nothing is applied here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from fleet.core.plan import Need, Patch, Plan, Step
from fleet.core.state import UNSTARTED, State, StepState
from fleet.files.changes.rework import STEMS
from fleet.views.difference import schedule_words

UNLIMITED = 1_000_000
"""Units of a limit that the documents no longer set; a patch cannot take a limit away."""

OF_A_PHASE = ("gate", "merge")
"""Kinds of which a phase may come to have several, the last of which counts."""

OF_A_TASK = ("worktree", "agent", "check")
"""Kinds of which a task may come to have several, one for each of its rounds."""

OF_A_ROUND = ("round", "spent", "before", "note", "note_from", "verdicts", "renews", "swapped")
"""Params that belong to one round of a task, whatever its documents say."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A patch, the edit in words, which started steps do not take it, and what the schedule makes
    of it.
    """

    patch: Patch
    lines: tuple[str, ...]
    kept: tuple[str, ...]
    schedule: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Returns the edit as indented lines."""
        told = (*self.lines, *map(_kept_words, self.kept), *self.schedule)
        return [f"  {line}" for line in told]


@dataclass(slots=True)
class _Draft:
    put: list[Step] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def revision_of(state: State, before: Plan, after: Plan) -> Revision:
    """Returns what an edit from one lowered plan to another changes in a run."""
    draft = _Draft()
    for name, step in after.steps.items():
        old = before.steps.get(name)
        if old != step:
            _change(draft, state, old, step)
    begun = {one.step.whole for one in state.steps.values() if _has_begun(one)}
    for name, old in before.steps.items():
        if name in after.steps or name not in state.steps:
            continue
        if old.whole in begun:
            draft.kept += [old.whole] if old.whole not in draft.kept else []
        else:
            draft.drop.append(name)
            draft.lines.append(f"- {name}")
    limits = {n: units for n, units in after.limits.items() if before.limits.get(n) != units}
    draft.lines += [f"~ limit {name}: {units}" for name, units in limits.items()]
    lifted = [name for name in before.limits if name not in after.limits]
    draft.lines += [f"- limit {name}" for name in lifted]
    budgets = {n: told for n, told in after.budgets.items() if before.budgets.get(n) != told}
    draft.lines += [f"~ budget {name}: {_amounts(told)}" for name, told in budgets.items()]
    draft.lines += ["~ loops"] if before.loops != after.loops else []
    free = [name for name in before.budgets if name not in after.budgets]
    draft.lines += [f"- budget {name}" for name in free]
    routes = after.routes if after.routes != before.routes else None
    draft.lines += [] if routes is None else ["~ whom questions go to"]
    patch = Patch(
        put=tuple(draft.put),
        drop=tuple(draft.drop),
        limits=limits | dict.fromkeys(lifted, UNLIMITED),
        budgets={**budgets, **{name: {} for name in free}},
        about=after.about,
        routes=routes,
        loops=after.loops if after.loops != before.loops else None,
        reason="; ".join(["the documents were edited", *map(_kept_words, draft.kept)]),
    )
    return Revision(
        patch, tuple(draft.lines), tuple(draft.kept), schedule_words(before.about, after.about)
    )


def _amounts(told: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in told.items())


def _kept_words(name: str) -> str:
    return f"{name} has started and keeps what it was started with"


def _has_begun(one: StepState) -> bool:
    """Whether a step was ever tried, or has ended without that."""
    return bool(one.attempt) or one.standing not in UNSTARTED


def _change(draft: _Draft, state: State, old: Step | None, step: Step) -> None:
    now = state.known(step.id)
    if now is None:
        draft.put.append(step)
        draft.lines.append(f"+ {step.id}")
        return
    found = [_taken(now.step, old, step)] if now.standing in UNSTARTED else []
    found += [_taken_later(one.step, old, step) for one in _later(state, step)]
    found = [one for one in found if one != state.steps[one.id].step]
    draft.put += found
    draft.lines += [f"~ {one.id}: {', '.join(_changes(old, step))}" for one in found]
    if now.standing not in UNSTARTED and not found:
        draft.kept.append(step.id)


def _taken(now: Step, old: Step | None, new: Step) -> Step:
    """Returns a step as its document says now; needs that rework has moved stay moved, and what the
    run has added stays added.
    """
    return replace(new, needs=_needs(now, old, new), params=_grown(now, old, new))


def _later(state: State, step: Step) -> Iterator[StepState]:
    """Yields the later rounds of a task's worktree, work or check, and the later gates or merges of
    a phase, that have not started.
    """
    stems = STEMS if step.kind in OF_A_TASK else (step.kind,) if step.kind in OF_A_PHASE else ()
    for number in count(2):
        found = [state.known(f"{step.whole}/{stem}.{number}") for stem in stems]
        for one in found:
            if one is not None and one.step.kind == step.kind and one.standing in UNSTARTED:
                yield one
        if not any(found):
            return


def _taken_later(now: Step, old: Step | None, new: Step) -> Step:
    """Returns a later round, gate or merge with what the document says now, as far as that is not
    its own.
    """
    if now.kind in OF_A_PHASE:
        needs, params = _needs(now, old, new), _grown(now, old, new)
        return replace(now, needs=needs, params=params, uses=new.uses, span_ms=new.span_ms)
    own = {name: now.params[name] for name in OF_A_ROUND if name in now.params}
    grown = {name: now.uses[name] for name in now.uses if old and name not in old.uses}
    uses = {**new.uses, **grown}
    return replace(now, params={**new.params, **own}, uses=uses, span_ms=new.span_ms)


def _grown(now: Step, old: Step | None, new: Step) -> Mapping[str, object]:
    """Returns the params that the document gives a step now, with what the run has added to them:
    why a gate was closed again, what an undo took back, the task that resolves a conflict.
    """
    if old is None or new.kind not in OF_A_PHASE:
        return new.params
    own = {name: now.params[name] for name in now.params.keys() - old.params.keys()}
    added = [one for one in _tasks(now) if one not in _tasks(old) and one not in _tasks(new)]
    tasks = {"tasks": [*added, *_tasks(new)]} if added else {}
    return {**own, **new.params, **tasks}


def _tasks(step: Step) -> list[object]:
    listed = step.params.get("tasks")
    return list(listed) if isinstance(listed, list | tuple) else []


def _needs(now: Step, old: Step | None, new: Step) -> tuple[Need, ...]:
    """Returns the needs that a step has now, changed as its document was: rework stays in place."""
    if old is None or old.needs == new.needs:
        return now.needs
    gone = set(old.needs) - set(new.needs)
    known = {*old.needs, *now.needs}
    come = [need for need in new.needs if need not in known]
    return (*[need for need in now.needs if need not in gone], *come)


def _changes(old: Step | None, new: Step) -> list[str]:
    if old is None:
        return ["new"]
    fields = ("kind", "needs", "uses", "ladder", "span_ms", "released")
    found = [name for name in fields if getattr(old, name) != getattr(new, name)]
    return [*(name.removesuffix("_ms") for name in found), *_params(old.params, new.params)]


def _params(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
