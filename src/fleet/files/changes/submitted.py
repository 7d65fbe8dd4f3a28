"""A change of the plan that somebody hands in: a file, or plain values; in normal form, or every
problem with its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet.errors import FleetError, InvalidPlan, Place, Problem
from fleet.files.changes.proposals import Change, Path, dotted, is_empty
from fleet.files.fleet import MAX_BYTES, as_written

if TYPE_CHECKING:
    import pathlib

    from fleet.files.source import Source


def read_change(told: Mapping[str, Any]) -> Change:
    """Returns a change given as plain values; places are the names of its keys.

    Raises InvalidPlan with every problem.
    """
    return _checked(json.dumps(told, ensure_ascii=False), "the change", is_file=False)


def read_change_file(path: pathlib.Path) -> Change:
    """Returns the change that a YAML or JSON file holds; raises InvalidPlan with every problem, and
    FleetError for a file that cannot be read.
    """
    from fleet.files import source

    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = source.decode(raw, str(path))
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from error
    except source.Unreadable as unreadable:
        raise InvalidPlan([unreadable.problem]) from None
    return _checked(text, str(path), is_file=True)


def _checked(text: str, name: str, *, is_file: bool) -> Change:
    from pydantic import ValidationError

    from fleet.files import source
    from fleet.files.validate import normal_form, problems_of

    try:
        values = source.read_yaml(text, name).values
        found = source.read_yaml(text, name, positions=True)
    except source.Unreadable as unreadable:
        raise InvalidPlan([unreadable.problem]) from None

    def at(path: tuple[str | int, ...]) -> Place:
        return found.place(name, as_written(path, found.marks)) if is_file else dotted(path)

    problems, lost = list[Problem](), set[str]()
    try:
        told = normal_form("patch", values)
    except ValidationError as error:
        problems = problems_of("patch", error, found, name)
        problems = problems if is_file else _by_keys(problems, found)
        whole = _without(values, [details["loc"] for details in error.errors()], lost)
        try:
            told = normal_form("patch", whole)
        except ValidationError:
            raise InvalidPlan(problems) from None
    if is_empty(told):
        hint = "give `add`, `insert`, `needs` or `drop`"
        nothing = Problem("the change changes nothing", at(()), hint)
        raise InvalidPlan(problems or [nothing])
    return Change(told, at, problems=tuple(problems), lost=frozenset(lost))


def _without(values: Mapping[str, Any], wrong: Iterable[Path], lost: set[str]) -> dict[str, Any]:
    """Returns a change without its parts that have no normal form, so that what is wrong with the
    others is found, too; notes the tasks that these were to add.
    """
    told = {key: value for key, value in values.items() if (key,) not in wrong}
    for key in ("add", "insert"):
        bad = {where[1] for where in wrong if where[:1] == (key,) and len(where) > 1}
        if not bad or not isinstance(told.get(key), list):
            continue
        for number in bad:
            part = told[key][number] if isinstance(number, int) else {}
            task = part.get("task", part) if isinstance(part, Mapping) else {}
            lost.add(str(task.get("id")) if isinstance(task, Mapping) else "")
        told[key] = [one for number, one in enumerate(told[key]) if number not in bad]
    return told


def _by_keys(problems: list[Problem], found: Source) -> list[Problem]:
    """Returns problems of a text that nobody has written, with names of keys as their places."""
    keys = {place: path for path, place in (*found.marks.items(), *found.keys.items())}
    told = []
    for one in problems:
        at = (one.place.line, one.place.column) if one.place is not None else (0, 0)
        told.append(replace(one, place=dotted(keys.get(at, ()))))
    return told
