"""What a command means: `decide`, and everything else that decides.

Law 1: whatever decides stands in this package, one module for each group of commands; `evolve` only
computes. Law 2: a command first has its own meaning, then its consequences are drawn to a fixed
point: what may start is started, a run with nothing left to do is ended. Law 3: `decide` raises
only Rejected and then nothing has changed; an accepted command's events are journaled together or
not at all. Law 4: a settled step stays settled. Rework, loops, branches and people's edits add
steps by a patch that touches only what has not started, checked here as a plan is.

The shape (command-triggered, then state-triggered to a fixed point) follows h11's connection states
(Smith, 2016); decide/evolve is the functional event-sourcing decider (Chassaing, 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleet.core import messages as m
from fleet.core.decide.attempts import report_outcome, report_progress, tick
from fleet.core.decide.budgets import ask_about_quarantines, keep_to_budgets
from fleet.core.decide.draft import Draft, start
from fleet.core.decide.pace import (
    cancel_run,
    hold_step,
    pause_run,
    release_step,
    resume_run,
    retry_step,
    revise_plan,
    skip_step,
)
from fleet.core.decide.routing import attend
from fleet.core.decide.talk import (
    answer_question,
    check_in,
    escalate_question,
    raise_question,
    send_note,
)
from fleet.core.evolve import evolve
from fleet.core.plan import FAILED, QUESTION, check
from fleet.core.state import Standing, State
from fleet.errors import InvalidPlan, Rejected


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


def _draw_consequences(draft: Draft) -> None:
    """Starts what waits for nothing, and ends the run when there is nothing left to do."""
    state = draft.state
    attend(draft)
    if state.shut:
        keep_to_budgets(draft)
    if state.quarantined:
        ask_about_quarantines(draft)
    ready = [one for one in map(state.known, draft.agenda) if one and not one.step.uses]
    for one in sorted(ready, key=lambda one: (-one.tail_ms, one.step.id)):
        if one.standing is Standing.READY:
            start(draft, one)
    if state.ended or state.running:
        return
    if state.cancelling:
        draft.emit(m.RunEnded, standing="cancelled")
    elif not state.unsettled and not state.questions:
        draft.emit(m.RunEnded, standing=_result(state))


def _result(state: State) -> str:
    """A run has failed when a step failed and no other step was there to take that up; what failed
    at an answer was, for its question went on to somebody else.
    """
    for name in state.failures:
        edges, step = state.dependents.get(name, []), state.steps[name].step
        answers = bool(step.whole) and step.params.get(QUESTION) == step.whole
        if not answers and not any(on == FAILED for _, on in edges):
            return "failed"
    return "succeeded"


_MEANINGS: dict[type, Callable[[Draft, Any], None]] = {
    m.RevisePlan: revise_plan,
    m.ReleaseStep: release_step,
    m.HoldStep: hold_step,
    m.PauseRun: pause_run,
    m.ResumeRun: resume_run,
    m.CancelRun: cancel_run,
    m.RetryStep: retry_step,
    m.SkipStep: skip_step,
    m.RaiseQuestion: raise_question,
    m.AnswerQuestion: answer_question,
    m.EscalateQuestion: escalate_question,
    m.CheckIn: check_in,
    m.SendNote: send_note,
    m.ReportProgress: report_progress,
    m.ReportOutcome: report_outcome,
    m.Tick: tick,
}
