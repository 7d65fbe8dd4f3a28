"""Which task is in which phase, from both sides: a phase's `tasks` and a task's `phase`.

Tasks that no side places form one last, implicit phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.errors import Problem, did_you_mean
from fleet.files.documents import Phase
from fleet.files.fleet import Raw, place_in
from fleet.files.normal import phase_of

IMPLICIT = "last"


def phases_of(
    written: Sequence[Mapping[str, Any]], known: Known
) -> tuple[tuple[Phase, ...], dict[str, str]]:
    """Returns the phases in order with all their tasks, and the phase of each task."""
    phases: dict[str, Phase] = {}
    claimed: dict[str, str] = {}
    for number, values in enumerate(written):
        phase = phase_of(values)
        twin = next((name for name in phases if name.lower() == phase.id.lower()), None)
        if twin is None:
            listed = _listed(phase, number, claimed, known)
            claimed.update(dict.fromkeys(listed, phase.id))
            phases[phase.id] = replace(phase, name=phase.name or phase.id)
            continue
        text = f"phase {phase.id!r} is there twice"
        if twin != phase.id:
            text = f"phase {phase.id!r} differs only in case from {twin!r}"
        known.tell("", ("phases", number, "id"), text, "give one of them another id")
    implicit = IMPLICIT
    while implicit in phases:
        implicit += "-2"
    placed: dict[str, str] = {}
    members: dict[str, list[str]] = {phase: [] for phase in (*phases, implicit)}
    for name, phase_id in claimed.items():
        members[phase_id].append(name)
    for name in known.said:
        own = _own(name, phases, claimed.get(name, ""), known)
        placed[name] = claimed.get(name) or own or implicit
        if name not in claimed:
            members[placed[name]].append(name)
    found = [replace(phase, tasks=tuple(members[phase.id])) for phase in phases.values()]
    if members[implicit]:
        title = "Everything else" if found else "All tasks"
        rest = tuple(members[implicit])
        found.append(Phase(id=implicit, name=title, tasks=rest, implicit=True))
    return tuple(found), placed


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the files say: the phase in each task's own, an empty text where it names none.

    `broken` holds (kind, id) of files that are there and did not hold; `problems` is added to.
    """

    said: Mapping[str, str]
    raws: Mapping[tuple[str, str], Raw]
    broken: frozenset[tuple[str, str]]
    problems: list[Problem]

    def tell(self, task: str, path: tuple[str | int, ...], text: str, hint: str) -> None:
        """Adds a problem, with its place in the task's file, or without a task in the settings."""
        raw = self.raws["task", task] if task else self.raws["fleet", ""]
        self.problems.append(Problem(text, place_in(raw, path), hint))


def _listed(phase: Phase, number: int, claimed: Mapping[str, str], known: Known) -> list[str]:
    """Returns the tasks that coordination.md rightly lists under a phase."""
    found: list[str] = []
    for index, name in enumerate(phase.tasks):
        if ("task", name) in known.broken:
            continue
        if name not in known.said:
            text, hint = f"no task {name!r}", did_you_mean(name, known.said)
            hint = hint or f"write tasks/{name}.md, or take it out"
        elif name in claimed or name in found:
            text = f"task {name!r} is already in phase {claimed.get(name, phase.id)!r}"
            hint = "name it once"
        else:
            found.append(name)
            continue
        known.tell("", ("phases", number, "tasks", index), text, hint)
    return found


def _own(name: str, phases: Mapping[str, Phase], listed: str, known: Known) -> str:
    """Returns the phase that a task's own file names, or an empty text where that does not hold."""
    said = known.said[name]
    if not said or said == listed:
        return said
    if said not in phases:
        if ("fleet", "") not in known.broken:
            hint = did_you_mean(said, phases) or "add it under phases: in coordination.md"
            known.tell(name, ("phase",), f"no phase {said!r}", hint)
        return ""
    if listed:
        text = f"phase {said!r} contradicts coordination.md, which lists the task in {listed!r}"
        known.tell(name, ("phase",), text, "keep one of the two")
    return said
