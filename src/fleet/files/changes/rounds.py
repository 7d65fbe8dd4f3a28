"""Whether the rework of a task goes in a circle: the rounds that make one, and why.

Progress is new evidence: something that was red is green, and stays so. Time, effort and what is
said are none. It is a loop when the same fails in the same way at a commit that was judged before,
when two failures take turns, and when so many rounds have brought nothing. Rounds before a person
asked for more do not count. Pure: the run is only asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.core.plan import Step
from fleet.core.state import SETTLED_STANDINGS, Standing
from fleet.files.changes.rejudging import rounds_of
from fleet.files.changes.rework import Course

AFTER: Final = 3
"""So many rounds without new evidence are a loop, unless the documents say otherwise."""

SAID_CHARS: Final = 2_000
"""So much of the end of what a command printed tells one failure from another."""

_FLEETING = re.compile(
    r"(?:/(?:var/)?tmp|/dev/shm)/[^\s'\":,)]*"  # folders of one run
    r"|0x[0-9a-fA-F]+|\b[0-9a-f]{7,64}\b"  # addresses, commits
    r"|\d+(?:[.:]\d+)*"  # numbers, times
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round was judged at and found: what was red, and in which way."""

    step: str
    commits: Mapping[str, str]
    red: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The rounds that make a loop, by the steps that judged them, and why they make one."""

    rounds: tuple[str, ...]
    why: str

    def plain(self) -> dict[str, Any]:
        """Returns the loop as plain values, for the journal."""
        return {"rounds": list(self.rounds), "why": self.why}


def loop_at(course: Course, check: Step, found: Mapping[str, Any], after: int) -> Loop | None:
    """Returns the loop that a check's red findings close, None for none. `found` is what it will
    put out; `after` is how many rounds without new evidence are a loop.
    """
    rounds = [*_before(course, check), (check.id, found)]
    return loop_in(_comparable(rounds), after)


def loop_in(rounds: Sequence[Round], after: int) -> Loop | None:
    """Returns the loop that the last of some rounds closes, oldest first; None for none."""
    now = rounds[-1]
    for one in reversed(rounds[:-1]):
        if one.red and (dict(one.commits), dict(one.red)) == (dict(now.commits), dict(now.red)):
            return _loop([one, now], "the same is red in the same way, at the commit of then")
    last = [dict(one.red) for one in rounds[-4:]]
    if len(last) == 4 and all(last) and last[:2] == last[2:] and last[0] != last[1]:
        return _loop(rounds[-4:], "two failures take turns")
    if len(rounds) >= after and not any(map(_is_progress, *_windows(rounds, after))):
        return _loop(rounds[-after:], f"nothing that was red is green after {after} rounds")
    return None


def _loop(rounds: Sequence[Round], why: str) -> Loop:
    names = tuple(one.step for one in rounds)
    return Loop(rounds=names, why=f"a loop of {' and '.join(names)}: {why}")


def _windows(
    rounds: Sequence[Round], after: int
) -> tuple[list[Sequence[Round]], list[Sequence[Round]]]:
    """Returns what was before and what came from each of the latest rounds on, but the first."""
    numbers = range(len(rounds) - after + 1, len(rounds))
    return [rounds[:number] for number in numbers], [rounds[number:] for number in numbers]


def _is_progress(before: Sequence[Round], since: Sequence[Round]) -> bool:
    """Whether something is green since a round, and stays so, that never was after it was red."""
    red = {item for one in since for item in one.red}
    mended = {item for item in before[-1].red if item not in red}
    seen: set[str] = set()
    for one in before:
        mended -= seen - one.red.keys()
        seen |= one.red.keys()
    return bool(mended)


def _before(course: Course, check: Step) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the findings of a task's earlier rounds, oldest first, since the work began or since
    a person had it begin anew.
    """
    told: list[tuple[str, Mapping[str, Any]]] = []
    if not check.params.get("spent"):
        return told
    steps = [one for one in rounds_of(course, check.whole).values() if one.kind == "check"]
    for step in reversed(steps):
        one = course.look(step.id)
        if one is None or step.id == check.id or one.standing not in SETTLED_STANDINGS:
            continue
        kept: Any = one.output if one.standing is Standing.SUCCEEDED else one.evidence
        if isinstance(kept, Mapping) and "commit" in kept:
            told.append((step.id, kept))
        if not one.step.params.get("spent"):
            break
    return told[::-1]


def _comparable(rounds: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Round]:
    """Returns findings of rounds as they can be compared: a verifier's finding that only says in
    other words what an earlier one did is the same.
    """
    known: dict[str, list[tuple[str, ...]]] = {}
    return [
        Round(step=step, commits=_commits(found), red=dict(_red(found, known)))
        for step, found in rounds
    ]


def _commits(found: Mapping[str, Any]) -> Mapping[str, str]:
    verdict: Any = found.get("verdict")
    if verdict:
        return {str(name): str(sha) for name, sha in verdict["commits"].items()}
    return {"": str(found["commit"])}


def _red(
    found: Mapping[str, Any], known: dict[str, list[tuple[str, ...]]]
) -> Iterator[tuple[str, str]]:
    """Yields what was red, each with the way in which it was."""
    if found.get("branch"):
        yield "branch", lasting(str(found["branch"]))
    for key, green in (("deliverables", "met"), ("evidence", "met"), ("checks", "passed")):
        for one in found.get(key) or ():
            if one.get(green) is False:
                said = f"{one.get('why', '')}\n{str(one.get('tail', ''))[-SAID_CHARS:]}"
                yield f"{key}:{one['text']}", lasting(said)
    verdict: Any = found.get("verdict") or {}
    for one in verdict.get("findings", ()) if verdict.get("back") else ():
        yield _finding(one, known), ""


def _finding(one: Mapping[str, Any], known: dict[str, list[tuple[str, ...]]]) -> str:
    from fleet.files.changes.likeness import alike, words_of

    about = str(one.get("task", ""))
    words = words_of(str(one["text"]))
    same = known.setdefault(about, [])
    found = next((number for number, other in enumerate(same) if alike(words, other)), None)
    if found is None:
        found = len(same)
        same.append(words)
    return f"finding:{about}:{found}"


def lasting(text: str) -> str:
    """Returns a text without what is another each time: numbers, times, commits, folders."""
    return " ".join(_FLEETING.sub("#", text).split())
