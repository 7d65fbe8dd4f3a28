"""The kind `tool`: an `mcp_call` of a workflow, to a built-in tool, a function of the fleet or an
MCP server.

Built in are `memory.save`, `memory.get`, `memory.add` and `memory.search`. A function that
`functions` of coordination.md names like the tool is called with its parameters. Either runs in a
thread, with a time limit; what a function that ran out of time still does is not waited for.

Any other tool is one of a server's. A call whose answer was lost is made again, so it happens at
least once; it says by run, step and attempt which one it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from fleet.adapters.attempts import plain as neutral
from fleet.adapters.mcp_client import Failed, Server, Why
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.errors import FleetError
from fleet.files.flows.answering import answered, misfit
from fleet.files.flows.sandbox import plain
from fleet.files.flows.scope import Scope
from fleet.kinds import Work
from fleet.kinds.flow import attempted, failed

TIMEOUT_S: Final = 60.0
TOLD: Final = 4_096
"""So many characters of what went wrong are kept."""

CLASSES: Final = {
    Why.STARTED: Failure.AGENT,
    Why.DENIED: Failure.AGENT,
    Why.LIMITED: Failure.ACCOUNT,
    Why.UNWELL: Failure.INFRA,
}
"""Whose fault it is that a call has no result; the step's own where nothing is said."""


async def run(work: Work) -> Outcome:
    """Returns what the tool returns as output, or FAILED with what it said."""
    remote: list[_Call] = []
    calling = work.world.in_thread(attempted, work, lambda scope: _called(work, scope, remote))
    timeout_s = float(work.params.get("timeout_s") or TIMEOUT_S)
    try:
        found: Outcome = await asyncio.wait_for(calling, timeout_s)
    except TimeoutError:
        return failed(f"the tool did not answer in {timeout_s:g} s")
    return await _answer(work, remote[0]) if remote else found


class _Call:
    """A call to a server's tool, its parameters evaluated."""

    def __init__(self, scope: Scope, server: Server, tool: str, parameters: dict[str, Any]) -> None:
        self.server, self.tool, self.parameters = server, tool, parameters
        self.name = f"{server.name}.{tool}"
        self.schema: Mapping[str, Any] = scope.step.get("output") or {}


def _called(work: Work, scope: Scope, remote: list[_Call]) -> Outcome:
    name = scope.step["tool"]
    parameters = scope.evaluate(scope.step.get("parameters") or {})
    server, _, tool = name.partition(".")
    if server in scope.bundle.get("servers", {}) and name not in scope.bundle["functions"]:
        told = Server.of(scope.bundle["servers"][server])
        remote.append(_Call(scope, told, tool, parameters))
        return Outcome(ending=Ending.STOPPED)
    try:
        value = plain(_tool(work, scope, name)(parameters))
    except FleetError:
        raise
    except Exception as error:  # noqa: BLE001 - what a tool raises is its answer
        return failed(f"{name}: {type(error).__name__}: {error}")
    return _fitting(name, value, scope.step.get("output") or {})


def _tool(work: Work, scope: Scope, name: str) -> Callable[[dict[str, Any]], Any]:
    server, _, tool = name.partition(".")
    if server == "memory":
        from fleet.adapters.memory import Memory

        return lambda told: Memory(work.world.state).call(tool, told, key=work.key)
    from fleet.adapters.functions import load_functions

    function = load_functions(work.world.root, scope.bundle["functions"])[name]
    return lambda told: function(**told)


def _fitting(name: str, value: Any, schema: Mapping[str, Any]) -> Outcome:
    """Returns what a tool put out, as the step asks for it: a text is read as JSON then."""
    if schema:
        text = isinstance(value, str)
        value, wrong = answered(value, schema) if text else (value, misfit(value, schema))
        if wrong:
            return failed(neutral(f"{name}: {wrong}")[:TOLD])
    return Outcome(ending=Ending.SUCCEEDED, output=value)


# --- servers --------------------------------------------------------------------------------------


async def _answer(work: Work, call: _Call) -> Outcome:
    """Returns what a server's tool puts out; STOPPED as soon as the attempt is to end."""
    meta = {"fleet/run": work.run, "fleet/step": work.step.id, "fleet/attempt": work.attempt}
    calling = asyncio.ensure_future(
        work.world.servers.call(
            call.server,
            call.tool,
            call.parameters,
            timeout_s=work.params.get("timeout_s"),
            meta=meta,
        )
    )
    stopping = asyncio.ensure_future(work.stop.wait())
    try:
        await asyncio.wait([calling, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            return Outcome(ending=Ending.STOPPED, text="stopped")
        return _fitting(call.name, plain(calling.result()), call.schema)
    except Failed as lost:
        return _without(call, lost)
    except FleetError as refused:
        return failed(f"{call.name}: {refused.text}")
    finally:
        for task in (calling, stopping):
            task.cancel()
        await asyncio.gather(calling, stopping, return_exceptions=True)


def _class(call: _Call, why: Why) -> Failure:
    if why is Why.LOST:  # a process has crashed, or a network is down
        return Failure.AGENT if call.server.command else Failure.INFRA
    return CLASSES.get(why, Failure.TASK)


def _without(call: _Call, lost: Failed) -> Outcome:
    """Returns the outcome of a call that has no result."""
    text = {
        Why.STARTED: f"the MCP server {call.server.name!r} did not start: {lost.text}",
        Why.LOST: f"{call.name}: the server was lost before it answered: {lost.text}",
    }.get(lost.why, f"{call.name}: {lost.text}")
    until_ms = None
    if lost.why is Why.LIMITED and lost.retry_after_s is not None:
        until_ms = round((time.time() + lost.retry_after_s) * 1000)
    return Outcome(
        ending=Ending.FAILED,
        failure=_class(call, lost.why),
        text=neutral(text)[:TOLD],
        until_ms=until_ms,
    )
