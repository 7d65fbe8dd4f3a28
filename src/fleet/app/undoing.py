"""The use case that takes a move back: what it would do is shown first, then a step does it.

The step is appended to the run, so that nothing merges meanwhile, a killed coordinator finishes it,
and the journal tells who took back what. What has not started yet waits until the phase has landed
again; what has started goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fleet.app.launching import running_state
from fleet.app.moves import HEADS, Meant, meant_by, part_of
from fleet.app.place import FleetPlace
from fleet.app.telling import changes, tell
from fleet.core import messages as m
from fleet.core.plan import SETTLED, Need, NeedsChange, Patch, Step
from fleet.core.state import UNSTARTED, Standing, State
from fleet.errors import FleetError, Rejected
from fleet.views.tasks import PhaseSteps, phases_of, tasks_of

if TYPE_CHECKING:
    from fleet.adapters.git import Repository, Way

TRIES = 3
"""How often the step is put again when the run has gone on in between."""

SHOWN = 20
"""Commits that are listed of what leaves the base."""


@dataclass(frozen=True, slots=True)
class Undoing:
    """What would be taken back: `target` goes from `new` to `old` (None: it is deleted, or made).

    `reverts` says that a commit on top does it, for the reason in `why`. `commits` are those that
    leave the base (with `redo`, an undo of an undo: that come back), as (id, subject), the latest
    of `count`; `tasks` land no longer, `waits` wait until they have landed
    again, and `goes_on` has started from it.
    """

    name: str
    target: str
    old: str | None
    new: str | None
    phase: str = ""
    redo: bool = False
    reverts: bool = False
    why: str = ""
    commits: tuple[tuple[str, str], ...] = ()
    count: int = 0
    tasks: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    goes_on: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    checkout: str | None = None
    overwrites: tuple[str, ...] = ()
    rollback: tuple[str, ...] = ()
    runs_rollback: bool = False


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of it."""

    undoing: Undoing
    done: bool
    text: str
    commit: str | None = None
    how: str | None = None
    undo: str | None = None
    rollback: tuple[Mapping[str, Any], ...] = ()
    left: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it was refused, or a command of the rollback failed."""
        return not self.done or any(one["code"] != 0 for one in self.rollback)


def undo(
    place: FleetPlace,
    names: Sequence[str],
    agreed: Callable[[Undoing], bool],
    *,
    rollback: bool = False,
) -> list[Undone]:
    """Takes back what phases, tags or branches are meant, without names the base's last move.

    `agreed` is asked before each. Raises NotFound, and Rejected when there is nothing to take back.
    """
    found = []
    for name in names or [""]:
        undoing, _ = foreseen_undo(place, name, rollback=rollback)
        if not agreed(undoing):
            found.append(Undone(undoing, done=False, text="not agreed to; nothing was moved"))
            break
        found.append(_undo(place, name, undoing))
        if found[-1].failed:
            break
    return found


def foreseen_undo(place: FleetPlace, name: str, *, rollback: bool = False) -> tuple[Undoing, Meant]:
    """Returns what taking back would do now, and the moves that are meant."""
    from fleet.adapters.git import Repository

    state = running_state(place)
    repo = Repository.at(place.root)
    base = str(state.about["base"])
    meant = meant_by(state, repo, name, base)
    move, phase = meant.last, meant.phase
    undoing = Undoing(name or phase or base, move.target, meant.old, move.new, phase=phase)
    if move.target != HEADS + base:
        return replace(undoing, phase=""), meant
    redo = move.act.startswith("taken-back/")
    undoing = replace(undoing, redo=redo, tags=tuple(one.target for one in meant.tags))
    undoing = _of_the_base(repo, undoing, meant, base)
    if phase:
        return _of_the_run(place, state, undoing, rollback=rollback), meant
    if rollback:
        raise Rejected("only a phase has a rollback", hint="fleet undo PHASE --rollback")
    part = part_of(state, move)
    return replace(undoing, tasks=tuple(part.partly) if part else ()), meant


# --- what it would do -----------------------------------------------------------------------------


def _of_the_base(repo: Repository, undoing: Undoing, meant: Meant, base: str) -> Undoing:
    from fleet.adapters.git import what_blocks

    old, new = undoing.old, undoing.new
    assert old is not None and new is not None, "the base is moved, not made"  # noqa: PT018
    way = _way(repo, meant, base)
    there = repo.holders(base)
    blocked = None if way.reverts else what_blocks(repo, base, new, old)
    asked = ("rev-list", "--no-commit-header", "--format=%H %s")
    gone, back = (
        [
            row
            for one, other in meant.ranges
            for row in repo.site.git(*asked, form(one, other)).lines
        ]
        for form in ("{}..{}".format, "{1}..{0}".format)
    )
    listed = gone or back
    commits = [row.partition(" ") for row in listed[:SHOWN]]
    return replace(
        undoing,
        reverts=way.reverts,
        why=way.why,
        commits=tuple((sha, subject) for sha, _, subject in commits),
        count=len(listed),
        checkout=str(there[0]) if there else None,
        overwrites=blocked.paths if blocked else (),
    )


def _way(repo: Repository, meant: Meant, base: str) -> Way:
    """Returns how the base goes back: over what others have put between its moves, by a revert."""
    from fleet.adapters.git import Way, way_back

    if len(meant.ranges) > 1:
        return Way(
            reverts=True, why=f"{base} has moved on between its {len(meant.ranges)} landings"
        )
    ((old, new),) = meant.ranges
    return way_back(repo, base, old=old, new=new)


def _of_the_run(place: FleetPlace, state: State, undoing: Undoing, *, rollback: bool) -> Undoing:
    phase = phases_of(state)[undoing.phase]
    landed: Any = phase.landed or {}
    waiting = [] if undoing.redo else _unstarted(state, phase)
    waits = dict.fromkeys(state.steps[one].step.whole for one in waiting)
    later = [
        name
        for name, task in tasks_of(state).items()
        if task.worktree is not None
        and task.worktree.attempt
        and phase.merge is not None
        and any(need.step == phase.merge.step.id for need in task.worktree.step.needs)
    ]
    commands: tuple[str, ...] = ()
    if not undoing.redo:
        commands = tuple(one["text"] for one in _rollback(place, undoing.phase, must=rollback))
    return replace(
        undoing,
        tasks=tuple(landed.get("tasks", {})),
        waits=tuple(waits),
        goes_on=tuple(later),
        rollback=commands,
        runs_rollback=rollback,
    )


def _unstarted(state: State, phase: PhaseSteps) -> list[str]:
    """Returns the steps that wait for a phase's landing, or would, and have not started: those that
    need its merge, and the merges of phases whose gate has needed it and is open.
    """
    merge = phase.merge.step.id if phase.merge is not None else ""
    found = [name for name, _ in state.dependents.get(merge, [])]
    for other in phases_of(state).values():
        gated = any(one.step.id in found for one in other.gates)
        if gated and other.merge is not None:
            found.append(other.merge.step.id)
    return [name for name in found if state.steps[name].standing in UNSTARTED]


def _rollback(place: FleetPlace, phase: str, *, must: bool) -> list[dict[str, Any]]:
    """Returns a phase's commands of `rollback`; with `must` raises Rejected for none."""
    try:
        documents = place.documents
    except FleetError:
        if must:
            raise
        return []
    found = next((one.rollback for one in documents.phases if one.id == phase), ())
    if must and not found:
        raise Rejected(
            f"{phase} has no rollback", hint="add commands under its `rollback` in coordination.md"
        )
    return [
        {"text": one, "command": one}
        if isinstance(one, str)
        else {"text": " ".join(one), "command": list(one)}
        for one in found
    ]


# --- doing it -------------------------------------------------------------------------------------


def _undo(place: FleetPlace, name: str, shown: Undoing) -> Undone:
    """Puts the step into the run and waits for its end; what was shown must still hold."""
    for left in reversed(range(TRIES)):
        undoing, meant = foreseen_undo(place, name, rollback=shown.runs_rollback)
        if (undoing.target, undoing.new, undoing.old) != (shown.target, shown.new, shown.old):
            raise Rejected("something else was moved meanwhile", hint="look again: fleet undo")
        state = running_state(place)
        if state.paused:
            raise Rejected("the run is paused, so nothing starts", hint="fleet resume")
        step = _step(place, state, undoing, meant)
        unstarted = _unstarted(state, phases_of(state)[undoing.phase]) if undoing.phase else []
        waits = NeedsChange(add=(Need(step=step.id, on=SETTLED),))
        patch = Patch(
            put=(step,), needs=dict.fromkeys(unstarted, waits), reason=f"undo {undoing.name}"
        )
        try:
            tell(place, [m.RevisePlan(patch=patch)])
        except Rejected:
            if not left:
                raise
            continue  # a step has started in between
        return _outcome(place, undoing, step.id)
    raise AssertionError


def _step(place: FleetPlace, state: State, undoing: Undoing, meant: Meant) -> Step:
    from fleet.files.trouble import machine_ladder

    base, phase = str(state.about["base"]), undoing.phase
    phases = phases_of(state)
    params: dict[str, object] = {
        "phase": phase,
        "name": undoing.name,
        "base": base,
        "moves": [
            {
                "target": undoing.target,
                "old": undoing.old,
                "new": undoing.new,
                "ref": meant.last.undo_ref,
            },
            *(
                {"target": one.target, "old": one.old, "new": one.new, "ref": one.undo_ref}
                for one in meant.tags
            ),
        ],
        "ranges": [list(one) for one in meant.ranges],
        "redo": undoing.redo,
        "checks": [
            check
            for name, other in phases.items()
            if name != phase and other.landed is not None and other.merge is not None
            for check in _listed(other.merge.step.params.get("checks"))
        ],
    }
    mine = phases.get(phase)
    if mine is not None and mine.merge is not None:
        params |= {"gate": mine.gates[-1].step.id, "before": _unstarted(state, mine)}
        # Undone again before it landed again: the merge that waits is let go.
        if not undoing.redo or mine.merge.standing in UNSTARTED:
            params["merge"] = mine.merge.step.id
    part = part_of(state, meant.last)
    if part is not None and part.merge is not None:
        merge = part.merge
        landed = dict(part.partly)
        params["part"] = {"step": merge.step.id, "attempt": merge.attempt, "landed": landed}
    if undoing.runs_rollback:
        params["rollback"] = _rollback(place, phase, must=True)
    stem = f"{phase}/undo" if phase else "undo"
    number, name = 1, stem
    while state.known(name) is not None:
        number += 1
        name = f"{stem}-{number}"
    return Step(
        id=name,
        kind="undo",
        params=params,
        uses={f"branch:{base}": 1},
        ladder=machine_ladder(f"{undoing.name} could not be taken back."),
        whole=phase,
    )


def _listed(found: object) -> Sequence[Any]:
    return found if isinstance(found, list | tuple) else ()


def _outcome(place: FleetPlace, undoing: Undoing, step: str) -> Undone:
    for state in changes(place):
        one = state.known(step)
        assert one is not None, step
        if one.standing is Standing.ASKING:
            return Undone(undoing, done=False, text=f"{one.text}; see: fleet inbox")
        if not one.settled:
            continue
        output: Any = one.output or {}
        done = one.standing is Standing.SUCCEEDED and isinstance(one.output, Mapping)
        evidence: Any = one.evidence
        return Undone(
            undoing,
            done=done,
            text=one.text,
            commit=output.get("commit"),
            how=output.get("how"),
            undo=output.get("undo"),
            rollback=tuple(output.get("rollback") or ()),
            left=tuple(evidence.get("left") or ()),
            evidence=dict(evidence),
        )
    raise AssertionError
