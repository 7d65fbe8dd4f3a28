"""A change of the plan: tasks added and inserted, needs moved, tasks dropped; as data and as text.

    {add: [task documents, each with an id], insert: [{task: ID or document, before: [ids],
     after: [ids]}], needs: {task: {add: [ids], remove: [ids]}}, drop: [ids],
     running: {task: stop or leave}, reason}

What needs, and what comes before something, may also be a checkpoint; what is needed, a proof. A
change is applied to documents, never to a run: what a run makes of it follows from both plans.
What a person is asked to approve is `text_of` a change, whole: the text follows from the change and
from nothing else, so that what is approved can be held against what was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from fleet.errors import Place, Problem, did_you_mean
from fleet.files.fleet import Raw, place_in
from fleet.files.names import proof_id

PROPOSAL_CHARS: Final = 65_536
"""Characters of a change's text that a person can be asked to judge."""

PARTS: Final = ("add", "insert", "needs", "drop")
"""The keys of a change that change something."""

STOP, LEAVE = "stop", "leave"
"""What becomes of a task that has begun when something is put before it."""

Raws = Mapping[tuple[str, str], Raw]
Path = tuple[str | int, ...]


def dotted(path: Path) -> Place:
    """Returns the place of a part of a change that stands in no file."""
    return Place(".".join(map(str, path)) or "the change")


@dataclass(frozen=True, slots=True)
class Change:
    """A change in normal form, where its parts stand, and what it is called in a problem.

    `problems` are those of parts that have no normal form; they are not in `told`, but the tasks
    that were to be added by them are `lost`.
    """

    told: Mapping[str, Any]
    at: Callable[[Path], Place] = dotted
    name: str = ""
    problems: tuple[Problem, ...] = ()
    lost: frozenset[str] = frozenset()


def is_empty(change: Mapping[str, Any]) -> bool:
    """Returns whether a change changes nothing."""
    return not any(change.get(name) for name in PARTS)


def digest_of(change: Mapping[str, Any]) -> str:
    """Returns the digest by which a change is known again."""
    told = json.dumps(change, sort_keys=True, ensure_ascii=True)
    return sha256(told.encode()).hexdigest()


# --- as text --------------------------------------------------------------------------------------


def text_of(change: Mapping[str, Any]) -> str:
    """Returns a change as a person reads it."""
    lines = [str(change.get("reason") or "No reason was given."), ""]
    for task in change.get("add") or ():
        lines += _task_lines(task)
    for one in change.get("insert") or ():
        task = one.get("task")
        name = task.get("id") if isinstance(task, Mapping) else task
        lines += _task_lines(task) if isinstance(task, Mapping) else []
        lines += [f"~ task {name} also needs {other}" for other in _listed(one.get("after"))]
        lines += [f"~ task {other} also needs {name}" for other in _listed(one.get("before"))]
    for name, moved in (change.get("needs") or {}).items():
        lines += [f"~ task {name} also needs {one}" for one in moved.get("add") or ()]
        lines += [f"~ task {name} no longer needs {one}" for one in moved.get("remove") or ()]
    lines += [f"- task {name}" for name in change.get("drop") or ()]
    for name, what in (change.get("running") or {}).items():
        told = "is stopped, if it has begun" if what == STOP else _LEFT
        lines.append(f"! task {name} {told}")
    return "\n".join(lines).rstrip()


_LEFT: Final = "goes on, if it has begun; what waits for it waits for all of that, too"


def shows(message: str, change: Mapping[str, Any]) -> bool:
    """Returns whether a message ends with the whole text of a change."""
    text = text_of(change)
    return message == text or message.endswith(f"\n\n{text}")


def _listed(value: Any) -> Sequence[Any]:
    """Returns what may be one or many as many, as it may stand in a change that nobody checked."""
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


def _task_lines(task: Mapping[str, Any]) -> list[str]:
    lines = [f"+ task {task.get('id')}:"]
    shown = ((name, _written(name, value)) for name, value in task.items() if name != "id")
    return lines + [f"    {name}: {_shown(value)}" for name, value in shown]


_BARE: Final = {"deliverables": "path", "checks": "command", "risks": "text", "decisions": "text"}
"""Key of a task -> the one key of its parts that may be left out in a file."""


def _written(name: str, value: Any) -> Any:
    """Returns a value in normal form as a person writes it in a file."""
    if isinstance(value, Mapping) and value.keys() == {"likely"}:
        value = value["likely"]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        bare = _BARE.get(name)
        return [
            one[bare] if isinstance(one, Mapping) and one.keys() == {bare} else one for one in value
        ]
    return value


def _shown(value: Any) -> str:
    if isinstance(value, list) and value and all(map(_is_plain, value)):
        return f"[{', '.join(value)}]"
    if isinstance(value, str) and "\n" in value:
        return "\n" + "\n".join(f"        {line}" for line in value.splitlines())
    if isinstance(value, str) and not value.startswith("["):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(value: Any) -> bool:
    """Returns whether a text may stand in a list without quotes, and be taken for no other."""
    return (
        isinstance(value, str) and value == value.strip() != "" and not set(value) & set(',"[]{}\n')
    )


# --- applied to documents -------------------------------------------------------------------------


def changed(raws: Raws, change: Change, problems: list[Problem]) -> dict[tuple[str, str], Raw]:
    """Returns the documents with a change applied; what cannot be applied is a problem."""
    draft = _Draft(change, dict(raws), problems)
    problems += change.problems
    told = change.told
    for number, name in enumerate(told.get("drop") or ()):
        if draft.knows(name, ("drop", number)):
            draft.drop(name)
    for number, task in enumerate(told.get("add") or ()):
        draft.add(task, ("add", number))
    for number, one in enumerate(told.get("insert") or ()):
        draft.insert(one, ("insert", number))
    for name, moved in (told.get("needs") or {}).items():
        if name in draft.points or draft.knows(name, ("needs", name)):
            draft.move(name, moved, ("needs", name))
    for name in told.get("running") or ():
        if ("task", name) not in raws and name not in draft.points:
            draft.knows(name, ("running", name))
    return draft.raws


@dataclass(slots=True)
class _Draft:
    """The documents in the making; `moved` says where a need was told that a change adds."""

    change: Change
    raws: dict[tuple[str, str], Raw]
    problems: list[Problem]
    moved: dict[str, dict[str, Path]] = field(default_factory=dict)

    def say(self, text: str, path: Path, hint: str = "") -> None:
        """Adds a problem at its place in the change."""
        self.problems.append(Problem(text, self.change.at(path), hint))

    def knows(self, name: str, path: Path) -> bool:
        """Returns whether there is a task; says so where there is none."""
        if ("task", name) in self.raws or name in self.change.lost:
            return ("task", name) in self.raws
        tasks = [known for kind, known in self.raws if kind == "task"]
        self.say(f"there is no task {name!r}", path, did_you_mean(name, tasks))
        return False

    @property
    def points(self) -> dict[str, Mapping[str, Any]]:
        """The checkpoints as they stand now, by id."""
        top = self.raws.get(("fleet", ""))
        listed = (top.values.get("checkpoints") or ()) if top is not None else ()
        return {str(one["id"]): one for one in listed}

    def is_there(self, name: str, path: Path) -> bool:
        """Returns whether there is a task, a checkpoint or a proof; says so where there is none."""
        if ("task", name) in self.raws or name in self.points:
            return True
        proofs = (
            proof for kind, task in self.raws if kind == "task" for proof in self.proofs(task)
        )
        return name in proofs or self.knows(name, path)

    def proofs(self, task: str) -> list[str]:
        """Returns the ids of the proofs of a task."""
        told = self.raws["task", task].values.get("assumptions") or ()
        return [proof_id(task, n) for n in range(sum(bool(one.get("proof")) for one in told))]

    def needs_of(self, name: str) -> list[str]:
        """Returns what a task or a checkpoint needs."""
        if name in self.points:
            return list(self.points[name].get("needs") or ())
        return list(self.raws["task", name].values.get("dependencies") or ())

    def set_needs(self, name: str, needs: list[str]) -> None:
        """Has a checkpoint or a task need these."""
        if name not in self.points:
            raw = self.raws["task", name]
            self.raws["task", name] = replace(raw, values={**raw.values, "dependencies": needs})
            return
        told = {**self.points, name: {**self.points[name], "needs": needs}}
        top = self.raws["fleet", ""]
        values = {**top.values, "checkpoints": list(told.values())}
        self.raws["fleet", ""] = replace(top, values=values)

    def drop(self, name: str) -> None:
        """Takes a task out, also of the phase that lists it."""
        del self.raws["task", name]
        top = self.raws.get(("fleet", ""))
        phases = top.values.get("phases") or () if top is not None else ()
        if top is not None and any(name in (one.get("tasks") or ()) for one in phases):
            told = [
                {**one, "tasks": [task for task in one["tasks"] if task != name]}
                if one.get("tasks")
                else one
                for one in phases
            ]
            self.raws["fleet", ""] = replace(top, values={**top.values, "phases": told})

    def add(self, task: Mapping[str, Any], path: Path, phase: str = "") -> str:
        """Adds a task and returns its id, an empty text where that cannot be."""
        name = str(task.get("id") or "")
        if not name:
            self.say("a task that is added has an id", path)
            return ""
        twin = next(
            (n for kind, n in self.raws if kind == "task" and n.lower() == name.lower()), ""
        )
        if twin:
            said = f"task {name!r} is there already"
            self.say(said if twin == name else f"{said}, as {twin!r}", (*path, "id"))
            return ""
        values = {**({"phase": phase} if phase else {}), **task}
        if "agent" in values:
            values["agent"] = self.agent(str(values["agent"]), (*path, "agent"))
        place = self.change.at
        self.raws["task", name] = Raw(
            "task",
            place(path).path,
            b"",
            digest_of(values),
            values,
            at=lambda inner: place((*path, *inner)),
        )
        return name

    def agent(self, name: str, path: Path) -> str:
        """Returns the agent that an id means, or the role that one agent plays."""
        if ("agent", name) in self.raws:
            return name
        play = [
            one.values.get("id", known)
            for (kind, known), one in self.raws.items()
            if kind == "agent" and name in _listed(one.values.get("roles"))
        ]
        if len(play) > 1:
            self.say(
                f"{name!r} is a role of {' and '.join(sorted(play))}", path, "name one of them"
            )
        return play[0] if play else name

    def insert(self, one: Mapping[str, Any], path: Path) -> None:
        """Puts a task behind some and before others."""
        before, after = _listed(one.get("before")), _listed(one.get("after"))
        known = [
            (find if name not in self.points else self.is_there)(name, (*path, key, number))
            for key, names, find in (
                ("before", before, self.knows),
                ("after", after, self.is_there),
            )
            for number, name in enumerate(names)
        ]
        if not all(known):
            return
        task = one["task"]
        if isinstance(task, Mapping):
            near = (
                other
                for one in (*before, *after)
                for other in (self.needs_of(one) if one in self.points else (one,))
                if ("task", other) in self.raws
            )
            phase = next(filter(None, map(self.phase_of, near)), "")
            name = self.add(task, (*path, "task"), phase)
        else:
            name = str(task) if self.knows(str(task), (*path, "task")) else ""
        if not name:
            return
        for number, other in enumerate(after):
            self.need(name, other, (*path, "after", number))
        left = self.change.told.get("running") or {}
        for number, other in enumerate(before):
            for waiting in self.behind(other, name) if left.get(other) == LEAVE else (other,):
                self.need(waiting, name, (*path, "before", number))

    def phase_of(self, task: str) -> str:
        """Returns the phase that a task is placed in, an empty text for the implicit one."""
        top = self.raws.get(("fleet", ""))
        phases = top.values.get("phases") or () if top is not None else ()
        listed = (one["id"] for one in phases if task in (one.get("tasks") or ()))
        own = self.raws["task", task].values.get("phase")
        defaults = (top.values.get("defaults") or {}) if top is not None else {}
        return str(next(listed, "") or own or defaults.get("phase") or "")

    def behind(self, task: str, but: str) -> list[str]:
        """Returns the tasks that wait for one, without those that `but` itself waits for."""
        own, todo = {but}, [but]
        while todo:
            new = set(_waits_for(self.raws, todo.pop())) - own
            own |= new
            todo += new
        return [
            name
            for kind, name in self.raws
            if kind == "task" and name not in own and task in _waits_for(self.raws, name)
        ]

    def move(self, name: str, moved: Mapping[str, Any], path: Path) -> None:
        """Changes what a task needs."""
        needs = self.needs_of(name)
        for number, one in enumerate(moved.get("remove") or ()):
            if one in needs:
                needs.remove(one)
            else:
                self.say(f"task {name!r} does not need {one!r}", (*path, "remove", number))
        self.set_needs(name, needs)
        left = (self.change.told.get("running") or {}).get(name) == LEAVE
        for number, one in enumerate(moved.get("add") or ()):
            at = (*path, "add", number)
            if self.is_there(one, at):
                for waiting in self.behind(name, one) if left else (name,):
                    self.need(waiting, one, at)

    def need(self, name: str, other: str, path: Path) -> None:
        """Has a task need another, told at `path` of the change."""
        needs = self.needs_of(name)
        if other in needs:
            return
        if name in self.points:
            self.set_needs(name, [*needs, other])
            return
        raw = self.raws["task", name]
        told = self.moved.setdefault(name, {})
        told[other] = path
        needs.append(other)
        values, place = {**raw.values, "dependencies": needs}, self.change.at

        def at(inner: Path) -> Place:
            if inner[:1] == ("dependencies",):
                index = inner[1] if len(inner) > 1 else len(needs) - 1
                if isinstance(index, int) and index < len(needs) and needs[index] in told:
                    return place(told[needs[index]])
            return place_in(raw, inner)

        self.raws["task", name] = replace(raw, values=values, at=at)


def _waits_for(raws: Raws, task: str) -> list[str]:
    raw = raws.get(("task", task))
    if raw is None:
        return []
    return [*(raw.values.get("dependencies") or ()), *(raw.values.get("verifies") or ())]
