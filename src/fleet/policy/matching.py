"""Does a text fit a pattern, in one pass over the text, whatever either of them holds.

Both are texts of parts, each part with `START` before it: words of a command, folders of a path.
A text may hold what is not known before it runs: `ANY`, within a part, and `MANY`, which may be
parts of its own. *Certain* is a fit of every text that it may become, *possible* one of any of
them. No backtracking, so no text is slow to judge.
"""

from __future__ import annotations

ANY = "\x00"
"""Unknown text within a part; in a pattern, any text within a part."""

MANY = "\x01"
"""Unknown text, also of several parts or none; in a pattern, a whole part: any number of parts."""

START = "\x02"
"""Before each part."""

SIGNS = (ANY, MANY, START)

_WITHIN = "\x03"  # of a pattern: inside one of the parts that MANY stands for


def joined(parts: list[str]) -> str:
    """Returns parts as the text that is matched."""
    return "".join(START + part for part in parts)


def fits(pattern: list[str], text: str, *, certain: bool) -> bool:
    """Returns whether a joined `text` fits the parts of a pattern."""
    states = _states(pattern)
    last, now = len(states), _closed(states, {0})
    for sign in text:
        after: set[int] = set()
        for at in now:
            if at == last:
                continue
            wanted = states[at]
            if wanted in (ANY, _WITHIN):
                if sign != START and not (certain and sign == MANY and wanted == ANY):
                    after.add(at)
            elif wanted == MANY:
                if sign == START:
                    after.add(at + 1)
            elif wanted == sign:
                after.add(at + 1)
        if not certain and sign in (ANY, MANY):
            after |= _reached(states, now, beyond=sign == MANY)
        now = _closed(states, after)
        if not now:
            return False
    return last in now


def _states(pattern: list[str]) -> list[str]:
    found: list[str] = []
    for part in pattern:
        found += [MANY, _WITHIN] if part == MANY else [START, *part]
    return found


def _closed(states: list[str], now: set[int]) -> set[int]:
    """Returns the states with those that are reached from them without any text."""
    todo = list(now)
    while todo:
        at = todo.pop()
        if at == len(states):
            continue
        wanted = states[at]
        more = {ANY: at + 1, MANY: at + 2, _WITHIN: at - 1}.get(wanted)
        if more is not None and more not in now:
            now.add(more)
            todo.append(more)
    return now


def _reached(states: list[str], now: set[int], *, beyond: bool) -> set[int]:
    """Returns the states that some unknown text leads to, `beyond` its part or not."""
    found = set(now)
    todo = list(now)
    while todo:
        at = todo.pop()
        if at == len(states):
            continue
        crossing = states[at] in (START, MANY)
        if crossing and not beyond:
            continue
        for more in _closed(states, {at + 1 if states[at] not in (ANY, _WITHIN) else at}):
            if more not in found:
                found.add(more)
                todo.append(more)
    return found
