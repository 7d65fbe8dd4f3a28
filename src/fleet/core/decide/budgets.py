"""What keeps steps from starting until a person says more: spent budgets, and quarantines.

What runs of a spent budget is stopped, which spends no retry, and waits. One question a budget:
`raise` grants it once more, `stop` leaves it shut until its document grants more. One question a
quarantine: `retry` lifts it, `stop` leaves it closed until a person retries one of its steps.
Nobody is asked before something would start.
"""

from __future__ import annotations

from fleet.core import messages as m
from fleet.core.decide.draft import Draft, request_stop
from fleet.core.decide.routing import ask
from fleet.core.plan import Failure
from fleet.core.spending import Budget
from fleet.core.state import Standing, State


def keep_to_budgets(draft: Draft) -> None:
    """Stops what runs of each spent budget and asks about it, once, when it keeps a step back."""
    state = draft.state
    if state.cancelling or state.ended:
        return
    for name in sorted(state.shut):
        for step in sorted(state.running):
            one = draft.step(step)
            if name in one.step.uses and not one.stopping:
                request_stop(draft, step, "budget")
        budget = state.budgets[name]
        if not budget.asked and _holds_back(draft, name):
            _ask(draft, "budget", name, _spent(name, budget), ("raise", "stop"))


def ask_about_quarantines(draft: Draft) -> None:
    """Asks about each limit that is closed for its crashes, once, when it keeps a step back."""
    state = draft.state
    if state.cancelling or state.ended:
        return
    for name in sorted(state.quarantined):
        if not state.quarantined[name] and _holds_back(draft, name):
            _ask(draft, "quarantine", name, _crashed(state, name), ("retry", "stop"))


def _ask(draft: Draft, kind: str, name: str, message: str, choices: tuple[str, ...]) -> None:
    question = m.Question(
        message=message, kind=kind, choices=choices, topic=kind, about={kind: name}
    )
    ask(draft, "", question, kind)


def _holds_back(draft: Draft, name: str) -> bool:
    """Returns whether a step that uses a limit waits for nothing else, or for time only."""
    state, origin = draft.state, draft.origin
    groups = (*origin.ready.items(), *state.ready.items())
    listed = [step for uses, steps in groups if name in dict(uses) for _, step in steps]
    listed += [alarm for alarm in (*origin.alarms, *state.alarms) if alarm[0] != "?"]
    return any(
        (one := state.known(step)) is not None
        and one.standing in (Standing.READY, Standing.BACKOFF)
        and one.may_start
        and name in one.step.uses
        for step in listed
    )


def _spent(name: str, budget: Budget) -> str:
    told = [f"{budget.spent[one]:g} of {budget.allowed[one]:g} {one}" for one in budget.gone]
    return f"{name.replace(':', ' ')} has spent {', '.join(told)}; nothing more of it starts."


def _crashed(state: State, name: str) -> str:
    steps = map(state.steps.__getitem__, state.steps)
    failed = [one for one in steps if one.failure is Failure.AGENT and name in one.step.uses]
    last = max(failed, key=lambda one: one.ended_ms, default=None)
    said = f" Last: {last.text.splitlines()[0]}" if last is not None and last.text else ""
    told = f"{name.replace(':', ' ')} crashes at once in one task after another"
    return f"{told}; nothing more of it starts.{said}"
