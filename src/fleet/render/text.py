"""Text for a terminal: control characters neutralised, cut and padded by columns, glyphs or ASCII.

Names, outputs and files are written by others; nothing of theirs reaches a terminal raw.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&])")
LEAST = 6
"""Columns that a table leaves to each of its own."""

PLAIN_LOCALES = ("C", "POSIX")


def plain(text: str) -> str:
    """Returns a text with control and direction characters written as escapes; newlines stay.

    So are halves of surrogate pairs, which stand for bytes that are no text.
    """
    return _CONTROL.sub(_escaped, text.replace("\t", "    "))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def line(text: str) -> str:
    """Returns a text as one safe line; runs of spaces stay."""
    return plain(" ".join(text.splitlines())).rstrip()


def width(text: str) -> int:
    """Returns how many columns a text takes."""
    return len(text) if text.isascii() else sum(map(_sign_width, text))


def _sign_width(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def cut(text: str, columns: int, mark: str = "") -> str:
    """Returns a text in at most so many columns, with a mark where something is left out: an
    ellipsis unless told.
    """
    if width(text) <= columns:
        return text
    mark = mark or (".." if ascii_only() else "…")
    if columns <= width(mark):
        mark = ""
    return _fitting(text, columns - width(mark)) + mark


def _fitting(text: str, columns: int) -> str:
    """Returns as much of the beginning of a text as so many columns hold."""
    taken = 0
    for place, one in enumerate(text):
        taken += width(one)
        if taken > columns:
            return text[:place]
    return text


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Returns a text filled up to so many columns."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def ascii_only() -> bool:
    """Returns whether output must be ASCII: FLEET_ASCII, the C locale, or such an encoding."""
    environ = os.environ
    # Python itself sets LC_CTYPE=C.UTF-8 where LANG is C, so LANG is asked first.
    locale = environ.get("LC_ALL") or environ.get("LANG") or environ.get("LC_CTYPE")
    if environ.get("FLEET_ASCII", "") not in ("", "0") or locale in PLAIN_LOCALES:
        return True
    return "utf" not in (sys.stdout.encoding or "ascii").lower()


def table(
    rows: Sequence[Sequence[str]], heads: Sequence[str], columns: int, grow: int
) -> list[str]:
    """Returns aligned lines of at most so many columns; what is too wide is cut.

    The column numbered `grow` gives way first, then whichever is widest.
    """
    cells = [[line(one) for one in row] for row in rows]
    widths = [max(width(row[n]) for row in (list(heads), *cells)) for n in range(len(heads))]
    room = columns - 2 * (len(heads) - 1)
    least = min(LEAST, widths[grow])
    widths[grow] = max(least, widths[grow] - max(0, sum(widths) - room))
    while sum(widths) > room and max(widths) > LEAST:
        widest = widths.index(max(widths))
        widths[widest] = max(LEAST, widths[widest] - (sum(widths) - room))
    return [
        "  ".join(pad(cut(one, size), size) for one, size in zip(row, widths, strict=True)).rstrip()
        for row in (list(heads), *cells)
    ]


def wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    """Returns a text broken into lines of at most so many columns, each indented."""
    room = max(20, columns - width(indent))
    lines: list[str] = []
    for part in plain(text.replace("\r\n", "\n")).splitlines():
        lines += _broken(part.split(), room)
    return [f"{indent}{one}".rstrip() for one in lines]


def _broken(words: Sequence[str], room: int) -> list[str]:
    """Returns words in lines of at most so many columns; a longer word is broken."""
    lines = [""]
    for word in words:
        rest = word
        if lines[-1] and width(lines[-1]) + 1 + width(rest) > room:
            lines.append("")
        elif lines[-1]:
            rest = f" {rest}"
        while width(rest) > room - width(lines[-1]):
            head = _fitting(rest, room)
            lines[-1] += head
            rest = rest[len(head) :]
            lines.append("")
        lines[-1] += rest
    return lines


def amount(count: float | None) -> str:
    """Returns a count in at most five signs: `950`, `12.3k`, `4.5M`; a dash for none."""
    if count is None:
        return "-"
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            shown = f"{count / size:.1f}" if count < 100 * size else f"{count / size:.0f}"
            return shown.removesuffix(".0") + unit
    return f"{count:g}"


def money(usd: float | None) -> str:
    """Returns an amount of dollars: cents, and for less than one as many places as it takes."""
    if usd is None:
        return "-"
    return f"${usd:.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def escaped(text: str) -> str:
    """Returns any text as one line of Markdown that means just itself."""
    return _MARKUP.sub(r"\\\1", line(text))


def row_of(cells: Iterable[str]) -> str:
    """Returns a row of a Markdown table of cells that are Markdown."""
    return f"| {' | '.join(cells)} |"
