"""The use case that tells of conflicts: which live branches clash with each other and with base,
and which tasks are about to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from fleet.app.foresight import BASE, foresee
from fleet.app.place import FleetPlace, resolve_task
from fleet.app.revising import planned_state
from fleet.views.tasks import phases_of, state_of, tasks_of

if TYPE_CHECKING:
    from fleet.core.state import State
    from fleet.errors import Place

TOGETHER: Final = 3
TOGETHER_SHARE: Final = 0.25
"""So many commits, and such a share of those that touched the files of either, are worth a word."""


def conflicts(place: FleetPlace, names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns `fleet.conflicts/1`: every clash among the live branches and with base, by task; with
    `names` those of these tasks only, and beside them what tasks side by side are to write both.
    """
    from fleet.adapters.git import Repository
    from fleet.files.ownership import clashes

    state = place.run_state()
    repository = Repository.at(place.root)
    base = str((state or planned_state(place)).about.get("base", ""))
    branches = live_branches(state) if state is not None else {}
    wanted = {resolve_task(place, name, state) for name in names}
    found = repository.heads([base, *branches.values()])
    heads = {task: found[branch] for task, branch in branches.items() if branch in found}
    outlook = foresee(place, repository, heads, found.get(base), wanted=wanted)
    owned = [one for one in clashes(place.documents) if not wanted or {*one[:2]} & wanted]
    return {
        "schema": "fleet.conflicts/1",
        "base": {"branch": base, "commit": found.get(base)},
        "branches": [
            {"task": task, "branch": branches[task], "head": head} for task, head in heads.items()
        ],
        "pairs": outlook.pairs,
        "looked_at": outlook.fresh,
        "conflicts": [
            {
                "tasks": [name for name in pair if name != BASE],
                "with_base": BASE in pair,
                "branches": [branches.get(name, base) for name in pair],
                "heads": [heads.get(name, found.get(base)) for name in pair],
                "paths": [_path(*one) for one in told],
            }
            for pair, told in outlook.clashes.items()
        ],
        "owned_by_both": [
            {"tasks": [one, other], "globs": [mine, theirs]} for one, other, mine, theirs in owned
        ],
    }


def changed_together(place: FleetPlace) -> list[tuple[Place, str]]:
    """Returns, in words and with their place, the tasks that may run side by side although what
    their agents own was often changed in one commit; nothing where agents own nothing.
    """
    from fleet.adapters.git import Repository, changed_together, fits
    from fleet.files.ownership import apart, owned

    fleet = place.documents
    pairs = list(apart(fleet))
    if not pairs:
        return []
    repository = Repository.at(place.root)
    tip = repository.resolve(f"refs/heads/{fleet.settings.base}")
    commits = changed_together(repository, tip) if tip is not None else ()
    touched: dict[str, list[frozenset[str]]] = {}
    for task in dict.fromkeys(name for pair in pairs for name in pair):
        globs = owned(fleet, task)
        touched[task] = [
            frozenset(path for path in paths if any(fits(path, glob) for glob in globs))
            for paths in commits
        ]
    found = []
    for one, other in pairs:
        both = [(a, b) for a, b in zip(touched[one], touched[other], strict=True) if a and b]
        least = min(sum(map(bool, touched[name])) for name in (one, other))
        if len(both) >= TOGETHER and len(both) >= least * TOGETHER_SHARE:
            mine, theirs = min(both[0][0]), min(both[0][1])
            text = (
                f"{one} and {other} may run side by side, but {len(both)} of the last "
                f"{len(commits)} commits changed files of both, such as {mine} with {theirs}"
            )
            found.append((fleet.place("agent", fleet.tasks[one].agent, "owns"), text))
    return found


def live_branches(state: State) -> dict[str, str]:
    """Returns the branches, by task, that exist for a task and have not landed."""
    phases, found = phases_of(state), {}
    for name, task in tasks_of(state).items():
        begun = task.worktree is not None and task.worktree.attempt > 0
        phase = phases.get(str(task.facts.get("phase") or ""))
        if (
            begun
            and not task.is_checkpoint
            and state_of(task, phase, frozenset()) not in ("merged", "skipped")
        ):
            found[name] = str(task.facts["branch"])
    return found


def _path(path: str, kind: str, lines: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
    spots = [{"ours": list(ours), "theirs": list(theirs)} for ours, theirs in lines]
    return {"path": path, "kind": kind, "lines": spots}
