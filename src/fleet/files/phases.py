"""Which task is in which phase, from both sides: a phase's `tasks` and a task's `phase`.

Tasks that no side places form one last, implicit phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fleet.errors import Problem, did_you_mean
from fleet.files.documents import Phase, TaskDocument, phase_of
from fleet.files.fleet import Raw, place_in

IMPLICIT = "last"


def phases_of(
    written: Sequence[Mapping[str, Any]],
    tasks: dict[str, TaskDocument],
    raws: Mapping[tuple[str, str], Raw],
    broken: frozenset[tuple[str, str]],
    problems: list[Problem],
) -> tuple[tuple[Phase, ...], dict[str, TaskDocument]]:
    """Returns the phases in order with all their tasks, and the tasks with their phase filled in."""
    phases: dict[str, Phase] = {}
    members: dict[str, list[str]] = {}
    claimed: dict[str, str] = {}
    top = raws.get(("fleet", ""))

    def tell(text: str, *path: str | int, hint: str = "", task: str = "") -> None:
        raw = raws["task", task] if task else top
        assert raw is not None, "a phase is written in coordination.md"
        problems.append(Problem(text, place_in(raw, path), hint))

    for number, values in enumerate(written):
        phase = phase_of(values)
        twin = next((name for name in phases if name.lower() == phase.id.lower()), None)
        if twin is not None:
            tell(f"phase {phase.id!r} is there twice", "phases", number, "id")
            continue
        phases[phase.id], members[phase.id] = replace(phase, name=phase.name or phase.id), []
        for index, task in enumerate(phase.tasks):
            if ("task", task) in broken:
                continue
            if task not in tasks:
                hint = did_you_mean(task, tasks)
                tell(f"no task {task!r}", "phases", number, "tasks", index, hint=hint)
            elif task in claimed:
                text = f"task {task!r} is already in phase {claimed[task]!r}"
                tell(text, "phases", number, "tasks", index)
            else:
                claimed[task] = phase.id
                members[phase.id].append(task)
    placed: dict[str, TaskDocument] = {}
    implicit = IMPLICIT
    while implicit in phases:
        implicit += "-2"
    rest: list[str] = []
    for name, task_ in tasks.items():
        said, listed = task_.phase, claimed.get(name)
        if said and said not in phases:
            if ("fleet", "") not in broken:
                tell(f"no phase {said!r}", "phase", hint=did_you_mean(said, phases), task=name)
            said = ""
        if said and listed and said != listed:
            text = f"phase {said!r} contradicts coordination.md, which lists the task in {listed!r}"
            tell(text, "phase", task=name)
        phase_id = listed or said or implicit
        if phase_id == implicit:
            rest.append(name)
        elif not listed:
            members[phase_id].append(name)
        placed[name] = replace(task_, phase=phase_id)
    found = [replace(phase, tasks=tuple(members[phase.id])) for phase in phases.values()]
    if rest:
        title = "Everything else" if found else "All tasks"
        found.append(Phase(id=implicit, name=title, tasks=tuple(rest), implicit=True))
    return tuple(found), placed
