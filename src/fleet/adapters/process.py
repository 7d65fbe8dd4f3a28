"""Processes: who one is, whether it lives, how all of an attempt is ended, and how an end is
noticed at once.

A process is its pid, its start time and the boot: a pid alone is used again. Signals go through a
pidfd that is checked after it is held, so no stranger is ever hit. A zombie is dead. tmux does not
own what runs in its panes: children that daemonise, clear their environment or ignore TERM outlive
it, so the members of an attempt are found by descent, by session, by an environment variable and by
a pipe that only they hold, together, until none is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

KILL_ROUNDS: Final = 40
KILL_WAIT_S: Final = 0.05


class Identified(Protocol):
    """What names one process for ever."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def start_ticks(self) -> int:
        """When it started, in clock ticks since the boot."""

    @property
    def boot_id(self) -> str:
        """Which boot that was."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process; `start_ticks` are clock ticks since the boot `boot_id`."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """What /proc says of one live process."""

    identity: Identity
    parent: int
    session: int


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Returns the name of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def identify(pid: int) -> Identity | None:
    """Returns who runs under `pid`; None when nobody or a zombie does."""
    entry = _entry(pid)
    return entry.identity if entry else None


def alive(who: Identified | None) -> bool:
    """Returns whether this very process still runs."""
    if who is None or who.boot_id != boot_id():
        return False
    found = identify(who.pid)
    return found is not None and found.start_ticks == who.start_ticks


def send_signal(who: Identified, number: signal.Signals) -> bool:
    """Signals this very process and no other; returns whether it was there."""
    held = _hold(who)
    if held is None:
        return False
    try:
        signal.pidfd_send_signal(held, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(held)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """How the processes of one attempt are known.

    `roots` are processes known by identity (the wrapper, and what was found before), `marker` a
    `NAME=value` of their environment, `pipe` a FIFO that only they hold open.
    """

    roots: tuple[Identified, ...] = ()
    marker: str = ""
    pipe: Path | None = None


def members(known: Members) -> set[Identity]:
    """Returns all live processes of an attempt, without this one."""
    table = {entry.identity.pid: entry for entry in _entries()}
    roots = {who.pid for who in known.roots if _is_in(table, who)}
    # A session outlives its leader, and keeps its number from being used again while any member
    # lives. A live stranger under that number proves that nothing of the session is left.
    sessions = {
        who.pid
        for who in known.roots
        if who.boot_id == boot_id() and (who.pid in roots or who.pid not in table)
    }
    marker = os.fsencode(known.marker)
    oldest = min((who.start_ticks for who in known.roots), default=0)
    found = set(roots)
    for pid, entry in table.items():
        if (
            (entry.session in sessions and entry.identity.start_ticks >= oldest)
            or (marker and _has_variable(pid, marker))
            or (known.pipe and entry.identity.start_ticks >= oldest and _holds(pid, known.pipe))
        ):
            found.add(pid)
    grown = True
    while grown:
        led = {pid for pid in found if table[pid].session == pid}
        fresh = {
            pid
            for pid, entry in table.items()
            if pid not in found and (entry.parent in found or entry.session in led)
        }
        found |= fresh
        grown = bool(fresh)
    found.discard(os.getpid())
    return {table[pid].identity for pid in found}


def reap(known: Members, grace_s: float = 10.0) -> set[Identity]:
    """Ends all processes of an attempt: TERM, `grace_s` later KILL until none is left; returns the
    survivors.

    Blocks for as long as that takes (at most `grace_s` and two seconds): call it from a thread.
    """
    seen = members(known)
    for who in seen:
        send_signal(who, signal.SIGTERM)
        send_signal(who, signal.SIGCONT)
    _await_ends(seen, grace_s)
    for _ in range(KILL_ROUNDS):
        # What was found before stays a root: its orphans are found by its session and by descent.
        roots = (*known.roots, *seen)
        left = members(Members(roots=roots, marker=known.marker, pipe=known.pipe))
        if not left:
            return set()
        seen |= left
        for who in left:
            send_signal(who, signal.SIGKILL)
        _await_ends(left, KILL_WAIT_S)
    return {who for who in seen if alive(who)}


def population(variable: str) -> tuple[frozenset[str], frozenset[int]]:
    """Returns the values that a variable has in any process's environment, and all session ids.

    One pass over /proc, for whoever asks about many attempts at once.
    """
    prefix = f"{variable}=".encode()
    values: set[str] = set()
    sessions: set[int] = set()
    for entry in _entries():
        sessions.add(entry.session)
        environ = _read(f"/proc/{entry.identity.pid}/environ")
        if prefix in environ:
            pairs = environ.split(b"\0")
            values |= {os.fsdecode(one[len(prefix) :]) for one in pairs if one.startswith(prefix)}
    return frozenset(values), frozenset(sessions)


@dataclass(slots=True)
class ExitWatch:
    """Calls `on_exit` in its event loop as soon as a watched process ends, by pidfd: no polling, no
    cost while they live.
    """

    on_exit: Callable[[Identified], None]
    _held: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, who: Identified) -> bool:
        """Watches a process; returns False (and never calls) when it has ended already."""
        key = (who.pid, who.start_ticks)
        if key in self._held:
            return True
        held = _hold(who)
        if held is None:
            return False
        self._held[key] = held
        asyncio.get_running_loop().add_reader(held, self._ended, who)
        return True

    def discard(self, who: Identified) -> None:
        """Watches a process no more."""
        held = self._held.pop((who.pid, who.start_ticks), None)
        if held is not None:
            asyncio.get_running_loop().remove_reader(held)
            os.close(held)

    def close(self) -> None:
        """Watches nothing any more."""
        for pid, start_ticks in list(self._held):
            self.discard(Identity(pid, start_ticks, ""))

    def __len__(self) -> int:
        return len(self._held)

    def _ended(self, who: Identified) -> None:
        self.discard(who)
        self.on_exit(who)


def _is_in(table: dict[int, _Entry], who: Identified) -> bool:
    entry = table.get(who.pid)
    return (
        entry is not None
        and entry.identity.start_ticks == who.start_ticks
        and who.boot_id == entry.identity.boot_id
    )


def _hold(who: Identified) -> int | None:
    """Returns a pidfd of this very process, None when it is gone."""
    try:
        held = os.pidfd_open(who.pid)
    except OSError:
        return None
    if alive(who):
        return held
    os.close(held)
    return None


def _entry(pid: int) -> _Entry | None:
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in {b"Z", b"X"}:
        return None
    return _Entry(Identity(pid, int(fields[19]), boot_id()), int(fields[1]), int(fields[3]))


def _read(path: str) -> bytes:
    """Returns the whole of a file of /proc; nothing where it is gone or another user's."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - of every process there is
            return file.read()
    except OSError:
        return b""


def _entries() -> Iterable[_Entry]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only
        entry = _entry(int(name)) if name.isdecimal() else None
        if entry is not None:
            yield entry


def _has_variable(pid: int, marker: bytes) -> bool:
    environ = _read(f"/proc/{pid}/environ")
    return marker in environ and marker in environ.split(b"\0")


def _holds(pid: int, pipe: Path) -> bool:
    folder, wanted = f"/proc/{pid}/fd", os.fspath(pipe)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - names only, of every process
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == wanted:  # noqa: PTH115 - no object for each descriptor
                    return True
    return False


def _await_ends(them: Iterable[Identified], limit_s: float) -> None:
    """Waits until all have ended, `limit_s` at most."""
    held = [handle for handle in map(_hold, them) if handle is not None]
    poll = select.poll()
    for handle in held:
        poll.register(handle, select.POLLIN)
    try:
        left, until = set(held), time.monotonic() + limit_s
        while left and (rest := until - time.monotonic()) > 0:
            for handle, _ in poll.poll(rest * 1000):
                poll.unregister(handle)
                left.discard(handle)
    finally:
        for handle in held:
            os.close(handle)
