"""The kind `set`: puts out a value, at once and inside the coordinator's loop.

Of a workflow it evaluates the start of a scope, the updates of a `set_state`, or the value of a
`return`, whose patch ends its scope; where the fleet's own functions are called, `evaluate` does.
"""

from __future__ import annotations

from fleet.core.messages import Ending, Outcome
from fleet.kinds import Work


def settle(work: Work) -> Outcome:
    """Returns the outcome whose output is `params.value`, labelled with `params.label` if there is
    one; of a workflow's step what its expressions come to, or FAILED with what is wrong in them.
    """
    if "flow" in work.params:
        from fleet.kinds.flow import evaluated

        return evaluated(work)
    label = str(work.params.get("label", ""))
    return Outcome(ending=Ending.SUCCEEDED, output=work.params.get("value"), label=label)
