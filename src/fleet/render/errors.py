"""Errors and problems as a person reads them: place, cause, fix; control characters visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.errors import InvalidPlan
from fleet.render.text import plain


def error_text(error: object) -> str:
    """Returns an error as lines for standard error."""
    if isinstance(error, InvalidPlan):
        count = len(error.problems)
        told = f"{count} problem{'s' if count != 1 else ''}; nothing was changed"
        return "\n".join([*(plain(str(one)) for one in error.problems), told, ""])
    text = plain(str(getattr(error, "text", error)))
    hint = plain(str(getattr(error, "hint", "")))
    return f"error: {text}\n" + (f"  {hint}\n" if hint else "")


def problem_lines(problems: Sequence[Mapping[str, Any]]) -> str:
    """Returns problems as `path:line:column: text (hint)` lines."""
    lines = [
        plain(f"{one['place']}: {one['text']}" + (f" ({one['hint']})" if one["hint"] else ""))
        for one in problems
    ]
    count = len(lines)
    return "\n".join([*lines, f"{count} problem{'s' if count != 1 else ''}"])
