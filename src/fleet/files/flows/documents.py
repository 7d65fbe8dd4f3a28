"""A workflow as the rest of fleet sees it: normal form as plain JSON, whichever dialect it had.

    {name, dialect, file, thread, workspace, inputs, initial_state, steps: [step]}
    step: {id, type, ...the keys of its type}; lists of steps within are steps alike

A step of the graph dialect is a `delegate` whose text stands under `task` and whose `needs` are its
`deps`. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.errors import Problem

Json = Any
Where = tuple[str | int, ...]
"""A path in the normal form, which is the path in the file but for the graph dialect's names."""

LISTS: Final = ("steps", "then", "else")
REFERENCE: Final = re.compile(r"\{(thread\.)?([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.output\}")
"""A reference in the graph dialect; other braces are left alone."""

ALONE: Final = "step"
"""The id of the only step of a workflow that has one step and no ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One document in normal form, with what was found to warn of."""

    form: Mapping[str, Json]
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """How it is called."""
        return str(self.form["name"])

    @property
    def steps(self) -> Sequence[Mapping[str, Json]]:
        """Its steps in their order."""
        found: Sequence[Mapping[str, Json]] = self.form["steps"]
        return found


def walk(
    steps: Sequence[Mapping[str, Json]], at: Where = ("steps",)
) -> Iterator[tuple[Where, Mapping[str, Json]]]:
    """Yields each step of a list, and of the lists within, with its path; in document order."""
    for number, step in enumerate(steps):
        here = (*at, number)
        yield here, step
        for key in LISTS:
            if isinstance(step.get(key), list):
                yield from walk(step[key], (*here, key))


def step_at(form: Mapping[str, Json], at: Sequence[str | int]) -> Mapping[str, Json]:
    """Returns the step that a path leads to; raises LookupError where there is none."""
    found: Any = form
    for part in at:
        found = found[part]
    return found  # type: ignore[no-any-return]


def writes(step: Mapping[str, Json]) -> list[str]:
    """Returns the variables of the state that a step sets."""
    names = list(step.get("updates") or ()) if step["type"] == "set_state" else []
    return [*names, *([step["output_to"]] if step.get("output_to") else ())]
