"""The transport of a server that is a process of its own: messages as lines of JSON.

Unlike the library's it trusts nothing of what comes: a line has a length beyond which it is dropped
and whoever waits for it is told so; a line that is no message is counted and left out. The process
is kept by `keeper`, so that none of it outlives this one. Imported only where a server is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream as Receive
    from anyio.streams.memory import MemoryObjectSendStream as Send

    Streams = tuple[Receive[SessionMessage | Exception], Send[SessionMessage]]

TOO_LONG, UNREADABLE = -31_999, -31_998
"""Codes of answers that were too long to be read, or no JSON; none that JSON-RPC or MCP knows."""
NOISE_LINES: Final = 1_000
"""So many lines in a row that are no message, and whoever writes them is no MCP server."""
LOG_BYTES: Final = 1 << 20
CLOSING_S: Final = 6.0
"""The keeper takes 4 s at most for a server that does not want to end."""
CHUNK: Final = 65_536
EDGE: Final = 512
TAIL_BYTES: Final = 2_048
_ID_FIRST: Final = re.compile(rb'"id"\s*:\s*(\d+)')
_ID_LAST: Final = re.compile(rb'"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')
_NEWS: Final = re.compile(
    rb'\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"method"\s*:\s*"notifications/(?!cancelled")'
)
"""What nobody here listens to (progress, log lines); a flood of it is not worth a look."""
_KEEPER: Final = Path(__file__).with_name("keeper.py")


@dataclass(slots=True)
class Pipes:
    """One server's process; entered, it yields the streams of a session.

    `on_end` is called as soon as nothing more can come from it, with the reason.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    line_bytes: int
    on_end: Callable[[str], None]
    heard_s: float = 0.0
    """When the last message came, on the monotonic clock."""
    noise: str = ""
    """The last line that was no message."""
    _noisy: int = 0
    _waited: set[int | str] = field(default_factory=set)
    _log_start: int = 0
    _lifeline: int = -1
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _process: asyncio.subprocess.Process = field(init=False)
    _in: Send[SessionMessage | Exception] = field(init=False)
    _out: Receive[SessionMessage] = field(init=False)
    _theirs: Streams = field(init=False)

    async def __aenter__(self) -> Streams:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            self._log_start = self.log.stat().st_size
        theirs, self._lifeline = os.pipe()
        keeper = (
            sys.executable,
            "-I",
            "-S",
            str(_KEEPER),
            str(theirs),
            str(self.log),
            str(LOG_BYTES),
        )
        try:
            self._process = await asyncio.create_subprocess_exec(
                *keeper,
                "--",
                *self.command,
                cwd=self.cwd,
                env=dict(self.env),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(theirs)
        self._in, heard = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        told, self._out = anyio.create_memory_object_stream[SessionMessage](math.inf)
        self._theirs = heard, told
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._tell())]
        return heard, told

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in (*self._theirs, self._in, self._out):
            stream.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._cut()  # from here on the keeper ends it, whatever becomes of this process
        with anyio.CancelScope(shield=True):
            await asyncio.wait(self._tasks[:1], timeout=CLOSING_S)
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._process.wait(), CLOSING_S)
                await asyncio.wait_for(self._process.stdin.wait_closed(), CLOSING_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    # --- what the server hears --------------------------------------------------------------------

    async def _tell(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, anyio.ClosedResourceError):
            async for told in self._out:
                message = told.message
                if isinstance(message, JSONRPCRequest):
                    self._waited.add(message.id)
                elif isinstance(message, JSONRPCNotification):
                    self._waited.discard((message.params or {}).get("requestId", ""))
                line = message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(line.encode() + b"\n")
                await stdin.drain()

    # --- what it says -----------------------------------------------------------------------------

    async def _hear(self) -> None:
        why = ""
        try:
            async for line, cut in self._lines():
                why = await (self._too_long(line) if cut else self._heard(line))
                if why:
                    break
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass  # the session has left; what is still said is let go of
        finally:
            self._in.close()
        if why:
            self.on_end(why)
        await self._drain()
        if not why:
            self.on_end(await self._ending())

    async def _lines(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Yields lines; of one that is too long its two ends, and True."""
        stdout = self._process.stdout
        assert stdout is not None
        held, cut = bytearray(), False
        while chunk := await stdout.read(CHUNK):
            for number, part in enumerate(chunk.split(b"\n")):
                if number:  # a line has ended before this part
                    yield bytes(held), cut
                    held, cut = bytearray(), False
                held += part
                if len(held) > self.line_bytes or (cut and len(held) > 2 * EDGE):
                    held, cut = held[:EDGE] + held[-EDGE:], True

    async def _heard(self, line: bytes) -> str:
        """Hands a message on; returns why nothing more is wanted of who says what is none."""
        if not line.strip():
            return ""
        if _NEWS.match(line):
            self.heard_s = time.monotonic()
            return ""
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            return await self._unread(line)
        self._noisy, self.heard_s = 0, time.monotonic()
        if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
            self._waited.discard(message.id)
        await self._in.send(SessionMessage(message))
        return ""

    async def _unread(self, line: bytes) -> str:
        """Leaves out a line that is no message, and tells whoever waits for it if it seems to be
        an answer; returns why nothing more is wanted when there are too many.
        """
        number = self._meant(line)
        if number is not None and b'"result"' in line:
            await self._give_up(number, UNREADABLE, "its answer cannot be read as JSON")
            return ""
        self.noise = line[:EDGE].decode("utf-8", "replace").strip()
        self._noisy += 1
        return "" if self._noisy < NOISE_LINES else f"it does not speak MCP: {self.noise}"

    async def _too_long(self, ends: bytes) -> str:
        """Tells whoever waits for this answer; returns why the session ends where none is known."""
        text = f"it answered with more than {self.line_bytes} bytes"
        number = self._meant(ends)
        if number is None and len(self._waited) == 1:
            (number,) = self._waited
        if number is None:
            return text
        await self._give_up(number, TOO_LONG, text)
        return ""

    def _meant(self, line: bytes) -> int | str | None:
        """Returns the request that a line answers which cannot be read, None where that is open."""
        head, tail = line[:EDGE].partition(b'"result"')[0], line[-EDGE:]
        found = _ID_FIRST.search(head) or _ID_LAST.search(tail)
        return int(found[1]) if found and int(found[1]) in self._waited else None

    async def _give_up(self, number: int | str, code: int, text: str) -> None:
        """Answers a request in the place of a server whose answer is not read."""
        self._waited.discard(number)
        self.heard_s = time.monotonic()
        error = ErrorData(code=code, message=text)
        await self._in.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id=number, error=error)))

    async def _ending(self) -> str:
        """Returns how a server ended that has closed its output, with what it said last."""
        self._cut()
        try:
            code = await asyncio.wait_for(self._process.wait(), CLOSING_S)
        except TimeoutError:
            return "it closed its output"
        said = self._last_words()
        return f"it ended with {code}: {said}" if said else f"it ended with {code}"

    def _last_words(self) -> str:
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = self._log_start if self._log_start <= size else 0
                file.seek(max(start, size - TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return " / ".join(line.strip() for line in lines[-3:])

    async def _drain(self) -> None:
        """Lets go of what is still said: who ends is not held up by a full pipe."""
        stdout = self._process.stdout
        assert stdout is not None
        while await stdout.read(CHUNK):
            pass
