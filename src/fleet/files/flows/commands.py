"""Expressions in the text of a shell command: each becomes a reference to a variable.

No value ever becomes text of a command. How a reference is quoted follows from where it stands:
bare, between double quotes, between single quotes. A shell does not read the value of a variable
as commands, so that a place which is read wrongly here is at worst quoted wrongly.
"""

from __future__ import annotations

import re
from typing import Final

from fleet.errors import FleetError

_EXPRESSION: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
PREFIX: Final = "FLOW_VALUE_"


def referring(command: str) -> tuple[str, dict[str, str]]:
    """Returns a command with references in the place of its expressions, and these by variable;
    raises FleetError for a Jinja statement, for which a command has no place.
    """
    if "{%" in command:
        raise FleetError("a command takes expressions, no statements", hint="set the state before")
    parts, found, at, quote = [], {}, 0, ""
    for number, place in enumerate(_EXPRESSION.finditer(command), 1):
        between = command[at : place.start()]
        quote = _quote_after(between, quote)
        name = f"{PREFIX}{number}"
        found[name] = place[0]
        reference = {"": f'"${{{name}}}"', '"': f"${{{name}}}", "'": f"'\"${{{name}}}\"'"}[quote]
        parts += [between, reference]
        at = place.end()
    return "".join([*parts, command[at:]]), found


def _quote_after(text: str, quote: str) -> str:
    """Returns which quotes are open behind a stretch of a command."""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'":
            at += 1
        elif char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        at += 1
    return quote
