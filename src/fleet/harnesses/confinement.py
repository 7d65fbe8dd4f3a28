"""An agent's launch, shut into the sandbox that its document declares.

Law: turns what the document says into the sandbox's rules and a launch into a confined one; what is
seen and how it is held is the adapter's. A launch without a sandbox stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fleet.adapters.attempts import Launch

if TYPE_CHECKING:
    from fleet.adapters.git import Repository


class Shared(Protocol):
    """Where a fleet lives."""

    root: Path
    state: Path
    repository: Repository


def confined(launch: Launch, told: Mapping[str, Any] | None, branch: str, shared: Shared) -> Launch:
    """Returns the launch inside its sandbox; raises Rejected, with the cure, where that fails."""
    if not told:
        return launch
    from fleet.adapters import sandbox

    assert told["kind"] == "bwrap", told
    assert launch.admin_dir is not None, "an agent works in a linked worktree"
    root = shared.root
    network = told.get("network") or "none"
    rules = sandbox.Rules(
        read=_paths(told.get("read") or (), root),
        write=_paths(told.get("write") or (), root),
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
    )
    inside = sandbox.Confined(
        argv=launch.argv,
        env=launch.env,
        terminal=launch.stdout == "pane",
        timeout_s=None if launch.timeout_s is None else max(1, math.ceil(launch.timeout_s)),
        grace_s=launch.grace_s,
    )
    return replace(launch, argv=sandbox.confine(inside, rules, place))


def _paths(named: tuple[str, ...] | list[str], root: Path) -> tuple[Path, ...]:
    """Returns paths as documents name them: absolute, from the home folder, or from the root."""
    return tuple(root / Path(one).expanduser() for one in named)
