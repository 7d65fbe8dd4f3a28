"""What a run is: its steps, how each stands, what is open. Data and questions about it, no rules.

`evolve` alone changes a State; the sets that say what is ready, running, alarmed or asked are kept,
never found by scanning, so that an event costs the edges that it touches and not the plan. `fork`
gives a twin that copies what it touches: `decide` lets events play on it and throws it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeVar, cast

from fleet.core.messages import Question
from fleet.core.plan import FAILED, SETTLED, SUCCEEDED, Failure, Loops, Route, Step
from fleet.core.spending import Budget
from fleet.records import record


class Standing(StrEnum):
    """How a step stands; the last four are settled for good."""

    WAITING = "waiting"
    UNREACHED = "unreached"
    READY = "ready"
    BACKOFF = "backing-off"
    RUNNING = "running"
    ASKING = "asking"
    FAILING = "failing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


SETTLED_STANDINGS = frozenset(
    {Standing.SUCCEEDED, Standing.FAILED, Standing.SKIPPED, Standing.CANCELLED}
)
UNSTARTED = frozenset({Standing.WAITING, Standing.UNREACHED, Standing.READY, Standing.BACKOFF})
"""Standings in which a patch may change a step: nothing of it runs and nothing has settled."""

FOLLOWING = frozenset({Standing.WAITING, Standing.UNREACHED, Standing.READY})
"""Standings that follow from the needs alone."""

CLOSED = SETTLED_STANDINGS | {Standing.UNREACHED}

PENDING, MET, NEVER = 0, 1, 2


def verdict(on: str, standing: Standing, label: str) -> int:
    """Returns whether a need on a step that stands so is PENDING, MET or NEVER to be met."""
    if standing not in CLOSED:
        return PENDING
    if on == SETTLED:
        return MET
    if on == SUCCEEDED:
        return MET if standing in (Standing.SUCCEEDED, Standing.SKIPPED) else NEVER
    if on == FAILED:
        return MET if standing is Standing.FAILED else NEVER
    return MET if standing is Standing.SUCCEEDED and label == on else NEVER


@dataclass(slots=True)
class StepState:
    """One step of a run; `unmet` and `barred` count its needs that are open and impossible,
    `limited` its latest attempts, one after the other, that its account turned away; `live` is
    what its running attempt is known to have used, which `usage`, of all attempts, holds too.
    """

    step: Step
    standing: Standing = Standing.WAITING
    unmet: int = 0
    barred: int = 0
    released: bool = True
    held: bool = False
    attempt: int = 0
    tries: int = 0
    limited: int = 0
    stopping: str = ""
    used: tuple[tuple[int, int], ...] = ()
    failure: Failure | None = None
    text: str = ""
    label: str = ""
    output: object = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    checkin: Mapping[str, object] | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    live: Mapping[str, float] = field(default_factory=dict)
    tail_ms: int = 0
    since_ms: int = 0
    started_ms: int = 0
    first_ms: int = 0
    ended_ms: int = 0

    def uses_of(self, rung: int) -> int:
        """Returns how often a rung of the ladder was spent."""
        return dict(self.used).get(rung, 0)

    @property
    def may_start(self) -> bool:
        """Whether nothing but a limit or the run's pause keeps it from starting."""
        return self.released and not self.held

    @property
    def settled(self) -> bool:
        """Whether it will not be tried again."""
        return self.standing in SETTLED_STANDINGS

    def clone(self) -> StepState:
        """Returns a copy; its values are immutable or replaced whole, so a shallow one will do."""
        return StepState(*_step_values(self))


_step_values = attrgetter(*[f.name for f in fields(StepState)])


@record(kw_only=False)
class OpenQuestion:
    """A question that nobody has answered yet; `passed` are those whose it was, last whose it is,
    `why` it went to them; `steps` work at an answer.
    """

    id: str
    question: Question
    step: str
    attempt: int
    by: str
    at_ms: int
    passed: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    climbs_at_ms: int | None = None
    why: str = ""


@record(kw_only=False)
class Answered:
    """A question with its answer."""

    id: str
    question: Question
    step: str
    value: str
    note: str
    by: str
    at_ms: int


@record(kw_only=False)
class Note:
    """A message that has not been delivered yet."""

    step: str
    text: str
    about: Mapping[str, object] = field(default_factory=dict)


@record(kw_only=False)
class RunAttempt:
    """An effect: the step's attempt is to run, however often that is said."""

    step: str
    attempt: int


@record(kw_only=False)
class StopAttempt:
    """An effect: the step's attempt is to end."""

    step: str
    attempt: int
    why: str


@record(kw_only=False)
class DeliverNote:
    """An effect: the step's attempt is to have a message."""

    step: str
    attempt: int
    note: int
    text: str
    about: Mapping[str, object] = field(default_factory=dict)


Effect = RunAttempt | StopAttempt | DeliverNote
"""What a run wants of the world now, computed from its state and never journaled."""

Value = TypeVar("Value")
Uses = tuple[tuple[str, int], ...]


class Overlay(dict[str, Value]):
    """A mapping over another: what is read is copied up first, what is removed is only marked."""

    __slots__ = ("gone", "under")

    def __init__(self, under: dict[str, Value]) -> None:
        super().__init__()
        self.under = under
        self.gone: set[str] = set()

    def __missing__(self, key: str) -> Value:
        if key in self.gone:
            raise KeyError(key)
        found = self.under[key]
        copied = cast("Value", found.clone() if isinstance(found, StepState) else copy(found))
        self[key] = copied
        return copied

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value as reading it would; the mapping's own `get` would look past `under`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key not in self.gone and key in self.under)

    def __iter__(self) -> Iterator[str]:
        yield from (key for key in self.under if key not in self.gone)
        yield from (key for key in super().__iter__() if key not in self.under)

    def __delitem__(self, key: str) -> None:
        super().pop(key, None)
        self.gone.add(key)

    def __setitem__(self, key: str, value: Value) -> None:
        self.gone.discard(key)
        super().__setitem__(key, value)


@dataclass(slots=True)
class State:
    """A run as its events have made it."""

    run: str
    name: str = ""
    about: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    loops: Loops = field(default_factory=Loops)
    parent: tuple[str, str, int] | None = None
    revision: int = 1
    steps: dict[str, StepState] = field(default_factory=dict)
    dependents: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    ready: dict[Uses, list[tuple[int, str]]] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)
    questions: dict[str, OpenQuestion] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)
    notes: dict[int, Note] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    unsettled: int = 0
    asked: int = 0
    noted: int = 0
    paused: bool = False
    cancelling: bool = False
    ended: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    at_ms: int = 0
    accounts: dict[str, int] = field(default_factory=dict)
    """Account -> until when it rests, as far as this run was told."""
    crashes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Limit -> steps whose attempts crashed one after the other, and when."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Limit that is closed for its crashes -> the question about it, once it was asked."""
    starts: dict[str, list[int]] = field(default_factory=dict)
    """Limit on starts -> when its users were started within a minute of the latest."""
    budgets: dict[str, Budget] = field(default_factory=dict)
    shut: set[str] = field(default_factory=set)
    """Limits whose budget is spent: nothing that uses one starts."""
    agenda: list[str] = field(default_factory=list, compare=False)
    """Steps that the last event let start, as far as the run itself is concerned."""

    def fork(self) -> State:
        """Returns a twin on which events may play; this state stays as it is.

        The twin's `ready` and `alarms` only gather what is new: `decide` reads those of the origin.
        """
        return State(
            run=self.run,
            name=self.name,
            about=self.about,
            limits=self.limits,
            routes=self.routes,
            loops=self.loops,
            parent=self.parent,
            revision=self.revision,
            steps=Overlay(self.steps),
            dependents=Overlay(self.dependents),
            running=dict(self.running),
            questions=dict(self.questions),
            accounts=dict(self.accounts),
            crashes=dict(self.crashes),
            quarantined=dict(self.quarantined),
            starts=dict(self.starts),
            budgets=dict(self.budgets),
            shut=set(self.shut),
            failures=set(self.failures),
            unsettled=self.unsettled,
            asked=self.asked,
            noted=self.noted,
            paused=self.paused,
            cancelling=self.cancelling,
            ended=self.ended,
            started_ms=self.started_ms,
            ended_ms=self.ended_ms,
            at_ms=self.at_ms,
        )

    def known(self, step: str) -> StepState | None:
        """Returns a step's state, or None when the run has no such step."""
        return self.steps.get(step)


def uses_of(step: Step) -> Uses:
    """Returns the units that a step takes, in one order."""
    return tuple(sorted(step.uses.items()))


def outstanding(state: State) -> list[Effect]:
    """Returns all that ought to be so in the world now; asking twice changes nothing."""
    found: list[Effect] = []
    for step in state.running:
        found += effects_of(state, step)
    return found


def effects_of(state: State, step: str) -> list[Effect]:
    """Returns the effects that concern one step: run its attempt or stop it, deliver its notes."""
    attempt = state.running.get(step)
    if attempt is None:
        return []
    stopping = "cancel" if state.cancelling else state.steps[step].stopping
    if stopping:
        return [StopAttempt(step, attempt, stopping)]
    wanted: list[Effect] = [RunAttempt(step, attempt)]
    wanted += [
        DeliverNote(step, attempt, number, note.text, note.about)
        for number, note in state.notes.items()
        if note.step == step
    ]
    return wanted


def next_wakeup(state: State, now_ms: int) -> int | None:
    """Returns when time alone changes something next, strictly later than `now_ms`, or None."""
    if state.paused or state.ended:
        return None
    return min((at_ms for at_ms in state.alarms.values() if at_ms > now_ms), default=None)


def due_alarms(state: State, now_ms: int) -> Iterator[str]:
    """Yields what has become due: steps that back off, `?id` of questions that expire or climb."""
    if state.alarms and not state.paused and not state.ended and not state.cancelling:
        for name, at_ms in state.alarms.items():
            if at_ms <= now_ms:
                yield name


def wants(state: State, now_ms: int) -> dict[Uses, list[tuple[int, str]]]:
    """Returns what waits for a grant: units -> [(-tail_ms, step id)], longest tail first."""
    if state.paused or state.ended or state.cancelling:
        return {}
    due = [
        state.steps[name]
        for name in due_alarms(state, now_ms)
        if name[0] != "?" and state.steps[name].may_start and state.steps[name].step.uses
    ]
    found = {uses: steps for uses, steps in state.ready.items() if uses}
    if due:
        found = {uses: list(steps) for uses, steps in found.items()}
    for one in due:
        found.setdefault(uses_of(one.step), []).append((-one.tail_ms, one.step.id))
    if due:
        for steps in found.values():
            steps.sort()
    if state.shut or state.quarantined:
        closed = state.shut | state.quarantined.keys()
        found = {u: s for u, s in found.items() if closed.isdisjoint(dict(u))}
    return found


def answers_to(state: State, step: str) -> list[Answered]:
    """Returns the answers given to questions that a step raised, oldest first."""
    return [answer for answer in state.answers.values() if answer.step == step]
