"""The control group (cgroup v2) that holds all of a sandbox's processes to its limits together.

Law: only the kernel knows whether a limit is held, so nothing is taken for granted: the group is
made, the limit written, and what refuses is the reason. Groups are made in this process's own or
above it, where the kernel lets it; where systemd rules, only in its own, which must have been
delegated. No process but this one and what it starts is ever moved.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

SYSTEMD: Final = "/run/systemd/system"
PREFIX: Final = "fleet-"
GONE_S: Final = 2.0
CONTROLLERS: Final = frozenset({"memory", "pids"})
"""Always asked for together: `pids` alone would be let into a group that holds processes, and
would turn it, and all below it, into something else."""


class Cage:
    """A group of its own for one sandbox."""

    def __init__(self, path: str) -> None:
        self.path = path

    def enter(self) -> None:
        """Moves this process in, and so all that it will start."""
        _write(f"{self.path}/cgroup.procs", "0")

    def end(self) -> dict[str, int]:
        """Ends whatever is left in it, removes it, and returns what it had to do: `oom_kills`,
        `forks_refused`, `memory_peak_bytes`.
        """
        told = {
            "oom_kills": self._count("memory.events", "oom_kill"),
            "forks_refused": self._count("pids.events", "max"),
            "memory_peak_bytes": self._count("memory.peak", ""),
        }
        until = time.monotonic() + GONE_S
        while os.path.isdir(self.path) and time.monotonic() < until:
            with contextlib.suppress(OSError):
                _write(f"{self.path}/cgroup.kill", "1")
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
                break
            time.sleep(0.01)
        return told

    def _count(self, name: str, key: str) -> int:
        """Returns a number of one of its files, 0 where there is none."""
        with contextlib.suppress(OSError, ValueError):
            for line in _read(f"{self.path}/{name}").splitlines():
                words = line.split()
                if len(words) == (2 if key else 1) and words[0] == (key or words[0]):
                    return int(words[-1])
        return 0


def make(memory_bytes: int | None, processes: int | None) -> Cage:
    """Returns an empty group with these limits; raises OSError with the reason where none can be.

    `processes` counts threads too.
    """
    limits: dict[str, int] = {}
    if memory_bytes is not None:
        limits |= {"memory.max": memory_bytes, "memory.swap.max": 0}
    if processes is not None:
        limits["pids.max"] = processes
    why = ""
    for ground in _grounds():
        try:
            return _make(ground, limits)
        except OSError as refused:
            why = why or f"{ground}: {refused.strerror or refused}"
    raise OSError(why or "there is no cgroup v2 here")


def _grounds() -> list[str]:
    """Returns the groups in which one might be made, this process's own first."""
    top = next(
        (
            (words[4], words[3])
            for words in map(str.split, _read("/proc/self/mountinfo").splitlines())
            if words[words.index("-") + 1] == "cgroup2"
        ),
        None,
    )
    lines = _read("/proc/self/cgroup").splitlines()
    named = next((line[3:] for line in lines if line.startswith("0::")), None)
    if top is None or named is None or ".." in named.split("/"):
        return []
    own = os.path.normpath(os.path.join(top[0], os.path.relpath(named, top[1])))
    found = [own]
    while not os.path.isdir(SYSTEMD) and own.startswith(f"{top[0]}/"):
        own = os.path.dirname(own)
        found.append(own)
    return found


def _make(ground: str, limits: dict[str, int]) -> Cage:
    missing = CONTROLLERS - set(_read(f"{ground}/cgroup.controllers").split())
    if missing:
        raise OSError(f"the controller {min(missing)} is not there")
    sweep(ground)
    if CONTROLLERS - set(_read(f"{ground}/cgroup.subtree_control").split()):
        if _read(f"{ground}/cgroup.procs").split() == [str(os.getpid())]:
            # A group that holds processes can have none below it with limits of their own.
            os.makedirs(f"{ground}/warden", exist_ok=True)
            _write(f"{ground}/warden/cgroup.procs", "0")
        told = " ".join(f"+{name}" for name in sorted(CONTROLLERS))
        _write(f"{ground}/cgroup.subtree_control", told)
    made = f"{ground}/{PREFIX}{os.getpid()}"
    os.mkdir(made)
    try:
        for name, count in limits.items():
            # A kernel without swap accounting has no such file, and no swap that it could hold.
            if name != "memory.swap.max" or os.path.exists(f"{made}/{name}"):
                _write(f"{made}/{name}", str(count))
    except OSError:
        os.rmdir(made)
        raise
    return Cage(made)


def sweep(ground: str) -> None:
    """Removes the empty groups of wardens that were killed."""
    for name in os.listdir(ground):
        if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name.removeprefix(PREFIX)}"):
            with contextlib.suppress(OSError):
                os.rmdir(f"{ground}/{name}")


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
