"""A network of its own for one program: nothing in it but loopback, and a model that listens there.

    python -I -S enclosure.py SOCKET PORT PROGRAM ARGUMENT ...

Law: the standard library only and nothing of fleet, for it runs by itself and then becomes the
program. It leaves the machine's network for a fresh one, listens there on 127.0.0.1:PORT, hands
that listener to whoever waits at SOCKET, and waits until it was taken. A listener stays in the
network that it was made in, so fleet answers from outside, and nothing else can be reached inside.
Without a PROGRAM it only shows whether that works here, by its exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PORT: Final = 8086
"""Nobody else is in a fresh network, so every port is free."""

URL: Final = f"http://127.0.0.1:{PORT}"

NEW_USER: Final = 0x10000000
NEW_NET: Final = 0x40000000
READ_FLAGS: Final = 0x8913
WRITE_FLAGS: Final = 0x8914
UP: Final = 0x1
PROBE_S: Final = 10.0
REFUSED: Final = 97


def possible() -> bool:
    """Returns whether a network of its own can be had here, by this user."""
    try:
        done = subprocess.run(
            argv(Path("-"), []), capture_output=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def argv(path: Path, program: list[str]) -> list[str]:
    """Returns the command that runs a program enclosed; its listener is handed over at `path`."""
    return [sys.executable, "-I", "-S", __file__, str(path), str(PORT), *program]


def gate(path: Path) -> socket.socket:
    """Returns the socket at which a listener is waited for."""
    waiting = socket.socket(socket.AF_UNIX)
    with _short(path) as name:
        waiting.bind(name)
    waiting.listen(1)
    return waiting


def receive(waiting: socket.socket, limit_s: float) -> socket.socket | None:
    """Returns the listener inside, and lets the program begin; None when nobody came in time."""
    waiting.settimeout(limit_s)
    try:
        inside, _ = waiting.accept()
    except TimeoutError:
        return None
    with inside:
        inside.settimeout(limit_s)
        _, handles, _, _ = socket.recv_fds(inside, 1, 1)
        if not handles:
            return None
        inside.sendall(b"x")
        return socket.socket(fileno=handles[0])


def main(path: str, port: int, program: list[str]) -> int:
    """Becomes the program in a network of its own; returns only when it cannot, or has none."""
    try:
        _leave()
        _raise_loopback()
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as lost:
        sys.stderr.write(f"no network of its own: {lost}\n")
        return REFUSED
    if not program:
        return 0
    with socket.socket(socket.AF_UNIX) as outside:
        with _short(Path(path)) as name:
            outside.connect(name)
        socket.send_fds(outside, [b"x"], [listener.fileno()])
        outside.recv(1)  # it is taken
    listener.close()
    try:
        os.execvp(program[0], program)  # noqa: S606 - an argv list; it becomes the program
    except OSError as lost:
        sys.stderr.write(f"{program[0]}: {lost.strerror}\n")
        return 127


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yields a name for a path that fits into a socket's address, which holds 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _leave() -> None:
    """Leaves the machine's network; who may not do that by himself, as a user of his own."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NET) == 0:
        return
    if libc.unshare(NEW_USER | NEW_NET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo".ljust(16, b"\0")
        asked = struct.pack("16sh14x", name, 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, READ_FLAGS, asked))[1]
        fcntl.ioctl(any_socket, WRITE_FLAGS, struct.pack("16sh14x", name, flags | UP))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
