"""The kind `set`: puts out its params' `value`, at once and inside the coordinator's loop."""

from __future__ import annotations

from fleet.core.messages import Ending, Outcome
from fleet.kinds import Work


def settle(work: Work) -> Outcome:
    """Returns the outcome whose output is `params.value`, labelled with `params.label` if there is
    one.
    """
    label = str(work.params.get("label", ""))
    return Outcome(ending=Ending.SUCCEEDED, output=work.params.get("value"), label=label)
