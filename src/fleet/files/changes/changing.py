"""A change of the plan on its way into a run: read, applied to the documents, weighed against the
envelope.

`prepare` does what takes long and needs no run, so that a coordinator has a thread do it; `revise`
asks the run, and is quick. Who applies the patch is not said here: a person's command, the answer
to a question, or a step of the plan itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import Plan, basis_of
from fleet.errors import NotFound
from fleet.files.changes.joining import tasks_in
from fleet.files.changes.patched import basis_with, named_patch
from fleet.files.changes.proposals import Change, digest_of
from fleet.files.changes.reentering import adapted, begun_tasks
from fleet.files.changes.submitted import read_change
from fleet.files.kept import as_lowered, keep_plan, lowered_before
from fleet.files.load import load
from fleet.files.lower import lower

if TYPE_CHECKING:
    from fleet.core.state import State
    from fleet.files.changes.revise import Revision
    from fleet.files.fleet import Fleet

RACES: Final = 6
"""How often a change is worked out at most while others come before it."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a run follows: what its `about` says, and the tasks that have begun in it."""

    about: Mapping[str, Any]
    begun: frozenset[str]
    stead: Mapping[str, bytes | None] = field(default_factory=dict)
    """What it follows in the place of files that nobody has approved yet (see `load`)."""

    @property
    def basis(self) -> str:
        """What its plan was made of."""
        return basis_of(self.about)

    @property
    def changes(self) -> Sequence[Mapping[str, Any]]:
        """The changes that it has taken up, the oldest first."""
        return list(self.about.get("changes") or ())


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change with the plan that it makes: as it was `asked` for, and as it is settled now.

    `against` says why a person has to approve it: nothing inside of the envelope. `taken` says that
    the run has taken it up before.
    """

    asked: Change
    change: Change
    before: Plan | None
    after: Plan
    against: Sequence[str] = ()
    taken: bool = False


def prepare(
    root: Path,
    folder: Path,
    wanted: str | Mapping[str, Any] | Change,
    followed: Followed,
    require: Callable[[Fleet], None],
) -> Prepared:
    """Returns a change worked out against the documents of `root` and what a run follows; `require`
    proves what agents' programs are asked for. The new plan is kept in the state folder.

    Raises InvalidPlan with every problem, and NotFound for a patch that nobody has named.
    """
    fleet = load(root, changes=followed.changes, stead=followed.stead)
    change, name = change_of(fleet, wanted)
    known = digest_of(change.told)
    if any(known == one["id"] or (name and name == one["name"]) for one in followed.changes):
        return Prepared(change, change, None, Plan(name="", steps={}), taken=True)
    before = lowered_before(folder, followed.basis)
    asked, change = change, settled(change, followed.begun)
    after, texts = _lowered(root, change, followed, require)
    days = _days(after.about) - _days(followed.about)
    entry = {"id": known, "name": name, "change": dict(change.told), "days": days}
    entry["tasks"] = len(_added(change.told))
    against = outside(fleet, change.told, entry, followed.changes, after)
    changes = [*followed.changes, {**entry, "free": not against}]
    digest = str(after.about["digest"])
    about = {**after.about, "changes": changes, "basis": basis_with(digest, changes)}
    after = replace(after, about=about)
    keep_plan(folder, after, texts)
    return Prepared(asked, change, before, after, against)


def followed_by(state: State) -> Followed:
    """Returns what a run follows now."""
    return Followed(state.about, begun_tasks(state))


def overtaken(prepared: Prepared, followed: Followed, state: State) -> bool:
    """Returns whether a run has moved on from what a change was worked out against."""
    begun = begun_tasks(state)
    told: Mapping[str, str] = prepared.asked.told.get("running") or {}
    return (
        basis_of(state.about) != followed.basis
        or prepared.after.about["digest"] != state.about.get("digest")
        or any((name in begun) != (name in followed.begun) for name in told)
    )


def revise(state: State, prepared: Prepared) -> Revision:
    """Returns what a prepared change means for the run that it was prepared for; raises InvalidPlan
    with every reason why it cannot be.
    """
    before = prepared.before or as_lowered(state)
    return adapted(state, before, prepared.after, prepared.change)


def change_of(fleet: Fleet, wanted: str | Mapping[str, Any] | Change) -> tuple[Change, str]:
    """Returns a change in normal form, and the name under which coordination.md has it, if it has.

    Raises NotFound for an unknown name, and InvalidPlan for what is no change.
    """
    if isinstance(wanted, Change):
        return wanted, ""
    if not isinstance(wanted, str):
        return read_change(wanted), ""
    if wanted not in fleet.settings.patches:
        raise NotFound("patch", wanted, sorted(fleet.settings.patches))
    return named_patch(fleet, wanted), wanted


def settled(change: Change, begun: frozenset[str]) -> Change:
    """Returns a change that says what becomes of running tasks only of those that have begun: that
    is settled now, whatever begins later.
    """
    told = {n: what for n, what in (change.told.get("running") or {}).items() if n in begun}
    if told == (change.told.get("running") or {}):
        return change
    rest = {name: value for name, value in change.told.items() if name != "running"}
    return replace(change, told={**rest, **({"running": told} if told else {})})


def _lowered(
    root: Path, change: Change, followed: Followed, require: Callable[[Fleet], None]
) -> tuple[Plan, Mapping[str, str]]:
    fleet = load(root, changes=followed.changes, change=change, stead=followed.stead)
    require(fleet)
    return lower(fleet)


# --- the envelope ---------------------------------------------------------------------------------


def outside(
    fleet: Fleet,
    change: Mapping[str, Any],
    entry: Mapping[str, Any],
    taken: Sequence[Mapping[str, Any]],
    after: Plan,
) -> list[str]:
    """Returns why a change needs a person's word: nothing where it lies inside the fleet's envelope
    together with all that were taken up without one.
    """
    envelope = fleet.settings.envelope
    if not envelope:
        return ["there is no `envelope` in coordination.md"]
    free = [one for one in taken if one.get("free")]
    told = []
    tasks = entry["tasks"] + sum(one["tasks"] for one in free)
    most = envelope.get("max_tasks")
    if most is not None and tasks > most:
        told.append(f"it would be {tasks} tasks added without approval, at most {most} may be")
    days = max(entry["days"], 0.0) + sum(max(one["days"], 0.0) for one in free)
    most = envelope.get("max_days")
    if most is not None and days > most:
        told.append(f"the finish would have moved by {days:g} days, at most {most:g} may be")
    told += _strangers(envelope, change, after)
    may = envelope.get("may_drop", False)
    listed = may if isinstance(may, list | tuple) else ()
    drops = [n for n in change.get("drop") or () if may is not True and n not in listed]
    return told + [f"task {name!r} may not be dropped without approval" for name in drops]


def _strangers(envelope: Mapping[str, Any], change: Mapping[str, Any], after: Plan) -> list[str]:
    """Returns which agents would get tasks that may not without approval."""
    known = envelope.get("agents")
    if known is None:
        return []
    facts: dict[str, Any] = {n: after.steps[n].params["task"] for n in tasks_in(after)}
    agents = dict.fromkeys(str(facts[name]["agent"]) for name in _added(change))
    return [f"agent {one!r} may get no task without approval" for one in agents if one not in known]


def _added(change: Mapping[str, Any]) -> list[str]:
    tasks = [*(change.get("add") or ())]
    tasks += [one["task"] for one in change.get("insert") or () if isinstance(one["task"], Mapping)]
    return [str(task["id"]) for task in tasks]


def _days(about: Mapping[str, Any]) -> float:
    told = about.get("schedule") or {}
    return float(told.get("days") or 0.0)
