"""Streamable HTTP: who may come in, and the socket that they come to.

Every request is looked at before anything else reads it: its Host must be a name of this server, or
a page that a browser was led to by DNS rebinding could speak to it; its Origin, where a browser
sends one, must be allowed; and it must carry the token, compared in constant time. Only then does
the protocol begin. A browser's question before its request carries no token; it is answered here,
for allowed origins, and goes no further.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware.cors import CORSMiddleware

from fleet.errors import FleetError

if TYPE_CHECKING:
    from mcp.server.lowlevel.server import Server

Scope = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

PATH: Final = "/mcp"
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
GRACE_S: Final = 2


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets in what comes to a known name, from an allowed origin, with the token."""

    app: App
    token: str
    hosts: frozenset[str]
    origins: frozenset[str]

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answers what may not come in; hands the rest on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refused = self.refusal(scope["method"], scope["headers"])
        if refused is None:
            await self.app(scope, receive, send)
            return
        status, text = refused
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="fleet"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": f"{text}\n".encode()})

    def refusal(
        self, method: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[int, str] | None:
        """Returns the status and the sentence for what may not come in, None for what may."""
        told = [(name.lower(), value.decode("latin-1")) for name, value in headers]
        hosts = [value for name, value in told if name == b"host"]
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "this server does not go by that name; allow it with --allow-host"
        origins = [value for name, value in told if name == b"origin"]
        if any(one.lower() not in self.origins for one in origins):
            return 403, "that origin may not come in; allow it with --allow-origin"
        asks_before = any(name == b"access-control-request-method" for name, _ in told)
        if method == "OPTIONS" and origins and asks_before:
            return None
        keys = [value for name, value in told if name == b"authorization"]
        if len(keys) != 1 or not self._is_token(keys[0]):
            return 401, "the token is missing or wrong"
        return None

    def _is_token(self, said: str) -> bool:
        scheme, _, value = said.partition(" ")
        same = hmac.compare_digest(value.strip().encode("latin-1"), self.token.encode())
        return same and scheme.lower() == "bearer"


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; port 0 is any that the kernel gives. Raises FleetError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        why = getattr(error, "strerror", None) or str(error)
        raise FleetError(f"{host} port {port} cannot be listened on: {why}") from error
    return made


def names_of(host: str, port: int, more: Iterable[str]) -> frozenset[str]:
    """Returns the values of Host by which a server goes: its own with the port, and `more`."""
    own = {host, *(LOOPBACK if host in LOOPBACK else ())}
    found = {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in own}
    for name in more:
        found |= {name.lower(), f"{name.lower()}:{port}"}
    return frozenset(found)


async def serve(
    server: Server[Any],
    made: socket.socket,
    token: str,
    *,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
) -> None:
    """Serves until it is told to end; `hosts` and `origins` are allowed besides its own."""
    host, port = made.getsockname()[:2]
    names = names_of(host, port, hosts)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        # The guard has looked before: what it knows of names is more exact.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        host=host,
    )
    allowed = {f"http://{name}" for name in names} | {one.lower() for one in origins}
    shared = CORSMiddleware(
        app,
        allow_origins=sorted(allowed),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["Mcp-Session-Id", "Mcp-Protocol-Version"],
    )
    guarded = Guard(shared, token, names, frozenset(allowed))
    config = uvicorn.Config(
        guarded,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
    )
    await uvicorn.Server(config).serve(sockets=[made])
