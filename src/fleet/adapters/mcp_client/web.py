"""The HTTP client of a server that is an address: bounded, and with its refusals kept.

The library turns a refusal (401, 429) into an error that does not tell which one it was, and reads
answers of any size. Each call has a `Heard` in its own context; what comes for it is noted there,
and read no further than it may be. Imported only where a server is called.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

CONNECT_S: Final = 30.0
MOST_WAIT_S: Final = 86_400.0
SESSION: Final = "mcp-session-id"


@dataclass(slots=True)
class Heard:
    """What came over HTTP for one call: how it was refused, and whether it was too much."""

    status: int = 0
    retry_after_s: float | None = None
    lost_session: bool = False
    too_long: bool = False
    packed: bool = False


heard_here: ContextVar[Heard | None] = ContextVar("heard", default=None)
"""Of the call that is under way in this context; the library carries it to the request."""


def client_of(headers: Mapping[str, str], most_bytes: int) -> httpx2.AsyncClient:
    """Returns a client that sends the headers and reads of an answer so many bytes at most.

    How long an answer may take is the call's own affair: there is no limit here.
    """

    async def look(response: httpx2.Response) -> None:
        if response.request.method != "POST":  # a stream of news, which not every server has
            return
        heard = heard_here.get() or Heard()
        status, told = response.status_code, response.headers
        heard.status = status if status >= 400 else 0
        heard.retry_after_s = wait_s(told.get("retry-after", ""))
        heard.lost_session = status == 404 and SESSION in response.request.headers
        packed = told.get("content-encoding", "identity").lower() != "identity"
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, most_bytes, heard, packed=packed)

    return httpx2.AsyncClient(
        headers={**headers, "accept-encoding": "identity"},
        timeout=httpx2.Timeout(CONNECT_S, read=None),
        event_hooks={"response": [look]},
    )


class _Bounded(httpx2.AsyncByteStream):
    """A body of so many bytes at most; a packed one, which may unpack to anything, is not read."""

    def __init__(
        self, inner: httpx2.AsyncByteStream, most: int, heard: Heard, *, packed: bool
    ) -> None:
        self.inner, self.left, self.heard, self.packed = inner, most, heard, packed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.packed:
            self.heard.packed = True
            raise httpx2.StreamError("packed")
        async for chunk in self.inner:
            self.left -= len(chunk)
            if self.left < 0:
                self.heard.too_long = True
                raise httpx2.StreamError("too long")
            yield chunk

    async def aclose(self) -> None:
        """Closes the body."""
        await self.inner.aclose()


def wait_s(told: str) -> float | None:
    """Returns how long `Retry-After` asks to wait: seconds, or a date; None for neither."""
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), MOST_WAIT_S) if math.isfinite(seconds) else None
