"""The process outside that runs one sandbox: starts it, lets it out where declared, holds it.

It ends when the sandbox does, with the same code, and the sandbox ends when it does. Like bwrap it
is deaf to INT, QUIT and TERM: those are for the agent. What it has to tell lies in the attempt's
folder: `refused.jsonl`, what was not let out, and `held.json`, what the limits had to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from fleet.adapters.warden.cage import Cage, make
from fleet.adapters.warden.entrance import DOOR, FAILED
from fleet.adapters.warden.outlet import Notes, Outlet

REFUSED: Final = "refused.jsonl"
HELD: Final = "held.json"
DEAF: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
PORTS: Final = 1_024


def main(words: Sequence[str]) -> int:
    """Runs a sandbox; returns its exit code, 128 and the number where a signal ended it.

    The first word is JSON: `folder`, `declared` (HOST:PORT), `memory_bytes`, `processes`; the
    others are the sandbox's command.
    """
    told: dict[str, Any] = json.loads(words[0])
    for number in DEAF:
        signal.signal(number, signal.SIG_IGN)
    try:
        cage = _cage(told)
    except OSError as refused:
        sys.stderr.write(f"fleet: no control group can be made: {refused}\n")
        return FAILED
    door, inside = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _become(words[1:], inside, cage)
    inside.close()
    if told.get("declared"):
        _let_out(told, door)
    status = os.waitpid(pid, 0)[1]
    if cage is not None:
        _tell(os.path.join(told["folder"], HELD), cage.end())
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _cage(told: Mapping[str, Any]) -> Cage | None:
    memory_bytes, processes = told.get("memory_bytes"), told.get("processes")
    if memory_bytes is None and processes is None:
        return None
    return make(memory_bytes, processes)


def _become(command: Sequence[str], inside: socket.socket, cage: Cage | None) -> NoReturn:
    """Becomes the sandbox, in the child; never returns."""
    try:
        if cage is not None:
            cage.enter()
        os.dup2(inside.fileno(), DOOR)
        os.execv(command[0], list(command))  # noqa: S606 - the argv that was made for this
    except OSError as failed:
        sys.stderr.write(f"fleet: {command[0]}: {failed}\n")
    os._exit(FAILED)


def _let_out(told: Mapping[str, Any], door: socket.socket) -> None:
    """Takes the ports that were opened inside and serves them; none when it ended before."""
    names, handles, _, _ = socket.recv_fds(door, 65_536, PORTS)
    outlet = Outlet(frozenset(told["declared"]), Notes(os.path.join(told["folder"], REFUSED)))
    for name, handle in zip(names.decode().split(), handles, strict=True):
        _, port, target = name.split(",")
        straight = (target, int(port)) if target else None
        served = (socket.socket(fileno=handle), straight)
        threading.Thread(target=outlet.serve, args=served, daemon=True).start()


def _tell(path: str, facts: Mapping[str, int]) -> None:
    with contextlib.suppress(OSError):
        with open(f"{path}.new", "w", encoding="ascii") as file:
            json.dump(facts, file)
        os.replace(f"{path}.new", path)
