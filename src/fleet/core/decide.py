"""What a command means: `decide`, and everything else that decides.

Law 1: whatever decides stands in this file; `evolve` only computes.
Law 2: a command first has its own meaning, then its consequences are drawn to a fixed point: what
may start is started, a run with nothing left to do is ended.
Law 3: `decide` raises only Rejected and then nothing has changed; an accepted command's events are
journaled together or not at all.
Law 4: a settled step stays settled. Rework, loops, branches and people's edits add steps by a patch
that touches only what has not started, checked here as a plan is.

The shape (command-triggered, then state-triggered to a fixed point) follows h11's connection states
(Smith, 2016); decide/evolve is the functional event-sourcing decider (Chassaing, 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fleet.core import messages as m
from fleet.core.evolve import evolve
from fleet.core.patches import patch_problems
from fleet.core.plan import (
    FAILED,
    SETTLED,
    Ask,
    Failure,
    Patch,
    Retry,
    Revise,
    Swap,
    check,
)
from fleet.core.state import (
    SETTLED_STANDINGS,
    Standing,
    State,
    StepState,
    wants,
)
from fleet.errors import InvalidPlan, Rejected, did_you_mean

ACCOUNT_PAUSE_MS = 300_000
"""How long an account rests when its limit names no time at which it opens again."""


class Draft:
    """The events decided so far and the twin of the state on which they have played."""

    __slots__ = ("agenda", "at_ms", "events", "origin", "state")

    def __init__(self, state: State, at_ms: int) -> None:
        self.origin = state
        self.state = state.fork()
        self.at_ms = max(at_ms, state.at_ms)
        self.events: list[m.Event] = []
        self.agenda: list[str] = []

    def emit(self, kind: Callable[..., m.Event], **facts: object) -> None:
        """Decides an event, stamped with the command's time, and lets it play on the twin."""
        event = kind(at_ms=self.at_ms, **facts)
        self.events.append(event)
        evolve(self.state, event)
        self.agenda += self.state.agenda

    def step(self, name: str) -> StepState:
        """Returns a step as it stands on the twin; raises Rejected when there is none."""
        found = self.state.known(name)
        if found is None:
            raise Rejected(f"no step {name!r}", hint=did_you_mean(name, self.origin.steps))
        return found


def decide(state: State | None, command: m.Command) -> tuple[m.Event, ...]:
    """Returns the events that a command leads to, none when it changes nothing; raises Rejected."""
    if isinstance(command, m.StartRun):
        return _start_run(state, command)
    if state is None:
        raise Rejected("the run has not started")
    draft = Draft(state, command.at_ms)
    _MEANINGS[type(command)](draft, command)
    _draw_consequences(draft)
    return tuple(draft.events)


def _start_run(state: State | None, command: m.StartRun) -> tuple[m.Event, ...]:
    if state is not None:
        raise Rejected(f"run {command.run!r} has started already")
    try:
        check(command.plan)
    except InvalidPlan as invalid:
        raise Rejected(str(invalid)) from invalid
    started = m.RunStarted(
        run=command.run,
        plan=command.plan,
        parent=command.parent,
        at_ms=command.at_ms,
        by=command.by,
    )
    draft = Draft.__new__(Draft)
    draft.state = draft.origin = evolve(None, started)
    draft.at_ms, draft.events, draft.agenda = command.at_ms, [started], list(draft.state.agenda)
    _draw_consequences(draft)
    return tuple(draft.events)


# --- consequences ---------------------------------------------------------------------------------


def _draw_consequences(draft: Draft) -> None:
    """Starts what waits for nothing, and ends the run when there is nothing left to do."""
    state = draft.state
    ready = [one for one in map(state.known, draft.agenda) if one and not one.step.uses]
    for one in sorted(ready, key=lambda one: (-one.tail_ms, one.step.id)):
        if one.standing is Standing.READY:
            _start(draft, one)
    if state.ended or state.running:
        return
    if state.cancelling:
        draft.emit(m.RunEnded, standing="cancelled")
    elif not state.unsettled and not state.questions:
        draft.emit(m.RunEnded, standing=_result(state))


def _start(draft: Draft, one: StepState) -> None:
    state = draft.state
    startable = one.standing in (Standing.READY, Standing.BACKOFF) and one.may_start
    if startable and not (state.paused or state.cancelling or state.ended):
        draft.emit(m.AttemptStarted, step=one.step.id, attempt=one.attempt + 1)


def _result(state: State) -> str:
    """A run has failed when a step failed and no other step was there to take that up."""
    for name in state.failures:
        edges = state.dependents.get(name, [])
        if not any(on in (FAILED, SETTLED) for _, on in edges):
            return "failed"
    return "succeeded"


def _live(draft: Draft) -> None:
    if draft.state.ended == "cancelled" or draft.state.cancelling:
        raise Rejected("the run was cancelled")


# --- the plan and its pace ------------------------------------------------------------------------


def _revise_plan(draft: Draft, command: m.RevisePlan) -> None:
    _live(draft)
    problems = patch_problems(draft.state, command.patch)
    if problems:
        raise Rejected("the patch was refused: " + "; ".join(str(p) for p in problems))
    _apply(draft, command.patch, command.by)


def _apply(draft: Draft, patch: Patch, by: str) -> None:
    for name in patch.stop:
        attempt = draft.state.running.get(name)
        if attempt is not None:
            draft.emit(m.StopRequested, step=name, attempt=attempt, why="revise")
    draft.emit(m.PlanRevised, revision=draft.state.revision + 1, patch=patch, by=by)


def _release_step(draft: Draft, command: m.ReleaseStep) -> None:
    _live(draft)
    for name in command.steps:
        one = draft.step(name)
        if one.standing not in SETTLED_STANDINGS and not one.may_start:
            draft.emit(m.StepReleased, step=name, by=command.by)
            if draft.origin.alarms.get(name, draft.at_ms + 1) <= draft.at_ms and not one.step.uses:
                _start(draft, draft.step(name))


def _hold_step(draft: Draft, command: m.HoldStep) -> None:
    _live(draft)
    one = draft.step(command.step)
    if one.standing in SETTLED_STANDINGS:
        raise Rejected(f"step {command.step!r} has {one.standing} already")
    if not one.held:
        draft.emit(m.StepHeld, step=command.step, reason=command.reason, by=command.by)
    if command.stop and one.standing is Standing.RUNNING:
        _request_stop(draft, command.step, "hold")


def _request_stop(draft: Draft, step: str, why: str) -> None:
    attempt = draft.state.running[step]
    if draft.step(step).stopping != why:
        draft.emit(m.StopRequested, step=step, attempt=attempt, why=why)


def _pause_run(draft: Draft, command: m.PauseRun) -> None:
    _live(draft)
    if not draft.state.paused:
        draft.emit(m.RunPaused, reason=command.reason, by=command.by)


def _resume_run(draft: Draft, command: m.ResumeRun) -> None:
    _live(draft)
    if draft.state.paused:
        draft.emit(m.RunResumed, by=command.by)
        for _, name in draft.origin.ready.get((), ()):
            _start(draft, draft.step(name))
        _ring(draft)


def _cancel_run(draft: Draft, command: m.CancelRun) -> None:
    if draft.state.ended:
        raise Rejected(f"the run has {draft.state.ended} already")
    if not draft.state.cancelling:
        draft.emit(m.CancelRequested, reason=command.reason, by=command.by)


def _retry_step(draft: Draft, command: m.RetryStep) -> None:
    _live(draft)
    one = draft.step(command.step)
    if one.standing is Standing.ASKING:
        for asked in list(draft.state.questions.values()):
            if asked.step == command.step and asked.question.then is m.Then.LADDER:
                _answer(draft, asked.id, "retry", command.by)
                return
    if one.standing is not Standing.BACKOFF:
        raise Rejected(
            f"step {command.step!r} is {one.standing}; only one that backs off or asks is retried"
        )
    draft.emit(m.RetryScheduled, step=command.step, rung=-1, retry_at_ms=draft.at_ms)


def _skip_step(draft: Draft, command: m.SkipStep) -> None:
    _live(draft)
    for name in command.steps:
        if draft.step(name).standing in SETTLED_STANDINGS:
            raise Rejected(f"step {name!r} has {draft.step(name).standing} already")
    for name in command.steps:
        one = draft.step(name)
        if one.standing is Standing.RUNNING:
            _request_stop(draft, name, "skip")
        elif one.standing not in SETTLED_STANDINGS:
            _settle(draft, name, Standing.SKIPPED, command.reason, by=command.by)


def _settle(
    draft: Draft,
    step: str,
    standing: Standing,
    text: str = "",
    *,
    output: object = None,
    label: str = "",
    by: str = "",
) -> None:
    draft.emit(
        m.StepSettled,
        step=step,
        standing=str(standing),
        text=text,
        output=output,
        label=label,
        by=by,
    )


# --- questions, check-ins, notes ------------------------------------------------------------------


def _raise_question(draft: Draft, command: m.RaiseQuestion) -> None:
    _live(draft)
    if draft.state.ended:
        raise Rejected(f"the run has {draft.state.ended} already; nobody waits for an answer")
    if command.step:
        draft.step(command.step)
    _ask(draft, command.step, replace(command.question, then=m.Then.NOTE), command.by)


def _ask(draft: Draft, step: str, question: m.Question, by: str) -> None:
    number = draft.state.asked + 1
    draft.emit(
        m.QuestionRaised, id=f"{draft.state.run}.q{number}", question=question, step=step, by=by
    )


def _answer_question(draft: Draft, command: m.AnswerQuestion) -> None:
    _live(draft)
    asked = draft.state.questions.get(command.id)
    if asked is None:
        closed = command.id in draft.origin.answers
        raise Rejected(f"question {command.id!r} is {'answered already' if closed else 'not open'}")
    question = asked.question
    if question.choices and command.value not in question.choices and command.patch is None:
        raise Rejected(
            f"{command.value!r} is no answer to question {command.id!r}",
            hint=f"one of: {', '.join(question.choices)}",
        )
    if command.patch is not None:
        problems = patch_problems(draft.state, command.patch)
        if problems:
            raise Rejected("the patch was refused: " + "; ".join(str(p) for p in problems))
        _apply(draft, command.patch, command.by)
    _answer(draft, command.id, command.value, command.by, command.note, revised=bool(command.patch))


def _answer(
    draft: Draft, name: str, value: str, by: str, note: str = "", *, revised: bool = False
) -> None:
    asked = draft.state.questions[name]
    question, step = asked.question, asked.step
    draft.emit(m.QuestionAnswered, id=name, value=value, note=note, by=by)
    one = draft.state.known(step)
    if one is None:
        return
    if question.then is m.Then.NOTE and step in draft.state.running:
        text = f"Answer to your question {question.message!r}: {value}"
        _send(draft, step, text if not note else f"{text}\n{note}", by)
    if question.then is m.Then.SETTLE and one.standing is Standing.ASKING:
        refused = value in question.refusals or (question.choices and value not in question.choices)
        standing = Standing.FAILED if refused else Standing.SUCCEEDED
        output = {"value": value, "by": by, "note": note}
        _settle(draft, step, standing, note, output=output, label=value, by=by)
    if question.then is m.Then.LADDER and one.standing is Standing.ASKING and value != "retry":
        standing = Standing.SKIPPED if value == "skip" and not revised else Standing.FAILED
        _settle(draft, step, standing, note, by=by)


def _check_in(draft: Draft, command: m.CheckIn) -> None:
    draft.step(command.step)
    draft.emit(
        m.CheckedIn,
        step=command.step,
        done=command.done,
        next=command.next,
        blockers=command.blockers,
        by=command.by,
    )


def _send_note(draft: Draft, command: m.SendNote) -> None:
    draft.step(command.step)
    if command.step not in draft.state.running:
        raise Rejected(f"step {command.step!r} is not running; nobody would read the note")
    _send(draft, command.step, command.text, command.by)


def _send(draft: Draft, step: str, text: str, by: str) -> None:
    number = draft.state.noted + 1
    draft.emit(m.NoteSent, note=number, step=step, text=text, by=by)


# --- attempts -------------------------------------------------------------------------------------


def _report_progress(draft: Draft, command: m.ReportProgress) -> None:
    one = draft.step(command.step)
    if command.attempt and command.attempt != one.attempt:
        raise Rejected(f"attempt {command.attempt} of {command.step!r} is not its latest")
    missing = object()
    facts = {n: v for n, v in command.facts.items() if one.facts.get(n, missing) != v}
    delivered = tuple(number for number in command.delivered if number in draft.origin.notes)
    if facts or delivered:
        draft.emit(
            m.AttemptProgressed,
            step=command.step,
            attempt=command.attempt,
            facts=facts,
            delivered=delivered,
            by=command.by,
        )


def _report_outcome(draft: Draft, command: m.ReportOutcome) -> None:
    one = draft.step(command.step)
    if one.standing is not Standing.RUNNING or one.attempt != command.attempt:
        raise Rejected(
            f"attempt {command.attempt} of step {command.step!r} is not running; the report is late"
        )
    why = one.stopping
    outcome = _as_believed(draft, command.outcome, why)
    patch, revised = outcome.patch, False
    if patch is not None:
        deferred = command.step if outcome.ending is m.Ending.DEFERRED else ""
        problems = patch_problems(draft.state, patch, own=deferred)
        if problems:
            told = "; ".join(str(problem) for problem in problems)
            outcome = m.Outcome(
                ending=m.Ending.FAILED,
                failure=Failure.TASK,
                text=f"{outcome.text}\nits change of the plan was refused: {told}".strip(),
                evidence=outcome.evidence,
            )
        else:
            _apply(draft, patch, command.step)
            outcome, revised = replace(outcome, patch=None), True
    draft.emit(
        m.AttemptEnded,
        step=command.step,
        attempt=command.attempt,
        outcome=outcome,
        by=command.by,
    )
    if draft.state.cancelling or outcome.ending is m.Ending.SUCCEEDED:
        return
    if why == "skip":
        _settle(draft, command.step, Standing.SKIPPED, outcome.text)
    elif outcome.ending is m.Ending.ASKED and not why and outcome.question is not None:
        _ask(draft, command.step, outcome.question, command.step)
    elif outcome.ending is m.Ending.FAILED and not why:
        if revised:
            _settle(draft, command.step, Standing.FAILED, outcome.text)
        else:
            _climb(draft, command.step, outcome)


def _as_believed(draft: Draft, told: m.Outcome, why: str) -> m.Outcome:
    """Returns an outcome in which nothing is left open: every ending leads somewhere.

    An attempt that was told to stop changes no plan: it will be tried again or was given up. Who
    asks waits for the answer; who was stopped by nobody is lost; a failure has a class, and an
    account that is closed has a time at which it opens.
    """
    stopping = why or draft.state.cancelling
    if told.patch is not None and stopping and told.ending is not m.Ending.SUCCEEDED:
        told = replace(told, patch=None)
    if told.ending is m.Ending.ASKED and told.question is None:
        told = replace(told, ending=m.Ending.FAILED, text=told.text or "it asked nothing")
    if told.question is not None and told.question.then is m.Then.NOTE:
        told = replace(told, question=replace(told.question, then=m.Then.AGAIN))
    if told.ending is m.Ending.STOPPED and not stopping:
        told = replace(told, ending=m.Ending.FAILED, failure=Failure.INFRA)
    if told.ending is m.Ending.FAILED and told.failure is None:
        told = replace(told, failure=Failure.TASK)
    if told.failure is Failure.ACCOUNT:
        until_ms = told.until_ms or draft.at_ms + ACCOUNT_PAUSE_MS
        told = replace(told, until_ms=max(until_ms, draft.at_ms + 1))
    return told


def _climb(draft: Draft, step: str, outcome: m.Outcome) -> None:
    """Takes the next rung of a failed step's ladder that is meant for such a failure."""
    one = draft.step(step)
    failure = outcome.failure
    if failure is Failure.ACCOUNT and outcome.until_ms:
        _schedule(draft, step, -1, outcome.until_ms)
        return
    for number, rung in enumerate(one.step.ladder):
        if failure not in rung.on:
            continue
        spent = one.uses_of(number)
        match rung:
            case Retry() if spent < rung.times:
                wait_ms = min(rung.backoff_ms << min(spent, 30), rung.cap_ms)
                _schedule(draft, step, number, draft.at_ms + wait_ms)
                return
            case Swap() if not spent:
                draft.emit(m.ParamsSwapped, step=step, rung=number, params=rung.params)
                _schedule(draft, step, number, draft.at_ms)
                return
            case Revise() if not patch_problems(draft.state, rung.patch):
                _apply(draft, rung.patch, step)
                break
            case Ask():
                _ask_how(draft, step, rung, outcome)
                return
            case _:
                continue
    _settle(draft, step, Standing.FAILED, outcome.text)


def _schedule(draft: Draft, step: str, rung: int, retry_at_ms: int) -> None:
    draft.emit(m.RetryScheduled, step=step, rung=rung, retry_at_ms=retry_at_ms)


def _ask_how(draft: Draft, step: str, rung: Ask, outcome: m.Outcome) -> None:
    question = m.Question(
        message=f"{rung.message}\n{outcome.text}".strip(),
        kind="escalation",
        choices=rung.choices,
        whom=rung.whom,
        topic=rung.topic,
        then=m.Then.LADDER,
    )
    _ask(draft, step, question, step)


def _tick(draft: Draft, command: m.Tick) -> None:
    wanted = {name for steps in wants(draft.origin, draft.at_ms).values() for _, name in steps}
    for name in command.grants:
        if name in wanted:
            _start(draft, draft.step(name))
    _ring(draft)


def _ring(draft: Draft) -> None:
    """Answers the questions that have expired and starts what has backed off long enough."""
    state = draft.state
    if state.paused or state.cancelling or state.ended:
        return
    for name, at_ms in draft.origin.alarms.items():
        if at_ms > draft.at_ms:
            continue
        if name[0] == "?":
            asked = state.questions.get(name[1:])
            if asked is not None:
                _answer(draft, asked.id, asked.question.default or "", "timeout")
        elif not draft.step(name).step.uses:
            _start(draft, draft.step(name))


_MEANINGS: dict[type, Callable[[Draft, Any], None]] = {
    m.RevisePlan: _revise_plan,
    m.ReleaseStep: _release_step,
    m.HoldStep: _hold_step,
    m.PauseRun: _pause_run,
    m.ResumeRun: _resume_run,
    m.CancelRun: _cancel_run,
    m.RetryStep: _retry_step,
    m.SkipStep: _skip_step,
    m.RaiseQuestion: _raise_question,
    m.AnswerQuestion: _answer_question,
    m.CheckIn: _check_in,
    m.SendNote: _send_note,
    m.ReportProgress: _report_progress,
    m.ReportOutcome: _report_outcome,
    m.Tick: _tick,
}
