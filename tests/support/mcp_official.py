"""An MCP server of the official library: over standard streams, or over HTTP behind a token.

    python mcp_official.py                          its standard streams
    python mcp_official.py http PORT_FILE [PORT]    HTTP; the port that it got goes into PORT_FILE

Over HTTP whoever lacks `Bearer letmein` is refused (401). The file `limited` beside PORT_FILE has
it answer 429 once, `unwell` 503 and `packed` what it was asked not to, to whoever calls a tool.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

PACKED = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
server = MCPServer("official")


@server.tool()
def add(first: int, second: int) -> int:
    """Adds two whole numbers."""
    return first + second


@server.tool()
def find(query: str) -> dict[str, list[str]]:
    """Finds what was asked for."""
    return {"found": [f"{query} {{{{ 7 * 6 }}}} #{n}" for n in range(2)]}


@server.tool(structured_output=False)
def big(megabytes: int) -> str:
    """Puts out so many megabytes."""
    return "x" * (megabytes << 20)


@server.tool()
def die() -> str:
    """Ends the server in the middle of a call."""
    os._exit(3)


class Door:
    """Lets in who has the token, and misbehaves once when told to."""

    def __init__(self, app, folder: Path) -> None:
        self.app, self.folder = app, folder

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"authorization") != b"Bearer letmein":
            await self.refuse(send, 401)
            return
        for name, status, more in (
            ("limited", 429, [(b"retry-after", b"1")]),
            ("unwell", 503, []),
            ("packed", 200, PACKED),
        ):
            told = self.folder / name
            if headers.get(b"mcp-method") == b"tools/call" and told.exists():
                told.unlink()
                await self.refuse(send, status, more)
                return
        await self.app(scope, receive, send)

    async def refuse(self, send, status: int, more=()) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*more]})
        await send({"type": "http.response.body", "body": b"no"})


def main(words: list[str]) -> None:
    if not words:
        server.run()
        return
    import uvicorn

    path = Path(words[1])
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", int(words[2]) if words[2:] else 0))
    held.listen(64)
    draft = path.with_suffix(".new")
    draft.write_text(str(held.getsockname()[1]))
    draft.replace(path)
    app = Door(server.streamable_http_app(), path.parent)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[held])


if __name__ == "__main__":
    main(sys.argv[1:])
