"""Ports: which task has which, agreed upon by all under one lock, and whether somebody listens.

A task keeps its port until it is released, however often it asks. A port is probed when it is first
reserved; one that somebody else listens on is refused with the name of who it is, where /proc
tells. The file is replaced whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.errors import Rejected

LOW: Final = 8000
HIGH: Final = 8999
CONNECT_TIMEOUT_S: Final = 0.2
ANSWER_BYTES: Final = 1 << 16
# What the kernel calls things (linux/netlink.h, linux/inet_diag.h, net/tcp_states.h).
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_DUMP: Final = 0x301  # a request for all that there are
_ERROR: Final = 2
_DONE: Final = 3
_LISTEN: Final = 10
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASKED: Final = struct.Struct("=BBBBI48x")  # family, protocol, extensions, padding, states, socket
_SOURCE: Final = struct.Struct(">H")  # behind the family, the state and two more bytes


@dataclass(frozen=True, slots=True)
class Ports:
    """The reservations in `<state>/ports.json`;
    ports for `auto` come from `low` to `high`, both included.
    """

    state: Path
    low: int = LOW
    high: int = HIGH

    def reserve(self, task: str, port: int | None = None) -> int:
        """Returns the task's port: `port`, or the one it has, or the lowest free one (None).

        Raises Rejected when another task has it, when somebody listens on it, or when none is left.
        """
        with self._locked() as held:
            had = held.get(task)
            if had is not None and port in {None, had}:
                return had
            if port is None:
                taken = set(held.values())
                free = (p for p in range(self.low, self.high + 1) if p not in taken and is_free(p))
                found = next(free, None)
                if found is None:
                    raise Rejected(
                        f"no port from {self.low} to {self.high} is free",
                        hint="widen `ports` in coordination.md",
                    )
                port = found
            else:
                self._refuse(task, port, held)
            held[task] = port
            return port

    def release(self, task: str) -> int | None:
        """Gives the task's port back; returns it, or None when the task had none."""
        with self._locked() as held:
            return held.pop(task, None)

    def reserved(self) -> dict[str, int]:
        """Returns the port of each task that has one; without the lock, for readers."""
        try:
            found = json.loads((self.state / "ports.json").read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {task: port for task, port in found.items() if isinstance(port, int)}

    def _refuse(self, task: str, port: int, held: dict[str, int]) -> None:
        if not 0 < port < 65536:
            raise Rejected(f"{port} is no port", hint="1 to 65535")
        owner = next((other for other, its in held.items() if its == port and other != task), None)
        if owner is not None:
            raise Rejected(f"port {port} of {task} is reserved for {owner}")
        if not is_free(port):
            who = listener(port)
            by = f"pid {who[0]}: {who[1]}" if who else "another program"
            raise Rejected(
                f"port {port} of {task} is in use by {by}", hint="end it, or change `port`"
            )

    @contextmanager
    def _locked(self) -> Iterator[dict[str, int]]:
        """Yields the reservations under the lock;
        they are written if they changed and nothing was raised.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.state / "ports.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = self.reserved()
            before = dict(held)
            yield held
            if held != before:
                fresh = self.state / "ports.json.tmp"
                with fresh.open("w", encoding="utf-8") as file:
                    json.dump(held, file, indent=1, sort_keys=True)
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self.state / "ports.json")


def is_free(port: int) -> bool:
    """Returns whether a server could listen on `port`, on every address of this machine."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - a probe
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # a kernel without this family
        with probe:
            # As servers do: a connection of a former one that is still closing is no listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
            except OSError:
                if family == socket.AF_INET or is_open(port, "::1"):
                    return False
    return True


def is_open(port: int, host: str = "127.0.0.1") -> bool:
    """Returns whether somebody accepts connections on `port` of the loopback."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def listener(port: int) -> tuple[int, str] | None:
    """Returns pid and command line of who listens on `port`;
    None when nobody does or /proc does not tell.
    """
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for line in _lines(Path("/proc/net", table))
        if (fields := line.split())[3] == f"{_LISTEN:02X}"
        and int(fields[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir() if wanted else ():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(link) in wanted for link in (process / "fd").iterdir()):  # noqa: PTH115 - no object for each
                words = (process / "cmdline").read_bytes().split(b"\0")
                return int(process.name), b" ".join(words).decode("utf-8", "replace").strip()
        except OSError:
            continue
    return None


def listening() -> frozenset[int]:
    """Returns the TCP ports that something listens on, as the kernel tells them.

    Asked by netlink for listening sockets alone, it answers at once; its tables in /proc, which are
    read where it cannot be asked, take it a walk over its hash of all connections.
    """
    try:
        return frozenset(_diagnosed(socket.AF_INET) | _diagnosed(socket.AF_INET6))
    except OSError:
        return frozenset(
            int(fields[1].rpartition(":")[2], 16)
            for table in ("tcp", "tcp6")
            for line in _lines(Path("/proc/net", table))
            if (fields := line.split())[3] == f"{_LISTEN:02X}"
        )


def _diagnosed(family: int) -> set[int]:
    """Returns the ports that are listened on in a family of addresses; raises OSError where the
    kernel does not tell.
    """
    asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
    header = (_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0)
    found: set[int] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(CONNECT_TIMEOUT_S)
        kernel.send(_HEADER.pack(*header) + asked)
        while True:
            answer, at = kernel.recv(ANSWER_BYTES), 0
            while at < len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise OSError("the kernel does not tell of its sockets")
                found.add(_SOURCE.unpack_from(answer, at + _HEADER.size + 4)[0])
                at += (max(length, _HEADER.size) + 3) & ~3


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text("ascii").splitlines()[1:]
    except OSError:
        return []
