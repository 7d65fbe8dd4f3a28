"""Asking about budgets that are spent, when something that draws on one would start.

One question a budget: `raise` grants it once more, `stop` leaves it shut until its document grants
more. Nothing that runs is ended for it.
"""

from __future__ import annotations

from fleet.core import messages as m
from fleet.core.decide.draft import Draft, ask
from fleet.core.spending import Budget
from fleet.core.state import Standing

CHOICES = ("raise", "stop")


def ask_about_budgets(draft: Draft) -> None:
    """Raises a question about each spent budget that keeps a step from starting, once."""
    state = draft.state
    if state.cancelling or state.ended:
        return
    for name in sorted(state.shut):
        budget = state.budgets[name]
        if not budget.asked and _holds_back(draft, name):
            question = m.Question(
                message=_message(name, budget),
                kind="budget",
                choices=CHOICES,
                topic="budget",
                about={"budget": name},
            )
            ask(draft, "", question, "budget")


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


def _message(name: str, budget: Budget) -> str:
    told = [f"{budget.spent[one]:g} of {budget.allowed[one]:g} {one}" for one in budget.gone]
    return f"{name.replace(':', ' ')} has spent {', '.join(told)}; nothing more of it starts."
