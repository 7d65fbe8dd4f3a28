"""Removing what is there of one task: teardown, sessions, port, worktree, branch, logs, in this
order; each is done once, however often it is begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.adapters.crash import crash_point
from fleet.app.place import PLAN_RUN, FleetPlace
from fleet.app.telling import tell
from fleet.core import messages as m
from fleet.core.plan import Step
from fleet.core.state import CLOSED, Standing, State, StepState
from fleet.errors import Rejected
from fleet.views.tasks import (
    TaskSteps,
    needing_people,
    phases_of,
    state_of,
    tasks_of,
)

if TYPE_CHECKING:
    from fleet.adapters.git import NotRemovable, Proof, Repository, Start, Worktree

TEARDOWN_S: Final = 1_800.0
DONE: Final = ("merged", "skipped")
"""States of a task whose work is over for good."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of one task (in a dry run: would become): removed, or kept for `reasons`.

    `how` is how its work came into the base, `rescued` are refs that hold what was nowhere else,
    `undo` is the record by which its branch comes back.
    """

    task: str
    removed: bool
    merged: bool = False
    how: str = ""
    worktree: str | None = None
    branch: str | None = None
    port: int | None = None
    sessions: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    rescued: tuple[str, ...] = ()
    undo: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What is there of one key (run and task)."""

    key: str
    worktree: Worktree | None
    start: Start

    @property
    def run(self) -> str:
        """The run that made it."""
        return self.key.partition("/")[0]

    @property
    def task(self) -> str:
        """The task that it was made for."""
        return self.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Scene:
    """What one clean is about: the fleet as it was found, and how it was asked."""

    place: FleetPlace
    repo: Repository
    state: State | None
    base: str
    stamp: str
    taken: frozenset[Path]
    """Folders that a clean which was killed has taken away already."""
    force: bool
    every: bool

    def task(self, target: Target) -> TaskSteps | None:
        """Returns the steps of a task that this run knows."""
        if self.state is None or target.run != PLAN_RUN:
            return None
        return tasks_of(self.state).get(target.task)

    def word(self, target: Target) -> str:
        """Returns a task's state, empty for one that no run knows any more."""
        task = self.task(target)
        if task is None or self.state is None:
            return ""
        phase = phases_of(self.state).get(str(task.facts.get("phase") or ""))
        return state_of(task, phase, needing_people(self.state))

    def name(self, target: Target) -> str:
        """Returns the name under which what is rescued of a target is kept."""
        return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', target.task)}-{self.stamp}"


def remove_all(scene: Scene, target: Target, row: Cleaned, proof: Proof | None) -> Cleaned:
    """Removes all that is there of a task and returns what became of it.

    Without a proof a rescue comes first. Raises Rejected when something has changed meanwhile.
    """
    name = scene.name(target)
    if _tear_down(scene, target):
        proof = None  # it may have changed what was looked at
    sessions = _end_sessions(scene, target)
    port = _release_port(scene, target)
    crash_point("clean.after_sessions")
    rescued = _remove_tree(scene, target, name, proof)
    crash_point("clean.after_worktree")
    row = replace(row, removed=True, sessions=sessions, port=port, rescued=rescued)
    row = _remove_branch(scene, target, row, name)
    crash_point("clean.after_branch")
    if scene.every:
        _remove_attempts(scene, target)
    return row


def _remove_tree(scene: Scene, target: Target, name: str, proof: Proof | None) -> tuple[str, ...]:
    """Removes the worktree, if it is there; returns the rescue refs."""
    from fleet.adapters import git

    tree, repo = target.worktree, scene.repo
    if tree is None:
        return ()
    if not tree.path.exists():
        return git.drop_vanished(repo, tree, name=name)
    found: Proof | NotRemovable | None = proof
    if found is None and scene.force:
        found = git.prove_rescued(tree, name)
    found = found or git.prove_removable(repo, tree, scene.base)
    if isinstance(found, git.NotRemovable):
        raise Rejected("; ".join(found.reasons))
    return git.remove(repo, tree, found, name=name, wait=False)


def _remove_branch(scene: Scene, target: Target, row: Cleaned, name: str) -> Cleaned:
    from fleet.adapters.git import delete_branch
    from fleet.adapters.git.snapshot import keep

    repo, start = scene.repo, target.start
    tip = repo.heads([start.branch]).get(start.branch, "")
    rescued = row.rescued
    if tip and not row.how:
        rescued = (*rescued, keep(repo, f"{name}-branch", tip))
    try:
        led = delete_branch(repo, start, tip, name=name)
    except Rejected as refused:
        told = f"its branch stays: {refused.text}"
        return replace(row, rescued=rescued, notes=(told,))
    return replace(row, undo=led[0] if led else None, rescued=(*rescued, *led[1:]))


def _end_sessions(scene: Scene, target: Target) -> tuple[str, ...]:
    """Closes the sessions that ended attempts have left open; returns their names."""
    from fleet.adapters.attempts import session_name
    from fleet.adapters.tmux import Tmux

    task = scene.task(target)
    if task is None:
        return ()
    mine = {
        session_name(target.task, target.run, one.step.id, number)
        for one in task.works
        for number in range(1, one.attempt + 1)
    }
    try:
        tmux = Tmux(scene.place.socket)
        there = tuple(sorted(mine & tmux.sessions().keys())) if mine else ()
        tmux.kill(*there)
    except FileNotFoundError:
        return ()
    return there


def _release_port(scene: Scene, target: Target) -> int | None:
    from fleet.adapters.ports import Ports

    ports = Ports(scene.place.state)
    return ports.release(target.task) if target.task in ports.reserved() else None


def _remove_attempts(scene: Scene, target: Target) -> None:
    import shutil

    from fleet.adapters.layout import attempt_path

    task = scene.task(target)
    for one in task.inner if task is not None else ():
        folder = attempt_path(scene.place.state, target.run, one.step.id, 1).parent
        shutil.rmtree(folder, ignore_errors=True)


def _tear_down(scene: Scene, target: Target) -> bool:
    """Runs a teardown whose turn has not come, before its worktree is taken, and tells the run so;
    returns whether there was one.

    Raises Rejected when a command fails.
    """
    step = scene.state.known(f"{target.task}/teardown") if scene.state else None
    tree = target.worktree
    if step is None or tree is None or not _is_to_come(step) or not tree.path.is_dir():
        return False
    import asyncio

    commands: Any = step.step.params.get("commands") or ()
    mark = tree.admin / "fleet-teardown"
    passed = int(mark.read_text()) if mark.exists() else 0
    for number, command in enumerate(commands, start=1):
        if number <= passed:
            continue
        said = asyncio.run(_run(scene, target, step.step, command, number))
        if said:
            raise Rejected(f"its teardown failed: {said}", hint="mend it, or take it out")
        mark.write_text(str(number))
    tell(scene.place, [m.SkipStep(steps=(step.step.id,), reason="run by fleet clean")])
    return True


def _is_to_come(step: StepState) -> bool:
    return step.standing not in CLOSED or step.standing is Standing.UNREACHED


async def _run(
    scene: Scene, target: Target, step: Step, command: str | list[str], number: int
) -> str:
    """Runs one command in the worktree; returns why it failed, or nothing."""
    import asyncio

    from fleet.harnesses.commands import run_command

    assert target.worktree is not None, target.key
    told = {
        "FLEET_ROOT": str(scene.place.root),
        "FLEET_RUN": target.run,
        "FLEET_TASK": target.task,
        "FLEET_BRANCH": target.start.branch,
        "FLEET_WORKTREE": str(target.worktree.path),
    }
    ran = await run_command(
        command,
        cwd=target.worktree.path,
        env=told,
        log=scene.place.state / "logs" / f"teardown-{scene.name(target)}-{number}.log",
        timeout_s=TEARDOWN_S,
        marker=f"{scene.place.root}:{target.run}/{step.id}/clean",
        stop=asyncio.Event(),
    )
    if ran.passed:
        return ""
    how = "it ran out of time" if ran.code is None else f"it exited with {ran.code}"
    return f"{how}\n{ran.tail}".strip()
