"""An agent's launch, shut into the sandbox that its document declares.

Law: turns what the document says into the sandbox's rules and a launch into a confined one; what is
seen and how it is held is the adapter's. A launch without a sandbox stays as it is.
"""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from fleet.adapters.attempts import ExitRecord, Launch
from fleet.core.plan import Failure
from fleet.errors import Rejected
from fleet.harnesses import Report

if TYPE_CHECKING:
    from fleet.adapters.git import Repository


MIB: Final = 1 << 20
SHOWN: Final = 5
"""How many refused places are told in a sentence."""


class Shared(Protocol):
    """Where a fleet lives."""

    root: Path
    state: Path
    repository: Repository


def confined(
    launch: Launch, told: Mapping[str, Any] | None, branch: str, shared: Shared, *, resumed: bool
) -> Launch:
    """Returns the launch inside its sandbox, in the home of the attempt before when that is
    `resumed`; raises Rejected, with the cure, where that fails.
    """
    if not told:
        return launch
    from fleet.adapters import sandbox

    assert told["kind"] == "bwrap", told
    assert launch.admin_dir is not None, "an agent works in a linked worktree"
    root, home = shared.root, sandbox.home_of(launch.env)
    network = told.get("network") or "none"
    rules = sandbox.Rules(
        read=_paths(told.get("read") or (), root, home),
        write=_paths(told.get("write") or (), root, home),
        copy=_paths(told.get("copy") or (), root, home),
        network=network == "full",
        declared=() if isinstance(network, str) else tuple(network),
        memory_bytes=told.get("memory_bytes"),
        processes=told.get("processes"),
    )
    place = sandbox.Place(
        root=root.resolve(),
        state=shared.state.resolve(),
        common=shared.repository.common.resolve(),
        worktree=launch.worktree.resolve(),
        admin=launch.admin_dir.resolve(),
        branch=branch,
        folder=launch.folder.resolve(),
        home=home_beside(launch.folder.resolve()),
    )
    inside = sandbox.Confined(
        argv=launch.argv,
        env=launch.env,
        terminal=launch.stdout == "pane",
        timeout_s=None if launch.timeout_s is None else max(1, math.ceil(launch.timeout_s)),
        grace_s=launch.grace_s,
        kept=resumed,
    )
    return replace(launch, argv=sandbox.confine(inside, rules, place))


def home_beside(folder: Path) -> Path:
    """Returns the home that a step's attempts share, by the folder of one."""
    return folder.parent / "home"


def moved(
    folder: Path, told: Mapping[str, Any] | None, env: Mapping[str, str], root: Path
) -> dict[Path, Path]:
    """Returns where folders lie outside that an agent sees in its sandbox: its home, and what it
    may write there as it is. Nothing without a sandbox.
    """
    if not told:
        return {}
    from fleet.adapters import sandbox

    home = sandbox.home_of(env)
    written = _paths(told.get("write") or (), root, home)
    return {home: home_beside(folder.resolve()), **{one: one for one in written}}


def leave(folder: Path, told: Mapping[str, Any] | None) -> None:
    """Removes the home of a step whose attempt nobody will go on with; what cannot be removed
    stays, for the next attempt to complain of.
    """
    if told:
        from fleet.adapters import sandbox

        with contextlib.suppress(Rejected):
            sandbox.remove_home(home_beside(folder))


def explained(
    report: Report, ended: ExitRecord | None, folder: Path, told: Mapping[str, Any] | None
) -> Report:
    """Returns the report of an end with what the sandbox had to do with it.

    Who was killed for want of memory did not crash: it took more than its task was given.
    """
    if not told or report.ok:
        return report
    from fleet.adapters import sandbox

    found = sandbox.traces(folder)
    text, failure, notes = report.text, report.failure, []
    if found.oom_kills:
        limit = f"{int(told.get('memory_bytes') or 0) / MIB:.0f} MiB"
        if ended is not None and ended.signal == signal.SIGKILL:
            text, failure = f"it ran out of memory: its sandbox holds {limit}", Failure.TASK
        else:
            notes.append(f"{found.oom_kills} of its processes ran out of memory ({limit})")
    if found.forks_refused:
        notes.append(f"its sandbox holds {told.get('processes')} processes, and it wanted more")
    if found.refused:
        shown = ", ".join(one.partition(": ")[0] for one in found.refused[:SHOWN])
        more = ", ..." if len(found.refused) > SHOWN or found.more else ""
        notes.append(f"its sandbox refused it {shown}{more}")
    return replace(report, text="; ".join([text, *notes]), failure=failure)


def facts(folder: Path, told: Mapping[str, Any] | None) -> dict[str, object]:
    """Returns what is kept of a sandbox as evidence of an attempt; nothing without one."""
    if not told:
        return {}
    from fleet.adapters import sandbox

    found = asdict(sandbox.traces(folder))
    kept = {name: value for name, value in found.items() if value}
    return {"sandbox": {**kept, "refused": list(found["refused"])}} if kept else {}


def _paths(named: tuple[str, ...] | list[str], root: Path, home: Path) -> tuple[Path, ...]:
    """Returns paths as documents name them: absolute, from the agent's home, or from the root."""
    return tuple(
        home / one.removeprefix("~").removeprefix("/")
        if one == "~" or one.startswith("~/")
        else root / Path(one).expanduser()
        for one in named
    )
