"""Who waits for whom while a run is on, in a circle, and the change of the plan that breaks one.

A task waits for what its steps need that have not ended, for the task that an open question of it
names (`fleet ask --waits-for`), and for a task that its last check-in names as a blocker. Such a
circle is in no document, so no check of them finds it. What breaks it is a task before all that are
in it, which settles what each asks of the other. Pure; nothing is asked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from fleet.core import messages as m
from fleet.core.plan import JOIN, PERSON, Ask, circle
from fleet.core.state import CLOSED, OpenQuestion, State, StepState
from fleet.files.changes.proposals import text_of
from fleet.views.decisions import PROPOSAL

WAITS_FOR: Final = "waits_for"
"""What a question is about that waits for a task: the task's id."""

CIRCLE: Final = "circle"
"""What a question about a circle is about: the tasks in it."""

CHOICES: Final = ("approve", "reject")
NAME_CHARS: Final = 40
"""So much of a topic is in the name of the task that settles it."""

TOLD: Final = 20
"""So many of the latest rounds are told in words."""

ASKED_CHARS: Final = 300
"""So much of a question is told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A question as it is told again: its id (empty before it is asked), who asked it and when."""

    id: str
    task: str
    text: str
    by: str = ""
    at: str = ""
    topic: str = ""

    def line(self) -> str:
        """Returns the question in one line."""
        text = " ".join(self.text.split())
        text = text if len(text) <= ASKED_CHARS else f"{text[: ASKED_CHARS - 3]}..."
        facts = ", ".join(one for one in (self.id, self.task, self.by, self.at) if one)
        return f"- {facts}: {text}"


def circle_of(state: State, task: str) -> tuple[str, ...]:
    """Returns a circle of waiting that a task is in or waits for, its first name again at the end;
    phases between them are named too. Empty when there is none.
    """
    ring = circle(_Waits(state, task)) if _is_open(state, task) else ()
    names = [state.steps[step].step.whole or step for step in ring]
    short = [name for n, name in enumerate(names) if n == 0 or name != names[n - 1]]
    return tuple(short) if len(short) > 2 else ()


class _Waits(dict[str, tuple[str, ...]]):
    """Step -> steps that it waits for, from one task on; what has ended is a leaf."""

    def __init__(self, state: State, task: str) -> None:
        super().__init__()
        self._state = state
        self._asked: dict[str, list[str]] = {}
        for asked in state.questions.values():
            target = waits_for(state, asked)
            if target:
                self._asked.setdefault(asked.step, []).append(target)
        self[task] = self.__missing__(task)

    def __contains__(self, name: object) -> bool:
        one = self._state.known(str(name))
        return one is not None and one.standing not in CLOSED

    def __missing__(self, name: str) -> tuple[str, ...]:
        one = self._state.steps[name]
        needs = [need.step for need in one.step.needs]
        return (*needs, *self._asked.get(name, ()), *blockers_of(self._state, one))


def waits_for(state: State, asked: OpenQuestion) -> str:
    """Returns the task that an open question waits for; empty when it names none."""
    target = asked.question.about.get(WAITS_FOR)
    return target if isinstance(target, str) and is_task(state, target) else ""


def blockers_of(state: State, one: StepState) -> list[str]:
    """Returns the tasks that the last check-in of a task names as its blockers."""
    told: Any = (one.checkin or {}).get("blockers") or ()
    return [name for name in told if name != one.step.id and is_task(state, name)]


def is_task(state: State, name: str) -> bool:
    """Returns whether a run has such a task."""
    one = state.known(name)
    return one is not None and one.step.kind == JOIN and "task" in one.step.params


def about_circle(
    state: State, ring: Sequence[str], when: Callable[[int], str]
) -> m.Question | None:
    """Returns what a person is asked about a circle, with the change that breaks it; None when that
    is asked already, or a person left this circle as it is. `when` shows a moment.
    """
    tasks = [name for name in ring[:-1] if is_task(state, name)]
    found = [one for one in state.questions.values() if _is_between(state, one, tasks)]
    if not tasks or _is_known(state, tasks):
        return None
    rounds = [round_of(state, one, when) for one in found]
    why = f"tasks wait for one another in a circle: {' -> '.join(ring)}"
    about = {CIRCLE: tasks, "rounds": [one.id for one in found]}
    return _offer(change_for(state, tasks, why, rounds), about)


def about_loop(state: State, rounds: Sequence[Round]) -> m.Question:
    """Returns what is asked about a question that was asked again and again, in `rounds`. Where
    several tasks have asked it, a person is offered a change that settles it before all of them.
    """
    tasks = [name for name in dict.fromkeys(one.task for one in rounds) if _is_open(state, name)]
    why = f"the same was asked {len(rounds)} times"
    asks = all(isinstance(rung, Ask) and rung.whom == PERSON for rung in state.loops.then)
    if asks and len(tasks) > 1:
        return _offer(change_for(state, tasks, why, rounds), {})
    lines = [f"{why[0].upper()}{why[1:]}:", *(one.line() for one in rounds[-TOLD:])]
    topic = next((one.topic for one in reversed(rounds) if one.topic), "")
    return m.Question(message="\n".join(lines), topic=topic)


def change_for(
    state: State, tasks: Sequence[str], why: str, rounds: Sequence[Round]
) -> dict[str, Any]:
    """Returns the change that puts one task before some others, which settles what they ask; those
    of them that run begin again behind it.
    """
    first, *others = sorted(tasks, key=_rank(state))
    topic = next((one.topic for one in rounds if one.topic), "-".join(sorted(tasks)))
    name = _free(state, topic)
    asked = "\n".join(one.line() for one in rounds[-TOLD:])
    facts: list[Any] = [state.steps[one].step.params["task"] for one in (first, *others)]
    page = f"docs/{name}.md"
    body = (
        f"{_and([first, *others])} wait for what is settled here. Decide it, write it to `{page}`, "
    )
    body += "and build what they all need of it.\n"
    task = {
        "id": name,
        "name": f"Settle {topic} before {_and([first, *others])}",
        "agent": next((str(told["agent"]) for told in facts if told["agent"]), ""),
        "deliverables": [page],
        "body": f"{body}\nThey have asked:\n\n{asked}\n" if asked else body,
    }
    works = {state.steps[step].step.whole for step in state.running}
    change: dict[str, Any] = {
        "insert": [{"task": task, "before": [first, *others]}],
        "reason": f"{why}\n{asked}" if asked else why,
    }
    stopped = [one for one in (first, *others) if one in works]
    return {**change, "running": dict.fromkeys(stopped, "stop")} if stopped else change


def round_of(
    state: State, asked: OpenQuestion | m.QuestionRaised, when: Callable[[int], str]
) -> Round:
    """Returns a question that was asked in a run as it is told again."""
    one, answered = state.known(asked.step), state.answers.get(asked.id)
    said = f", answered {answered.value!r}" if answered is not None else ""
    return Round(
        id=asked.id,
        task=one.step.whole if one is not None else "",
        text=asked.question.message,
        by=asked.by,
        at=f"{when(asked.at_ms)}{said}",
        topic=asked.question.topic,
    )


def _offer(change: dict[str, Any], about: dict[str, Any]) -> m.Question:
    return m.Question(
        message=text_of(change),
        kind="loop",
        choices=CHOICES,
        refusals=CHOICES[1:],
        topic="plan",
        about={**about, PROPOSAL: change},
    )


def _is_known(state: State, tasks: Sequence[str]) -> bool:
    """Whether a circle of these tasks is asked about now, or was left as it is."""
    refused = [one for one in state.answers.values() if one.value in one.question.refusals]
    told = [one.question for one in state.questions.values()] + [one.question for one in refused]
    known = [question.about.get(CIRCLE) for question in told]
    return any(set(tasks) == set(one) for one in known if isinstance(one, list | tuple))


def _is_between(state: State, asked: OpenQuestion, tasks: Sequence[str]) -> bool:
    one = state.known(asked.step)
    return one is not None and one.step.whole in tasks and waits_for(state, asked) in tasks


def _is_open(state: State, task: str) -> bool:
    one = state.known(task)
    return one is not None and is_task(state, task) and one.standing not in CLOSED


def _rank(state: State) -> Callable[[str], int]:
    """Returns what orders tasks by their phases."""
    phases: Any = state.about.get("phases") or ()
    place = {name: number for number, one in enumerate(phases) for name in one["tasks"]}
    return lambda name: place.get(name, len(place))


def _free(state: State, topic: str) -> str:
    """Returns the name of a task that settles a topic and that the run has not."""
    stem = re.sub(r"[^a-z0-9]+", "-", topic.casefold()).strip("-")[:NAME_CHARS].strip("-")
    names = (f"settle-{stem or 'this'}{'' if n == 1 else f'-{n}'}" for n in count(1))
    return next(name for name in names if name not in state.steps)


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
