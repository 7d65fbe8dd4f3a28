"""A sandboxed attempt where no sandbox can be made: refused, never run without."""

from __future__ import annotations

import os
from pathlib import Path

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


CODEX = """#!/bin/sh
echo '{"type":"thread.started","thread_id":"T-1"}'
mkdir -p "$HOME/.codex/sessions/2026/11/29"
U='{"total_token_usage":{"input_tokens":9,"cached_input_tokens":4,"output_tokens":2}}'
echo "{\\"type\\":\\"event_msg\\",\\"payload\\":{\\"type\\":\\"token_count\\",\\"info\\":$U}}" \
    > "$HOME/.codex/sessions/2026/11/29/rollout-2026-T-1.jsonl"
echo '{"type":"turn.completed"}'
"""


def test_what_it_used_is_read_in_the_home_that_it_has_inside(world, tmp_path):
    if sandbox.problem() is not None:
        pytest.skip("no sandbox here")
    program = tmp_path / "bin/codex"
    program.parent.mkdir()
    program.write_text(CODEX)
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    agent = {"harness": "codex", "args": [], "env": {"PATH": path}, "sandbox": {"kind": "bwrap"}}
    state = world.play(world.plan(*world.task("a", "", agent=agent)))
    work = state.steps["a/work"]
    assert work.standing == "succeeded", work.text
    assert (work.usage["tokens"], work.usage["cached_tokens"]) == (7, 4)
    assert not Path("~/.codex").expanduser().exists()


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
