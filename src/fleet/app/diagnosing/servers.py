"""What the MCP servers of a fleet are like: whether each starts or answers, and which tools it has.

They are started as a run would start them, all at once, from this process and its environment, and
ended again; nothing is left of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fleet.adapters.attempts import plain
from fleet.adapters.mcp_client import Failed, Server, Servers
from fleet.app.diagnosing.findings import Finding, counted, finding
from fleet.app.place import FleetPlace
from fleet.errors import InvalidPlan
from fleet.files.servers import server_params
from fleet.harnesses.secrets import mask, resolve

SHOWN_TOOLS: Final = 12


def servers(place: FleetPlace, *, quick: bool) -> Iterator[Finding]:
    """Looks at each server that the documents declare; nothing to say where there is none, and
    nothing is started when it is to be `quick`.
    """
    try:
        settings = place.documents.settings
    except InvalidPlan:
        return
    declared = [Server.of(server_params(settings, name)) for name in settings.mcp_servers]
    if quick:
        for one in declared:
            yield finding(f"mcp {one.name}", "ok", "declared; not started to be quick")
    elif declared:
        yield from asyncio.run(_all(place, declared))


async def _all(place: FleetPlace, declared: list[Server]) -> list[Finding]:
    with TemporaryDirectory(prefix="fleet-") as logs:
        pool = Servers(place.root, Path(logs), resolve=resolve, mask=mask)
        try:
            return await asyncio.gather(*(_look(pool, one) for one in declared))
        finally:
            await pool.close()


async def _look(pool: Servers, server: Server) -> Finding:
    name = f"mcp {server.name}"
    try:
        tools = await pool.tools(server)
    except Failed as failed:
        cure = f"mend `mcp_servers.{server.name}` in coordination.md"
        return finding(name, "error", plain(failed.text), cure)
    missing = [one for one in server.tools if not any(fnmatchcase(tool, one) for tool in tools)]
    if missing:
        text = f"it has no tool {', '.join(missing)}"
        return finding(name, "warning", text, f"mend `tools` of {server.name!r}")
    more = f" and {len(tools) - SHOWN_TOOLS} more" if len(tools) > SHOWN_TOOLS else ""
    shown = plain(", ".join(tools[:SHOWN_TOOLS]))
    how = "it starts" if server.command else "it answers"
    told = f"{how}; {counted(len(tools), 'tool')}"
    return finding(name, "ok", f"{told}: {shown}{more}" if tools else told)
