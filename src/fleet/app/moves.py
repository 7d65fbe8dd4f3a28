"""Which recorded moves a name means: those that landed a phase, or the last of a tag or branch.

Read from the run and from the records in the repository. What is done about them stands elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fleet.app.place import PLAN_RUN
from fleet.errors import NotFound, Rejected
from fleet.views.tasks import PhaseSteps, phases_of

if TYPE_CHECKING:
    from fleet.adapters.git import Move, Repository
    from fleet.core.state import State

HEADS: Final = "refs/heads/"
TAGS: Final = "refs/tags/"


@dataclass(frozen=True, slots=True)
class Meant:
    """The `last` move of a branch or tag, of `phase` where it landed one, and the `tags` that were
    set with it. `ranges` are the (old, new) of all moves of the base that belong together, the
    latest first; moves that touch are one. Of anything else than the base there are none.
    """

    last: Move
    phase: str = ""
    tags: tuple[Move, ...] = ()
    ranges: tuple[tuple[str, str], ...] = ()

    @property
    def old(self) -> str | None:
        """Where the target was before all of it."""
        return self.ranges[-1][0] if self.ranges else self.last.old


def meant_by(state: State, repo: Repository, name: str, base: str) -> Meant:
    """Returns what a name means: a phase, a tag, a branch, or without one the base's last move.

    Raises NotFound, and Rejected when nothing that it means still stands.
    """
    from fleet.adapters.git import recorded_moves, stands

    moves = recorded_moves(repo)
    phases = phases_of(state)
    exact = any(one.target in (TAGS + name, HEADS + name) for one in moves)
    phase = name if exact and name not in phases else _phase_named(state, name)
    ahead: list[Move] = []
    if phase in phases:
        found = _landings(repo, phases[phase], moves)
        ahead, move = found[:-1], found[-1]
    else:
        move = _named(repo, moves, name, base)
        phase = _phase_of(state, move)
        if phase in phases and phases[phase].landed is not None:
            ahead = _ahead(repo, phases[phase], moves, move)
    if move.target != HEADS + base:
        return Meant(move)
    mates = [one for one in moves if one.act == move.act and one.target.startswith(TAGS)]
    tags = tuple(one for one in mates if stands(repo, one))
    return Meant(move, phase, tags, _ranges([*ahead, move]))


def part_of(state: State, move: Move) -> PhaseSteps | None:
    """Returns the phase of which a move has landed a part, and that has not landed as a whole."""
    found = re.fullmatch(rf"{PLAN_RUN}/(.+?)(?::[0-9]+)?\.rest-[0-9]+", move.act)
    phase = phases_of(state).get(found[1]) if found else None
    return phase if phase is not None and phase.landed is None else None


def _phase_named(state: State, name: str) -> str:
    phases = phases_of(state)
    if name in phases or not name:
        return name
    close = [one for one in phases if one.startswith(name)]
    return close[0] if len(close) == 1 else ""


def _landings(repo: Repository, phase: PhaseSteps, moves: Sequence[Move]) -> list[Move]:
    """Returns the moves by which a phase has landed, in order: its parts, then the whole."""
    landed = phase.landed
    if landed is None:
        if phase.undone:
            raise Rejected(
                f"{phase.name} is taken back already",
                hint="fleet undo, without a name, takes that back",
            )
        part = "a part of it has: fleet undo, without a name" if phase.partly else ""
        raise Rejected(f"{phase.name} has not landed; there is nothing to take back", hint=part)
    move = next((one for one in moves if one.undo_ref == landed.get("undo")), None)
    found = [*_ahead(repo, phase, moves, move), *([move] if move is not None else [])]
    if not found:
        raise Rejected(f"{phase.name} moved nothing: its work was in the base already")
    return found


def _ahead(
    repo: Repository, phase: PhaseSteps, moves: Sequence[Move], last: Move | None
) -> list[Move]:
    """Returns the moves that brought parts of a phase ahead of its landing, and still stand."""
    from fleet.adapters.git import contained, stands

    assert phase.merge is not None
    number = phase.merge.step.id.removeprefix(f"{phase.name}/merge").replace(".", ":")
    act = re.compile(rf"{re.escape(f'{PLAN_RUN}/{phase.name}{number}')}\.rest-[0-9]+")
    return [
        one
        for one in moves
        if act.fullmatch(one.act)
        and (last is None or one.number < last.number)
        and one.old is not None
        and one.new is not None
        and stands(repo, one)
        and any(
            contained(repo, sha, one.new) and not contained(repo, sha, one.old)
            for sha in phase.partly.values()
        )
    ]


def _ranges(moves: Sequence[Move]) -> tuple[tuple[str, str], ...]:
    """Returns the (old, new) of moves in order, the latest first; those that touch are one."""
    found: list[tuple[str, str]] = []
    for one in moves:
        assert one.old is not None and one.new is not None, "the base is moved"  # noqa: PT018
        if found and found[-1][1] == one.old:
            found[-1] = (found[-1][0], one.new)
        else:
            found.append((one.old, one.new))
    return tuple(reversed(found))


def _named(repo: Repository, moves: Sequence[Move], name: str, base: str) -> Move:
    """Returns the last move of a tag or branch that still stands; of the base without a name."""
    from fleet.adapters.git import stands

    wanted = (HEADS + base,) if not name else (TAGS + name, HEADS + name, name)
    found = [one for one in reversed(moves) if one.target in wanted]
    if not found and name:
        known = [one.target.split("/", 2)[2] for one in moves]
        raise NotFound(
            "phase, tag or branch that fleet has moved", name, list(dict.fromkeys(known))
        )
    move = next((one for one in found if stands(repo, one)), None)
    if move is None:
        raise Rejected(f"nothing that fleet has done to {name or base} still stands")
    if move.target.startswith(HEADS) and move.old is None:
        raise Rejected(f"{name} is there; it was made again: git branch -d {name}")
    return move


def _phase_of(state: State, move: Move) -> str:
    """Returns the phase that a move of the base landed or took back, empty when the run knows
    none.
    """
    for one in state.steps.values():
        output: Any = one.output
        mine = one.step.kind in ("merge", "undo") and isinstance(output, Mapping)
        if mine and output.get("undo") == move.undo_ref:
            return one.step.whole
    return ""
