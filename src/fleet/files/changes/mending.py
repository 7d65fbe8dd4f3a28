"""The rework of a task that has landed: a new task from the base, in the phase of its verifier.

    V red on T, landed    T-rework/worktree -> /work -> /check -> T-rework -> V/worktree.r -> ...

What has landed stays as it is, so what its verifier finds is mended by the same agent on a branch
of its own, `T-rework`, with the same brief and the findings, and from then on the verifier judges
that in T's place, as any task of its phase. It passes the phase's gate and lands with it; what
depends on T in this phase and has not begun begins with it. Pure: the run is only asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import PurePath
from typing import Any

from fleet.core.plan import FAILED, JOIN, Ask, Need, Rung, Step
from fleet.core.state import UNSTARTED, StepState
from fleet.files.changes.rework import Course

REWORK = "-rework"
"""What the id of a task ends with that mends one which has landed."""


def landed_in(check: Step) -> list[str]:
    """Returns which of the tasks that a verifier's check judges had landed before its phase."""
    told: Any = check.params["verifies"]
    return [str(one["id"]) for one in told if one.get("landed")]


def heirs_of(course: Course, check: Step) -> dict[str, str]:
    """Returns the tasks that are there already to mend what a verifier judges and has landed."""
    phase = _facts(course, str(check.params["task"])).get("phase")
    found = {}
    for task in landed_in(check):
        for name in _names(course, task):
            told = _facts(course, name)
            if told.get("reworks") == task and told.get("phase") == phase:
                found[task] = name
    return found


def may_mend(course: Course, check: Step, task: str) -> bool:
    """Whether a task that has landed can be mended in the phase of a verifier: it has an agent, and
    the phase's gate has not judged yet.
    """
    phase = str(_facts(course, str(check.params["task"])).get("phase"))
    gate, merge = (_open(course, phase, kind) for kind in ("gate", "merge"))
    return course.look(f"{task}/work") is not None and gate is not None and merge is not None


def mend(course: Course, check: Step, task: str, put: dict[str, Step]) -> str:
    """Returns the task that mends one which has landed, and adds to `put` its steps and, as they
    read then, those of its phase that come to know it. `check` is that of the verifier, which
    settles as failed.
    """
    name = next(one for one in _free(task) if course.look(one) is None)
    verifier = str(check.params["task"])
    phase = str(_facts(course, verifier)["phase"])
    branch = f"fleet/{name}"
    own = {"task": name, "branch": branch, "phase": phase}
    tree, work, judge, join = (
        _step(course, one) for one in (f"{task}/worktree", f"{task}/work", f"{task}/check", task)
    )
    facts: Any = join.params["task"]
    place = PurePath(str(tree.params["path"]))
    told = {"path": str(place.with_name(place.name + name.removeprefix(task))), "after": []}
    port = "auto" if tree.params.get("port") is not None else None
    given = {"verdicts": [check.id], "reworks": task, "after": [], "name": f"{task}, mended"}
    wanted: Any = judge.params["deliverables"]
    kept = [{**one, "fresh": False} for one in wanted]  # most of it is in the base already
    checked = {"deliverables": kept, "before": [name], "spent": 0, "round": 1}
    limit = {str(check.params["limit"]): 1}
    shown = {"id": name, "dependencies": [], "reworks": task, "worktree": told["path"]}
    made = [
        replace(tree, id=f"{name}/worktree", params={**tree.params, **own, **told, "port": port}),
        replace(work, id=f"{name}/work", params={**work.params, **own, **given}),
        replace(judge, id=f"{name}/check", params={**judge.params, **own, **checked}),
        replace(join, id=name, params={**join.params, "task": {**facts, **own, **shown}}),
    ]
    needs = (Need(step=check.id, on=FAILED), *(Need(step=step.id) for step in made[:-1]))
    for step, need in zip(made, needs, strict=True):
        ladder = tuple(_named(rung, task, name) for rung in step.ladder)
        put[step.id] = replace(step, needs=(need,), ladder=ladder, whole=name, released=True)
    judge = put[f"{name}/check"]
    put[judge.id] = replace(judge, uses={**judge.uses, **limit})
    agent: Any = work.params["agent"]
    one = {"id": name, "branch": branch, "agent": agent["id"]}
    _enter(course, phase, one, task, put)
    _come_in(course, phase, name, task, put)
    return name


def succeed(step: Step, heirs: Mapping[str, str]) -> Step:
    """Returns a step of a verifier, a gate or a dependent as it reads when tasks have heirs: these
    come into its worktree, are judged, and are waited for, in their place.
    """
    if not heirs:
        return step
    params = dict(step.params)
    if "after" in params:
        params["after"] = _replaced(params["after"], heirs)
    if "verifies" in params and step.kind in ("agent", "check"):
        params["verifies"] = [_inherited(one, heirs) for one in _list(params["verifies"])]
    if "schema" in params and "verifies" in params:
        from fleet.files.verdicts import schema

        params["schema"] = schema([str(one["id"]) for one in _list(params["verifies"])])
    return replace(step, params=params)


def _named(rung: Rung, task: str, name: str) -> Rung:
    """Returns a rung that asks about the task by its own name."""
    if not isinstance(rung, Ask):
        return rung
    return replace(rung, message=rung.message.replace(f"{task} ", f"{name} ", 1))


def _inherited(one: Mapping[str, Any], heirs: Mapping[str, str]) -> Mapping[str, Any]:
    heir = heirs.get(str(one["id"]))
    if heir is None:
        return one
    kept = {key: value for key, value in one.items() if key != "landed"}
    return {**kept, "id": heir, "branch": f"fleet/{heir}"}


def _enter(
    course: Course, phase: str, one: Mapping[str, str], task: str, put: dict[str, Step]
) -> None:
    """Puts the gate and the merge of a phase with one more task, which lands before the rest."""
    known = [_open(course, phase, kind) for kind in ("gate", "merge")]
    gate, merge = [put.get(step.step.id, step.step) for step in known if step is not None]
    heirs = {task: one["id"]}
    listed = [
        {**told, "verifies": _replaced(told["verifies"], heirs)} if "verifies" in told else told
        for told in _list(gate.params["tasks"])
    ]
    put[gate.id] = replace(
        gate,
        params={**gate.params, "tasks": [dict(one), *listed]},
        needs=(*gate.needs, Need(step=one["id"])),
    )
    tasks = [one["id"], *_list(merge.params["tasks"])]
    put[merge.id] = replace(merge, params={**merge.params, "tasks": tasks})


def _come_in(course: Course, phase: str, name: str, task: str, put: dict[str, Step]) -> None:
    """Puts the worktrees of a phase that have not begun and hold a landed task, with its heir; a
    verifier's other steps of that round judge the heir then.
    """
    for waiting in dict.fromkeys(course.behind(task)):
        one = course.look(waiting)
        if one is None or one.step.kind != "worktree" or one.standing not in UNSTARTED:
            continue
        if _facts(course, one.step.whole).get("phase") == phase:
            step = succeed(put.get(waiting, one.step), {task: name})
            put[waiting] = replace(step, needs=(*step.needs, Need(step=name)))
            for stem in ("/work", "/check"):
                later = course.look(waiting.replace("/worktree", stem))
                if later is not None and "verifies" in later.step.params:
                    put[later.step.id] = succeed(put.get(later.step.id, later.step), {task: name})


def _open(course: Course, phase: str, kind: str) -> StepState | None:
    """Returns the gate or the merge of a phase that has yet to be started, None without one."""
    for number in count(1):
        one = course.look(f"{phase}/{kind}" if number == 1 else f"{phase}/{kind}.{number}")
        if one is None:
            return None
        if one.standing in UNSTARTED:
            return one
    raise AssertionError("counting ends with a look")


def _names(course: Course, task: str) -> Iterator[str]:
    """Yields the names that tasks which mend one may have, as far as they are taken."""
    for name in _free(task):
        if course.look(name) is None:
            return
        yield name


def _free(task: str) -> Iterator[str]:
    yield f"{task}{REWORK}"
    yield from (f"{task}{REWORK}-{number}" for number in count(2))


def _facts(course: Course, task: str) -> Mapping[str, Any]:
    """Returns what the plan says of a task; nothing for what is none."""
    one = course.look(task)
    told: Any = one.step.params.get("task") if one is not None and one.step.kind == JOIN else None
    return told if isinstance(told, Mapping) else {}


def _step(course: Course, name: str) -> Step:
    one = course.look(name)
    assert one is not None, f"a task that has landed has its {name}"
    return one.step


def _replaced(names: object, heirs: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(heirs.get(str(name), str(name)) for name in _list(names)))


def _list(value: object) -> list[Any]:
    assert isinstance(value, list | tuple), "params hold lists"
    return list(value)
