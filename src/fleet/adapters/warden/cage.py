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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSTEMD: Final = Path("/run/systemd/system")
PREFIX: Final = "fleet-"
GONE_S: Final = 2.0
CONTROLLERS: Final = frozenset({"memory", "pids"})
"""Always asked for together: `pids` alone would be let into a group that holds processes, and
would turn it, and all below it, into something else."""


@dataclass(frozen=True, slots=True)
class Cage:
    """A group of its own for one sandbox."""

    path: Path

    def enter(self) -> None:
        """Moves this process in, and so all that it will start."""
        (self.path / "cgroup.procs").write_text("0")

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
        while self.path.is_dir() and time.monotonic() < until:
            with contextlib.suppress(OSError):
                (self.path / "cgroup.kill").write_text("1")
            with contextlib.suppress(OSError):
                self.path.rmdir()
                break
            time.sleep(0.01)
        return told

    def _count(self, name: str, key: str) -> int:
        """Returns a number of one of its files, 0 where there is none."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self.path / name).read_text("ascii").splitlines():
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


def _grounds() -> list[Path]:
    """Returns the groups in which one might be made, this process's own first."""
    top = next(
        (
            (Path(words[4]), words[3])
            for words in map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
            if words[words.index("-") + 1] == "cgroup2"
        ),
        None,
    )
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    named = next((line[3:] for line in lines if line.startswith("0::")), None)
    if top is None or named is None or ".." in named.split("/"):
        return []
    own = top[0] / os.path.relpath(named, top[1])
    if SYSTEMD.is_dir():
        return [own]
    return [own, *(one for one in own.parents if one.is_relative_to(top[0]))]


def _make(ground: Path, limits: dict[str, int]) -> Cage:
    missing = CONTROLLERS - set((ground / "cgroup.controllers").read_text().split())
    if missing:
        raise OSError(f"the controller {min(missing)} is not there")
    _sweep(ground)
    if CONTROLLERS - set((ground / "cgroup.subtree_control").read_text().split()):
        if (ground / "cgroup.procs").read_text().split() == [str(os.getpid())]:
            # A group that holds processes can have none below it with limits of their own.
            (ground / "warden").mkdir(exist_ok=True)
            (ground / "warden/cgroup.procs").write_text("0")
        told = " ".join(f"+{name}" for name in sorted(CONTROLLERS))
        (ground / "cgroup.subtree_control").write_text(told)
    made = ground / f"{PREFIX}{os.getpid()}"
    made.mkdir()
    try:
        for name, count in limits.items():
            # A kernel without swap accounting has no such file, and no swap that it could hold.
            if name != "memory.swap.max" or (made / name).exists():
                (made / name).write_text(str(count))
    except OSError:
        made.rmdir()
        raise
    return Cage(made)


def _sweep(ground: Path) -> None:
    """Removes the empty groups of wardens that were killed."""
    for left in ground.glob(f"{PREFIX}*"):
        if not Path("/proc", left.name.removeprefix(PREFIX)).exists():
            with contextlib.suppress(OSError):
                left.rmdir()
