"""The use case that takes away what has landed: worktrees, sessions, ports, branches, state.

A task goes when the run says that it has landed, its work is in the base by content, its worktree
is clean and nobody is in it; else it is kept and the reason told. With force a rescue comes first.
What is removed is found by looking, never remembered, so a clean that was killed is simply run
again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fleet.adapters.crash import crash_point
from fleet.app.place import PLAN_RUN, FleetPlace, resolve_task
from fleet.app.telling import confined, tell
from fleet.core import messages as m
from fleet.core.plan import Step
from fleet.core.state import CLOSED, Standing, State, StepState
from fleet.errors import FleetError, NotFound, Rejected
from fleet.views.tasks import TaskSteps, phases_of, state_of, tasks_of

if TYPE_CHECKING:
    from fleet.adapters.git import NotRemovable, Proof, Repository, Start, Worktree

TEARDOWN_S = 1_800.0
DONE = ("merged", "skipped")
GONE_ON = ("merged", "skipped", "verified", "accepted", "failed", "stopped", "held", "unreached")
"""States of a task with which nothing of it runs or is about to, so that force may remove it."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of one task: `removed`, or `kept` for its `reasons`; `would` is both in a dry
    run. `how` its work came into the base; `rescued` are refs that hold what was nowhere else.
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
class _Target:
    """What is there of one key (run and task)."""

    key: str
    worktree: Worktree | None
    start: Start

    @property
    def run(self) -> str:
        return self.key.partition("/")[0]

    @property
    def task(self) -> str:
        return self.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class _Scene:
    place: FleetPlace
    repo: Repository
    state: State | None
    base: str
    stamp: str
    force: bool
    every: bool

    def task(self, target: _Target) -> TaskSteps | None:
        """Returns the steps of a task that this run knows."""
        if self.state is None or target.run != PLAN_RUN:
            return None
        return tasks_of(self.state).get(target.task)

    def word(self, target: _Target) -> str:
        """Returns a task's state, empty for one that no run knows any more."""
        task = self.task(target)
        if task is None or self.state is None:
            return ""
        phase = phases_of(self.state).get(str(task.facts.get("phase") or ""))
        return state_of(task, phase, {one.step for one in self.state.questions.values()})

    def name(self, target: _Target) -> str:
        """Returns the name under which what is rescued of a target is kept."""
        return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', target.task)}-{self.stamp}"


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
    from fleet.adapters.git import Repository, clear_trash

    if confined():
        raise Rejected("nothing is removed from inside a sandbox")
    repo = Repository.at(place.root)
    if not dry_run:
        clear_trash(repo.common)
    state = place.run_state()
    base = repo.resolve(f"refs/heads/{_base(place, state)}")
    if base is None:
        raise FleetError(f"the base branch {_base(place, state)!r} does not exist")
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    scene = _Scene(place, repo, state, base, stamp, force, every)
    found = []
    for target in _meant(scene, names):
        row = _clean(scene, target, dry_run=dry_run)
        tell_of(row)
        found.append(row)
    return found


def _base(place: FleetPlace, state: State | None) -> str:
    return str(state.about["base"]) if state is not None else place.documents.settings.base


def _meant(scene: _Scene, names: Sequence[str]) -> list[_Target]:
    from fleet.adapters.git import owned, started

    trees = {one.key: one for one in owned(scene.repo)}
    targets = {
        key: _Target(key, trees.get(key), start)
        for start in started(scene.repo)
        for key in [_plain(start.key)]
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


def _plain(quoted: str) -> str:
    from urllib.parse import unquote

    return unquote(quoted, errors="surrogateescape")


# --- what speaks against it -----------------------------------------------------------------------


def _clean(scene: _Scene, target: _Target, *, dry_run: bool) -> Cleaned:
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
        return replace(row, removed=True) if dry_run else _remove(scene, target, row, found)
    except FleetError as refused:
        return replace(row, reasons=(f"{refused.text} {refused.hint}".strip(),))


def _of_the_run(scene: _Scene, target: _Target, word: str) -> list[str]:
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


def _of_the_world(scene: _Scene, target: _Target) -> tuple[str, list[str] | Proof | None]:
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
    if proof is None and tip and not how:
        return how, [f"commit {tip[:12]} is not in the base"]
    if scene.task(target) is None and tip == target.start.sha:
        return how, ["it has no commit of its own, and no run knows it: --force"]
    return how, proof


# --- removing it ----------------------------------------------------------------------------------


def _remove(scene: _Scene, target: _Target, row: Cleaned, proof: Proof | None) -> Cleaned:
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


def _remove_tree(scene: _Scene, target: _Target, name: str, proof: Proof | None) -> tuple[str, ...]:
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


def _remove_branch(scene: _Scene, target: _Target, row: Cleaned, name: str) -> Cleaned:
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


def _end_sessions(scene: _Scene, target: _Target) -> tuple[str, ...]:
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


def _release_port(scene: _Scene, target: _Target) -> int | None:
    from fleet.adapters.ports import Ports

    ports = Ports(scene.place.state)
    return ports.release(target.task) if target.task in ports.reserved() else None


def _remove_attempts(scene: _Scene, target: _Target) -> None:
    import shutil

    from fleet.adapters.layout import attempt_path

    task = scene.task(target)
    for one in task.inner if task is not None else ():
        folder = attempt_path(scene.place.state, target.run, one.step.id, 1).parent
        shutil.rmtree(folder, ignore_errors=True)


def _tear_down(scene: _Scene, target: _Target) -> bool:
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
    scene: _Scene, target: _Target, step: Step, command: str | list[str], number: int
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
