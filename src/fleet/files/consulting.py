"""The step by which a plan asks a role or a person: its constructor, for whatever lowers to one.

Pure. Whom a question goes to is told in `escalations`, what the step does in `kinds.consult`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleet.core.plan import Need, Step


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
        params={"message": question, "to": to, "topic": topic},
        needs=tuple(needs),
        whole=whole,
    )
