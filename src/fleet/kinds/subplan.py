"""The kind `subplan`: a child run of the same engine, whose end is this step's outcome.

The child's id is made of this attempt, so that after a crash the same child is found again.
Stopping the attempt cancels the child.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fleet import codec
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure, Plan
from fleet.kinds import Work


async def run(work: Work) -> Outcome:
    """Returns {run, standing} as output when the child succeeded, else FAILED or STOPPED."""
    params: Any = work.params
    plan: Plan = codec.load_plan(params["plan"])
    child = str(params.get("run") or "") or work.key.replace("/", ".")
    parent = (work.run, work.step.id, work.attempt)
    ended = asyncio.ensure_future(work.world.run_child(child, plan, parent))
    stopped = asyncio.ensure_future(work.stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            work.world.cancel_run(child)
        standing = await ended
    finally:
        stopped.cancel()
        ended.cancel()
    output = {"run": child, "standing": standing}
    if standing == "succeeded":
        return Outcome(ending=Ending.SUCCEEDED, output=output)
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text=f"{child} was {standing}")
    return Outcome(
        ending=Ending.FAILED, failure=Failure.TASK, text=f"{child} {standing}", evidence=output
    )
