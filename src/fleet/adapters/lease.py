"""The lease: one coordinator a fleet, by a lock that the system drops when its holder dies.

Law: the flock on coordinator.lock is the truth; coordinator.json beside it only says whose it is.
A process is known by pid, start time and boot id together, so a reused pid is nobody. The lock
file is never removed, and its descriptor is never inherited: a tmux server started by the
coordinator must not keep the lease.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final, Self

from fleet.errors import FleetError
from fleet.records import record

LOCK: Final = "coordinator.lock"
IDENTITY: Final = "coordinator.json"
NAMING_ROUNDS: Final = 200  # how often a loser looks for the winner's name
NAMING_PAUSE_S: Final = 0.005


@record(kw_only=False)
class Identity:
    """Who holds the lease; `start` is in clock ticks since boot, as /proc gives it."""

    pid: int
    start: int
    boot: str
    host: str
    version: str
    socket: str
    since_ms: int


class Held(FleetError):
    """Another process holds the lease; pid 0 when it has not named itself."""

    def __init__(self, pid: int, start: int, host: str, since_ms: int) -> None:
        self.pid, self.start, self.host, self.since_ms = pid, start, host, since_ms
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since_ms / 1000))
        who = f"process {pid} (start {start}) on {host} since {since}" if pid else "another process"
        super().__init__(f"{who} already coordinates this fleet", hint="end it with `fleet down`")


class Lease:
    """A held lease; it ends with `release` or with the process."""

    def __init__(self, folder: Path, handle: int, identity: Identity) -> None:
        self.folder, self.identity = folder, identity
        self._handle: int | None = handle

    @classmethod
    def acquire(cls, folder: Path, *, version: str = "", socket_name: str = "") -> Lease:
        """Returns the lease of this state folder, or raises Held with who has it; never waits."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(
            folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            for _ in range(NAMING_ROUNDS):
                if _locked(handle, fcntl.LOCK_EX):
                    return cls(folder, handle, _name(folder, version, socket_name))
                # A probing reader holds the lock for microseconds; a winner is nameless as long.
                found = _known(folder)
                if found:
                    raise Held(found.pid, found.start, found.host, found.since_ms)
                time.sleep(NAMING_PAUSE_S)
            raise Held(0, 0, "", 0)
        except BaseException:
            os.close(handle)
            raise

    def release(self) -> None:
        """Gives the lease back; a second call does nothing."""
        if self._handle is None:
            return
        with contextlib.suppress(OSError):
            (self.folder / IDENTITY).unlink()
        os.close(self._handle)
        self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(folder: Path) -> Identity | None:
    """Returns who coordinates this fleet now, None unless the lock is held and its owner lives."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if _locked(handle, fcntl.LOCK_SH):
            return None
    finally:
        os.close(handle)
    return _known(folder)


def was_killed(folder: Path) -> bool:
    """Returns whether the last coordinator ended without leaving: it is named, and nobody holds."""
    return (folder / IDENTITY).exists() and holder(folder) is None


def start_of(pid: int) -> int | None:
    """Returns when a process started in clock ticks since boot, None for the dead and zombies."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def boot_id() -> str:
    """Returns the id of this boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _locked(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _name(folder: Path, version: str, socket_name: str) -> Identity:
    pid = os.getpid()
    identity = Identity(
        pid=pid,
        start=start_of(pid) or 0,
        boot=boot_id(),
        host=os.uname().nodename,
        version=version,
        socket=socket_name,
        since_ms=time.time_ns() // 1_000_000,
    )
    draft = folder / f"{IDENTITY}.{pid}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor, for the mode
        json.dump(asdict(identity), file)
    draft.replace(folder / IDENTITY)
    return identity


def _known(folder: Path) -> Identity | None:
    try:
        found = Identity(**json.loads((folder / IDENTITY).read_text(encoding="utf-8")))
        alive = found.boot == boot_id() and start_of(found.pid) == found.start
    except (OSError, ValueError, TypeError):
        return None
    return found if alive else None
