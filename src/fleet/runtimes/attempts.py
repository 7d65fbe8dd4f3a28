"""The attempts that are alive in this process: started, stopped and reported, never judged.

Level-triggered: `reconcile` asks what a step ought to have running and makes it so; asking twice
changes nothing. A kind's failure to run is an outcome like any other.
"""

from __future__ import annotations

import asyncio
import errno
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleet.core import messages as m
from fleet.core.plan import Failure
from fleet.core.state import (
    DeliverNote,
    RunAttempt,
    State,
    StopAttempt,
    answers_to,
    effects_of,
)
from fleet.errors import FleetError
from fleet.kinds import Work, World, load_kind
from fleet.runtimes.runs import now_ms
from fleet.views.inputs import inputs_of

if TYPE_CHECKING:
    from types import ModuleType

Post = Callable[[str, m.Command], None]
Facts = Mapping[str, Any]
Find = Callable[[Callable[[], Facts]], Facts]
"""How facts about a step are looked up: `_now`, or when they are asked for (`_Later`)."""

_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Errors of a call that are no bug of whoever made it: a full or broken disk, files without end."""


def _now(find: Callable[[], Facts]) -> Facts:
    return find()


class _Later(Mapping[str, Any]):
    """Facts that are looked up when somebody asks for the first time: few steps that are done at
    once do.
    """

    def __init__(self, find: Callable[[], Facts]) -> None:
        self._find = find
        self._found: Facts | None = None

    def _all(self) -> Facts:
        if self._found is None:
            self._found = self._find()
        return self._found

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


@dataclass(slots=True)
class Live:
    """One attempt that runs in this process."""

    attempt: int
    work: Work
    task: asyncio.Task[None] | None = None
    notes: set[int] = field(default_factory=set)
    """Notes that are being delivered, or were and only wait for the journal to say so."""


class Attempts:
    """Starts and stops attempts as their runs want them; outcomes go back through `post`."""

    def __init__(self, world: World, post: Post) -> None:
        self.world = world
        self.post = post
        self.live: dict[tuple[str, str], Live] = {}
        self.notes: set[asyncio.Task[None]] = set()

    def reconcile(self, state: State, step: str) -> None:
        """Makes the world have what a run wants for one of its steps."""
        for effect in effects_of(state, step):
            live = self.live.get((state.run, step))
            if live is not None and live.attempt != effect.attempt:
                return
            match effect:
                case RunAttempt() if live is None:
                    self._start(state, effect.step, effect.attempt)
                case StopAttempt():
                    if live is None:
                        live = self._start(state, effect.step, effect.attempt)
                    live.work.stop.set()
                case DeliverNote() if live is not None and effect.note not in live.notes:
                    live.notes.add(effect.note)
                    task = asyncio.create_task(self._deliver(live, effect))
                    self.notes.add(task)
                    task.add_done_callback(self.notes.discard)
                case _:
                    pass

    def _work(self, state: State, step: str, attempt: int, find: Find) -> Work:
        one = state.steps[step]
        run, whole = state.run, one.step.whole

        def report(facts: Any) -> None:
            self.post(run, m.ReportProgress(step=step, attempt=attempt, facts=facts))

        return Work(
            run=run,
            step=one.step,
            attempt=attempt,
            inputs=find(lambda: inputs_of(state, step)),
            answers=answers_to(state, step),
            allowed=allowed_for_good(state, step),
            facts=one.facts,
            siblings=find(lambda: siblings_of(state, whole)),
            plan_step=lambda name: state.steps[name].step if name in state.steps else None,
            look=state.known,
            behind=lambda name: [one for one, _ in state.dependents.get(name, ())],
            asked=state.questions.get,
            decided=lambda: list(state.answers.values()),
            now_ms=now_ms(),
            world=self.world,
            report=report,
            tell=lambda command: self.post(run, command),
        )

    def _start(self, state: State, step: str, attempt: int) -> Live:
        work = self._work(state, step, attempt, _now)
        live = self.live[state.run, step] = Live(attempt, work)
        try:
            kind = load_kind(work.step.kind)
        except FleetError as missing:
            self._end(work, _broken(Failure.AGENT, missing.text))
            return live
        outcome = self._settled(kind, work)
        if outcome is not None:
            self._post(work, outcome)
            return live
        self.world.log(
            "info", "attempt", run=state.run, step=step, attempt=attempt, correlation=work.key
        )
        live.task = asyncio.create_task(self._run(kind, work))
        return live

    def settle(self, state: State, step: str) -> m.ReportOutcome | None:
        """Returns how an attempt that was just started has ended, of a step that is done at once;
        None for one that is to be reconciled.
        """
        one = state.known(step)
        if one is None or (state.run, step) in self.live:
            return None
        try:
            kind = load_kind(one.step.kind)
        except FleetError:
            return None
        wanted = effects_of(state, step)
        if not hasattr(kind, "settle") or not wanted or not isinstance(wanted[0], RunAttempt):
            return None
        outcome = self._settled(kind, self._work(state, step, one.attempt, _Later))
        if outcome is None:
            return None
        return m.ReportOutcome(step=step, attempt=one.attempt, outcome=outcome)

    def _settled(self, kind: ModuleType, work: Work) -> m.Outcome | None:
        """Returns the outcome of a step that is done at once, None for one that is to be run."""
        if not hasattr(kind, "settle"):
            return None
        try:
            outcome: m.Outcome | None = kind.settle(work)
        except Exception as bug:  # noqa: BLE001 - a kind's bug ends its attempt, not the coordinator
            return self._bug(work, bug)
        return outcome

    async def _run(self, kind: ModuleType, work: Work) -> None:
        try:
            outcome: m.Outcome = await kind.run(work)
        except FleetError as failed:
            outcome = _broken(Failure.INFRA, f"{failed.text} {failed.hint}".strip())
        except Exception as bug:  # noqa: BLE001 - a kind's bug ends its attempt, not the coordinator
            outcome = self._bug(work, bug)
        self._end(work, outcome)

    def _bug(self, work: Work, bug: Exception) -> m.Outcome:
        if isinstance(bug, OSError) and bug.errno in _OF_THE_MACHINE:
            where = f" at {bug.filename}" if bug.filename else ""
            return _broken(Failure.INFRA, f"{os.strerror(bug.errno)}{where}")
        told = "".join(traceback.format_exception(bug))
        self.world.log("error", "bug in a kind", run=work.run, step=work.step.id, traceback=told)
        return _broken(Failure.INFRA, f"a bug in the {work.step.kind!r} kind: {bug!r}")

    def _end(self, work: Work, outcome: m.Outcome) -> None:
        self.world.log(
            "info",
            "outcome",
            run=work.run,
            step=work.step.id,
            attempt=work.attempt,
            correlation=work.key,
            ending=str(outcome.ending),
            why=outcome.text[:400],
        )
        self._post(work, outcome)

    def _post(self, work: Work, outcome: m.Outcome) -> None:
        self.live.pop((work.run, work.step.id), None)
        self.post(
            work.run, m.ReportOutcome(step=work.step.id, attempt=work.attempt, outcome=outcome)
        )

    async def _deliver(self, live: Live, effect: DeliverNote) -> None:
        work = live.work
        try:
            kind = load_kind(work.step.kind)
            if hasattr(kind, "deliver"):
                await kind.deliver(work, effect)
        except Exception as bug:  # noqa: BLE001 - the note stays wanted and is tried again
            live.notes.discard(effect.note)
            self.world.log(
                "error", "note not delivered", run=work.run, step=effect.step, why=repr(bug)
            )
            return
        self.post(
            work.run,
            m.ReportProgress(step=effect.step, attempt=effect.attempt, delivered=(effect.note,)),
        )

    async def detach(self) -> None:
        """Lets go of all attempts without ending them: sessions live on and are adopted later."""
        tasks = [live.task for live in self.live.values() if live.task is not None]
        for task in tasks:
            task.cancel()
        endings = self.world.endings.values()
        await asyncio.gather(*tasks, *self.notes, *endings, return_exceptions=True)


def allowed_for_good(state: State, step: str) -> list[str]:
    """Returns the patterns that a person has allowed a step's agent for the rest of the run."""

    def agent_of(name: str) -> object:
        told: Any = state.steps[name].step.params.get("agent") if name in state.steps else None
        return told.get("id") if isinstance(told, Mapping) else None

    own = agent_of(step)
    if not own:
        return []
    found = [
        str(one.question.about.get("pattern") or "")
        for one in state.answers.values()
        if one.value == "always" and agent_of(one.step) == own
    ]
    return [pattern for pattern in dict.fromkeys(found) if pattern]


def siblings_of(state: State, whole: str) -> dict[str, Any]:
    """Returns the steps of one composite by id, found along its edges, or {} for none."""
    if not whole or whole not in state.steps:
        return {
            name: one.step for name, one in state.steps.items() if whole and one.step.whole == whole
        }
    found: dict[str, Any] = {}
    todo = [whole]
    while todo:
        one = state.known(todo.pop())
        if one is not None and one.step.id not in found and one.step.whole == whole:
            found[one.step.id] = one.step
            todo += [need.step for need in one.step.needs]
    return found


def _broken(failure: Failure, text: str) -> m.Outcome:
    return m.Outcome(ending=m.Ending.FAILED, failure=failure, text=text)
