"""Foreseen conflicts as text: which tasks, in which files, at which lines of either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.render.text import line, wrapped

SPOTS: Final = 4  # places of one file that are shown; JSON has them all


def conflicts_text(found: Mapping[str, Any], columns: int = 100) -> str:
    """Returns every pair that would conflict with its files, in at most so many columns."""
    base = line(str(found["base"]["branch"]))
    lines = []
    for one in found["conflicts"]:
        names = [line(str(name)) for name in one["tasks"]] + ([base] if one["with_base"] else [])
        lines.append(f"{' and '.join(names)} would conflict:")
        for path in one["paths"]:
            lines += wrapped(_path(path, names), columns, "    ")
    for one in found["owned_by_both"]:
        both = " and ".join(line(str(name)) for name in one["tasks"])
        globs = " and ".join(dict.fromkeys(line(str(glob)) for glob in one["globs"]))
        lines += wrapped(f"{both} may run side by side, and both are to write {globs}", columns)
    count = len(found["branches"])
    if not found["conflicts"]:
        told = f"no conflicts among {count} live branch{'' if count == 1 else 'es'} and {base}"
        lines.insert(0, told if count else f"no branch is live; nothing can conflict with {base}")
    return "\n".join(lines)


def _path(path: Mapping[str, Any], names: Sequence[str]) -> str:
    shown = line(str(path["path"]))
    if not path["lines"]:
        return f"{shown}: {line(str(path['kind']))}"
    spots = [
        f"{_span(spot['ours'])} of {names[0]}, {_span(spot['theirs'])} of {names[-1]}"
        for spot in path["lines"][:SPOTS]
    ]
    more = len(path["lines"]) - SPOTS
    return f"{shown}: {'; '.join(spots)}{f'; {more} more' if more > 0 else ''}"


def _span(lines: Sequence[int]) -> str:
    first, last = lines
    if last < first:
        return f"nothing at line {first}"
    return f"line {first}" if first == last else f"lines {first} to {last}"
