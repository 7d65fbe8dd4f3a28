"""Checkpoints: what `checkpoints` of coordination.md come to, as tasks that nobody works on, and
the steps of each.

    C/worktree -> C/check -> C/gate -> join C; the tasks that it stands before wait for the join

The worktree holds the base and the verified commits of what the checkpoint stands on, assembled;
the check judges each item there; the gate takes the sign-offs for exactly those commits. Red, it
stays closed: nobody is sent back for it. What moves afterwards is judged, and signed, again. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet.core.plan import Need, Step
from fleet.errors import Problem, did_you_mean
from fleet.files.documents import Checkpoint, Estimate, TaskDocument
from fleet.files.ladders import checkpoint_ladder
from fleet.files.normal import task_of
from fleet.files.tasks import branch_of
from fleet.files.trouble import machine_ladder
from fleet.files.verifiers import VERDICTS

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet

PLACE = ("setup", "teardown", "copy")
"""Defaults of tasks that say what a worktree needs: that of a checkpoint as well."""

At = tuple[str, str, tuple[str | int, ...]]
"""Where something stands: kind and id of a document, and the path of keys in it."""


def with_checkpoints(fleet: Fleet, defaults: Mapping[str, Any], problems: list[Problem]) -> Fleet:
    """Returns the fleet with a task for each of its checkpoints, in the phase of the first task
    that it stands before, else of the last that it stands on; adds what does not hold. `defaults`
    are those of tasks, in normal form.
    """
    told = fleet.settings.checkpoints
    if not told:
        return fleet
    tasks, origins = dict(fleet.tasks), dict(fleet.origins)
    known: dict[str, Checkpoint] = {}
    phases = [phase.id for phase in fleet.phases]
    for number, one in enumerate(told):
        path: At = ("fleet", "", ("checkpoints", number))
        taken = next((n for n in (*known, *tasks, *phases) if n.lower() == one.id.lower()), None)
        if taken is not None:
            what = "another" if taken in known else "a task" if taken in tasks else "a phase"
            text = f"checkpoint {one.id!r} has the id of {what}"
            problems.append(Problem(text, fleet.place(*path[:2], *path[2], "id"), "rename it"))
            continue
        known[one.id] = one
        origins[one.id] = path
    fleet = replace(fleet, origins=origins)
    placed = _phases(fleet, known)
    like = task_of({"id": "like", **{key: defaults[key] for key in PLACE if key in defaults}})
    for name, one in known.items():
        tasks[name] = _task(fleet, one, placed[name], known, like)
    for name, one in known.items():
        for index, other in enumerate(one.before):
            if other not in tasks:
                hint = did_you_mean(other, tasks) or f"write tasks/{other}.md"
                place = fleet.place("task", name, "before", index)
                if ("task", other) not in fleet.broken:
                    problems.append(Problem(f"no task {other!r}", place, hint))
            else:
                later = tasks[other]
                tasks[other] = replace(later, behind=(*later.behind, name))
    members = {
        phase.id: tuple(name for name in known if placed[name] == phase.id)
        for phase in fleet.phases
    }
    return replace(
        fleet,
        tasks=dict(sorted(tasks.items())),
        phases=tuple(replace(p, tasks=(*p.tasks, *members[p.id])) for p in fleet.phases),
    )


def checkpoint_steps(task: TaskDocument, steps: Sequence[Step], fleet: Fleet) -> list[Step]:
    """Returns the steps of a checkpoint, from those that it would have as a task without an agent:
    it starts by itself, keeps to itself what is red, and has a gate before its join.
    """
    one = task.checkpoint
    assert one is not None, "a checkpoint"
    tree, check, join = steps
    before = [*task.verifies, *(n for n in task.dependencies if _is_judge(fleet, task, n))]
    gate = Step(
        id=f"{task.id}/gate",
        kind="gate",
        params={
            "phase": task.id,
            "name": task.name,
            "base": fleet.settings.base,
            "tasks": [*(_signed(fleet, name, before) for name in before), before_gate(task)],
            "agents": sorted({fleet.tasks[name].agent for name in _stands_on(fleet, task)} - {""}),
            "approve": list(one.approve) if isinstance(one.approve, tuple) else one.approve,
            "checkpoint": True,
            "round": 1,
        },
        needs=(Need(step=check.id), *(Need(step=name) for name in before)),
        uses={name: 1 for name in check.uses if name.startswith(VERDICTS)},
        ladder=machine_ladder(f"The checkpoint {task.id} could not be judged."),
        whole=task.id,
    )
    return [
        replace(tree, released=True, uses={n: u for n, u in tree.uses.items() if n != "agents"}),
        replace(
            check,
            params={**check.params, "verifies": check.params.get("verifies", []), "stays": True},
            ladder=checkpoint_ladder(task.id),
        ),
        gate,
        replace(join, needs=(Need(step=check.id), Need(step=gate.id))),
    ]


def before_gate(task: TaskDocument) -> dict[str, object]:
    """Returns a task as a gate reads it: a verifier with those that it judges."""
    told: dict[str, object] = {"id": task.id, "branch": branch_of(task), "agent": task.agent}
    return {**told, "verifies": list(task.verifies)} if task.verifies else told


def approvers_differ(fleet: Fleet) -> list[Problem]:
    """Returns a problem for each agent that would sign for its own work at a checkpoint."""
    found = []
    for task in fleet.tasks.values():
        names = task.checkpoint.approve if task.checkpoint is not None else ()
        for number, name in enumerate(names if isinstance(names, tuple) else ()):
            own = [n for n in _stands_on(fleet, task) if fleet.tasks[n].agent == _agent(name)]
            if own:
                text = f"{name!r} would sign for its own work, {', '.join(own)}"
                place = fleet.place("task", task.id, "approve", number)
                found.append(Problem(text, place, "name somebody else"))
    return found


def _agent(name: str) -> str:
    return name.removeprefix("agent:")


def _phases(fleet: Fleet, known: Mapping[str, Checkpoint]) -> dict[str, str]:
    """Returns the phase of each checkpoint; a need on another one counts as what that stands on."""
    order = [phase.id for phase in fleet.phases]
    rank = {name: order.index(task.phase) for name, task in fleet.tasks.items()}
    found: dict[str, str] = {}
    for name, one in known.items():
        before = [rank[other] for other in one.before if other in rank]
        on = [rank[other] for other in _on_tasks(one, known) if other in rank]
        found[name] = order[min(before) if before else max(on, default=len(order) - 1)]
    return found


def _on_tasks(one: Checkpoint, known: Mapping[str, Checkpoint]) -> list[str]:
    """Returns the tasks that a checkpoint stands on, also by way of other checkpoints."""
    found: dict[str, None] = {}
    seen, todo = {one.id}, list(one.needs)
    while todo:
        name = todo.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name in known:
            todo += known[name].needs
        else:
            found[name] = None
    return list(found)


def _task(
    fleet: Fleet,
    one: Checkpoint,
    phase: str,
    known: Mapping[str, Checkpoint],
    like: TaskDocument,
) -> TaskDocument:
    """Returns the task that stands for a checkpoint. What is of its own phase can still move, so
    that is verified; what is of an earlier one has landed. A verifier judges by itself.
    """
    there = [fleet.tasks[name] for name in _on_tasks(one, known) if name in fleet.tasks]
    return TaskDocument(
        id=one.id,
        name=one.name or one.id,
        phase=phase,
        branch=f"fleet/{one.id}",
        days=Estimate(likely=0.0),
        dependencies=tuple(dict.fromkeys(one.needs)),
        verifies=tuple(t.id for t in there if t.phase == phase and not t.verifies),
        checks=one.checks,
        checkpoint=one,
        setup=like.setup if one.setup is None else one.setup,
        teardown=like.teardown,
        copy=like.copy if one.copy is None else one.copy,
    )


def _is_judge(fleet: Fleet, task: TaskDocument, name: str) -> bool:
    """Whether what a checkpoint needs is a verifier that may still have to judge again."""
    other = fleet.tasks[name]
    return bool(other.verifies and other.phase == task.phase and other.checkpoint is None)


def _signed(fleet: Fleet, name: str, beside: Sequence[str]) -> dict[str, Any]:
    """Returns a task as the gate of a checkpoint reads it: of what a verifier judges only that is
    looked at which stands before this gate.
    """
    told = before_gate(fleet.tasks[name])
    judged: Any = told.pop("verifies", ())
    seen = [one for one in judged if one in beside]
    return {**told, "verifies": seen} if seen else told


def _stands_on(fleet: Fleet, task: TaskDocument) -> list[str]:
    known = {n: t.checkpoint for n, t in fleet.tasks.items() if t.checkpoint is not None}
    assert task.checkpoint is not None, "a checkpoint"
    return [name for name in _on_tasks(task.checkpoint, known) if name in fleet.tasks]
