"""The kind `evaluate`: what `set` does for a workflow's step, in a thread of its own, because its
expressions call functions of the fleet, which may take their time.
"""

from __future__ import annotations

from fleet.core.messages import Outcome
from fleet.kinds import Work
from fleet.kinds.flow import evaluated


async def run(work: Work) -> Outcome:
    """Returns what the step's expressions come to, or FAILED with what is wrong in them."""
    found: Outcome = await work.world.in_thread(evaluated, work)
    return found
