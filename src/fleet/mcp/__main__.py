"""`python -m fleet.mcp SETTINGS`: serves one fleet over stdio, or over HTTP until it ends.

SETTINGS is one JSON object: what `fleet mcp` was told (`app.serving.Settings`), with the fleet's
root. Standard output is the protocol's over stdio, and the server's address over HTTP.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
from mcp.server.stdio import stdio_server

from fleet.app.serving import Settings, token_of
from fleet.errors import FleetError
from fleet.mcp.http import PATH, listen, serve
from fleet.mcp.server import build
from fleet.mcp.tools import is_session
from fleet.render.errors import error_text


async def _serve_stdio(settings: Settings) -> None:
    server = build(Path(settings.root), inside=is_session())
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def _serve_http(settings: Settings) -> None:
    token, where = token_of(settings)
    made = listen(settings.host, settings.port)
    host, port = made.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"http://{shown}:{port}{PATH}\n")
    sys.stdout.flush()
    sys.stderr.write(f"the token is in {where}; end it with C-c\n")
    server = build(Path(settings.root), inside=False)
    await serve(server, made, token, hosts=settings.hosts, origins=settings.origins)


def main(argv: Sequence[str]) -> int:
    """Serves and returns the exit code."""
    settings = Settings(**json.loads(argv[0]))
    try:
        anyio.run(_serve_http if settings.http else _serve_stdio, settings)
    except FleetError as error:
        sys.stderr.write(error_text(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
