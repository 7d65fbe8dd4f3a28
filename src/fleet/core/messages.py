"""Two of the three words of the kernel: what it is told, and what it decides.

A Command is told to a run (imperative). An Event is what a run has decided (past tense), journaled
once and never changed. What can be computed from events is no event: a step that becomes ready, a
join that settles and a step that can no longer be reached follow from the events about others. The
third word, what a run wants of the world now, is an Effect, computed from its state (`state`).

Times are integer milliseconds of the epoch and come in on commands. Ids are made of (run, step,
attempt). Nothing here has behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from fleet.core.plan import Failure, Patch, Plan
from fleet.records import record

# --- values ---------------------------------------------------------------------------------------


class Ending(StrEnum):
    """How an attempt ended: `ASKED` waits for an answer, `DEFERRED` for needs or a time."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    ASKED = "asked"
    DEFERRED = "deferred"


class Then(StrEnum):
    """What an answer does to the step that asked."""

    NOTE = "note"
    """It is delivered to the running attempt, or kept for the next one's brief."""
    REPLY = "reply"
    """It is delivered to the running attempt, which waits for it; with that the question ends."""
    AGAIN = "again"
    """The step is tried again and finds the answer among its inputs."""
    SETTLE = "settle"
    """The step ends with the answer as its output and label."""
    LADDER = "ladder"
    """A rung asked: retry, skip, fail, or a patch that the answer carries."""


@record()
class Question:
    """What a run asks of a person or of an agent's role; `refusals` are answers that fail the
    step.
    """

    message: str
    kind: str = "text"
    choices: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    whom: str = "person"
    topic: str = ""
    then: Then = Then.NOTE
    expires_at_ms: int | None = None
    default: str | None = None
    about: Mapping[str, object] = field(default_factory=dict)


@record()
class Outcome:
    """How an attempt ended, with its evidence.

    `label` picks a branch; `patch` is the change of the plan that follows from it, applied before
    any other consequence; `until_ms` is when an account opens again or a deferred step looks again;
    `hold` leaves a deferred step to a person's release; `usage` is what the attempt took, by name;
    `blames` are limits whose users may fail alike, the narrowest first.
    """

    ending: Ending
    text: str = ""
    output: object = None
    label: str = ""
    failure: Failure | None = None
    account: str = ""
    until_ms: int | None = None
    hold: bool = False
    patch: Patch | None = None
    question: Question | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    usage: Mapping[str, float] = field(default_factory=dict)
    blames: tuple[str, ...] = ()


@record()
class Told:
    """What every command and event carries: when, and by whom."""

    at_ms: int = 0
    by: str = ""


# --- commands -------------------------------------------------------------------------------------


@record()
class StartRun(Told):
    """Begin; `parent` is (run, step, attempt) of the step that a child run answers to."""

    run: str
    plan: Plan
    parent: tuple[str, str, int] | None = None


@record()
class RevisePlan(Told):
    patch: Patch


@record()
class ReleaseStep(Told):
    """Let unreleased or held steps go."""

    steps: tuple[str, ...]


@record()
class HoldStep(Told):
    """Keep a step from starting; with `stop`, end its running attempt too, spending no retry."""

    step: str
    reason: str = ""
    stop: bool = False


@record()
class PauseRun(Told):
    reason: str = ""


@record()
class ResumeRun(Told):
    pass


@record()
class CancelRun(Told):
    reason: str = ""


@record()
class RetryStep(Told):
    """Try again now a step that backs off or whose ladder asks."""

    step: str


@record()
class SkipStep(Told):
    """Count unsettled steps as succeeded without trying them."""

    steps: tuple[str, ...]
    reason: str = ""


@record()
class RaiseQuestion(Told):
    """Ask. `like` are earlier questions that are the same and led to nothing yet; `loop` is asked
    when there are too many of them.
    """

    question: Question
    step: str = ""
    like: tuple[str, ...] = ()
    loop: Question | None = None


@record()
class AnswerQuestion(Told):
    """Answer an open question; `patch` is the change that the answer stands for.

    `id` may also be the `request` that the question is about: whoever asked knows no other name.
    """

    id: str
    value: str
    note: str = ""
    patch: Patch | None = None


@record()
class EscalateQuestion(Told):
    """Send an open question on to the next whom its routes name, at last to a person."""

    id: str
    reason: str = ""


@record()
class CheckIn(Told):
    """A task's daily report, kept with the step that `step` names."""

    step: str
    done: str = ""
    next: str = ""
    blockers: tuple[str, ...] = ()


@record()
class SendNote(Told):
    """A message for the running attempt of a step."""

    step: str
    text: str


@record()
class ReportProgress(Told):
    """Facts seen about a step (its session, a head), notes delivered, and what it used so far."""

    step: str
    attempt: int
    facts: Mapping[str, object] = field(default_factory=dict)
    delivered: tuple[int, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)


@record()
class ReportOutcome(Told):
    step: str
    attempt: int
    outcome: Outcome


@record()
class Tick(Told):
    """Time has passed, and `grants` are the wanted steps that the fleet's limits let start."""

    grants: tuple[str, ...] = ()


Command = (
    StartRun | RevisePlan | ReleaseStep | HoldStep | PauseRun | ResumeRun | CancelRun | RetryStep
    | SkipStep | RaiseQuestion | AnswerQuestion | EscalateQuestion | CheckIn | SendNote
    | ReportProgress | ReportOutcome | Tick
)  # fmt: skip

# --- events ---------------------------------------------------------------------------------------


@record()
class RunStarted(Told):
    run: str
    plan: Plan
    parent: tuple[str, str, int] | None = None


@record()
class PlanRevised(Told):
    revision: int
    patch: Patch


@record()
class StepReleased(Told):
    step: str


@record()
class StepHeld(Told):
    step: str
    reason: str = ""


@record()
class RunPaused(Told):
    reason: str = ""


@record()
class RunResumed(Told):
    pass


@record()
class CancelRequested(Told):
    reason: str = ""


@record()
class AttemptStarted(Told):
    step: str
    attempt: int


@record()
class AttemptProgressed(Told):
    step: str
    attempt: int
    facts: Mapping[str, object] = field(default_factory=dict)
    delivered: tuple[int, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)


@record()
class StopRequested(Told):
    """`why` is hold, skip, revise or budget: what becomes of the step when it has ended."""

    step: str
    attempt: int
    why: str


@record()
class AttemptEnded(Told):
    step: str
    attempt: int
    outcome: Outcome


@record()
class RetryScheduled(Told):
    """`rung` is the ladder's rung that is spent by it, -1 when none is."""

    step: str
    rung: int
    retry_at_ms: int


@record()
class ParamsSwapped(Told):
    step: str
    rung: int
    params: Mapping[str, object]
    uses: Mapping[str, int] | None = None


@record()
class QuestionRaised(Told):
    id: str
    question: Question
    step: str = ""


@record()
class QuestionRouted(Told):
    """A question is `whom`'s now, for whom `steps` work at an answer, until it climbs on."""

    id: str
    whom: str
    steps: tuple[str, ...] = ()
    climbs_at_ms: int | None = None
    reason: str = ""


@record()
class QuestionAnswered(Told):
    id: str
    value: str
    note: str = ""


@record()
class CheckedIn(Told):
    step: str
    done: str = ""
    next: str = ""
    blockers: tuple[str, ...] = ()


@record()
class NoteSent(Told):
    """`about` is what the answer of a question adds: what it was about, its value and note."""

    note: int
    step: str
    text: str
    about: Mapping[str, object] = field(default_factory=dict)


@record()
class StepSettled(Told):
    """A step ended without, or against, the word of its last attempt."""

    step: str
    standing: str
    text: str = ""
    output: object = None
    label: str = ""


@record()
class RunEnded(Told):
    standing: str


Event = (
    RunStarted | PlanRevised | StepReleased | StepHeld | RunPaused | RunResumed | CancelRequested
    | AttemptStarted | AttemptProgressed | StopRequested | AttemptEnded | RetryScheduled
    | ParamsSwapped | QuestionRaised | QuestionRouted | QuestionAnswered | CheckedIn | NoteSent
    | StepSettled | RunEnded
)  # fmt: skip
