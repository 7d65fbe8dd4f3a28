"""Commands that tell how attempts go, and time: progress, outcomes, the ladder, ticks."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

from fleet.core import messages as m
from fleet.core.decide.draft import Draft, apply, settle, start
from fleet.core.decide.routing import ask, climb
from fleet.core.decide.talk import answer
from fleet.core.patches import patch_problems
from fleet.core.plan import (
    Ask,
    Failure,
    Retry,
    Revise,
    Swap,
)
from fleet.core.spending import LEVEL
from fleet.core.state import Standing, StepState, wants
from fleet.errors import Rejected

DEFERRAL_MS = 5_000
"""When a deferred step looks again that names neither a time nor anything to wait for."""

ACCOUNT_PAUSE_MS = 60_000
"""How long an account rests at first when its limit names no time at which it opens again."""

ACCOUNT_PAUSE_CAP_MS = 1_800_000
"""How long it rests at most, after a pause has doubled with each such failure of a step."""


def report_progress(draft: Draft, command: m.ReportProgress) -> None:
    """Keeps facts about an attempt that are new, and which notes it has read."""
    one = draft.step(command.step)
    if command.attempt and command.attempt != one.attempt:
        raise Rejected(f"attempt {command.attempt} of {command.step!r} is not its latest")
    missing = object()
    facts = {n: v for n, v in command.facts.items() if one.facts.get(n, missing) != v}
    delivered = tuple(number for number in command.delivered if number in draft.origin.notes)
    usage = _new_usage(one, command) if command.usage else {}
    if facts or delivered or usage:
        draft.emit(
            m.AttemptProgressed,
            step=command.step,
            attempt=command.attempt,
            facts=facts,
            delivered=delivered,
            usage=usage,
            by=command.by,
        )


def _new_usage(one: StepState, command: m.ReportProgress) -> dict[str, float]:
    """Returns what a running attempt is newly known to have used; an amount never falls."""
    if one.standing is not Standing.RUNNING or command.attempt != one.attempt:
        return {}
    return {
        name: amount
        for name, amount in command.usage.items()
        if (
            amount != one.live.get(name) if name.endswith(LEVEL) else amount > one.live.get(name, 0)
        )
    }


def report_outcome(draft: Draft, command: m.ReportOutcome) -> None:
    """Ends an attempt: its patch first, then its outcome, then what its ladder says."""
    one = draft.step(command.step)
    if one.standing is not Standing.RUNNING or one.attempt != command.attempt:
        raise Rejected(
            f"attempt {command.attempt} of step {command.step!r} is not running; the report is late"
        )
    why = one.stopping
    outcome = _as_believed(draft, one, command.outcome)
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
            apply(draft, patch, command.step)
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
        settle(draft, command.step, Standing.SKIPPED, outcome.text)
    elif outcome.ending is m.Ending.ASKED and not why and outcome.question is not None:
        ask(draft, command.step, outcome.question, command.step)
    elif outcome.ending is m.Ending.FAILED and not why:
        if revised:
            settle(draft, command.step, Standing.FAILED, outcome.text)
        else:
            _climb(draft, command.step, outcome)


def _as_believed(draft: Draft, one: StepState, told: m.Outcome) -> m.Outcome:
    """Returns an outcome in which nothing is left open: every ending leads somewhere.

    An attempt that was told to stop changes no plan: it will be tried again or was given up. Who
    asks waits for the answer; who was stopped by nobody is lost; a failure has a class, and an
    account that is closed has a time at which it opens.
    """
    stopping = one.stopping or draft.state.cancelling
    if told.patch is not None and stopping and told.ending is not m.Ending.SUCCEEDED:
        told = replace(told, patch=None)
    if told.ending is m.Ending.ASKED and told.question is None:
        told = replace(told, ending=m.Ending.FAILED, text=told.text or "it asked nothing")
    if told.question is not None and told.question.then in (m.Then.NOTE, m.Then.REPLY):
        told = replace(told, question=replace(told.question, then=m.Then.AGAIN))
    if told.ending is m.Ending.STOPPED and not stopping:
        told = replace(told, ending=m.Ending.FAILED, failure=Failure.INFRA)
    if told.ending is m.Ending.FAILED and told.failure is None:
        told = replace(told, failure=Failure.TASK)
    if told.ending is m.Ending.DEFERRED and not (told.until_ms or told.hold or told.patch):
        told = replace(told, until_ms=draft.at_ms + DEFERRAL_MS)
    if told.failure is Failure.ACCOUNT:
        until_ms = told.until_ms or draft.at_ms + _pause_ms(draft.state.run, one)
        told = replace(told, until_ms=max(until_ms, draft.at_ms + 1))
    return told


def _pause_ms(run: str, one: StepState) -> int:
    """Returns how long an account rests that does not say: twice as long each time."""
    return _scatter(min(ACCOUNT_PAUSE_MS << min(one.limited, 30), ACCOUNT_PAUSE_CAP_MS), run, one)


def _scatter(wait_ms: int, run: str, one: StepState) -> int:
    """Returns a wait that is a quarter longer or shorter, as the attempt's own name has it."""
    chance = crc32(f"{run}/{one.step.id}/{one.attempt}".encode())
    return wait_ms * 3 // 4 + (wait_ms // 2 * chance >> 32)


def _climb(draft: Draft, step: str, outcome: m.Outcome) -> None:
    """Takes the next rung of a failed step's ladder that is meant for such a failure.

    Those that fail together wait for different times, so that they do not come back together.
    """
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
                wait_ms = _scatter(wait_ms, draft.state.run, one)
                _schedule(draft, step, number, draft.at_ms + wait_ms)
                return
            case Swap() if not spent:
                told = {"params": rung.params, "uses": rung.uses}
                draft.emit(m.ParamsSwapped, step=step, rung=number, **told)
                _schedule(draft, step, number, draft.at_ms)
                return
            case Revise() if not patch_problems(draft.state, rung.patch):
                apply(draft, rung.patch, step)
                break
            case Ask():
                _ask_how(draft, step, rung, outcome)
                return
            case _:
                continue
    settle(draft, step, Standing.FAILED, outcome.text)


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
    ask(draft, step, question, step)


def tick(draft: Draft, command: m.Tick) -> None:
    """Starts what the limits grant, answers what has expired, starts what has backed off."""
    wanted = {name for steps in wants(draft.origin, draft.at_ms).values() for _, name in steps}
    for name in command.grants:
        if name in wanted:
            start(draft, draft.step(name))
    ring(draft)


def ring(draft: Draft) -> None:
    """Answers the questions that have expired, sends those on whose time is up, and starts what has
    backed off long enough.
    """
    state = draft.state
    if state.paused or state.cancelling or state.ended:
        return
    for name, at_ms in draft.origin.alarms.items():
        if at_ms > draft.at_ms:
            continue
        if name[0] == "?":
            asked = state.questions.get(name[1:])
            if asked is None:
                continue
            expires_at_ms = asked.question.expires_at_ms
            if expires_at_ms is not None and expires_at_ms <= draft.at_ms:
                answer(draft, asked.id, asked.question.default or "", "timeout")
            else:
                climb(draft, asked, "its time was up")
        elif not draft.step(name).step.uses:
            start(draft, draft.step(name))
