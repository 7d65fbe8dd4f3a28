"""The sandbox: the command that runs one attempt inside bubblewrap, and whether that works here.

Law: makes an argv, and leaves in place what its mounts stand on; starts nothing but the probe, and
never falls back to less. The wrapper in the pane stays outside, so the claim, the exit record and
the logs are its own. A process namespace ends with its first process: nothing that the agent starts
outlives it, however it detaches. Secrets go by the environment, never by the argv.

bwrap waits for the agent deaf to INT, QUIT and TERM, or it would die of the first signal that is
meant for the agent and take it along unasked; the agent itself hears them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleet.adapters.sandbox import wardens
from fleet.adapters.sandbox.homes import make_home, remove_home
from fleet.adapters.sandbox.mounts import Mounts
from fleet.adapters.sandbox.places import Place, home_of, lay_out
from fleet.adapters.sandbox.probe import (
    NAMESPACES,
    OUTSIDE,
    find_tools,
    problem,
    uncaged,
    version,
)
from fleet.adapters.sandbox.traces import Traces, traces
from fleet.errors import Rejected

__all__ = [
    "Confined",
    "Mounts",
    "Place",
    "Rules",
    "Traces",
    "confine",
    "home_of",
    "problem",
    "remove_home",
    "traces",
    "uncaged",
    "version",
]

VARIABLE: Final = "FLEET_SANDBOX"
HEARING: Final = "--default-signal=INT,QUIT,TERM"
FOLDERS: Final = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
"""Where programs would write beside the home folder, which is not there inside."""

OWN_PROCESSES: Final = 2
"""bwrap's own two, which a control group counts."""

QUIET_GIT: Final = {
    # Upkeep would need what is read-only here; it is done by whoever works outside.
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_CONFIG_KEY_1": "maintenance.auto",
    "GIT_CONFIG_VALUE_1": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an agent may reach beside its worktree.

    `copy` is put into a fresh home. `declared` (HOST:PORT) is what it reaches where not all of the
    network is. `memory_bytes` and `processes`, which counts threads too, are of all together where
    a control group holds them; else `memory_bytes` is for each process.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    copy: tuple[Path, ...] = ()
    network: bool = False
    declared: tuple[str, ...] = ()
    memory_bytes: int | None = None
    processes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """What is to be run: `env` is its environment as far as it differs, `grace_s` follows a TERM
    when `timeout_s` is over; `kept` goes on with the home of
    the attempt before.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = False
    timeout_s: int | None = None
    grace_s: int = 10
    kept: bool = False


def confine(told: Confined, rules: Rules, place: Place) -> list[str]:
    """Returns the argv that runs a command inside; raises Rejected where it could not be held."""
    trouble = problem(counted=rules.processes is not None)
    if trouble is not None:
        raise Rejected(f"it cannot be sandboxed: {trouble.text}", hint=trouble.cure)
    memory_bytes, processes = rules.memory_bytes, rules.processes
    caged = bool(memory_bytes or processes) and uncaged(memory_bytes, processes) is None
    tools = find_tools()
    make_home(place.home, home_of(told.env), rules.copy, kept=told.kept)
    mounts = lay_out(place, told.argv[0], told.env, rules.read, rules.write, network=rules.network)
    words = [tools["env"], OUTSIDE, tools["bwrap"], *NAMESPACES]
    if os.geteuid() != 0:
        words.append("--unshare-user")
    if not rules.network:
        words.append("--unshare-net")
    if not told.terminal:
        words.append("--new-session")
    words += mounts.words(rules.memory_bytes)
    words += ["--remount-ro", "/", "--chdir", str(place.worktree)]
    for name in FOLDERS:
        if name not in told.env and not _lies_in(os.environ.get(name), home_of(told.env)):
            words += ["--unsetenv", name]
    for name, value in _variables(told.env, rules.declared).items():
        words += ["--setenv", name, value]
    limited = _limited(tools, Rules() if caged else rules, told)
    outside, entrance = [], []
    if rules.declared:
        entrance = wardens.inside(rules.declared)
        outside = wardens.outside(place.folder, rules.declared)
    if caged:
        counted = processes and processes + OWN_PROCESSES
        outside = wardens.outside(
            place.folder, rules.declared, memory_bytes=memory_bytes, processes=counted
        )
    return [*outside, *words, "--", *entrance, *limited, *told.argv]


def _variables(env: Mapping[str, str], declared: Sequence[str]) -> dict[str, str]:
    """Returns what differs inside; what the agent's own document sets stays as it is, but for what
    names the way out.
    """
    own = {} if "GIT_CONFIG_COUNT" in env else dict(QUIET_GIT)
    if "TMPDIR" not in env:
        own["TMPDIR"] = "/tmp"  # noqa: S108 - the sandbox's own
    ways = wardens.variables(declared) if declared else {}
    return own | ways | {VARIABLE: "bwrap"}


def _lies_in(folder: str | None, home: Path) -> bool:
    return bool(folder) and Path(str(folder)).is_relative_to(home)


def _limited(tools: Mapping[str, str], rules: Rules, told: Confined) -> list[str]:
    """Returns what stands before the command inside: limits, signals, time.

    The wrapper's own time limit ends bwrap and with it everything at once; this one asks first.
    """
    limits = []
    if rules.memory_bytes is not None:
        # Not the address space: some programs reserve far more of it than they ever use.
        limits.append(f"--data={rules.memory_bytes}:{rules.memory_bytes}")
    if rules.processes is not None:
        limits.append(f"--nproc={rules.processes}:{rules.processes}")
    words = [tools["prlimit"], *limits] if limits else []
    words += [tools["env"], HEARING]
    if told.timeout_s is not None:
        words += [tools["timeout"], "--foreground", "-k", str(told.grace_s), str(told.timeout_s)]
    return words
