"""A terminal of its own for one attempt that is not a fleet's: the wrapper runs in it without tmux.

What the wrapper is told, what it leaves and how its members are found is as in a pane. The terminal
is held here: when this process goes, however it goes, the wrapper's session is hung up, and no
server outlives it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import termios
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from fleet.errors import ToolFailed

WRAPPER: Final = Path(__file__).with_name("pane.sh")
ROWS: Final = 50
COLUMNS: Final = 200
KEPT_BYTES: Final = 1 << 20
CHUNK_BYTES: Final = 65_536
POLL_S: Final = 0.1


class Terminal:
    """The terminal in which the attempt of a folder runs; what it shows goes into `output.log`."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.pid = 0
        self.path = Path()
        """The terminal's name: who has it open belongs to the attempt, however it detached."""
        self._over = threading.Event()
        self._folder, self._environ = folder, {**environ, "TERM": "screen-256color"}
        self._ours = -1

    def __enter__(self) -> Self:
        """Starts the wrapper; raises ToolFailed when there is no terminal or no shell."""
        argv = ["/bin/sh", os.fspath(WRAPPER), os.fspath(self._folder)]
        try:
            self._ours, theirs = pty.openpty()
        except OSError as lost:
            raise ToolFailed(argv, None, f"no terminal: {lost}") from lost
        try:
            os.set_inheritable(self._ours, False)  # noqa: FBT003 - as it is spelled
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
            # Opened by name in a session of its own, it becomes what controls that session.
            name = os.ttyname(theirs)
            self.path = Path(name)
            self.pid = os.posix_spawn(
                argv[0],
                argv,
                self._environ,
                setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
            )
        except OSError as lost:
            os.close(self._ours)
            raise ToolFailed(argv, None, f"it could not be started: {lost}") from lost
        finally:
            os.close(theirs)
        self._thread = threading.Thread(target=self._copy)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the wrapper, which has ended or been killed, and keeps the last it showed."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._over.set()
        self._thread.join()
        os.close(self._ours)

    def _copy(self) -> None:
        """Copies what is shown until it is over; whoever still has the terminal open may wait."""
        kept = 0
        with (self._folder / "output.log").open("ab") as log:
            while chunk := self._read():
                log.write(chunk[: KEPT_BYTES - kept])
                log.flush()
                kept = min(KEPT_BYTES, kept + len(chunk))

    def _read(self) -> bytes:
        while not select.select([self._ours], [], [], POLL_S)[0]:
            if self._over.is_set():
                return b""
        try:
            return os.read(self._ours, CHUNK_BYTES)
        except OSError:  # EIO: nobody has it open any more
            return b""
