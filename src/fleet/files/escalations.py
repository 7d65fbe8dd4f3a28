"""Who is asked: routes from questions to agents and people, and the steps that ask or answer.

A name that begins with `@`, or the word `person`, is a person's; anything else is an agent's role
or an agent's id. Nothing is asked here and nothing answered: routes and steps are made, which lower
with the plan, and the kernel puts the steps of a route behind a question that goes its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleet.core.plan import Need, Step

PERSON: Final = "person"
"""Whoever looks at the inbox."""


def is_person(name: str) -> bool:
    """Returns whether a name is that of a person, whom no agent answers for."""
    return name == PERSON or name.startswith("@")


def consult_step(
    id: str,  # noqa: A002 - as in `Step`
    question: str,
    *,
    to: str,
    topic: str = "",
    needs: Sequence[Need],
    whole: str,
) -> Step:
    """Returns a step that asks a role, an agent or a person; its output is {answer, by, reason}."""
    return Step(
        id=id,
        kind="consult",
        params={"question": question, "to": to, "topic": topic},
        needs=tuple(needs),
        whole=whole,
    )
