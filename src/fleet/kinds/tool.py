"""The kind `tool`: an `mcp_call` of a workflow, to a built-in tool or to a function of the fleet.

Built in are `memory.save`, `memory.get`, `memory.add` and `memory.search`. A function that
`functions` of coordination.md names like the tool is called with its parameters. Either runs in a
thread, with a time limit; what a function that ran out of time still does is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from fleet.core.messages import Ending, Outcome
from fleet.errors import FleetError
from fleet.files.flows.sandbox import plain
from fleet.files.flows.scope import Scope
from fleet.kinds import Work
from fleet.kinds.flow import attempted, failed

TIMEOUT_S: Final = 60.0


async def run(work: Work) -> Outcome:
    """Returns what the tool returns as output, or FAILED with what it said."""
    calling = work.world.in_thread(attempted, work, lambda scope: _called(work, scope))
    timeout_s = float(work.params.get("timeout_s") or TIMEOUT_S)
    try:
        found: Outcome = await asyncio.wait_for(calling, timeout_s)
    except TimeoutError:
        return failed(f"the tool did not answer in {timeout_s:g} s")
    return found


def _called(work: Work, scope: Scope) -> Outcome:
    name = scope.step["tool"]
    parameters = scope.evaluate(scope.step.get("parameters") or {})
    try:
        value = plain(_tool(work, scope, name)(parameters))
    except FleetError:
        raise
    except Exception as error:  # noqa: BLE001 - what a tool raises is its answer
        return failed(f"{name}: {type(error).__name__}: {error}")
    return Outcome(ending=Ending.SUCCEEDED, output=value)


def _tool(work: Work, scope: Scope, name: str) -> Callable[[dict[str, Any]], Any]:
    server, _, tool = name.partition(".")
    if server == "memory":
        from fleet.adapters.memory import Memory

        return lambda told: Memory(work.world.state).call(tool, told, key=work.key)
    from fleet.adapters.functions import load_functions

    function = load_functions(work.world.root, scope.bundle["functions"])[name]
    return lambda told: function(**told)
