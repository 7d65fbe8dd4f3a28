"""The words that put a warden beside a sandbox, and the ways out that a program inside finds.

Law: an argv and variables, nothing else. The warden is a program of its own, run by this very
Python without its site, so that it starts soon and takes little.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SOURCE: Final = str(Path(__file__).resolve().parents[3])
PROXY_PORTS: Final = range(64_001, 65_536)
"""Above those that the kernel gives away, and seldom anybody's choice; the first that is not
declared is taken, inside."""

LOOPBACK: Final = {
    "127.0.0.1": ("127.0.0.1",),
    "[::1]": ("::1",),
    "localhost": ("127.0.0.1", "::1"),
}
SYSTEMD: Final = Path("/run/systemd/system")
SCOPE: Final = ("--scope", "--quiet", "--collect", "--property=Delegate=yes", "--")
PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY")


def python(module: str) -> list[str]:
    """Returns the words that run the `main` of one of the warden's modules."""
    program = (
        f"import sys; sys.path.append({SOURCE!r}); "
        f"from fleet.adapters.warden.{module} import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-I", "-S", "-c", program]


def outside(
    folder: Path,
    declared: Sequence[str] = (),
    *,
    memory_bytes: int | None = None,
    processes: int | None = None,
) -> list[str]:
    """Returns what stands before the sandbox's own command."""
    told = {
        "folder": str(folder),
        "declared": list(declared),
        "memory_bytes": memory_bytes,
        "processes": processes,
    }
    caged = memory_bytes is not None or processes is not None
    return [*(_scope() if caged else []), *python("watch"), json.dumps(told)]


def inside(declared: Sequence[str]) -> list[str]:
    """Returns what stands before the agent's own command, inside."""
    ports = [f"127.0.0.1,{_proxy_port(declared)},"]
    for host, port in _straight(declared):
        ports += [f"{address},{port},{host.strip('[]')}" for address in LOOPBACK[host]]
    return [*python("entrance"), *dict.fromkeys(ports), "--"]


def variables(declared: Sequence[str]) -> dict[str, str]:
    """Returns what tells programs inside where their way out is.

    Loopback is the sandbox's own: what the agent starts there is reached without a proxy.
    """
    proxy = f"http://127.0.0.1:{_proxy_port(declared)}"
    told = dict.fromkeys(PROXIES, proxy) | {"NO_PROXY": "localhost,127.0.0.1,::1"}
    # Node has its own way of asking since 24, and none before.
    return (
        told | {name.lower(): value for name, value in told.items()} | {"NODE_USE_ENV_PROXY": "1"}
    )


def _straight(declared: Sequence[str]) -> list[tuple[str, int]]:
    """Returns the loopback ports that are reached at the same address inside."""
    found = [one.rpartition(":") for one in declared]
    return [(host, int(port)) for host, _, port in found if host in LOOPBACK]


def _proxy_port(declared: Sequence[str]) -> int:
    taken = {port for _, port in _straight(declared)}
    return next(port for port in PROXY_PORTS if port not in taken)


def _scope() -> list[str]:
    """Returns what has systemd give a process a control group of its own; nothing without it."""
    if not SYSTEMD.is_dir():
        return []
    if os.geteuid() == 0:
        return ["systemd-run", *SCOPE]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return ["env", f"XDG_RUNTIME_DIR={runtime}", "systemd-run", "--user", *SCOPE]
