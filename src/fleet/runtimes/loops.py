"""What the coordinator adds to what runs are told, so that loops and circles are found.

Which earlier questions are the same as a new one is filled in before a run decides on it, as times
are; that the tasks of a run wait for one another is told to it as one more question. All of it
follows from what the run has decided: after a crash it is found again in the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.core import messages as m
from fleet.core.state import State

if TYPE_CHECKING:
    from fleet.files.changes.likeness import Likeness

TELLING = ('"is":"question-raised"', '"is":"plan-revised"')
"""What stands in the events by which questions and what follows loops are told."""

MINE = frozenset({"loop", "rounds", "circle"})
"""What only the run itself asks about."""

CLOSING = (m.QuestionRaised, m.CheckedIn, m.PlanRevised)
"""Events by which tasks may come to wait for one another that did not before."""


def is_forged(command: m.RaiseQuestion) -> bool:
    """Returns whether somebody says of a question what only the coordinator finds out."""
    question = command.question
    told = bool(command.like) or command.loop is not None or question.kind == "loop"
    return told or not MINE.isdisjoint(question.about)


class Loops:
    """The questions that each run was asked; `told` gives what a run has decided that can matter
    here, and more, when a run asks for the first time.
    """

    def __init__(self, told: Callable[[str], Iterable[m.Event]]) -> None:
        self.told = told
        self.known: dict[str, Likeness] = {}
        self.blocked: dict[str, dict[str, None]] = {}

    def forget(self, run: str) -> None:
        """Lets go of what is known of a run; it is read again when it is needed."""
        self.known.pop(run, None)
        self.blocked.pop(run, None)

    def hear(self, run: str, event: m.Event) -> None:
        """Takes up what a run has decided."""
        if run in self.known:
            self.known[run].hear(event)
        if run in self.blocked and isinstance(event, m.CheckedIn):
            self.blocked[run][event.step] = None

    def fill(self, state: State, command: m.RaiseQuestion) -> m.RaiseQuestion:
        """Returns a question with those that are the same, or the loop that it comes into, and with
        what is to be asked when there are too many of them.
        """
        from fleet.files.changes.likeness import is_round, likeness_of
        from fleet.files.changes.waiting import about_loop, round_of

        if not is_round(command.question, command.step) or state.known(command.step) is None:
            return command
        if state.run not in self.known:
            self.known[state.run] = likeness_of(self.told(state.run))
        known, question = self.known[state.run], command.question
        like, follow = known.look(state, question)
        if follow:
            about = {**question.about, "loop": follow}
            return replace(command, question=replace(question, about=about))
        if len(like) + 1 < state.loops.after:
            return replace(command, like=like)
        now = m.QuestionRaised(
            id=f"{state.run}.q{state.asked + 1}",  # as it will be called
            question=question,
            step=command.step,
            at_ms=command.at_ms,
            by=command.by,
        )
        rounds = [round_of(state, one, clock) for one in (*(known.raised[n] for n in like), now)]
        return replace(command, like=like, loop=about_loop(state, rounds))

    def circles(self, state: State, events: Iterable[m.Event]) -> Iterator[m.RaiseQuestion]:
        """Yields the questions about circles that have shown themselves by what a run decided; each
        is to be told before the next is looked for, so that no circle is asked about twice.
        """
        if not any(isinstance(event, CLOSING) for event in events):
            return
        from fleet.files.changes.waiting import about_circle, circle_of

        for task in list(dict.fromkeys(self._waiting(state, events))):
            ring = circle_of(state, task)
            question = about_circle(state, ring, clock) if ring else None
            if question is not None:
                step = next((s for s in state.running if state.steps[s].step.whole == task), "")
                yield m.RaiseQuestion(question=question, step=step)

    def _waiting(self, state: State, events: Iterable[m.Event]) -> Iterator[str]:
        """Yields the tasks that have begun to wait for another one, and all that wait for one in
        their own words where a change of the plan may have made that one wait for them.
        """
        from fleet.files.changes.waiting import WAITS_FOR

        for event in events:
            match event:
                case m.QuestionRaised() if WAITS_FOR in event.question.about:
                    yield from _tasks(state, [event.step])
                case m.CheckedIn() if event.blockers:
                    yield from _tasks(state, [event.step])
                case m.PlanRevised() if event.patch.put or event.patch.needs:
                    asked = state.questions.values()
                    yield from _tasks(
                        state, (one.step for one in asked if WAITS_FOR in one.question.about)
                    )
                    yield from _tasks(state, self._blocked(state))
                case _:
                    pass

    def _blocked(self, state: State) -> Iterable[str]:
        """Returns the steps that may be blocked; a run is searched once for who said so before."""
        if state.run not in self.blocked:
            self.blocked[state.run] = {n: None for n, one in state.steps.items() if one.checkin}
        found = [state.known(name) for name in self.blocked[state.run]]
        return [
            one.step.id for one in found if one is not None and (one.checkin or {}).get("blockers")
        ]


def _tasks(state: State, steps: Iterable[str]) -> Iterator[str]:
    """Yields the tasks that steps are parts of."""
    for step in steps:
        one = state.known(step)
        if one is not None:
            yield one.step.whole


def clock(at_ms: int) -> str:
    """Returns a moment as people read it where the coordinator is."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000))
