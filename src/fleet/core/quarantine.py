"""Crash loops: a limit whose users crash one after another is closed until a person opens it.

What it blames is an attempt's own word (its agent, then its account, say); the narrowest of these
under which so many different steps crashed, within a window and with no attempt that worked in
between, rests as an account does that is at its limit, but without an end. One step alone is its
ladder's business: it is tried so often, then asked about.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.messages import Ending, Outcome
from fleet.core.plan import NEVER, Failure
from fleet.core.state import State, StepState

CRASHED_STEPS = 3
"""So many different steps of a limit crash before it is closed."""

WINDOW_MS = 600_000
"""How long a crash counts."""


def note_ending(state: State, one: StepState, outcome: Outcome, at_ms: int) -> None:
    """Counts an attempt that crashed; one that worked, well or not, ends the count."""
    if outcome.ending is Ending.SUCCEEDED or outcome.failure is Failure.TASK:
        for name in one.step.uses:
            state.crashes.pop(name, None)
    if outcome.failure is not Failure.AGENT:
        return
    blamed = [name for name in outcome.blames if name in one.step.uses]
    for name in blamed:
        known = state.crashes.get(name, {})
        crashed = {step: at for step, at in known.items() if at > at_ms - WINDOW_MS}
        state.crashes[name] = {**crashed, one.step.id: at_ms}
        if len(state.crashes[name]) >= CRASHED_STEPS and name not in state.quarantined:
            state.accounts[name] = NEVER
            state.quarantined[name] = ""
            for other in blamed:
                state.crashes.pop(other, None)
            return


def reopen(state: State, names: Iterable[str]) -> None:
    """Ends the rests and quarantines of limits that a person tries again, with their questions."""
    for name in names:
        state.accounts.pop(name, None)
        state.crashes.pop(name, None)
        asked = state.quarantined.pop(name, "")
        state.questions.pop(asked, None)
