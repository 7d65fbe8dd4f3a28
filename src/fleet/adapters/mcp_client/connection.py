"""One connection to one server: a task that holds the session open, and calls through it.

The library's contexts must be left by the task that entered them, so one task owns them and all
ends go through its cancel scope: the server's own, a network's, or ours. Whoever calls is told why
in a sentence. What a server's schema says of its output is not looked at here: a pattern in it
could hold up the event loop that all runs share. Imported only where a server is called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import anyio
import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from fleet import __version__
from fleet.adapters.mcp_client.pipes import CLOSING_S, TOO_LONG, Pipes
from fleet.adapters.mcp_client.server import Failed, Server, Why
from fleet.adapters.mcp_client.web import Heard, client_of, heard_here

PAGES: Final = 100
"""So many pages of a list of tools are read at most."""
CLOSED: Final = "Connection closed"
"""What the library says to all who wait when a session ends."""
SAID: Final = 400
"""So much of what a library or a server complains of is told."""

# What goes wrong is told to whoever calls; what the library would log may quote what servers say.
for _name in ("mcp", "client", "httpx2", "httpcore2"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class Answer(types.Result):
    """A result as it came: what it holds is checked by the library for its protocol version."""

    model_config: ClassVar = {"extra": "allow"}


class Connection:
    """A session with a server; `environment` and `headers` are complete, secrets filled in."""

    def __init__(
        self,
        server: Server,
        *,
        root: Path,
        log: Path,
        environment: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> None:
        self.server, self.root, self.log = server, root, log
        self.environment, self.headers = environment, headers
        self.tools: list[str] | None = None
        """Names that the server lists; None for one that lists none."""
        self._scope = anyio.CancelScope()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reason = ""
        self._how = ""
        """How a process ended."""
        self._pipes: Pipes | None = None
        self._client: Client | None = None
        self._heard = Heard()
        self._owner: asyncio.Task[None] | None = None

    # --- beginning and end ------------------------------------------------------------------------

    async def open(self) -> None:
        """Returns when tools may be called; raises Failed when the server did not get so far."""
        self._owner = asyncio.create_task(self._own())
        late = asyncio.get_running_loop().call_later(
            self.server.startup_s, self._end, f"it was not ready within {self.server.startup_s:g} s"
        )
        try:
            await asyncio.wait([self._ready, self._owner], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.leave()
            raise
        finally:
            late.cancel()
        if not self._ready.done():
            raise self._failed_to_start()

    def leave(self) -> None:
        """Begins the end of the connection; `gone` waits for it."""
        self._end("it was closed")

    async def gone(self) -> None:
        """Returns when nothing is left of it."""
        if self._owner is not None:
            await asyncio.wait([self._owner])

    @property
    def over(self) -> bool:
        """Whether nothing can be called through it any more."""
        return bool(self._reason or self._how) or self._owner is None or self._owner.done()

    @property
    def is_process(self) -> bool:
        """Whether the server is a process of ours."""
        return bool(self.server.command)

    def silent_since(self, began_s: float) -> bool:
        """Returns whether a process has said nothing since a time on the monotonic clock."""
        return self._pipes is not None and self._pipes.heard_s < began_s

    def _end(self, why: str) -> None:
        self._reason = self._reason or why
        self._scope.cancel()

    async def _own(self) -> None:
        heard_here.set(self._heard)
        try:
            with self._scope:
                client = Client(
                    self._transport(),
                    client_info=types.Implementation(name="fleet", version=__version__),
                    cache=None,
                )
                async with client:
                    self._client = client
                    await self._list_tools()
                    self._ready.set_result(None)
                    await anyio.sleep_forever()
        except (Exception, BaseExceptionGroup) as broken:  # noqa: BLE001 - whatever it is, it is the end of this connection
            first = next(_leaves(broken))
            spoken = isinstance(first, MCPError) and first.message != CLOSED
            self._reason = self._reason or ("" if spoken else self._how) or _told(first)
        finally:
            self._reason = self._reason or self._how or "it was closed"
            self._client = None

    def _process_ended(self, how: str) -> None:
        self._how = how
        self._scope.cancel()

    def _transport(self) -> AbstractAsyncContextManager[Any]:
        server = self.server
        if not server.command:
            return self._over_http()
        self._pipes = Pipes(
            command=server.command,
            env=self.environment,
            cwd=self.root / server.cwd,
            log=self.log,
            line_bytes=server.line_bytes,
            on_end=self._process_ended,
        )
        return self._pipes

    @asynccontextmanager
    async def _over_http(self) -> AsyncIterator[Any]:
        most = self.server.line_bytes
        async with (
            client_of(self.headers, most) as web,
            streamable_http_client(
                self.server.url, http_client=web, max_sse_event_size=most
            ) as streams,
        ):
            yield streams

    # --- calls ------------------------------------------------------------------------------------

    async def call(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Returns the result of a tool as JSON; raises Failed for any other end than an answer.

        How long it may take is for the caller to say: cancelled, it tells the server so.
        """
        heard = Heard()
        token = heard_here.set(heard)
        try:
            return await self._call(tool, arguments, meta)
        except MCPError as error:
            raise await self._failed(error, heard) from None
        except ValueError as wrong:
            text = f"its answer is none that MCP knows: {_told(wrong)}"
            raise Failed(Why.TOOL, text) from None
        finally:
            heard_here.reset(token)

    async def _call(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if self._client is None:
            raise MCPError(code=types.CONNECTION_CLOSED, message=self._reason)
        session = self._client.session
        params = types.CallToolRequestParams(name=tool, arguments=dict(arguments))
        params.meta = types.RequestParamsMeta(**meta)  # type: ignore[typeddict-item]
        request = types.CallToolRequest(params=params)
        try:
            found = await session.send_request(request, Answer)
        except MCPError as error:
            if error.code != types.HEADER_MISMATCH:
                raise
            await (
                self._list_tools()
            )  # what it asks for in headers has changed: it stands in the list
            found = await session.send_request(request, Answer)
        answer: Mapping[str, Any] = found.model_extra or {}
        if answer.get("resultType") == "input_required":
            raise Failed(Why.TOOL, "it asks for more input, which nobody gives in a workflow")
        return answer

    async def knows(self, tool: str) -> bool:
        """Returns whether the server lists a tool; it is asked again for one that it did not."""
        if self.tools is not None and tool not in self.tools:
            try:
                await self._list_tools()
            except MCPError:
                return True  # the call itself will tell
        return self.tools is None or tool in self.tools

    async def _list_tools(self) -> None:
        assert self._client is not None
        if self._client.server_capabilities.tools is None:
            return
        session, found, cursor = self._client.session, list[str](), None
        for _ in range(PAGES):
            try:
                page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            except MCPError as error:
                if error.code == types.METHOD_NOT_FOUND:  # it has tools and no list of them
                    return
                raise
            found += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        self.tools = found

    # --- why not ----------------------------------------------------------------------------------

    def _failed_to_start(self) -> Failed:
        heard, noise = self._heard, self._pipes.noise if self._pipes else ""
        if heard.status in {401, 403}:
            return Failed(Why.DENIED, f"it refuses access ({heard.status})")
        if heard.status == 429:
            return Failed(Why.LIMITED, "it is called too often (429)", heard.retry_after_s)
        if heard.status >= 400:
            return Failed(Why.UNWELL, f"it answered {heard.status}")
        why = f"{self._reason}; it said what is no MCP: {noise}" if noise else self._reason
        return Failed(Why.STARTED if self.is_process else Why.UNWELL, why)

    async def _failed(self, error: MCPError, heard: Heard) -> Failed:
        most = self.server.line_bytes
        if error.code == TOO_LONG or heard.too_long:
            return Failed(Why.TOOL, f"it answered with more than {most} bytes")
        if heard.packed:
            return Failed(Why.TOOL, "it packed its answer though it was asked not to")
        if heard.status in {401, 403}:
            if heard.status == 401:
                self.leave()  # the next one asks for its secrets again: a token may have run out
            return Failed(Why.DENIED, f"it refuses access ({heard.status})")
        if heard.status == 429:
            return Failed(Why.LIMITED, "it is called too often (429)", heard.retry_after_s)
        if heard.lost_session:
            self._end("it knows the session no more")
            return Failed(Why.LOST, "it knows the session no more")
        if heard.status >= 500:
            return Failed(Why.UNWELL, f"it answered {heard.status}: {error.message[:SAID]}")
        if error.code == types.CONNECTION_CLOSED:
            if error.message == CLOSED:
                await self._settled()
            return Failed(Why.LOST, self._reason or error.message[:SAID])
        return Failed(Why.TOOL, error.message)

    async def _settled(self) -> None:
        """Returns when it is known why the connection has ended."""
        assert self._owner is not None
        await asyncio.wait([self._owner], timeout=CLOSING_S)
        self._end(self._how or "it was closed")


def _told(first: BaseException) -> str:
    """Returns what an error says in its own words."""
    if isinstance(first, MCPError):
        return first.message[:SAID]
    if hasattr(first, "errors"):  # a form that does not fit, told by its first misfit
        wrong = first.errors()[0]
        return f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"[:SAID]
    if isinstance(first, httpx2.TransportError):
        return f"it cannot be reached: {str(first)[:SAID] or type(first).__name__}"
    if isinstance(first, OSError):
        where = f": {first.filename}" if first.filename else ""
        return f"{first.strerror or first}{where}"
    return f"{type(first).__name__}: {' '.join(str(first).split())[:SAID]}"


def _leaves(broken: BaseException) -> Iterator[BaseException]:
    if isinstance(broken, BaseExceptionGroup):
        for inner in broken.exceptions:
            yield from _leaves(inner)
    else:
        yield broken
