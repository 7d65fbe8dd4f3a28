"""What only several documents together can show: unknown ids, circles, shared places and names.

Each check is a generator of problems or of warnings over one `Fleet`; a new one is a function and
its line in PROBLEMS or WARNINGS. Reads links on disk, changes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fleet.core.plan import circle
from fleet.errors import Place, Problem, did_you_mean
from fleet.files.documents import Rung, TaskDocument
from fleet.files.fleet import Fleet
from fleet.files.names import is_git_folder, limit_problem, ref_problem, worktree_problem
from fleet.files.roots import common_folder

Found = Iterator[Problem]
At = Callable[..., Place]


def check(fleet: Fleet) -> tuple[list[Problem], list[Problem]]:
    """Returns (problems, warnings) of a fleet whose files are each in order."""
    problems = [problem for find in PROBLEMS for problem in find(fleet)]
    warnings = [problem for find in WARNINGS for problem in find(fleet)]
    return problems, warnings


def known_ids(fleet: Fleet) -> Found:
    """Tasks, agents, limits and secrets that are named exist."""
    for task in fleet.tasks.values():
        at = _at(fleet, task)
        if not fleet.is_known("agent", task.agent):
            said = "agent" in fleet.raws["task", task.id].values
            hint = did_you_mean(task.agent, fleet.agents) or f"write agents/{task.agent}.md"
            text = (
                f"no agent {task.agent!r}" if said else f"names no agent, and none is {task.id!r}"
            )
            yield Problem(text, at("agent"), hint)
        for key, names in (("dependencies", task.dependencies), ("verifies", task.verifies)):
            written = fleet.raws["task", task.id].values.get(key, names)
            for name in names:
                if not fleet.is_known("task", name):
                    index = list(written).index(name) if name in written else 0
                    hint = did_you_mean(name, fleet.tasks)
                    yield Problem(f"no task {name!r}", at(key, index), hint)
        for number, each in enumerate(task.checks):
            if each.agent is not None:
                yield from _agent(fleet, each.agent, at, "checks", number, "agent")
        for number, assumption in enumerate(task.assumptions):
            if assumption.proof and assumption.proof.agent:
                name = assumption.proof.agent
                yield from _agent(fleet, name, at, "assumptions", number, "proof", "agent")
            yield from _rungs(fleet, assumption.on_failure, at, "assumptions", number, "on_failure")
        yield from _rungs(fleet, task.on_failure, at, "on_failure")
    for number, phase in enumerate(fleet.phases):
        for index, each in enumerate(phase.checks):
            if each.agent is not None:
                path = ("phases", number, "checks", index, "agent")
                yield from _agent(fleet, each.agent, partial(fleet.place, "fleet", ""), *path)
    for agent in fleet.agents.values():
        for number, name in enumerate(agent.secrets):
            if name not in fleet.settings.secrets and ("fleet", "") not in fleet.broken:
                hint = did_you_mean(name, fleet.settings.secrets) or "secrets: in coordination.md"
                yield Problem(
                    f"no secret {name!r}", fleet.place("agent", agent.id, "secrets", number), hint
                )


def limits_hold(fleet: Fleet) -> Found:
    """A task uses only limits that exist, and no more of them than there is."""
    if ("fleet", "") in fleet.broken:
        return
    limits = fleet.settings.limits
    for task in fleet.tasks.values():
        for name, units in task.uses.items():
            at = _at(fleet, task)
            if name not in limits and name != "agents":
                hint = (
                    limit_problem(name)
                    or did_you_mean(name, limits)
                    or "limits: in coordination.md"
                )
                yield Problem(f"no limit {name!r}", at("uses", name), hint)
            elif name in limits and units > limits[name]:
                yield Problem(
                    f"uses {units} of {name!r}, which has only {limits[name]}", at("uses", name)
                )


def no_circles(fleet: Fleet) -> Found:
    """Tasks do not wait for each other, verified ones included."""
    graph = {task.id: (*task.dependencies, *task.verifies) for task in fleet.tasks.values()}
    while ring := circle(graph):
        task = fleet.tasks[min(ring)]
        start = ring.index(task.id)
        ring = (*ring[start:-1], *ring[:start], task.id)
        key = "dependencies" if ring[1] in task.dependencies else "verifies"
        text = f"tasks wait for each other in a circle: {' -> '.join(ring)}"
        yield Problem(text, _at(fleet, task)(key), "drop one of these")
        for name in ring:
            graph.pop(name, None)


def phases_in_order(fleet: Fleet) -> Found:
    """A task depends on nothing that a later phase brings."""
    rank = {phase.id: number for number, phase in enumerate(fleet.phases)}
    for task in fleet.tasks.values():
        for key, names in (("dependencies", task.dependencies), ("verifies", task.verifies)):
            for name in names:
                other = fleet.tasks.get(name)
                if other is not None and rank[other.phase] > rank[task.phase]:
                    text = f"{name!r} is in phase {other.phase!r}, which comes after {task.phase!r}"
                    yield Problem(text, _at(fleet, task)(key))


def worktrees_apart(fleet: Fleet) -> Found:
    """Each task has a folder of its own, outside the root's own files and outside .git."""
    taken: dict[str, TaskDocument] = {}
    folders: dict[str, str] = {}
    reserved = _Reserved(fleet.root)
    for task in fleet.tasks.values():
        path = fleet.worktree_text(task)
        wrong = worktree_problem(task.worktree) if task.worktree else ""
        if wrong:
            wrong, hint = f"worktree {_quoted(task.worktree)} {wrong}", ""
        else:
            real = _resolved(path, folders)
            wrong, hint = reserved.problem(path, real)
            if not wrong and real in taken:
                wrong = f"worktree is shared with task {taken[real].id!r}"
                hint = "give each its own"
        if wrong:
            yield Problem(wrong, _at(fleet, task)("worktree"), hint)
        else:
            taken[real] = task
    for path, task in taken.items():
        while path := path.rpartition("/")[0]:
            if path in taken:
                text = f"worktree lies inside that of task {taken[path].id!r}"
                yield Problem(text, _at(fleet, task)("worktree"), "put it beside that one")
                break


class _Reserved:
    """The folders that no worktree may be, hold or lie in."""

    def __init__(self, root: Path) -> None:
        self.root = os.fspath(root)
        self.git = os.fspath(common_folder(root) or root / ".git")

    def problem(self, path: str, real: str) -> tuple[str, str]:
        """Returns what is wrong with a worktree at `path`, links followed at `real`, and a hint."""
        if self.root in (path, real):
            return "worktree is the repository's root itself", "name a folder, or '../x'"
        if _holds(path, self.root) or _holds(real, self.root):
            return "worktree is a folder that holds the repository", "name one beside it: '../x'"
        if _holds(self.git, real) or _holds(real, self.git):
            return "worktree lies inside .git, or holds it", "name a folder outside of it"
        if real == f"{self.root}/.fleet":
            return "worktree is the folder of fleet's own state", "name another folder"
        return "", ""


def branches_apart(fleet: Fleet) -> Found:
    """Each task has a branch of its own that can stand beside all others and is not the base."""
    base = fleet.settings.base
    taken: dict[str, str] = {}
    for task in fleet.tasks.values():
        at = _at(fleet, task)
        if ref_problem(task.branch):
            continue  # the form has told it
        if task.branch == base:
            yield Problem(f"branch {base!r} is the base, which only gates move", at("branch"))
        elif task.branch in taken:
            text = f"branch {task.branch!r} is shared with task {taken[task.branch]!r}"
            yield Problem(text, at("branch"))
        else:
            taken[task.branch] = task.id
    for branch, name in taken.items():
        parts = branch.split("/")
        for length in range(1, len(parts)):
            lead = "/".join(parts[:length])
            if lead in taken or lead == base:
                owner = f"task {taken[lead]!r}" if lead in taken else "the base"
                text = f"branch {branch!r} cannot stand beside {lead!r} of {owner}"
                yield Problem(
                    text, fleet.place("task", name, "branch"), "git keeps them as folders"
                )
        if base.startswith(branch + "/"):
            text = f"branch {branch!r} cannot stand beside the base {base!r}"
            yield Problem(text, fleet.place("task", name, "branch"), "git keeps them as folders")


def ports_apart(fleet: Fleet) -> Found:
    """No two tasks name the same port."""
    taken: dict[int, str] = {}
    for task in fleet.tasks.values():
        if isinstance(task.port, int):
            if task.port in taken:
                text = f"port {task.port} is shared with task {taken[task.port]!r}"
                yield Problem(text, _at(fleet, task)("port"))
            taken.setdefault(task.port, task.id)


def paths_stay_inside(fleet: Fleet) -> Found:
    """What a task must leave does not lead out of its worktree through a link of the repository."""
    seen: dict[str, str | None] = {}
    root = os.fspath(fleet.root)
    for task in fleet.tasks.values():
        for number, deliverable in enumerate(task.deliverables):
            wrong = _leads_out(root, deliverable.path or "", seen)
            if wrong:
                text = f"{_quoted(deliverable.path or '')} {wrong}"
                hint = "name a path that no link is part of"
                yield Problem(text, _at(fleet, task)("deliverables", number), hint)


def approvers_differ(fleet: Fleet) -> Found:
    """Nobody approves their own work."""
    for task in fleet.tasks.values():
        if task.approved_by and set(task.approved_by) == {task.agent}:
            text = f"only the task's own agent {task.agent!r} approves it"
            yield Problem(text, _at(fleet, task)("approved_by"), "name somebody else")


def empty_parts(fleet: Fleet) -> Found:
    """No tasks at all, or a phase without any, is probably a slip."""
    if not fleet.tasks:
        yield Problem("there is no task yet", Place("tasks"), "write tasks/<id>.md")
        return
    for number, phase in enumerate(fleet.phases):
        if not phase.tasks:
            yield Problem(
                f"phase {phase.id!r} has no tasks", fleet.place("fleet", "", "phases", number)
            )


def said_twice(fleet: Fleet) -> Found:
    """A dependency that is named twice counts once."""
    for task in fleet.tasks.values():
        written = fleet.raws["task", task.id].values.get("dependencies", ())
        for index, name in enumerate(written):
            if name in written[:index]:
                yield Problem(f"{name!r} is named twice", _at(fleet, task)("dependencies", index))


PROBLEMS: tuple[Callable[[Fleet], Found], ...] = (
    known_ids, limits_hold, no_circles, phases_in_order, worktrees_apart, branches_apart, ports_apart,
    paths_stay_inside, approvers_differ,
)  # fmt: skip
WARNINGS: tuple[Callable[[Fleet], Found], ...] = (empty_parts, said_twice)


def _at(fleet: Fleet, task: TaskDocument) -> At:
    """Finds a place only when a problem is told: that costs a reading of the file."""
    return partial(fleet.place, "task", task.id)


def _agent(fleet: Fleet, name: str, at: At, *path: str | int) -> Found:
    if not fleet.is_known("agent", name):
        yield Problem(f"no agent {name!r}", at(*path), did_you_mean(name, fleet.agents))


def _rungs(fleet: Fleet, rungs: tuple[Rung, ...], at: At, *path: str | int) -> Found:
    for rung in rungs:
        if rung.agent is not None:
            yield from _agent(fleet, rung.agent, at, *path)
        if ("fleet", "") in fleet.broken or rung.adapt is None:
            continue
        if rung.adapt not in fleet.settings.patches:
            hint = did_you_mean(rung.adapt, fleet.settings.patches)
            yield Problem(
                f"no patch {rung.adapt!r}", at(*path), hint or "patches: in coordination.md"
            )


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _resolved(path: str, folders: dict[str, str]) -> str:
    """Follows links as far as folders exist; `folders` keeps where each folder above led."""
    above, _, name = path.rpartition("/")
    if above not in folders:
        folders[above] = os.path.realpath(above or "/").rstrip("/")
    real = f"{folders[above]}/{name}"
    return os.path.realpath(real) if os.path.islink(real) else real  # noqa: PTH114 - text is faster


def _leads_out(root: str, path: str, seen: dict[str, str | None]) -> str:
    """Looks at each folder of `path` once; below what is not there, nothing can be a link.

    `seen` keeps what is wrong with each path, None for one that is not there.
    """
    here = root
    for part in path.split("/") if path else ():
        here = f"{here}/{part}"
        if here not in seen:
            seen[here] = _wrong_link(root, here)
        wrong = seen[here]
        if wrong is None:
            return ""
        if wrong:
            return wrong
    return ""


def _wrong_link(root: str, path: str) -> str | None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    if not stat.S_ISLNK(mode):
        return ""
    real = os.path.realpath(path)
    if not _holds(root, real):
        return "leads out of the worktree through a link"
    if any(is_git_folder(one) for one in real[len(root) :].split("/")):
        return "leads into .git through a link"
    return ""


def _quoted(text: str) -> str:
    return ascii(text) if len(text) <= 80 else ascii(text[:77]) + "..."
