"""A playbook: a run told as a transcript. `tell` a command, `expect` the events that it leads to.

    with play(plan(step("a"))) as run:
        run.expect(AttemptStarted("a", 1))
        run.tell(ended("a", 1)).expect(AttemptEnded("a"), RunEnded("succeeded"))

Everything that was decided must be expected, in order; what an expectation does not name is not
compared. Each command also shows that `decide` changes nothing, that its events survive the codec,
and that the journal folds to the state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from fleet import codec
from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.decide import decide
from fleet.core.evolve import evolve, replay
from fleet.core.plan import Failure, Patch, Plan
from fleet.errors import Rejected

SPOKEN = {
    m.AttemptStarted: ("step", "attempt"),
    m.StopRequested: ("step", "why"),
    m.RetryScheduled: ("step", "retry_at_ms", "rung"),
    m.StepSettled: ("step", "standing", "text"),
    m.QuestionRaised: ("id", "step"),
    m.QuestionRouted: ("id", "whom"),
    m.QuestionAnswered: ("id", "value"),
    m.PlanRevised: ("revision",),
    m.NoteSent: ("step", "text"),
    m.RunEnded: ("standing",),
}


@dataclass
class Expected:
    kind: type
    facts: dict[str, Any]

    def fits(self, event: object) -> bool:
        found = {name: getattr(event, name, None) for name in self.facts}
        return type(event) is self.kind and found == self.facts

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return f"{self.kind.__name__}({told})"


def _speak(kind: type) -> Any:
    def expected(*values: Any, **facts: Any) -> Expected:
        names = SPOKEN.get(kind, ("step",))
        return Expected(kind, {**dict(zip(names, values, strict=False)), **facts})

    return expected


AttemptStarted = _speak(m.AttemptStarted)
AttemptEnded = _speak(m.AttemptEnded)
AttemptProgressed = _speak(m.AttemptProgressed)
CancelRequested = _speak(m.CancelRequested)
CheckedIn = _speak(m.CheckedIn)
NoteSent = _speak(m.NoteSent)
ParamsSwapped = _speak(m.ParamsSwapped)
PlanRevised = _speak(m.PlanRevised)
QuestionAnswered = _speak(m.QuestionAnswered)
QuestionRaised = _speak(m.QuestionRaised)
QuestionRouted = _speak(m.QuestionRouted)
RetryScheduled = _speak(m.RetryScheduled)
RunEnded = _speak(m.RunEnded)
RunPaused = _speak(m.RunPaused)
RunResumed = _speak(m.RunResumed)
RunStarted = _speak(m.RunStarted)
StepHeld = _speak(m.StepHeld)
StepReleased = _speak(m.StepReleased)
StepSettled = _speak(m.StepSettled)
StopRequested = _speak(m.StopRequested)


class Playbook:
    """One run; `at` moves the clock, which otherwise goes on by one with each command."""

    def __init__(self, plan: Plan, **start: Any) -> None:
        self.now = 0
        self.state: states.State | None = None
        self.log: list[m.Event] = []
        self.open: list[m.Event] = []
        self.tell(m.StartRun(run="r", plan=plan, **start))
        assert RunStarted().fits(self.open.pop(0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.done()

    def at(self, now_ms: int) -> Playbook:
        self.now = now_ms - 1
        return self

    def tell(self, command: m.Command) -> Playbook:
        self._nothing_left(f"before {type(command).__name__}")
        self.now += 1
        command = replace(command, at_ms=command.at_ms or self.now)
        for event in self._decide(command):
            assert codec.loads_event(codec.dumps(event)) == event
            self.state = evolve(self.state, event)
            self.log.append(event)
            self.open.append(event)
        assert replay(self.log) == self.state
        assert codec.load_state(codec.dump_state(self.state)) == self.state
        return self

    def _decide(self, command: m.Command) -> tuple[m.Event, ...]:
        before = codec.dump_state(self.state) if self.state else ""
        try:
            return decide(self.state, command)
        finally:
            after = codec.dump_state(self.state) if self.state else ""
            assert before == after, "decide changed the state"

    def refuse(self, command: m.Command, *words: str) -> Playbook:
        """The command is rejected, in a sentence with these words, and nothing changes."""
        self._nothing_left(f"before {type(command).__name__}")
        try:
            events = self._decide(replace(command, at_ms=command.at_ms or self.now))
        except Rejected as rejected:
            for word in words:
                assert word in f"{rejected.text} {rejected.hint}", rejected.text  # noqa: PT017
            return self
        raise AssertionError(f"{command} was accepted: {events}")

    def expect(self, *expected: Expected) -> Playbook:
        """These events, in this order, and then no other."""
        told, self.open = self.open, []
        fits = len(told) == len(expected) and all(
            one.fits(event) for one, event in zip(expected, told, strict=False)
        )
        if not fits:
            lines = ["expected", *[f"  {one}" for one in expected], "decided"]
            raise AssertionError("\n".join([*lines, *[f"  {event}" for event in told]]))
        return self

    def quietly(self, *commands: m.Command) -> Playbook:
        """Tells commands whose events are not the matter here."""
        self.open = []
        for command in commands:
            self.tell(command)
            self.open = []
        return self

    def stands(self, **standings: str) -> Playbook:
        """How steps stand; `__` in a name is `/`."""
        for name, standing in standings.items():
            found = self.state.steps[name.replace("__", "/")].standing
            assert found == standing, f"{name} is {found}, not {standing}"
        return self

    def wants(self, *effects: object) -> Playbook:
        assert states.outstanding(self.state) == list(effects)
        return self

    def done(self) -> None:
        """The transcript is complete: nothing was decided that nobody expected."""
        self._nothing_left("at the end")

    def _nothing_left(self, where: str) -> None:
        if self.open:
            told = "\n".join(f"  {event}" for event in self.open)
            self.open = []
            raise AssertionError(f"{where}, nobody expected\n{told}")


def play(plan: Plan, **start: Any) -> Playbook:
    """A run of `plan`; what its start leads to is to be expected next."""
    return Playbook(plan, **start)


# --- what is told --------------------------------------------------------------------------------


def ended(name: str, attempt: int = 1, output: object = None, **rest: Any) -> m.ReportOutcome:
    """An attempt succeeded."""
    outcome = m.Outcome(ending=m.Ending.SUCCEEDED, output=output, **rest)
    return m.ReportOutcome(step=name, attempt=attempt, outcome=outcome)


def failed(
    name: str, attempt: int = 1, failure: Failure = Failure.TASK, **rest: Any
) -> m.ReportOutcome:
    """An attempt failed."""
    outcome = m.Outcome(ending=m.Ending.FAILED, failure=failure, **rest)
    return m.ReportOutcome(step=name, attempt=attempt, outcome=outcome)


def stopped(name: str, attempt: int = 1) -> m.ReportOutcome:
    """An attempt was stopped."""
    return m.ReportOutcome(step=name, attempt=attempt, outcome=m.Outcome(ending=m.Ending.STOPPED))


def asked(name: str, attempt: int = 1, then: m.Then = m.Then.AGAIN, **rest: Any) -> m.ReportOutcome:
    """An attempt ended with a question."""
    question = m.Question(message="so?", then=then, **rest)
    outcome = m.Outcome(ending=m.Ending.ASKED, question=question)
    return m.ReportOutcome(step=name, attempt=attempt, outcome=outcome)


def deferred(name: str, attempt: int = 1, **rest: Any) -> m.ReportOutcome:
    """An attempt put itself off."""
    outcome = m.Outcome(ending=m.Ending.DEFERRED, **rest)
    return m.ReportOutcome(step=name, attempt=attempt, outcome=outcome)


def granted(*names: str) -> m.Tick:
    """A tick that lets steps start."""
    return m.Tick(grants=names)


def revised(*put: Any, **rest: Any) -> m.RevisePlan:
    """A person's change of the plan."""
    return m.RevisePlan(patch=Patch(put=put, **rest))


def answered(number: int, value: str, **rest: Any) -> m.AnswerQuestion:
    """An answer to the run's n-th question."""
    return m.AnswerQuestion(id=f"r.q{number}", value=value, **rest)
