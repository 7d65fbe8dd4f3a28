"""Landing a phase: exactly what the gate pinned, or the base stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import psutil
import pytest

from fleet.core import messages as m
from fleet.runtimes.runs import now_ms
from support.kind_world import KindWorld, standings


def commit(script: str) -> str:
    return f"{script}; git add -A; git commit -qm work"


def two(world: KindWorld, first: str = "a.txt", second: str = "b.txt"):
    return [
        *world.task("a", commit(f"echo a > {first}"), deliverables=[first]),
        *world.task("b", commit(f"echo b > {second}"), deliverables=[second]),
    ]


def trials(world: KindWorld):
    return list(world.root.parent.glob("*.worktrees/.trial-*"))


def base(world: KindWorld) -> str:
    return world.repo.rev("refs/heads/main")


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_a_phase_lands_and_the_users_checkout_follows(world: KindWorld, strategy):
    before = base(world)
    (world.root / "README.md").write_text("my own change\n")
    phase = world.phase(
        ["a", "b"], strategy=strategy, checks=["test -e a.txt -a -e b.txt"], tag="v1"
    )
    state = world.play(world.plan(*two(world), *phase))
    done = state.steps["p/merge"]
    assert done.standing == "succeeded", done.text
    assert base(world) == done.output["commit"] == world.repo.rev("refs/tags/v1^{commit}")
    assert world.repo.rev(done.output["undo"] + "^{commit}") == before == done.output["before"]
    assert set(done.output["tasks"]) == {"a", "b"}
    assert (world.root / "b.txt").read_text() == "b\n"
    assert (world.root / "README.md").read_text() == "my own change\n"
    assert world.repo.git("status", "--porcelain") == "M README.md"
    assert done.evidence["checks"][0]["passed"]
    assert not trials(world)


def test_a_conflict_names_tasks_and_files_and_leaves_the_base(world: KindWorld):
    before = base(world)
    state = world.play(world.plan(*two(world, "same.txt", "same.txt"), *world.phase(["a", "b"])))
    merge = state.steps["p/merge"]
    assert base(world) == before
    assert merge.text == "b conflicts with a in same.txt; the base is as it was"
    assert merge.evidence["conflict"]["paths"] == ["same.txt"]
    assert not merge.released, "it waits for a person"
    assert [need.step for need in merge.step.needs] == ["p/gate.2"]


def test_after_the_conflict_is_mended_on_the_branch_it_lands(world: KindWorld):
    world.play(world.plan(*two(world, "same.txt", "same.txt"), *world.phase(["a", "b"])))
    world.repo.git("merge", "-q", "-X", "ours", "--no-edit", "fleet/a", cwd=world.tree("b"))
    state = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    found = standings(state)
    assert (found["b/check.2"], found["p/merge"]) == ("succeeded", "succeeded")
    assert world.repo.git("show", "main:same.txt") == "b"


def test_red_phase_checks_leave_the_base_and_nothing_behind(world: KindWorld):
    before = base(world)
    judge = (
        "test -e a.txt && test -e b.txt && nohup setsid sleep 985 & echo broken together; exit 1"
    )
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[judge])))
    merge = state.steps["p/merge"]
    assert base(world) == before
    assert "red on the combined tree of a, b" in merge.text
    assert "broken together" in merge.evidence["checks"][0]["tail"]
    assert not trials(world)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "985"]
    ]


def test_a_base_that_moves_during_the_check_is_judged_again_and_kept(world: KindWorld):
    other = world.repo.branch("theirs", {"theirs.txt": "theirs\n"})
    judge = (
        f"if [ ! -e {world.root.parent}/once ]; then touch {world.root.parent}/once; "
        f"git -C {world.root} merge -q --ff-only theirs; fi; ls"
    )
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[judge])))
    merge = state.steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    assert world.repo.git("merge-base", "--is-ancestor", other, "main") == ""
    assert "theirs.txt" in merge.evidence["checks"][0]["tail"], "what landed is what was judged"
    assert merge.output["before"] == other


def test_a_base_that_always_moves_is_given_up_after_three_rounds(world: KindWorld):
    judge = f"git -C {world.root} commit -q --allow-empty -m again"
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[judge])))
    merge = state.steps["p/merge"]
    assert "3 times" in merge.text
    assert not merge.released
    assert world.repo.git("rev-list", "--count", "main") == "4"


def test_a_dirty_checkout_that_would_be_overwritten_is_named_and_kept(world: KindWorld):
    before = base(world)
    (world.root / "a.txt").write_text("mine, not committed\n")
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"])))
    merge = state.steps["p/merge"]
    assert merge.evidence["overwrites"] == ["a.txt"]
    assert "a.txt" in merge.text
    assert base(world) == before
    assert (world.root / "a.txt").read_text() == "mine, not committed\n"
    (world.root / "a.txt").unlink()
    done = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    assert done.steps["p/merge"].standing == "succeeded"


def test_a_branch_that_moves_after_the_gate_is_gated_again(world: KindWorld):
    phase = [replace(step, released=step.kind != "merge") for step in world.phase(["a", "b"])]
    world.play(world.plan(*two(world), *phase))
    later = world.repo.commit({"a.txt": "later\n"}, cwd=world.tree("a"))
    state = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    found = standings(state)
    assert (found["p/gate.2"], found["a/check.2"], found["p/merge"]) == ("succeeded",) * 3
    assert state.steps["p/merge"].output["tasks"]["a"] == later


def test_a_tag_that_exists_elsewhere_is_told_and_the_landing_stands(world: KindWorld):
    world.repo.git("tag", "v1")
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], tag="v1")))
    merge = state.steps["p/merge"]
    assert merge.standing == "succeeded"
    assert merge.output["tag"] is None
    assert "exists at" in merge.evidence["tag"]


PROGRAM = """
import sys; sys.path[:0] = {path!r}
from pathlib import Path
from support.kind_world import KindWorld
from support.git_repo import GitRepo
world = KindWorld.__new__(KindWorld)
world.repo = GitRepo.__new__(GitRepo)
world.root = Path({root!r}); world.folder = world.root / ".fleet"
world.socket, world.state, world.log = {socket!r}, None, []
steps = [
    *world.task("a", "true", deliverables=["a.txt"]), *world.task("b", "true",
    deliverables=["b.txt"]),
    *world.phase(["a", "b"], checks=["sleep 0.1"], tag="v1"),
]
world.play(world.plan(*steps))
"""


@pytest.mark.parametrize(
    "point",
    [
        "kinds.merge.after_assembly",
        "kinds.merge.before_land",
        "git.land.after_undo",
        "git.land.after_files",
        "git.land.after_index",
        "git.land.after_ref",
        "kinds.merge.after_land",
        "kinds.merge.after_tag",
    ],
)
def test_a_merge_that_was_killed_is_finished_by_the_next(world: KindWorld, point):
    before = base(world)
    world.play(world.plan(*two(world)))
    program = textwrap.dedent(PROGRAM).format(
        path=sys.path, root=str(world.root), socket=world.socket
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "FLEET_CRASH_AT": point}, check=False
    )
    assert killed.returncode == -9
    world.state = None  # a new run, whose steps bear the same names: it finds the first one's work
    again = [
        *world.task("a", "true", deliverables=["a.txt"]),
        *world.task("b", "true", deliverables=["b.txt"]),
        *world.phase(["a", "b"], checks=["sleep 0.1"], tag="v1"),
    ]
    state = world.play(world.plan(*again))
    merge = state.steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    assert merge.output["before"] == before
    assert base(world) == merge.output["commit"] == world.repo.rev("refs/tags/v1^{commit}")
    assert world.repo.git("rev-list", "--first-parent", "--count", "main") == "3"
    assert world.repo.git("status", "--porcelain") == ""
    assert not trials(world)
