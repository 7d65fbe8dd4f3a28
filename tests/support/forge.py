"""`fleet` commands from one process that has loaded everything: each is a fork of it.

A test of the public door runs dozens of commands, and nine tenths of what each costs is that Python
starts and imports. Here a command is a process of its own as ever, with its own arguments, folder,
environment and streams, but its modules are there already. What a start imports, and how Python
itself takes to an environment, is tested with real starts.

    python forge.py     serves until its standard input, a Unix socket, is closed

Each request comes over a connection of its own: one message of JSON {argv, cwd, env} with the three
streams, and is answered with {pid}, then with {code} once the command has ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

MESSAGE_BYTES = 1 << 20
STREAMS = 3
OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG", "MALLOC_")
"""What Python reads when it starts: whoever sets these needs a start."""


class Forge:
    """The process that commands are forked from; it ends when this is closed."""

    def __init__(self) -> None:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door = mine
        with its:
            self.process = subprocess.Popen([sys.executable, __file__], stdin=its)

    def run(
        self,
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[int],
        timeout_s: float,
    ) -> int | None:
        """Returns the exit code of `fleet words`, None when it was killed for its time."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine:
            with its:
                socket.send_fds(self.door, [b"+"], [its.fileno()])
            asked = {"words": [*words], "cwd": os.fspath(cwd), "env": dict(env)}
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
            socket.send_fds(mine, [json.dumps(asked).encode()], streams)
            pid = json.loads(mine.recv(MESSAGE_BYTES))["pid"]
            if select.select([mine], [], [], timeout_s)[0]:
                return int(json.loads(mine.recv(MESSAGE_BYTES))["code"])
            os.kill(pid, signal.SIGKILL)
            mine.recv(MESSAGE_BYTES)
        return None

    def close(self) -> None:
        """Ends the process."""
        self.door.close()
        self.process.wait()


def serve(door: socket.socket) -> None:
    """Forks a command for each request until the door is closed."""
    running: dict[int, tuple[int, socket.socket]] = {}  # its pidfd -> its pid and who waits
    while True:
        ready, _, _ = select.select([door, *running], [], [])
        for one in ready:
            if one is door:
                told, handles, _, _ = socket.recv_fds(door, 1, 1)
                if not told:
                    return
                asker = socket.socket(fileno=handles[0])
                pid = _fork(asker, [door.fileno(), *running])
                running[os.pidfd_open(pid)] = (pid, asker)
                asker.send(json.dumps({"pid": pid}).encode())
            else:
                pid, asker = running.pop(one)
                os.close(one)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with asker:
                    asker.send(json.dumps({"code": code}).encode())


def _fork(asker: socket.socket, others: Sequence[int]) -> int:
    text, streams, _, _ = socket.recv_fds(asker, MESSAGE_BYTES, STREAMS)
    pid = os.fork()
    if not pid:
        for handle in (asker.detach(), *others):
            os.close(handle)
        _become(json.loads(text), streams)
    for handle in streams:
        os.close(handle)
    return pid


def _become(asked: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Is the command, to its end."""
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(asked["env"])
    code = 1
    try:
        os.chdir(asked["cwd"])
        sys.path.insert(0, asked["cwd"])
        sys.argv[1:] = asked["words"]
        time.tzset()
        sys.stdin = _stream(0, "r", "surrogateescape")
        sys.stdout = _stream(1, "w", "surrogateescape")
        sys.stderr = _stream(2, "w", "backslashreplace", buffering=1)
        from fleet.__main__ import main

        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stream(number: int, mode: str, errors: str, buffering: int = -1) -> Any:
    """Returns a stream as Python opens it when it starts."""
    return os.fdopen(number, mode, buffering, "utf-8", errors, closefd=False)


def _load() -> None:
    """Imports all that a command may import."""
    import importlib
    import pkgutil

    import fleet

    for one in pkgutil.walk_packages(fleet.__path__, "fleet."):
        if not one.name.endswith(("__main__", ".content", "fleet.hook")):
            importlib.import_module(one.name)


if __name__ == "__main__":
    door = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    _load()
    serve(door)
