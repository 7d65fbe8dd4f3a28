"""What runs inside a sandbox before the agent: it opens the ports of the way out, and becomes it.

The ports are opened in the sandbox's own network, which is otherwise empty; what listens on them is
handed to the warden outside, which accepts there. So no process stays, no port of the machine is
taken, and nothing inside holds a way out that it could bend.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from typing import Final

DOOR: Final = 97
"""The descriptor of the socket to the warden, where nothing else is expected."""

FAILED: Final = 125


def main(words: Sequence[str]) -> int:
    """Opens the ports (`ADDRESS,PORT,TARGET` each, up to `--`; the target is the warden's) and
    becomes the command; returns only when that fails.
    """
    ports = list(words[: words.index("--")])
    command = list(words[len(ports) + 1 :])
    with socket.socket(fileno=DOOR) as door:
        door.set_inheritable(False)
        opened, names = [], []
        for name in ports:
            address, port, _ = name.split(",")
            try:
                opened.append(_listen(address, int(port)))
            except OSError as refused:
                if address == "::1":  # a machine without IPv6 has nothing to reach there either
                    continue
                sys.stderr.write(f"fleet: {address}:{port} cannot be opened: {refused}\n")
                return FAILED
            names.append(name)
        with contextlib.suppress(BrokenPipeError):
            told = " ".join(names).encode()
            socket.send_fds(door, [told], [one.fileno() for one in opened])
        for one in opened:
            one.close()
    try:
        os.execvp(command[0], command)  # noqa: S606 - what the sandbox was made for
    except OSError as missing:
        sys.stderr.write(f"fleet: {command[0]}: {missing}\n")
        return 127


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen(128)
    return made
