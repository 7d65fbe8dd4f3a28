"""MCP servers that workflows call: one connection to each, shared, begun when it is first needed.

    server      what is known of one, and how a call may fail      pool        the connections
    connection  one session, owned by one task                     answers     results as values
    pipes       a process that speaks lines of JSON                keeper      who ends its tree
    web         an address: bounded, its refusals kept

The protocol is the `mcp` library's. It costs a second and 50 MB to import, so only `pool` does it,
in a thread and where a server is called; `connection`, `pipes` and `web` are behind that door.
"""

from __future__ import annotations

from fleet.adapters.mcp_client.pool import Servers
from fleet.adapters.mcp_client.server import Failed, Server, Why

__all__ = ["Failed", "Server", "Servers", "Why"]
