"""The use case that takes away what killed merges have left: checkouts of trials, and candidates
that nobody will ask about any more. A merge that is going on, or is to be gone on with, keeps its
own.
"""

from __future__ import annotations

import re

from fleet.app.place import PLAN_RUN, FleetPlace
from fleet.app.telling import confined
from fleet.core.state import Standing, State
from fleet.errors import Rejected
from fleet.views.tasks import phases_of

MERGING = ("merge", "undo")


def sweep(place: FleetPlace, *, dry_run: bool = False) -> list[str]:
    """Removes what killed merges have left; returns the folders of trials that went."""
    from fleet.adapters.git import Repository, scraps

    if confined():
        raise Rejected("nothing is removed from inside a sandbox")
    repo = Repository.at(place.root)
    # Listed before the run is looked at: what a merge makes that begins after it is not among them.
    left = scraps.trial_checkouts(repo)
    state = place.run_state()
    if state is not None and _merges(state):
        return []
    if dry_run:
        return [str(one.path) for one in left]
    gone = [str(one.path) for one in left if scraps.remove_trial_checkout(repo, one)]
    scraps.remove_halves(repo)
    if state is not None:
        scraps.drop_candidates(repo, _let_go(state, list(scraps.candidates(repo))))
    return gone


def _merges(state: State) -> bool:
    return any(
        one.step.kind in MERGING and one.standing in (Standing.RUNNING, Standing.BACKOFF)
        for one in state.steps.values()
    )


def _let_go(state: State, candidates: list[str]) -> list[str]:
    """Returns the candidates of undos, and of phases that have landed or are no more."""
    phases, found = phases_of(state), []
    for name in candidates:
        run, _, rest = name.partition("/")
        phase = re.sub(r"(:[0-9]+)?(\.part)?$", "", rest)
        waits = phase in phases and phases[phase].landed is None
        if run == "taken-back" or (run == PLAN_RUN and not waits):
            found.append(name)
    return found
