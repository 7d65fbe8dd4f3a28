"""Commands from people about the plan and its pace: revise, release, hold, pause, retry, skip."""

from __future__ import annotations

from fleet.core import messages as m
from fleet.core.decide.attempts import ring
from fleet.core.decide.draft import Draft, apply, live, request_stop, settle, start
from fleet.core.decide.talk import answer
from fleet.core.patches import patch_problems
from fleet.core.state import SETTLED_STANDINGS, Standing
from fleet.errors import Rejected


def revise_plan(draft: Draft, command: m.RevisePlan) -> None:
    """Applies a patch, or raises Rejected with every reason why not."""
    live(draft)
    problems = patch_problems(draft.state, command.patch)
    if problems:
        raise Rejected("the patch was refused: " + "; ".join(str(p) for p in problems))
    apply(draft, command.patch, command.by)


def release_step(draft: Draft, command: m.ReleaseStep) -> None:
    """Lets unreleased and held steps go."""
    live(draft)
    for name in command.steps:
        one = draft.step(name)
        if one.standing not in SETTLED_STANDINGS and not one.may_start:
            draft.emit(m.StepReleased, step=name, by=command.by)
            if draft.origin.alarms.get(name, draft.at_ms + 1) <= draft.at_ms and not one.step.uses:
                start(draft, draft.step(name))


def hold_step(draft: Draft, command: m.HoldStep) -> None:
    """Keeps a step from starting; ends its attempt where that is asked for."""
    live(draft)
    one = draft.step(command.step)
    if one.standing in SETTLED_STANDINGS:
        raise Rejected(f"step {command.step!r} has {one.standing} already")
    if not one.held:
        draft.emit(m.StepHeld, step=command.step, reason=command.reason, by=command.by)
    if command.stop and one.standing is Standing.RUNNING:
        request_stop(draft, command.step, "hold")


def pause_run(draft: Draft, command: m.PauseRun) -> None:
    """Starts nothing more until the run is resumed."""
    live(draft)
    if not draft.state.paused:
        draft.emit(m.RunPaused, reason=command.reason, by=command.by)


def resume_run(draft: Draft, command: m.ResumeRun) -> None:
    """Starts what waited for nothing but the pause."""
    live(draft)
    if draft.state.paused:
        draft.emit(m.RunResumed, by=command.by)
        for _, name in draft.origin.ready.get((), ()):
            start(draft, draft.step(name))
        ring(draft)


def cancel_run(draft: Draft, command: m.CancelRun) -> None:
    """Ends all attempts; the run ends when the last one has."""
    if draft.state.ended:
        raise Rejected(f"the run has {draft.state.ended} already")
    if not draft.state.cancelling:
        draft.emit(m.CancelRequested, reason=command.reason, by=command.by)


def retry_step(draft: Draft, command: m.RetryStep) -> None:
    """Tries a step again now that backs off, whose ladder asks, or whose account rests."""
    live(draft)
    one = draft.step(command.step)
    if one.standing is Standing.ASKING:
        for asked in list(draft.state.questions.values()):
            if asked.step == command.step and asked.question.then is m.Then.LADDER:
                answer(draft, asked.id, "retry", command.by)
                return
    rests = any(draft.state.accounts.get(name, 0) > draft.at_ms for name in one.step.uses)
    if one.standing is not Standing.BACKOFF and not (one.standing is Standing.READY and rests):
        raise Rejected(
            f"step {command.step!r} is {one.standing}; only one that backs off or asks is retried"
        )
    draft.emit(m.RetryScheduled, step=command.step, rung=-1, retry_at_ms=draft.at_ms)


def skip_step(draft: Draft, command: m.SkipStep) -> None:
    """Counts steps as succeeded; a running one when its attempt has ended."""
    live(draft)
    for name in command.steps:
        if draft.step(name).standing in SETTLED_STANDINGS:
            raise Rejected(f"step {name!r} has {draft.step(name).standing} already")
    for name in command.steps:
        one = draft.step(name)
        if one.standing is Standing.RUNNING:
            request_stop(draft, name, "skip")
        elif one.standing not in SETTLED_STANDINGS:
            settle(draft, name, Standing.SKIPPED, command.reason, by=command.by)
