"""The connections of one coordinator: one to each server, whoever calls.

A connection begins with the first call, is closed when nobody has called for a while, and begins
anew after its end; those who ask while it begins share the one beginning. A server that fails again
and again is started ever later. Secrets are resolved when a connection begins, live in it and are
masked in all that comes out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fleet.adapters.mcp_client.answers import spoken, value_of, words_of
from fleet.adapters.mcp_client.server import Failed, Server, Why
from fleet.errors import FleetError, did_you_mean

if TYPE_CHECKING:
    from fleet.adapters.mcp_client.connection import Connection

References = Mapping[str, str]
Resolve = Callable[[References, Path], dict[str, str]]
Mask = Callable[[str, Mapping[str, str]], str]

BACKOFF_S, BACKOFF_CAP_S = 0.5, 30.0
"""How long after its first failure in a row a server is started again at the earliest; it doubles
up to the cap."""

HANDED_ON: Final = (
    *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
)
HANDED_ON_PREFIXES: Final = ("LC_", "XDG_")
"""What a server gets of the coordinator's environment; whatever else it needs is in its `env`."""


class Servers:
    """Calls tools of MCP servers; `resolve` and `mask` are the fleet's way with secrets."""

    def __init__(self, root: Path, state: Path, *, resolve: Resolve, mask: Mask) -> None:
        self.root, self.state, self.resolve, self.mask = root, state, resolve, mask
        self.held: dict[str, _Held] = {}

    async def call(
        self,
        server: Server,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Any:
        """Returns what a tool puts out as plain JSON; raises Failed for everything else.

        The time is that of the call alone, not of the server's start.
        """
        if not server.allows(tool):
            raise Failed(Why.TOOL, f"the fleet does not allow its tool {tool!r}")
        held = self.held.setdefault(server.key, _Held(server, self))
        try:
            result = await held.call(tool, arguments, timeout_s or server.timeout_s, meta or {})
        except Failed as failed:
            text = self.mask(failed.text, held.values)
            raise Failed(failed.why, text, failed.retry_after_s) from None
        if result.get("isError"):
            raise Failed(Why.TOOL, self.mask(words_of(result), held.values))
        value = value_of(result)
        size = _size(value)
        if size > server.max_output_bytes:
            text = f"it put out {size} bytes, and `max_output` is {server.max_output_bytes}"
            raise Failed(Why.TOOL, text)
        return spoken(value, lambda text: self.mask(text, held.values)) if held.values else value

    async def tools(self, server: Server) -> list[str]:
        """Returns the tools that a server lists and the fleet allows; raises Failed."""
        held = self.held.setdefault(server.key, _Held(server, self))
        try:
            found = (await held.connected()).tools or []
        except Failed as failed:
            raise Failed(failed.why, self.mask(failed.text, held.values)) from None
        return [tool for tool in found if server.allows(tool)]

    async def close(self) -> None:
        """Ends all connections and the processes behind them."""
        held, self.held = self.held, {}
        await asyncio.gather(*(one.close() for one in held.values()))


def _size(value: Any) -> int:
    """Returns how many bytes a value takes as JSON; raises Failed for one that JSON cannot say."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as wrong:
        raise Failed(Why.TOOL, f"its answer is no JSON: {wrong}") from None
    return len(text.encode("utf-8", "surrogatepass"))


class _Held:
    """What the pool holds of one server."""

    def __init__(self, server: Server, pool: Servers) -> None:
        self.server, self.pool = server, pool
        self.values: dict[str, str] = {}
        self.connection: Connection | None = None
        self.opening: asyncio.Task[Connection] | None = None
        self.idle: asyncio.TimerHandle | None = None
        self.calls = 0
        self.failures = 0
        self.failed_s = 0.0

    async def call(
        self, tool: str, arguments: Mapping[str, Any], timeout_s: float, meta: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        connection = await self.connected()
        began_s = time.monotonic()
        self.calls += 1
        try:
            async with asyncio.timeout(timeout_s):
                if not await connection.knows(tool):
                    hint = did_you_mean(tool, connection.tools or ())
                    said = f"it has no tool {tool!r}"
                    raise Failed(Why.TOOL, f"{said}; {hint}" if hint else said)
                result = await connection.call(tool, arguments, meta)
        except TimeoutError:
            if self.calls == 1 and connection.silent_since(began_s):
                connection.leave()  # it hangs; the next call finds another
            raise Failed(Why.LATE, f"it did not answer within {timeout_s:g} s") from None
        except Failed as failed:
            if failed.why is Why.LOST and connection.over:
                self._note_failure()
            elif failed.why is Why.TOOL:
                self.failures = 0  # it works, whatever it says
            raise
        finally:
            self.calls -= 1
            self._rest(connection)
        self.failures = 0
        return result

    async def connected(self) -> Connection:
        """Returns the connection, begun if there is none; raises Failed."""
        if self.opening is None:
            if self.connection is not None and not self.connection.over:
                return self.connection
            self.opening = asyncio.create_task(self._open())
            self.opening.add_done_callback(self._opened)
        return await asyncio.shield(self.opening)

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self.opening = None
        if not task.cancelled():
            task.exception()  # whoever asked was told, if anybody is left

    async def _open(self) -> Connection:
        if self.connection is not None:
            await self.connection.gone()
            self.connection = None
        if self.failures:
            pause_s = min(BACKOFF_S * 2 ** min(self.failures - 1, 16), BACKOFF_CAP_S)
            await asyncio.sleep(max(0.0, self.failed_s + pause_s - time.monotonic()))
        try:
            self.connection = await self._made()
            await self.connection.open()
        except Failed:
            self._note_failure()
            raise
        self._rest(self.connection)
        return self.connection

    async def _made(self) -> Connection:
        server, pool = self.server, self.pool
        try:
            self.values = await asyncio.to_thread(pool.resolve, server.references, pool.root)
        except FleetError as refused:
            raise Failed(Why.STARTED, f"{refused.text} {refused.hint}".strip()) from None
        secrets = {
            name: before + self.values[name] for name, (before, _) in server.secret_headers.items()
        }
        for name, value in secrets.items():
            if not (value.isascii() and value.isprintable()):  # what would complain would quote it
                raise Failed(Why.STARTED, f"secret {name}: its value is no line of ASCII")
        module: Any = await asyncio.to_thread(import_module, "fleet.adapters.mcp_client.connection")
        made = module.Connection(
            server,
            root=pool.root,
            log=pool.state / "logs" / f"mcp-{server.name}.log",
            environment=self._environment(),
            headers={**server.headers, **secrets},
        )
        return cast("Connection", made)

    def _environment(self) -> dict[str, str]:
        server = self.server
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in HANDED_ON or name.startswith(HANDED_ON_PREFIXES)
        }
        secrets = {name: self.values[name] for name in server.secrets}
        told = {**kept, **server.env, **secrets, "FLEET_ROOT": str(self.pool.root)}
        return told | ({"FLEET_SECRETS": " ".join(secrets)} if secrets else {})

    def _note_failure(self) -> None:
        self.failures += 1
        self.failed_s = time.monotonic()

    def _rest(self, connection: Connection) -> None:
        """Has a connection closed once it was idle for so long."""
        self._wake()
        loop = asyncio.get_running_loop()
        self.idle = loop.call_later(self.server.idle_s, self._tired, connection)

    def _wake(self) -> None:
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None

    def _tired(self, connection: Connection) -> None:
        if self.calls:
            self._rest(connection)
        else:
            connection.leave()

    async def close(self) -> None:
        self._wake()
        if self.opening is not None:
            self.opening.cancel()
            with contextlib.suppress(asyncio.CancelledError, Failed):
                await self.opening
        if self.connection is not None:
            self.connection.leave()
            await self.connection.gone()
