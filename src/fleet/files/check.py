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
from typing import Any

from fleet.core.plan import circle
from fleet.errors import Place, Problem, did_you_mean
from fleet.files import checkpoints, envelope
from fleet.files.documents import Rung, TaskDocument
from fleet.files.escalations import escalations_hold
from fleet.files.fleet import Fleet
from fleet.files.harnesses import harnesses_hold
from fleet.files.loops import loops_hold
from fleet.files.names import is_git_folder, ref_problem, worktree_problem
from fleet.files.ownership import owners_apart
from fleet.files.roots import common_folder
from fleet.files.servers import servers_hold
from fleet.files.verdicts import verdicts_have_a_form

Found = Iterator[Problem]
At = Callable[..., Place]

FOLDERS = "git keeps branches as folders and files; rename one"


def check(fleet: Fleet) -> tuple[list[Problem], list[Problem]]:
    """Returns (problems, warnings) of a fleet whose files are each in order."""
    problems = [problem for find in PROBLEMS for problem in find(fleet)]
    warnings = [problem for find in WARNINGS for problem in find(fleet)]
    return problems, warnings


def agents_known(fleet: Fleet) -> Found:
    """Agents that are named exist, as workers and as judges."""
    for task in fleet.tasks.values():
        at = _at(fleet, task)
        if task.agent and not fleet.is_known("agent", task.agent):
            said = bool(_written(fleet, task, "agent"))
            hint = did_you_mean(task.agent, fleet.agents) if said else ""
            text = f"no agent {task.agent!r}"
            if not said:
                text = f"no agent is named, and there is none that is called {task.id!r}"
            yield Problem(text, at("agent"), hint or f"write agents/{task.agent}.md")
        for number, each in enumerate(task.checks):
            if each.agent is not None:
                yield from _agent(fleet, each.agent, at, "checks", number, "agent")
    for number, phase in enumerate(fleet.phases):
        for index, each in enumerate(phase.checks):
            if each.agent is not None:
                path = ("phases", number, "checks", index, "agent")
                yield from _agent(fleet, each.agent, partial(fleet.place, "fleet", ""), *path)


def tasks_known(fleet: Fleet) -> Found:
    """Tasks that are named exist."""
    for task in fleet.tasks.values():
        for key, names in (("dependencies", task.dependencies), ("verifies", task.verifies)):
            for name in names:
                if not fleet.is_known("task", name):
                    written = _written(fleet, task, key)
                    index = list(written).index(name) if name in written else 0
                    hint = did_you_mean(name, fleet.tasks) or f"write tasks/{name}.md"
                    yield Problem(f"no task {name!r}", _at(fleet, task)(key, index), hint)


def rungs_known(fleet: Fleet) -> Found:
    """Agents and patches that a ladder names exist."""
    for task in fleet.tasks.values():
        at = _at(fleet, task)
        yield from _rungs(fleet, task.on_failure, at, "on_failure")
        for number, assumption in enumerate(task.assumptions):
            yield from _rungs(fleet, assumption.on_failure, at, "assumptions", number, "on_failure")


def secrets_known(fleet: Fleet) -> Found:
    """An agent gets only secrets that the settings say where to find."""
    if ("fleet", "") in fleet.broken:
        return
    known = fleet.settings.secrets
    for agent in fleet.agents.values():
        for number, name in enumerate(agent.secrets):
            if name not in known:
                place = fleet.place("agent", agent.id, "secrets", number)
                hint = did_you_mean(name, known) or f"for example secrets: {{{name}: env:{name}}}"
                yield Problem(f"no secret {name!r} in coordination.md", place, hint)


def limits_hold(fleet: Fleet) -> Found:
    """A task uses only limits that exist, and no more of them than there is."""
    if ("fleet", "") in fleet.broken:
        return
    limits = fleet.settings.limits
    for task in fleet.tasks.values():
        for name, units in task.uses.items():
            at = _at(fleet, task)
            if name not in limits and name != "agents":
                hint = did_you_mean(name, limits) or "set it under limits: in coordination.md"
                yield Problem(f"no limit {name!r}", at("uses", name), hint)
            elif name in limits and units > limits[name]:
                text = f"uses {units} of {name!r}, which has only {limits[name]}"
                yield Problem(text, at("uses", name), "use fewer, or raise the limit")


def no_circles(fleet: Fleet) -> Found:
    """Tasks do not wait for each other, verified ones included."""
    graph = {task.id: task.waits_for for task in fleet.tasks.values()}
    while ring := circle(graph):
        task = fleet.tasks[min(ring, key=lambda one: (one not in fleet.origins, one))]
        start = ring.index(task.id)
        ring = (*ring[start:-1], *ring[:start], task.id)
        first, *others = [_wait(fleet, one, ring[n + 1]) for n, one in enumerate(ring[:-1])]
        text = f"tasks wait for each other in a circle: {' -> '.join(ring)}"
        if not others:
            text = f"task {task.id!r} waits for itself"
        listed = ", ".join(map(str, others))
        yield Problem(text, first, f"drop one of these; {listed}" if others else "drop it")
        for name in ring:
            graph.pop(name, None)


def _wait(fleet: Fleet, name: str, other: str) -> Place:
    """Returns where a task says that it waits for another one."""
    task = fleet.tasks[name]
    key = "dependencies" if other in task.dependencies else "verifies"
    return fleet.place("task", *((other, "before") if other in task.behind else (name, key)))


def phases_in_order(fleet: Fleet) -> Found:
    """A task depends on nothing that a later phase brings."""
    rank = {phase.id: number for number, phase in enumerate(fleet.phases)}
    for task in fleet.tasks.values():
        for key, names in (("dependencies", task.dependencies), ("verifies", task.verifies)):
            for name in names:
                other = fleet.tasks.get(name)
                if other is not None and rank[other.phase] > rank[task.phase]:
                    later = f"whose phase {other.phase!r} comes after {task.phase!r}"
                    index = names.index(name)
                    place = _at(fleet, task)(key, index)
                    yield Problem(f"waits for {name!r}, {later}", place, "move one of the two")


def worktrees_apart(fleet: Fleet) -> Found:
    """Each task has a folder of its own, outside the root's own files and outside .git."""
    taken: dict[str, str] = {}
    folders: dict[str, str] = {}
    reserved = _Reserved(fleet.root)
    for task in fleet.tasks.values():
        wrong = worktree_problem(task.worktree) if task.worktree else ""
        if wrong:
            yield Problem(
                f"worktree {_quoted(task.worktree)} {wrong}", _at(fleet, task)("worktree")
            )
            continue
        path = fleet.worktree_text(task)
        real = _resolved(path, folders)
        wrong, hint = reserved.problem(path, real)
        if not wrong and real in taken:
            wrong, hint = f"worktree is shared with task {taken[real]!r}", "give each its own"
        if wrong:
            yield Problem(wrong, _at(fleet, task)("worktree"), hint)
        else:
            taken[real] = task.id
    for path, name in taken.items():
        above = path.rpartition("/")[0]
        while above and above not in taken:
            above = above.rpartition("/")[0]
        if above:
            text = f"worktree lies inside that of task {taken[above]!r}"
            yield Problem(text, fleet.place("task", name, "worktree"), "put it beside that one")


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
            text = f"branch {base!r} is the base, which only gates move"
            yield Problem(text, at("branch"), "name another, or leave it out")
        elif task.branch in taken:
            text = f"branch {task.branch!r} is shared with task {taken[task.branch]!r}"
            yield Problem(text, at("branch"), "give each its own")
        else:
            taken[task.branch] = task.id
    for branch, name in taken.items():
        parts = branch.split("/")
        for length in range(1, len(parts)):
            lead = "/".join(parts[:length])
            if lead in taken or lead == base:
                owner = f"that of task {taken[lead]!r}" if lead in taken else "the base"
                text = f"branch {branch!r} cannot stand beside {lead!r}, {owner}"
                yield Problem(text, fleet.place("task", name, "branch"), FOLDERS)
        if base.startswith(branch + "/"):
            text = f"branch {branch!r} cannot stand beside {base!r}, the base"
            yield Problem(text, fleet.place("task", name, "branch"), FOLDERS)


def ports_apart(fleet: Fleet) -> Found:
    """No two tasks name the same port."""
    taken: dict[int, str] = {}
    for task in fleet.tasks.values():
        if isinstance(task.port, int):
            if task.port in taken:
                text = f"port {task.port} is shared with task {taken[task.port]!r}"
                yield Problem(text, _at(fleet, task)("port"), "give each its own, or 'port: auto'")
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
        for number, name in enumerate(task.approved_by):
            if name.removeprefix("agent:") == task.agent:
                text = f"the task's own agent {task.agent!r} approves it"
                yield Problem(text, _at(fleet, task)("approved_by", number), "name somebody else")
    yield from checkpoints.approvers_differ(fleet)


def empty_parts(fleet: Fleet) -> Found:
    """No tasks at all, or a phase without any, is probably a slip."""
    if not fleet.tasks:
        yield Problem("there is no task yet", Place("tasks"), "write tasks/<id>.md")
        return
    for number, phase in enumerate(fleet.phases):
        if not phase.tasks:
            place = fleet.place("fleet", "", "phases", number)
            yield Problem(f"phase {phase.id!r} has no tasks", place, "name some, or take it out")


def said_twice(fleet: Fleet) -> Found:
    """A dependency that is named twice counts once."""
    for task in fleet.tasks.values():
        written = _written(fleet, task, "dependencies")
        for index, name in enumerate(written):
            if name in written[:index]:
                place = _at(fleet, task)("dependencies", index)
                yield Problem(f"{name!r} is named twice", place, "name it once")


PROBLEMS: tuple[Callable[[Fleet], Found], ...] = (
    agents_known,
    verdicts_have_a_form,
    tasks_known,
    rungs_known,
    escalations_hold,
    loops_hold,
    envelope.names_known,
    secrets_known,
    servers_hold,
    limits_hold,
    no_circles,
    phases_in_order,
    worktrees_apart,
    branches_apart,
    ports_apart,
    paths_stay_inside,
    approvers_differ,
    harnesses_hold,
)
WARNINGS: tuple[Callable[[Fleet], Found], ...] = (empty_parts, said_twice, owners_apart)


def _at(fleet: Fleet, task: TaskDocument) -> At:
    """Finds a place only when a problem is told: that costs a reading of the file."""
    return partial(fleet.place, "task", task.id)


def _written(fleet: Fleet, task: TaskDocument, key: str) -> Any:
    """Returns what a task says under a key in its own words, nothing where it says nothing."""
    raw = fleet.raws.get(("task", task.id))
    return raw.values.get(key, ()) if raw is not None else getattr(task, key)


def _agent(fleet: Fleet, name: str, at: At, *path: str | int) -> Found:
    if not fleet.is_known("agent", name):
        hint = did_you_mean(name, fleet.agents) or f"write agents/{name}.md"
        yield Problem(f"no agent {name!r}", at(*path), hint)


def _rungs(fleet: Fleet, rungs: tuple[Rung, ...], at: At, *path: str | int) -> Found:
    for rung in rungs:
        if rung.agent is not None:
            yield from _agent(fleet, rung.agent, at, *path)
        if ("fleet", "") in fleet.broken or rung.adapt is None:
            continue
        if rung.adapt not in fleet.settings.patches:
            hint = did_you_mean(rung.adapt, fleet.settings.patches)
            yield Problem(
                f"no patch {rung.adapt!r}",
                at(*path),
                hint or "set it under patches: in coordination.md",
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
