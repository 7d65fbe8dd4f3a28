"""Decisions as text: what was asked, what was answered, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.render.flows import moment
from fleet.render.text import cut, line, wrapped


def decisions_text(decisions: Sequence[Mapping[str, Any]], columns: int = 100) -> str:
    """Returns decisions, each with its question, its answer and the reason."""
    if not decisions:
        return "nothing was decided yet"
    lines = []
    for one in decisions:
        when = moment(one["at"])[:16] if one["at"] else "in its file"
        by = str(one["by"] or "").removeprefix("agent:")
        cells = [when, one["id"], one["task"] or one["run"], by, one["topic"] or ""]
        lines.append(cut("  ".join(line(str(cell)) for cell in cells if cell), columns))
        asked = f"a change of the plan: {one['change']}" if one["change"] else one["question"]
        if asked:
            lines += wrapped(str(asked), columns, "    ")
        lines += wrapped(f"-> {one['answer']}", columns, "    ")
        if one["reason"]:
            lines += wrapped(str(one["reason"]), columns, "       ")
    return "\n".join(lines)
