"""How an event changes a run: `evolve`, total on journaled events.

Rule: what follows from an event by computation alone happens here (a need is met, a join settles, a
step becomes unreached, or reachable again); what has to be decided happens in `decide` and arrives
as a further event. `evolve` updates in place and only the owner of a run calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from fleet.core import messages as m
from fleet.core.graph import begin, due, keep_budget, list_ready, move, reopen, revise
from fleet.core.plan import MINUTE_MS, PER_MINUTE, Failure, Step
from fleet.core.quarantine import note_ending
from fleet.core.quarantine import reopen as reopen_accounts
from fleet.core.spending import add_usage, enlarge, spend, still_untold
from fleet.core.state import Answered, Note, OpenQuestion, Standing, State, StepState


def evolve(state: State | None, event: m.Event) -> State:
    """Returns the state after an event; `state` itself, changed, unless the event starts the
    run.
    """
    if isinstance(event, m.RunStarted):
        return begin(event)
    assert state is not None, "the first event of a run starts it"
    state.at_ms = event.at_ms
    state.agenda.clear()
    _CHANGES[type(event)](state, event)
    return state


def replay(events: Iterable[m.Event]) -> State | None:
    """Returns the state that a journal's events make, oldest first; None of none."""
    state = None
    for event in events:
        state = evolve(state, event)
    return state


# --- events ---------------------------------------------------------------------------------------


def _released(state: State, event: m.StepReleased) -> None:
    one = state.steps[event.step]
    listed = one.standing is Standing.READY and one.may_start
    one.released, one.held = True, False
    list_ready(state, one, listed=listed)


def _held(state: State, event: m.StepHeld) -> None:
    one = state.steps[event.step]
    listed = one.standing is Standing.READY and one.may_start
    one.held, one.text = True, event.reason
    list_ready(state, one, listed=listed)


def _started(state: State, event: m.AttemptStarted) -> None:
    one = state.steps[event.step]
    one.attempt = event.attempt
    one.started_ms = event.at_ms
    one.first_ms = one.first_ms or event.at_ms
    one.ended_ms, one.failure, one.text, one.stopping = 0, None, "", ""
    state.running[event.step] = event.attempt
    for name in one.step.uses:
        if name.endswith(PER_MINUTE):
            known = state.starts.get(name, ())
            recent = [at_ms for at_ms in known if at_ms > event.at_ms - MINUTE_MS]
            state.starts[name] = [*recent, event.at_ms]
    move(state, one, Standing.RUNNING, event.at_ms)


def _progressed(state: State, event: m.AttemptProgressed) -> None:
    one = state.steps[event.step]
    one.facts = {**one.facts, **event.facts}
    _use(state, one, event.usage)
    for number in event.delivered:
        state.notes.pop(number, None)


def _use(state: State, one: StepState, usage: Mapping[str, float]) -> None:
    """Books what a running attempt has used, of which a part may be booked already."""
    if usage:
        more = still_untold(one.live, usage)
        one.live = {**one.live, **usage}
        one.usage = add_usage(one.usage, more)
        for name in one.step.uses.keys() & state.budgets.keys():
            keep_budget(state, name, spend(state.budgets[name], more))


def _stop_requested(state: State, event: m.StopRequested) -> None:
    state.steps[event.step].stopping = event.why


def _ended(state: State, event: m.AttemptEnded) -> None:
    one, outcome = state.steps[event.step], event.outcome
    del state.running[event.step]
    one.ended_ms = event.at_ms
    one.failure, one.text, one.evidence = outcome.failure, outcome.text, outcome.evidence
    one.limited = one.limited + 1 if outcome.failure is Failure.ACCOUNT else 0
    if outcome.failure is Failure.ACCOUNT and outcome.account and outcome.until_ms:
        state.accounts[outcome.account] = max(
            outcome.until_ms, state.accounts.get(outcome.account, 0)
        )
    _use(state, one, outcome.usage)
    one.live = {}
    if not one.stopping:
        note_ending(state, one, outcome, event.at_ms)
    ending = outcome.ending
    _close_questions(state, event.step, of_the_attempt=ending is not m.Ending.SUCCEEDED)
    if ending is m.Ending.FAILED and not one.stopping:
        one.tries += outcome.failure is Failure.TASK
        move(state, one, Standing.FAILING, event.at_ms)
    elif ending is m.Ending.SUCCEEDED:
        one.label, one.output = outcome.label, outcome.output
        move(state, one, Standing.SUCCEEDED, event.at_ms)
    elif ending is m.Ending.ASKED and not one.stopping:
        move(state, one, Standing.ASKING, event.at_ms)
    elif ending is m.Ending.DEFERRED and outcome.until_ms:
        one.released = one.released and not outcome.hold
        _back_off(state, one, outcome.until_ms, event.at_ms)
    else:
        one.released = one.released and not outcome.hold
        move(state, one, due(one), event.at_ms)


def _back_off(state: State, one: StepState, until_ms: int, at_ms: int) -> None:
    if until_ms > at_ms and due(one) is Standing.READY:
        move(state, one, Standing.BACKOFF, at_ms)
        state.alarms[one.step.id] = until_ms
    else:
        move(state, one, due(one), at_ms)


def _retry_scheduled(state: State, event: m.RetryScheduled) -> None:
    one = state.steps[event.step]
    if event.rung >= 0:
        spent = dict(one.used)
        spent[event.rung] = spent.get(event.rung, 0) + 1
        one.used = tuple(sorted(spent.items()))
    elif event.retry_at_ms <= event.at_ms:  # a person says that its account is open again
        reopen_accounts(state, one.step.uses)
    _back_off(state, one, event.retry_at_ms, event.at_ms)


def _swapped(state: State, event: m.ParamsSwapped) -> None:
    one = state.steps[event.step]
    step = one.step
    one.step = Step(
        id=step.id,
        kind=step.kind,
        params={**step.params, **event.params},
        needs=step.needs,
        uses=step.uses if event.uses is None else event.uses,
        ladder=step.ladder,
        span_ms=step.span_ms,
        whole=step.whole,
        released=step.released,
    )


def _raised(state: State, event: m.QuestionRaised) -> None:
    one = state.known(event.step)
    state.asked += 1
    attempt = one.attempt if one else 0
    state.questions[event.id] = OpenQuestion(
        event.id, event.question, event.step, attempt, event.by, event.at_ms
    )
    _keep_alarm(state, state.questions[event.id])
    if one is not None and one.standing is Standing.FAILING:
        move(state, one, Standing.ASKING, event.at_ms)
    name = str(event.question.about.get("budget", ""))
    if name in state.budgets:
        keep_budget(state, name, replace(state.budgets[name], asked=event.id))
    name = str(event.question.about.get("quarantine", ""))
    if name in state.quarantined:
        state.quarantined[name] = event.id


def _routed(state: State, event: m.QuestionRouted) -> None:
    asked = state.questions[event.id]
    asked = state.questions[event.id] = replace(
        asked,
        question=replace(asked.question, whom=event.whom),
        passed=(*asked.passed, event.whom),
        steps=event.steps,
        climbs_at_ms=event.climbs_at_ms,
        why=event.reason,
    )
    _keep_alarm(state, asked)


def _keep_alarm(state: State, asked: OpenQuestion) -> None:
    times = (asked.question.expires_at_ms, asked.climbs_at_ms)
    at_ms = min((time for time in times if time is not None), default=None)
    state.alarms.pop(f"?{asked.id}", None)
    if at_ms is not None:
        state.alarms[f"?{asked.id}"] = at_ms


def _answered(state: State, event: m.QuestionAnswered) -> None:
    asked = state.questions.pop(event.id)
    state.alarms.pop(f"?{event.id}", None)
    state.answers[event.id] = Answered(
        event.id, asked.question, asked.step, event.value, event.note, event.by, event.at_ms
    )
    name = str(asked.question.about.get("budget", ""))
    if name in state.budgets and event.value == "raise":
        keep_budget(state, name, enlarge(state.budgets[name]))
    name = str(asked.question.about.get("quarantine", ""))
    if name in state.quarantined and event.value == "retry":
        reopen_accounts(state, [name])
    one = state.known(asked.step)
    if one is None or one.standing is not Standing.ASKING:
        return
    then = asked.question.then
    if then is m.Then.AGAIN or (then is m.Then.LADDER and event.value == "retry"):
        move(state, one, due(one), event.at_ms)


def _checked_in(state: State, event: m.CheckedIn) -> None:
    state.steps[event.step].checkin = {
        "at_ms": event.at_ms,
        "done": event.done,
        "next": event.next,
        "blockers": list(event.blockers),
        "by": event.by,
    }


def _note_sent(state: State, event: m.NoteSent) -> None:
    state.noted = event.note
    state.notes[event.note] = Note(event.step, event.text, event.about)


def _settled(state: State, event: m.StepSettled) -> None:
    one = state.steps[event.step]
    one.text = event.text or one.text
    one.ended_ms = event.at_ms
    if event.standing == Standing.SUCCEEDED:
        one.output, one.label = event.output, event.label
    _close_questions(state, event.step)
    move(state, one, Standing(event.standing), event.at_ms)
    reopen(state)


def _close_questions(state: State, step: str, *, of_the_attempt: bool = False) -> None:
    """Drops a step's questions; with `of_the_attempt` those that end with the attempt."""
    for question in [q for q in state.questions.values() if q.step == step]:
        if of_the_attempt and question.question.then is not m.Then.REPLY:
            continue
        del state.questions[question.id]
        state.alarms.pop(f"?{question.id}", None)


def _run_paused(state: State, _: m.RunPaused) -> None:
    state.paused = True


def _run_resumed(state: State, _: m.RunResumed) -> None:
    state.paused = False


def _cancel_requested(state: State, _: m.CancelRequested) -> None:
    state.cancelling = True


def _run_ended(state: State, event: m.RunEnded) -> None:
    state.ended, state.ended_ms = event.standing, event.at_ms


_CHANGES: dict[type, Callable[[State, Any], None]] = {
    m.PlanRevised: revise,
    m.StepReleased: _released,
    m.StepHeld: _held,
    m.AttemptStarted: _started,
    m.AttemptProgressed: _progressed,
    m.StopRequested: _stop_requested,
    m.AttemptEnded: _ended,
    m.RetryScheduled: _retry_scheduled,
    m.ParamsSwapped: _swapped,
    m.QuestionRaised: _raised,
    m.QuestionRouted: _routed,
    m.QuestionAnswered: _answered,
    m.CheckedIn: _checked_in,
    m.NoteSent: _note_sent,
    m.StepSettled: _settled,
    m.RunPaused: _run_paused,
    m.RunResumed: _run_resumed,
    m.CancelRequested: _cancel_requested,
    m.RunEnded: _run_ended,
}
