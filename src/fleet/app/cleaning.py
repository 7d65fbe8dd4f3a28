"""The use case that takes away what has landed: worktrees, sessions, ports, branches, state.

A task goes when the run says that it has landed, its work is in the base by content, its worktree
is clean and nobody is in it; else it is kept and the reason told. With force a rescue comes first.
What is removed is found by looking, never remembered, so a clean that was killed is simply run
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.app.place import FleetPlace, resolve_task
from fleet.app.removing import DONE, Cleaned, Scene, Target, remove_all
from fleet.app.telling import confined
from fleet.core.state import CLOSED, Standing, State
from fleet.errors import FleetError, NotFound, Rejected

if TYPE_CHECKING:
    from fleet.adapters.git import Proof

GONE_ON = (*DONE, "verified", "accepted", "failed", "stopped", "held", "unreached")
"""States of a task with which nothing of it runs or is about to, so that force may remove it."""


def clean(
    place: FleetPlace,
    names: Sequence[str] = (),
    *,
    force: bool = False,
    every: bool = False,
    dry_run: bool = False,
    tell_of: Callable[[Cleaned], None] = lambda _: None,
) -> list[Cleaned]:
    """Removes what has landed of tasks, of all without names; returns what became of each.

    `every` removes the folders of its attempts too, with their logs. Raises NotFound for a name
    that means no task.
    """
    from fleet.adapters.git import Repository, trash

    if confined():
        raise Rejected("nothing is removed from inside a sandbox")
    repo = Repository.at(place.root)
    taken = trash.taken(repo.common) if dry_run else trash.put_back(repo.common)
    state = place.run_state()
    base = repo.resolve(f"refs/heads/{_base(place, state)}")
    if base is None:
        raise FleetError(f"the base branch {_base(place, state)!r} does not exist")
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    scene = Scene(place, repo, state, base, stamp, taken, force, every)
    found = []
    for target in _meant(scene, names):
        row = _clean(scene, target, dry_run=dry_run)
        tell_of(row)
        found.append(row)
    if not dry_run:
        trash.clear(repo.common)
    return found


def _base(place: FleetPlace, state: State | None) -> str:
    return str(state.about["base"]) if state is not None else place.documents.settings.base


def _meant(scene: Scene, names: Sequence[str]) -> list[Target]:
    from fleet.adapters.git import owned, started
    from fleet.adapters.git.refs import plain

    trees = {one.key: one for one in owned(scene.repo)}
    targets = {
        key: Target(key, trees.get(key), start)
        for start in started(scene.repo)
        for key in [plain(start.key)]
    }
    if not names:
        return list(targets.values())
    found = []
    for name in names:
        mine = [one for one in targets.values() if one.task == name]
        if not mine:
            task = resolve_task(scene.place, name, scene.state)
            mine = [one for one in targets.values() if one.task == task]
        if not mine:
            raise NotFound("worktree or branch of", name, [one.task for one in targets.values()])
        found += mine
    return found


# --- what speaks against it -----------------------------------------------------------------------


def _clean(scene: Scene, target: Target, *, dry_run: bool) -> Cleaned:
    word = scene.word(target)
    row = Cleaned(
        task=target.task,
        removed=False,
        merged=word in DONE,
        worktree=str(target.worktree.path) if target.worktree else None,
        branch=target.start.branch,
    )
    reasons = _of_the_run(scene, target, word)
    try:
        if reasons:
            return replace(row, reasons=tuple(reasons))
        how, found = _of_the_world(scene, target)
        row = replace(row, how=how)
        if isinstance(found, list):
            return replace(row, reasons=tuple(found))
        return replace(row, removed=True) if dry_run else remove_all(scene, target, row, found)
    except FleetError as refused:
        return replace(row, reasons=(f"{refused.text} {refused.hint}".strip(),))


def _of_the_run(scene: Scene, target: Target, word: str) -> list[str]:
    """Returns what speaks against it as the run tells."""
    task, state = scene.task(target), scene.state
    if task is None or state is None:
        return []
    if any(one.standing is Standing.RUNNING for one in task.inner):
        return [f"it is {word}: fleet stop {target.task}"]
    down = state.known(f"{target.task}/teardown")
    waits = down is None or down.standing in {*CLOSED, Standing.WAITING}
    if word in DONE and down is not None and not waits:
        return [f"its teardown has not passed: {down.text or down.standing}"]
    if word in DONE:
        return []
    if scene.force and word in GONE_ON:
        return []
    if word not in GONE_ON:
        return [f"it is {word}: answer it, stop it or skip it first"]
    phase = task.facts.get("phase")
    return [f"it is {word}, not merged: fleet merge {phase}"]


def _of_the_world(scene: Scene, target: Target) -> tuple[str, list[str] | Proof | None]:
    """Returns how the work came into the base, and what speaks against removing it; else the proof
    that nothing does, None where there is no worktree or a rescue is still to make it.
    """
    from fleet.adapters.git import NotRemovable, prove_removable
    from fleet.adapters.git.containment import how_merged
    from fleet.adapters.git.removal import in_use

    repo, tree = scene.repo, target.worktree
    tip = repo.heads([target.start.branch]).get(target.start.branch)
    how = how_merged(repo, tip, scene.base) if tip else "gone"
    there = tree is not None and tree.path.exists()
    if scene.force:
        used = in_use(tree) if there and tree is not None else []
        if used:
            return how, used
    proof = prove_removable(repo, tree, scene.base) if there and tree is not None else None
    if scene.force:
        return how, None if isinstance(proof, NotRemovable) else proof
    if isinstance(proof, NotRemovable):
        return how, list(proof.reasons)
    if tree is not None and proof is None and tree.path not in scene.taken:
        told = "and what was in it is not known: --force keeps its commits and what was staged"
        return how, [f"its folder {tree.path} was removed by somebody else, {told}"]
    if proof is None and tip and not how:
        return how, [f"commit {tip[:12]} is not in the base"]
    if scene.task(target) is None and tip == target.start.sha:
        return how, ["it has no commit of its own, and no run knows it: --force"]
    return how, proof
