"""A sandboxed attempt where no sandbox can be made: refused, never run without."""

from __future__ import annotations

import pytest

from fleet.adapters import sandbox
from support.kind_world import KindWorld


def said(world: KindWorld, **agent) -> str:
    task = world.task("a", "touch ran", agent={"sandbox": {"kind": "bwrap", **agent}})
    state = world.play(world.plan(*task))
    assert not (world.tree("a") / "ran").exists()
    return str(state.steps["a/work"])


def test_a_sandbox_that_does_not_work_runs_nothing(world, tmp_path, monkeypatch):
    """The front door asks first, but it is no lock: what starts the attempt asks again."""
    path = tmp_path / "programs/bwrap"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    assert "No permissions to create new namespace" in said(world)


def test_what_is_declared_but_not_there_is_refused(world, tmp_path):
    if sandbox.problem() is not None:
        pytest.skip("no sandbox here")
    assert "is declared but not there" in said(world, read=[str(tmp_path / "nowhere")])


def test_a_branch_beside_the_base_is_refused(world):
    if sandbox.problem() is not None:
        pytest.skip("no sandbox here")
    task = world.task(
        "a",
        "touch ran",
        agent={"sandbox": {"kind": "bwrap"}},
        worktree={"branch": "login"},
    )
    state = world.play(world.plan(*task))
    assert "shares its folder" in str(state.steps["a/work"])
    assert not (world.tree("a") / "ran").exists()
