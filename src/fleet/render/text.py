"""Text for a terminal: control characters neutralised, cut and padded by columns, glyphs or ASCII.

Names, outputs and files are written by others; nothing of theirs reaches a terminal raw.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def plain(text: str) -> str:
    """Returns a text with control and direction characters written as escapes; newlines stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text.replace("\t", "    "))


def line(text: str) -> str:
    """Returns a text as one safe line; runs of spaces stay."""
    return plain(" ".join(text.splitlines())).rstrip()


def width(text: str) -> int:
    """Returns how many columns a text takes."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def cut(text: str, columns: int) -> str:
    """Returns a text in at most so many columns, with an ellipsis where something is left out."""
    if width(text) <= columns:
        return text
    mark = ".." if ascii_only() else "…"
    kept = ""
    for one in text:
        if width(kept + one) > columns - width(mark):
            break
        kept += one
    return kept + mark if columns > width(mark) else text[:columns]


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Returns a text filled up to so many columns."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def ascii_only() -> bool:
    """Returns whether output must be ASCII: FLEET_ASCII, or an encoding that has nothing else."""
    if os.environ.get("FLEET_ASCII"):
        return True
    return "utf" not in (sys.stdout.encoding or "ascii").lower()


def table(
    rows: Sequence[Sequence[str]], heads: Sequence[str], columns: int, grow: int
) -> list[str]:
    """Returns aligned lines; the column numbered `grow` gives way when the whole is too wide."""
    cells = [[line(one) for one in row] for row in rows]
    widths = [max(width(row[n]) for row in (list(heads), *cells)) for n in range(len(heads))]
    spare = columns - sum(widths) - 2 * (len(heads) - 1)
    if spare < 0:
        widths[grow] = max(6, widths[grow] + spare)
    return [
        "  ".join(pad(cut(one, size), size) for one, size in zip(row, widths, strict=True)).rstrip()
        for row in (list(heads), *cells)
    ]


def wrapped(text: str, columns: int, indent: str) -> list[str]:
    """Returns a text broken into lines of at most so many columns, each indented."""
    import textwrap

    lines: list[str] = []
    for part in plain(text).splitlines():
        lines += textwrap.wrap(part, max(20, columns - len(indent))) or [""]
    return [indent + one for one in lines]
