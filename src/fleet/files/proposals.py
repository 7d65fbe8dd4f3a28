"""A proposed change of the plan: tasks added, needs moved, tasks dropped; as data and as text.

    {add: [task documents, each with an id], needs: {task: {add: [ids], remove: [ids]}},
     drop: [ids], reason}

What a person is asked to approve is `text_of` a change, whole: the text follows from the change and
from nothing else, so that what is approved can be held against what was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.errors import Place, Problem, did_you_mean
from fleet.files.fleet import Raw

PROPOSAL_CHARS: Final = 65_536
"""Characters of a change's text that a person can be asked to judge."""

Raws = Mapping[tuple[str, str], Raw]
Read = Callable[[str, str], Raw | None]


def text_of(change: Mapping[str, Any]) -> str:
    """Returns a change as a person reads it."""
    lines = [str(change.get("reason") or "No reason was given."), ""]
    for task in change.get("add") or ():
        lines.append(f"+ task {task.get('id')}:")
        lines += [f"    {name}: {_shown(value)}" for name, value in task.items() if name != "id"]
    for name, moved in (change.get("needs") or {}).items():
        lines += [f"~ task {name} also needs {one}" for one in moved.get("add") or ()]
        lines += [f"~ task {name} no longer needs {one}" for one in moved.get("remove") or ()]
    lines += [f"- task {name}" for name in change.get("drop") or ()]
    return "\n".join(lines).rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, str) and "\n" in value:
        return "\n" + "\n".join(f"        {line}" for line in value.splitlines())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def changed(
    raws: Raws, change: Mapping[str, Any], read: Read, problems: list[Problem]
) -> dict[tuple[str, str], Raw]:
    """Returns the documents with a change applied; what cannot be applied is a problem. `read`
    makes a task of a path and a text.
    """
    found = dict(raws)
    tasks = {name for kind, name in raws if kind == "task"}
    for name in change.get("drop") or ():
        if name in tasks:
            del found["task", name]
        else:
            problems.append(_unknown("drop", name, tasks))
    for task in change.get("add") or ():
        name = str(task.get("id") or "")
        if not name or ("task", name) in found:
            said = f"task {name!r} is there already" if name else "a task that is added has an id"
            problems.append(Problem(said, Place("add")))
            continue
        raw = read(f"tasks/{name}.yaml", json.dumps(task, ensure_ascii=False))
        if raw is not None:
            found["task", name] = raw
    for name, moved in (change.get("needs") or {}).items():
        if ("task", name) not in found:
            problems.append(_unknown("needs", name, tasks))
            continue
        found["task", name] = _moved(found["task", name], moved, problems)
    return found


def _moved(raw: Raw, moved: Mapping[str, Any], problems: list[Problem]) -> Raw:
    needs = list(raw.values.get("dependencies") or ())
    for name in moved.get("remove") or ():
        if name in needs:
            needs.remove(name)
        else:
            problems.append(Problem(f"the task does not need {name!r}", Place(raw.path)))
    needs += [name for name in moved.get("add") or () if name not in needs]
    return replace(raw, values={**raw.values, "dependencies": needs})


def _unknown(key: str, name: str, tasks: set[str]) -> Problem:
    return Problem(f"there is no task {name!r}", Place(key), did_you_mean(name, tasks))
