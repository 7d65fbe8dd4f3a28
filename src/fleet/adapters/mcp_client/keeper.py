"""The keeper of one MCP server: a small process between the coordinator and what it started.

    python -I -S keeper.py LIFELINE LOG BYTES -- PROGRAM [ARGUMENTS]

Law: the server and all that it starts live as long as the lifeline, a pipe whose other end only
the coordinator holds. When that is closed, by a will or by a SIGKILL, the server has its standard
input at its end and a grace, then all of its tree gets TERM, then KILL, until none is left. Orphans
become the keeper's children (it is their subreaper), so whoever daemonises is found, too. Standard
input and output are the server's own; what it says on standard error goes into LOG, BYTES at most
and as much in LOG.1, without the values of the variables that FLEET_SECRETS names. The exit code is
the server's, 127 when there was none to start. Standard library only: it starts with each server.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

SUBREAPER, DEATHSIG = 36, 1
"""`PR_SET_CHILD_SUBREAPER` and `PR_SET_PDEATHSIG` of prctl(2)."""
GRACE_S: Final = 2.0
"""How long a server has to end by itself, and again after TERM, before it is killed."""
DRAIN_S: Final = 0.5
"""How long what it said last is waited for."""
POLL_S: Final = 0.02
CHUNK: Final = 65_536
LEAST_SECRET, LEAST_LINE = 4, 12
"""So long must a secret be, and a line of one that has several, to be looked for."""


class Said:
    """The log of standard error: two files of so many bytes, in which no secret stands."""

    def __init__(self, path: str, most: int, secrets: list[bytes]) -> None:
        self.path, self.most = path, most
        self.secrets = sorted(secrets, key=len, reverse=True)
        self.held, self.handle, self.size = b"", -1, 0
        with contextlib.suppress(OSError):
            self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self.handle = os.open(self.path, flags, 0o600)
        self.size = os.fstat(self.handle).st_size

    def add(self, raw: bytes) -> None:
        """Writes whole lines, and of one without an end all but what may begin a secret."""
        raw = self.held + raw
        for secret in self.secrets:
            raw = raw.replace(secret, b"***")
        end = raw.rfind(b"\n") + 1
        if not end and len(raw) > CHUNK:
            end = len(raw) - max(map(len, self.secrets), default=0)
        self.held = raw[end:]
        self._write(raw[:end])

    def close(self) -> None:
        """Writes what is still held."""
        held, self.held = self.held, b""
        self._write(held + b"\n" if held else b"")

    def _write(self, raw: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk costs lines, never the server
            while raw:
                if self.size >= self.most:
                    os.replace(self.path, f"{self.path}.1")  # noqa: PTH105 - no pathlib here
                    os.close(self.handle)
                    self.handle = -1
                if self.handle < 0:
                    self._open()
                part, raw = raw[: self.most - self.size], raw[self.most - self.size :]
                self.size += os.write(self.handle, part)


def main(argv: list[str]) -> int:
    """Starts the server, keeps it as the lifeline says, and returns its exit code."""
    lifeline, most, command = int(argv[0]), int(argv[2]), argv[4:]
    said = Said(argv[1], most, list(_secrets()))
    _control(SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    error, server = _start(command, lifeline)
    if isinstance(server, str):
        said.add(f"{server}\n".encode())
        return 127
    held = os.pidfd_open(server)
    poll = select.poll()
    for handle in (lifeline, error, held):
        poll.register(handle, select.POLLIN)
    while True:
        ready = {handle for handle, _ in poll.poll()}
        if error in ready and not _read(error, said):
            poll.unregister(error)
        if lifeline in ready and not os.read(lifeline, 1):
            _ended_within(server, GRACE_S, lambda: _read_now(error, said))
            break
        if held in ready:
            break
    code = _end(server, lambda: _read_now(error, said))
    said.close()
    return code


def _secrets() -> Iterator[bytes]:
    for name in os.environ.get("FLEET_SECRETS", "").split():
        value = os.environb.get(name.encode(), b"")
        if len(value) >= LEAST_SECRET:
            yield value
        lines = [line.strip() for line in value.splitlines()]
        yield from (line for line in lines if len(line) >= LEAST_LINE)


def _control(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _start(command: list[str], lifeline: int) -> tuple[int, int | str]:
    """Returns the server's standard error and its pid, or why there is none."""
    error, into = os.pipe()
    told, tell = os.pipe()  # closed by the exec that succeeds
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            _control(DEATHSIG, signal.SIGKILL)
            os.close(lifeline)
            os.dup2(into, 2)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.execvp(command[0], command)  # noqa: S606 - the argv that a document names
        except OSError as lost:
            os.write(tell, f"{command[0]} could not be started: {lost.strerror}".encode())
        finally:
            os._exit(127)
    os.close(into)
    os.close(tell)
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1):  # only the server holds these: their end is its end
        os.dup2(nothing, handle)
    why = os.read(told, CHUNK)
    os.close(told)
    if why:
        os.waitpid(pid, 0)
        return error, why.decode("utf-8", "replace")
    return error, pid


def _read(handle: int, said: Said) -> bool:
    raw = os.read(handle, CHUNK)
    said.add(raw)
    return bool(raw)


def _read_now(handle: int, said: Said) -> None:
    """Takes what is there, so that nobody who ends is held up by a full pipe."""
    until = time.monotonic() + DRAIN_S
    while select.select([handle], [], [], 0)[0] and _read(handle, said):
        if time.monotonic() > until:
            return


def _ended_within(pid: int, limit_s: float, meanwhile: Callable[[], None]) -> bool:
    """Waits until a child has ended, so long at most; it stays to be waited for."""
    until = time.monotonic() + limit_s
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > until:
            return False
        meanwhile()
        time.sleep(POLL_S)
    return True


def _end(server: int, meanwhile: Callable[[], None]) -> int:
    """Ends all that is left, and returns the server's exit code."""
    until, code = time.monotonic() + GRACE_S, 1
    asked: set[tuple[int, bytes]] = set()
    while True:
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                if ended.si_pid == server:
                    killed = ended.si_code != os.CLD_EXITED
                    code = ended.si_status + (128 if killed else 0)
        left = set(_descendants(os.getpid()))
        if not left:
            meanwhile()
            return code
        late = time.monotonic() > until
        for who in left if late else left - asked:
            _signal(*who, signal.SIGKILL if late else signal.SIGTERM)
        asked |= left
        meanwhile()
        time.sleep(POLL_S)


def _descendants(root: int) -> Iterator[tuple[int, bytes]]:
    """Yields pid and start time of all processes below one, zombies aside."""
    below: dict[int, list[tuple[int, bytes]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - no pathlib here
        if name.isdigit() and (found := _stat(int(name))) and found[0] not in {b"Z", b"X"}:
            below.setdefault(int(found[1]), []).append((int(name), found[19]))
    todo = [root]
    while todo:
        for who in below.get(todo.pop(), ()):
            todo.append(who[0])
            yield who


def _stat(pid: int) -> list[bytes]:
    """Returns what /proc tells of a process from its state on, nothing when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b") ")[2].split()
    except OSError:
        return []


def _signal(pid: int, started: bytes, number: signal.Signals) -> None:
    """Signals this very process, by a handle that is checked once it is held."""
    with contextlib.suppress(OSError):
        held = os.pidfd_open(pid)
        try:
            if _stat(pid)[19:20] == [started]:
                signal.pidfd_send_signal(held, number)
                signal.pidfd_send_signal(held, signal.SIGCONT)
        finally:
            os.close(held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
