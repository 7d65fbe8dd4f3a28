"""Which task is in which phase, from both sides: a phase's `tasks` and a task's `phase`.

Tasks that no side places form one last, implicit phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fleet.errors import Problem, did_you_mean
from fleet.files.documents import Phase
from fleet.files.fleet import Raw, place_in
from fleet.files.normal import phase_of

IMPLICIT = "last"

Raws = Mapping[tuple[str, str], Raw]
Broken = frozenset[tuple[str, str]]


def phases_of(
    written: Sequence[Mapping[str, Any]],
    said: Mapping[str, str],
    raws: Raws,
    broken: Broken,
    problems: list[Problem],
) -> tuple[tuple[Phase, ...], dict[str, str]]:
    """Returns the phases in order with all their tasks, and the phase of each task.

    `said` is what each task's own file says, an empty text where it says nothing.
    """
    phases: dict[str, Phase] = {}
    claimed: dict[str, str] = {}
    for number, values in enumerate(written):
        phase = phase_of(values)
        twin = next((name for name in phases if name.lower() == phase.id.lower()), None)
        if twin is None:
            listed = _listed(phase, number, said, claimed, raws, broken, problems)
            claimed.update(dict.fromkeys(listed, phase.id))
            phases[phase.id] = replace(phase, name=phase.name or phase.id)
            continue
        text = f"phase {phase.id!r} is there twice"
        if twin != phase.id:
            text = f"phase {phase.id!r} differs only in case from {twin!r}"
        place = place_in(raws["fleet", ""], ("phases", number, "id"))
        problems.append(Problem(text, place, "give one of them another id"))
    implicit = IMPLICIT
    while implicit in phases:
        implicit += "-2"
    placed: dict[str, str] = {}
    members: dict[str, list[str]] = {phase: [] for phase in (*phases, implicit)}
    for name, phase_id in claimed.items():
        members[phase_id].append(name)
    for name in said:
        own = _own(name, said[name], phases, claimed, raws, broken, problems)
        placed[name] = claimed.get(name) or own or implicit
        if name not in claimed:
            members[placed[name]].append(name)
    found = [replace(phase, tasks=tuple(members[phase.id])) for phase in phases.values()]
    if members[implicit]:
        title = "Everything else" if found else "All tasks"
        rest = tuple(members[implicit])
        found.append(Phase(id=implicit, name=title, tasks=rest, implicit=True))
    return tuple(found), placed


def _listed(
    phase: Phase,
    number: int,
    tasks: Mapping[str, str],
    claimed: Mapping[str, str],
    raws: Raws,
    broken: Broken,
    problems: list[Problem],
) -> list[str]:
    """Returns the tasks that coordination.md rightly lists under a phase."""
    found: list[str] = []
    for index, name in enumerate(phase.tasks):
        if ("task", name) in broken:
            continue
        if name not in tasks:
            text, hint = f"no task {name!r}", did_you_mean(name, tasks)
            hint = hint or f"write tasks/{name}.md, or take it out"
        elif name in claimed or name in found:
            text = f"task {name!r} is already in phase {claimed.get(name, phase.id)!r}"
            hint = "name it once"
        else:
            found.append(name)
            continue
        place = place_in(raws["fleet", ""], ("phases", number, "tasks", index))
        problems.append(Problem(text, place, hint))
    return found


def _own(
    name: str,
    said: str,
    phases: Mapping[str, Phase],
    claimed: Mapping[str, str],
    raws: Raws,
    broken: Broken,
    problems: list[Problem],
) -> str:
    """Returns the phase that a task's own file names, or an empty text where that does not hold."""
    listed = claimed.get(name)
    if not said or said == listed:
        return said
    if said not in phases:
        if ("fleet", "") not in broken:
            hint = did_you_mean(said, phases) or "phases: in coordination.md"
            place = place_in(raws["task", name], ("phase",))
            problems.append(Problem(f"no phase {said!r}", place, hint))
        return ""
    if listed:
        text = f"phase {said!r} contradicts coordination.md, which lists the task in {listed!r}"
        place = place_in(raws["task", name], ("phase",))
        problems.append(Problem(text, place, "keep one of the two"))
    return said
