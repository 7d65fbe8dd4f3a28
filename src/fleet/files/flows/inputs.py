"""Inputs of a workflow: given ones checked against those that it declares, before anything starts.

What comes from a command line is text and is read as the declared type says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fleet.errors import InvalidPlan, Place, Problem, did_you_mean


def checked_inputs(
    declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], file: str = ""
) -> dict[str, Any]:
    """Returns the inputs of a run, defaults filled in; raises InvalidPlan with every problem."""
    problems = []
    place = Place(file) if file else None
    for name in given:
        if name not in declared:
            hint = did_you_mean(name, declared)
            problems.append(Problem(f"the workflow takes no input {name!r}", place, hint))
    found: dict[str, Any] = {}
    for name, told in declared.items():
        kind = told.get("type", "any")
        if name in given:
            if not fits(given[name], kind):
                said = f"the input {name!r} must be of type {kind}, got {_shown(given[name])}"
                problems.append(Problem(said, place))
            found[name] = given[name]
        elif told.get("required"):
            hint = f"give it: --input {name}=..."
            problems.append(Problem(f"the input {name!r} is required", place, hint))
        else:
            found[name] = told.get("default")
    if problems:
        raise InvalidPlan(problems)
    return found


def wrong_inputs(
    declared: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yields (input, text, hint) of what a step gives a workflow that can be seen to be wrong
    before any expression is evaluated.
    """
    for name, value in given.items():
        if name not in declared:
            yield name, f"the workflow takes no input {name!r}", did_you_mean(name, declared)
            continue
        kind = declared[name].get("type", "any")
        evaluated = isinstance(value, str) and ("{{" in value or "{%" in value)
        if not evaluated and not fits(value, kind):
            said = f"the input {name!r} must be of type {kind}, got {_shown(value)}"
            yield name, said, ""
    for name, told in declared.items():
        if told.get("required") and name not in given:
            yield "", f"the input {name!r} is required", "give it under `inputs`"


def read_inputs(
    declared: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Returns inputs from the texts of a command line, read as their declared types say."""
    return {
        name: _read(text, declared.get(name, {}).get("type", "any")) for name, text in texts.items()
    }


def _read(text: str, kind: str) -> Any:
    if kind == "string":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fits(value: object, kind: str) -> bool:
    """Returns whether a value is of the type that an input declares; null fits none but `any`."""
    if kind == "any":
        return True
    if kind in ("number", "integer"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or value == int(value))  # type: ignore[call-overload]
    kinds = {"string": str, "boolean": bool, "array": list, "object": dict}
    return isinstance(value, kinds[kind])
