"""The way out of a sandbox: a proxy that connects to what is declared and to nothing else.

Law: what goes out is decided here, by name and port, before anything is asked of the network, and
once more by the address that a name leads to: what is not a public address must be declared itself,
whatever name it goes by. The connection goes to the address that was looked at. Who sends nothing,
or too much, is closed. What an agent says here is believed in nothing and kept only as JSON.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
from collections.abc import Collection
from typing import Final

HEAD_BYTES: Final = 65_536
CHUNK_BYTES: Final = 65_536
STACK_BYTES: Final = 1 << 19
HEAD_S: Final = 30.0
CONNECT_S: Final = 20.0
PAUSE_MS: Final = 60_000
"""How long one side of a connection may be silent once the other has said all."""

CONNECTIONS: Final = 256
NOTES: Final = 100
"""How many refusals are kept; one more line says that there were others."""

NAME_CHARS: Final = 255
TRANSLATED: Final = b"\x00\x64\xff\x9b"
"""How an IPv6 address begins that stands for an IPv4 one."""

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::([0-9]{1,5}))?\Z")
_HOP = re.compile(r"(proxy-[a-z-]+|connection|keep-alive|host)\s*:", re.IGNORECASE)


class Refused(Exception):
    """Why nothing is connected, with the status that tells it."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


class Notes:
    """What was refused, each thing once, as JSON lines {host, port, why} in a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def add(self, host: str, port: int, why: str) -> None:
        """Keeps a refusal; a full disk keeps nobody from being refused."""
        host = host[:NAME_CHARS]
        with self._lock:
            if (host, port) in self._seen or len(self._seen) > NOTES:
                return
            self._seen.add((host, port))
            more = len(self._seen) > NOTES
            told = {"more": True} if more else {"host": host, "port": port, "why": why}
            with contextlib.suppress(OSError), open(self.path, "a", encoding="ascii") as file:
                file.write(json.dumps(told) + "\n")


class Outlet:
    """What may be reached: `declared` holds `HOST:PORT`, in lower case, a `*.` before a name for
    all below it.
    """

    def __init__(self, declared: Collection[str], notes: Notes) -> None:
        self.declared, self.notes = declared, notes

    def serve(self, listener: socket.socket, straight: tuple[str, int] | None) -> None:
        """Accepts for ever, as a proxy, or where all comes `straight` to one place, for that."""
        slots = threading.BoundedSemaphore(CONNECTIONS)
        threading.stack_size(STACK_BYTES)
        while True:
            slots.acquire()
            try:
                caller = listener.accept()[0]
            except OSError:
                slots.release()
                continue
            named = (caller, straight, slots)
            threading.Thread(target=self._attend, args=named, daemon=True).start()

    def _attend(
        self,
        caller: socket.socket,
        straight: tuple[str, int] | None,
        slots: threading.BoundedSemaphore,
    ) -> None:
        try:
            with contextlib.suppress(OSError, ValueError), caller:
                if straight:
                    with socket.create_connection(straight, CONNECT_S) as far:
                        _join(caller, far)
                else:
                    self._carry(caller)
        finally:
            slots.release()

    def _carry(self, caller: socket.socket) -> None:
        """Answers one request of a proxy's client, and carries what follows on its connection."""
        try:
            caller.settimeout(HEAD_S)
            line, headers, rest = _head(caller)
            method, host, port, path = _wanted(line)
            far = self.connect(host, port)
        except Refused as refused:
            told = f"fleet: {refused}\n".encode("ascii", "replace")
            fields = f"Content-Type: text/plain\r\nContent-Length: {len(told)}\r\nConnection: close"
            caller.sendall(f"HTTP/1.1 {refused.status}\r\n{fields}\r\n\r\n".encode() + told)
            return
        with far:
            if method == "CONNECT":
                caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                far.sendall(rest)
            else:
                far.sendall(_forwarded(method, host, port, path, headers) + rest)
            _join(caller, far)

    def connect(self, host: str, port: int) -> socket.socket:
        """Returns a connection to what is declared; raises Refused for all else."""
        if not self.allows(host, port):
            why = f"{host}:{port} is not in the `network` of this agent's sandbox"
            self.notes.add(host, port, "not declared")
            raise Refused("403 Forbidden", why)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:
            raise Refused("502 Bad Gateway", f"{host} is not found: {unknown}") from unknown
        why, closed = f"{host}:{port} cannot be reached", ""
        for family, kind, protocol, _, address in found:
            if not self._open(host, port, str(address[0])):
                closed = str(address[0])
                continue
            try:
                far = socket.socket(family, kind, protocol)
                try:
                    far.settimeout(CONNECT_S)
                    far.connect(address)
                except OSError:
                    far.close()
                    raise
            except OSError as failed:
                why = f"{host}:{port} cannot be reached: {failed}"
                continue
            return far
        if closed:
            why = f"{host} leads to {closed}, which is not public; declare {closed}:{port} too"
            self.notes.add(host, port, f"leads to {closed}, which is not public")
            raise Refused("403 Forbidden", why)
        raise Refused("502 Bad Gateway", why)

    def allows(self, host: str, port: int) -> bool:
        """Returns whether a host is declared with this port."""
        labels = host.split(".")
        above = (".".join(["*", *labels[n:]]) for n in range(1, len(labels)))
        return any(f"{name}:{port}" in self.declared for name in (shown(host), *above))

    def _open(self, host: str, port: int, address: str) -> bool:
        own = {host, address} <= {"localhost", "127.0.0.1", "::1"} or host == address
        return own or f"{shown(address)}:{port}" in self.declared or public(address)


def shown(host: str) -> str:
    """Returns a host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def public(address: str) -> bool:
    """Returns whether an address is one of the public network's, and stands for no other."""
    from ipaddress import IPv4Address, IPv6Address, ip_address

    one = ip_address(address.partition("%")[0])
    if isinstance(one, IPv6Address):
        if one.packed.startswith(TRANSLATED + bytes(8)):
            one = IPv4Address(one.packed[-4:])
        elif one.packed.startswith(TRANSLATED) or one.sixtofour or one.teredo or one.is_site_local:
            return False
    return one.is_global and not one.is_multicast


def canonical(host: str) -> str:
    """Returns a host in lower case without its last dot, an address in its usual form."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            return socket.inet_ntop(family, socket.inet_pton(family, host))
    return host.lower().removesuffix(".")


def _head(caller: socket.socket) -> tuple[str, list[str], bytes]:
    """Returns the first line of a request, its header lines, and what came after them."""
    read = b""
    while b"\r\n\r\n" not in read:
        try:
            more = caller.recv(CHUNK_BYTES)
        except TimeoutError:
            raise Refused("408 Request Timeout", "no request came") from None
        if not more or len(read) + len(more) > HEAD_BYTES:
            raise Refused("400 Bad Request", "what came is no request")
        read += more
    head, _, rest = read.partition(b"\r\n\r\n")
    first, *headers = head.decode("latin-1").split("\r\n")
    return first, headers, rest


def _wanted(line: str) -> tuple[str, str, int, str]:
    """Returns method, host, port and path of a request's first line."""
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused("400 Bad Request", "what came is no request")
    method, target, _ = words
    authority, path, usual = target, "", ""
    if method != "CONNECT":
        if not target.lower().startswith("http://"):
            raise Refused("400 Bad Request", "a proxy is asked for whole http addresses")
        authority, slash, path = target[7:].partition("/")
        path, usual = f"{slash}{path}" or "/", "80"
    found = _AUTHORITY.match(authority)
    if found is None or not (port := int(found[3] or usual or 0)) or port > 65_535:
        raise Refused("400 Bad Request", "this names no host with its port")
    return method, canonical(found[1] or found[2]), port, path


def _forwarded(method: str, host: str, port: int, path: str, headers: list[str]) -> bytes:
    """Returns a request as its server wants it: for the host that was looked at, and alone."""
    upgrade = any(one.lower().startswith("upgrade:") for one in headers)
    kept = [one for one in headers if not _HOP.match(one)]
    place = shown(host) if port == 80 else f"{shown(host)}:{port}"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {place}", *kept]
    lines.append(f"Connection: {'Upgrade' if upgrade else 'close'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _join(one: socket.socket, other: socket.socket) -> None:
    """Carries what either says to the other until both are done."""
    for side in (one, other):
        side.settimeout(None)
    over = threading.Event()
    back = threading.Thread(target=_copy, args=(other, one, over), daemon=True)
    back.start()
    _copy(one, other, over)
    back.join()


def _copy(here: socket.socket, there: socket.socket, over: threading.Event) -> None:
    """Carries one way; `over` is told when that ends, and ends what is silent then."""
    ready = select.poll()
    ready.register(here, select.POLLIN)
    try:
        while True:
            if not ready.poll(PAUSE_MS):
                if over.is_set():
                    raise TimeoutError
                continue
            said = here.recv(CHUNK_BYTES)
            if not said:
                break
            there.sendall(said)
        there.shutdown(socket.SHUT_WR)
    except OSError:
        for side in (here, there):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
    over.set()
