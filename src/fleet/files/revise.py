"""What an edit of the documents means for a run: the patch between two lowerings.

The new plan is compared with the plan that the documents lowered to before, not with the run, which
has grown rework of its own. What has not started takes the change; what has started keeps what it
was started with, and is named. Nothing is applied here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet.core.plan import Need, Patch, Plan, Step
from fleet.core.state import UNSTARTED, State


@dataclass(frozen=True, slots=True)
class Revision:
    """A patch, the edit in words, and which started steps do not take it."""

    patch: Patch
    lines: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the edit changes nothing of the run."""
        return not (self.patch.put or self.patch.drop or self.patch.limits)

    def words(self) -> list[str]:
        """Returns the edit as indented lines."""
        late = "has started and keeps what it was started with"
        return [*(f"  {line}" for line in self.lines), *(f"  {name} {late}" for name in self.kept)]


def revision_of(state: State, before: Plan, after: Plan) -> Revision:
    """Returns what an edit from one lowered plan to another changes in a run."""
    put: list[Step] = []
    drop: list[str] = []
    lines: list[str] = []
    kept: list[str] = []
    for name, step in after.steps.items():
        old = before.steps.get(name)
        if old == step:
            continue
        now = state.known(name)
        if now is None:
            put.append(step)
            lines.append(f"+ {name}")
        elif now.standing not in UNSTARTED:
            kept.append(name)
        else:
            put.append(replace(step, needs=_needs(now.step, old, step)))
            lines.append(f"~ {name}: {', '.join(_changes(old, step))}")
    for name in before.steps:
        now = state.known(name)
        if name in after.steps or now is None:
            continue
        if now.standing in UNSTARTED and not now.attempt:
            drop.append(name)
            lines.append(f"- {name}")
        else:
            kept.append(name)
    limits = {n: units for n, units in after.limits.items() if before.limits.get(n) != units}
    lines += [f"~ limit {name}: {units}" for name, units in limits.items()]
    patch = Patch(
        put=tuple(put),
        drop=tuple(drop),
        limits=limits,
        about=after.about,
        reason="the documents were edited",
    )
    return Revision(patch, tuple(lines), tuple(kept))


def _needs(now: Step, old: Step | None, new: Step) -> tuple[Need, ...]:
    """Returns the needs that a step has now, changed as its document was: rework stays in place."""
    if old is None or old.needs == new.needs:
        return now.needs
    gone = [need for need in old.needs if need not in new.needs]
    come = [need for need in new.needs if need not in old.needs and need not in now.needs]
    return (*[need for need in now.needs if need not in gone], *come)


def _changes(old: Step | None, new: Step) -> list[str]:
    if old is None:
        return ["new"]
    fields = ("kind", "needs", "uses", "ladder", "span_ms", "released")
    found = [name for name in fields if getattr(old, name) != getattr(new, name)]
    return [*(name.removesuffix("_ms") for name in found), *_params(old.params, new.params)]


def _params(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
