"""An agent's launch, shut into the sandbox that its document declares.

Law: turns what the document says into the sandbox's rules and a launch into a confined one; what is
seen and how it is held is the adapter's. A launch without a sandbox stays as it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fleet.adapters.attempts import Launch
from fleet.errors import Rejected

if TYPE_CHECKING:
    from fleet.adapters.git import Repository


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


def leave(folder: Path, told: Mapping[str, Any] | None) -> None:
    """Removes the home of a step whose attempt nobody will go on with; what cannot be removed
    stays, for the next attempt to complain of.
    """
    if told:
        from fleet.adapters import sandbox

        with contextlib.suppress(Rejected):
            sandbox.remove_home(home_beside(folder))


def _paths(named: tuple[str, ...] | list[str], root: Path, home: Path) -> tuple[Path, ...]:
    """Returns paths as documents name them: absolute, from the agent's home, or from the root."""
    return tuple(
        home / one.removeprefix("~").removeprefix("/")
        if one == "~" or one.startswith("~/")
        else root / Path(one).expanduser()
        for one in named
    )
