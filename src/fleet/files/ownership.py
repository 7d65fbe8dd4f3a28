"""Who may write what: globs that meet, and tasks that may run side by side over the same files.

Law: texts and the plan's order only; no file is looked at, so it also holds for files to come. Two
globs meet when some path fits both, by the rules of deliverables: `*` stays within a folder, `**/`
is any number of folders, and what names a folder means all below it. What ends like `.py` names no
folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final

from fleet.core.plan import circle
from fleet.errors import Place, Problem
from fleet.files.fleet import Fleet

ANY: Final = "**"
Parts = tuple[str, ...]
WILD: Final = frozenset("*?[")
_ENDING = re.compile(r"\.\w+$")
_SET = re.compile(r"\[!?\]?[^\]]*\]")


def owned(fleet: Fleet, task: str) -> tuple[str, ...]:
    """Returns the globs of what a task is to write: its agent's own, else its deliverables."""
    told = fleet.tasks[task]
    agent = fleet.agents.get(told.agent)
    if agent is not None and agent.owns:
        return agent.owns
    return tuple(one.path for one in told.deliverables if one.path)


def owners_apart(fleet: Fleet) -> Iterator[Problem]:
    """Agents whose tasks may run side by side are not to write the same files; told once for two
    agents.
    """
    if ("fleet", "") in fleet.broken or circle(
        {t.id: (*t.dependencies, *t.verifies) for t in fleet.tasks.values()}
    ):
        return
    told: set[frozenset[str]] = set()
    for one, other, mine, theirs in clashes(fleet):
        who = frozenset((fleet.tasks[one].agent, fleet.tasks[other].agent))
        if len(who) == 1 or who in told:
            continue
        told.add(who)
        both = f"{mine!r}" if mine == theirs else f"{mine!r} and {theirs!r}"
        text = f"{one} and {other} may run side by side, and both are to write {both}"
        hint = "let one depend on the other, or part what they own"
        yield Problem(text, _place(fleet, one, mine), hint)


def clashes(fleet: Fleet) -> Iterator[tuple[str, str, str, str]]:
    """Yields (task, task, glob, glob) where two tasks of one phase, neither of which waits for the
    other, are to write what fits both globs; each pair of tasks once.
    """
    before: Mapping[str, frozenset[str]] = {}
    for phase in fleet.phases:
        seen: set[tuple[str, str]] = set()
        for one, other, mine, theirs in _meeting(fleet, phase.tasks):
            before = before or _before(fleet)
            if (one, other) not in seen and other not in before[one] and one not in before[other]:
                seen.add((one, other))
                yield one, other, mine, theirs


def apart(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """Yields one pair of tasks for each two agents whose tasks may run side by side and whose own
    files do not meet.
    """
    before: Mapping[str, frozenset[str]] = {}
    told: set[frozenset[str]] = set()
    for phase in fleet.phases:
        owning = [name for name in phase.tasks if _owns(fleet, name)]
        for one, other in combinations(owning, 2):
            who = frozenset((fleet.tasks[one].agent, fleet.tasks[other].agent))
            if len(who) == 1 or who in told:
                continue
            before = before or _before(fleet)
            if other in before[one] or one in before[other]:
                continue
            told.add(who)
            if not any(meet(a, b) for a in owned(fleet, one) for b in owned(fleet, other)):
                yield one, other


def _owns(fleet: Fleet, task: str) -> bool:
    agent = fleet.agents.get(fleet.tasks[task].agent)
    return agent is not None and bool(agent.owns)


def _meeting(fleet: Fleet, tasks: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yields pairs of tasks whose globs meet; plain paths are looked up, not compared."""
    plain: dict[str, list[str]] = {}
    wild: list[tuple[str, str]] = []
    for task in tasks:
        for glob in owned(fleet, task):
            path = glob.removeprefix("./").rstrip("/")
            for end, found in _folders(path) if not set(glob) & WILD else ():
                yield from ((other, task, path[:end], glob) for other in plain.get(found, ()))
            for other, theirs in wild:
                if other != task and meet(theirs, glob):
                    yield other, task, theirs, glob
            if set(glob) & WILD:
                for known, others in plain.items():
                    if meet(known, glob):
                        yield from ((o, task, known, glob) for o in others if o != task)
                wild.append((task, glob))
            elif task not in plain.setdefault(path, []):
                plain[path].append(task)


def _folders(path: str) -> Iterator[tuple[int, str]]:
    """Yields a path and all folders around it, each with where it ends."""
    end = len(path)
    while end > 0:
        yield end, path[:end]
        end = path.rfind("/", 0, end)


@lru_cache(maxsize=65_536)
def meet(one: str, other: str) -> bool:
    """Returns whether some path fits both globs."""
    left, right = _parts(one), _parts(other)
    return _meet(left, right, _file(left), _file(right))


def _parts(glob: str) -> Parts:
    return tuple(part for part in glob.removeprefix("./").split("/") if part)


def _file(parts: Parts) -> bool:
    return bool(parts) and _ENDING.search(parts[-1]) is not None


def _meet(one: Parts, other: Parts, file: bool, others: bool) -> bool:  # noqa: FBT001 - one each
    """`file`, `others`: whether what the side names last is a file, and so holds nothing."""
    if not one or not other:
        left, within = (other, file) if not one else (one, others)
        return not within or all(part == ANY for part in left)
    if one[0] == ANY:
        return _meet(one[1:], other, file, others) or _meet(one, other[1:], file, others)
    if other[0] == ANY:
        return _meet(other, one, others, file)
    return _fit(one[0], other[0]) and _meet(one[1:], other[1:], file, others)


def _fit(one: str, other: str) -> bool:
    """Returns whether some name fits both patterns; a set of characters counts as any one."""
    if one == other or not (set(one) | set(other)) & WILD:
        return one == other
    left, right = _SET.sub("?", one), _SET.sub("?", other)
    fits = [[False] * (len(right) + 1) for _ in range(len(left) + 1)]
    fits[-1][-1] = True
    for i in range(len(left), -1, -1):
        for j in range(len(right), -1, -1):
            mine, theirs = left[i : i + 1], right[j : j + 1]
            if mine == "*":
                fits[i][j] = fits[i + 1][j] or (bool(theirs) and fits[i][j + 1])
            elif theirs == "*":
                fits[i][j] = fits[i][j + 1] or (bool(mine) and fits[i + 1][j])
            elif mine and theirs and (mine == theirs or "?" in (mine, theirs)):
                fits[i][j] = fits[i + 1][j + 1]
    return fits[0][0]


def _before(fleet: Fleet) -> Mapping[str, frozenset[str]]:
    """Returns, for each task, all that it waits for, however far back."""
    found: dict[str, frozenset[str]] = {}
    for root in fleet.tasks:
        left = [root]
        while left:
            name = left[-1]
            told = fleet.tasks[name]
            needs = [one for one in (*told.dependencies, *told.verifies) if one in fleet.tasks]
            more = [one for one in needs if one not in found]
            if more:
                left += more
                continue
            found[name] = frozenset(needs).union(*(found[one] for one in needs))
            left.pop()
    return found


def _place(fleet: Fleet, task: str, glob: str) -> Place:
    told = fleet.tasks[task]
    agent = fleet.agents.get(told.agent)
    if agent is not None and glob in agent.owns:
        return fleet.place("agent", agent.id, "owns", agent.owns.index(glob))
    paths = [one.path for one in told.deliverables]
    return fleet.place("task", task, "deliverables", paths.index(glob))
