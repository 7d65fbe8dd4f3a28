"""Whether bubblewrap works on this machine, for this user; the reason and the cure where not.

Law: asks bubblewrap itself, with what a sandbox will ask of it, since versions, kernels, containers
and security modules each have their own way to refuse.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from fleet.adapters.sandbox.wardens import outside

OUTSIDE: Final = "--ignore-signal=INT,QUIT,TERM"
NAMESPACES: Final = (
    *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    # Root keeps its capabilities otherwise, and could mount its way out.
    *("--die-with-parent", "--cap-drop", "ALL"),
)
PROBE_S: Final = 10.0
TOOLS: Final = {
    "bwrap": "install bubblewrap: apt-get install bubblewrap",
    "env": "install GNU coreutils",
    "timeout": "install GNU coreutils",
    "prlimit": "install util-linux",
}
"""What a sandbox runs, and the cure where it is missing."""

CONTAINER: Final = (
    "in a container: start it with --privileged, or with --security-opt seccomp=unconfined "
    "--security-opt systempaths=unconfined; or take `sandbox` out"
)
USERS: Final = (
    "allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu) or "
    "kernel.unprivileged_userns_clone=1 (Debian), user.max_user_namespaces above 0; "
    "or take `sandbox` out"
)
UNCOUNTED: Final = (
    "run the fleet as an ordinary user, or where a cgroup v2 with its controllers may be written "
    "(systemd's, or a container's own), or take `processes` out"
)
LIMIT_BYTES: Final = 256 << 20
LIMIT_PROCESSES: Final = 64
"""Limits that are tried."""

_CURES: Final = (
    ("uid map", USERS),
    ("namespace", USERS),  # which may name a file of /proc too
    ("proc", CONTAINER),
    ("RTM_NEWADDR", USERS),
    ("Unknown option", "bubblewrap 0.5 or later is needed"),
    ("unrecognized option", "GNU coreutils 8.31 or later is needed"),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why no sandbox can be made, in one sentence, and what helps."""

    text: str
    cure: str


def find_tools() -> dict[str, str]:
    """Returns where the programs that a sandbox needs lie, as far as they are there."""
    found = {name: shutil.which(name) for name in TOOLS}
    return {name: path for name, path in found.items() if path}


def problem(*, counted: bool = False) -> Trouble | None:
    """Returns why no sandbox can be made here; None when one was made and worked.

    `counted`: its processes are to be limited, which the kernel does to everybody but root.
    """
    if counted and os.geteuid() == 0:
        why = uncaged(processes=LIMIT_PROCESSES)
        if why is not None:
            text = f"its limit of processes would not bind root, and no control group can: {why}"
            return Trouble(text, UNCOUNTED)
    tools = find_tools()
    for name, cure in TOOLS.items():
        if name not in tools:
            return Trouble(f"{name} is not on PATH", cure)
    said = _try(tuple(sorted(tools.items())))
    if said is None:
        return None
    _try.cache_clear()  # what is mended counts at once
    root = os.geteuid() == 0
    cure = next((cure for part, cure in _CURES if part in said), CONTAINER)
    return Trouble(f"bubblewrap does not work here: {said}", CONTAINER if root else cure)


def uncaged(memory_bytes: int | None = None, processes: int | None = None) -> str | None:
    """Returns why no control group can hold such limits here; None when one was made and did."""
    return _cage(memory_bytes is not None, processes is not None)


@lru_cache(maxsize=4)
def _cage(memory: bool, processes: bool) -> str | None:  # noqa: FBT001 - what the answer is kept by
    words = outside(
        Path(os.devnull),
        memory_bytes=LIMIT_BYTES if memory else None,
        processes=LIMIT_PROCESSES if processes else None,
    )
    return _complaint([*words, shutil.which("true") or "/bin/true"])


def version() -> str:
    """Returns what bubblewrap calls itself."""
    done = subprocess.run(["bwrap", "--version"], capture_output=True, timeout=PROBE_S, check=False)
    return done.stdout.decode("utf-8", "replace").strip()


@lru_cache(maxsize=1)
def _try(tools: tuple[tuple[str, str], ...]) -> str | None:
    """Returns the complaint of a sandbox that was tried; None when it worked."""
    at = dict(tools)
    argv = [at["env"], OUTSIDE, at["bwrap"], *NAMESPACES, "--unshare-net", "--new-session"]
    argv += [] if os.geteuid() == 0 else ["--unshare-user"]
    argv += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    argv += ["--perms", "0700", "--size", "65536", "--tmpfs", "/tmp", "--remount-ro", "/"]  # noqa: S108
    argv += ["--", at["prlimit"], "--data=268435456", at["env"], "--default-signal=TERM"]
    argv += [at["timeout"], "--foreground", "-k", "1", "5", "true"]
    return _complaint(argv)


def _complaint(argv: list[str]) -> str | None:
    """Returns the last words of a command that failed; None when it did not."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        return f"{type(failed).__name__} after {PROBE_S:g} s at most"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return (
        re.sub(r"^(bwrap|fleet): ", "", lines[-1]) if lines else f"it ended with {done.returncode}"
    )
