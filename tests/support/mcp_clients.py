"""Real MCP clients of the official package, over stdio and over HTTP, and a `fleet mcp --http`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation

PATIENCE_S = 60.0
PAUSE_S = 0.1


class Refused(Exception):
    """A call whose result is an error: the sentence and its cure."""


@dataclass
class Hand:
    """A client's side of a session."""

    client: Client

    async def __call__(self, tool: str, /, **arguments: Any) -> Any:
        """Returns what a tool answers; raises Refused with what it refuses."""
        found = await self.client.call_tool(tool, arguments)
        text = found.content[0].text
        if found.is_error:
            raise Refused(text)
        assert json.loads(text) == found.structured_content
        return found.structured_content

    async def refused(self, tool: str, /, **arguments: Any) -> str:
        """Returns the sentence that a call is refused with; fails when it is not."""
        try:
            found = await self(tool, **arguments)
        except Refused as refusal:
            return str(refusal)
        raise AssertionError(f"{tool} was not refused: {found}")

    async def pull(self, **wish: Any) -> dict[str, Any]:
        """Returns the next step, however long it takes to be offered."""
        for _ in range(int(PATIENCE_S / PAUSE_S)):
            found = await self("get_next_step", **wish)
            if found["kind"] != "none":
                return found
            await asyncio.sleep(PAUSE_S)
        raise AssertionError(f"no step was offered: {wish}")

    async def until(self, tool: str, met: Any, /, **arguments: Any) -> Any:
        """Returns what a tool answers once `met` is true of it."""
        for _ in range(int(PATIENCE_S / PAUSE_S)):
            found = await self(tool, **arguments)
            if met(found):
                return found
            await asyncio.sleep(PAUSE_S)
        raise AssertionError(f"{tool} never came to it: {found}")

    async def read(self, address: str) -> str:
        """Returns the text of a resource."""
        return (await self.client.read_resource(address)).contents[0].text


@asynccontextmanager
async def over_stdio(
    root: Path, name: str = "ada", env: Mapping[str, str] | None = None
) -> AsyncIterator[Hand]:
    """Yields a client of a server that it has started itself."""
    told = StdioServerParameters(
        command=sys.executable,
        args=["-m", "fleet", "mcp"],
        cwd=root,
        env={**os.environ, **(env or {})},
    )
    about = Implementation(name=name, version="1")
    async with Client(stdio_client(told), client_info=about) as client:
        yield Hand(client)


@asynccontextmanager
async def over_http(
    url: str, token: str, name: str = "ada", mode: str = "auto"
) -> AsyncIterator[Hand]:
    """Yields a client of a server that is there; `legacy` speaks the protocol with a handshake."""
    headers = {"Authorization": f"Bearer {token}"}
    about = Implementation(name=name, version="1")
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=PATIENCE_S) as web,
        Client(
            streamable_http_client(url, http_client=web), client_info=about, mode=mode
        ) as client,
    ):
        yield Hand(client)


@contextmanager
def serving(root: Path, *words: str) -> Iterator[tuple[str, str]]:
    """Yields the address of a `fleet mcp --http` and what it said of its token."""
    argv = [sys.executable, "-m", "fleet", "mcp", "--http", *words]
    child = subprocess.Popen(
        argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = child.stdout.readline().strip()
        said = child.stderr.readline() if url else child.stderr.read()
        assert url, said
        yield url, said
    finally:
        child.terminate()
        child.communicate(timeout=PATIENCE_S)
