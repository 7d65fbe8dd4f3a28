"""A task's own checkout: where it starts, what it holds, what stands in its way."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from fleet.core.plan import Need, Step
from support.kind_world import KindWorld, standings


def commit(script: str) -> str:
    return f"{script}; git add -A; git commit -qm work"


def test_it_starts_from_the_base_with_the_verified_work_of_its_dependencies(world: KindWorld):
    steps = [
        *world.task("a", commit("echo a > a.txt"), deliverables=["a.txt"]),
        *world.task("b", commit("echo b > b.txt"), deliverables=["b.txt"]),
        *world.task(
            "c", "cat a.txt b.txt; cat $FLEET_BRIEF > $FLEET_ROOT/../brief", after=["a", "b"]
        ),
    ]
    state = world.play(world.plan(*steps))
    assert standings(state)["c"] == "succeeded"
    assert state.steps["c/work"].output["said"] == "a\nb"
    assert state.steps["c/worktree"].output["start"] == world.repo.rev("refs/heads/fleet/c")
    brief = (world.root.parent / "brief").read_text()
    assert "- `a` is done at commit" in brief
    assert "It left: b.txt" in brief


def test_dependencies_that_conflict_name_both_tasks_and_the_files(world: KindWorld):
    steps = [
        *world.task("a", commit("echo a > same.txt"), deliverables=["same.txt"]),
        *world.task("b", commit("echo b > same.txt"), deliverables=["same.txt"]),
        *world.task("c", "true", after=["a", "b"]),
    ]
    state = world.play(world.plan(*steps))
    failed = state.steps["c/worktree"]
    assert failed.standing == "failed"
    assert failed.text == "c cannot start: the work of a and b conflicts in same.txt"
    assert failed.evidence["conflict"] == {"task": "b", "with": ["a"], "paths": ["same.txt"]}
    assert not world.tree("c").exists()


def test_setup_runs_in_the_worktree_with_its_environment_and_its_port(world: KindWorld):
    setup = ["echo $FLEET_TASK $FLEET_PORT $PORT $PWD > setup.txt"]
    steps = world.task(
        "a", "cat setup.txt", worktree={"setup": setup, "port": "auto", "ports": [18000, 18999]}
    )
    state = world.play(world.plan(*steps))
    port = state.steps["a/worktree"].output["port"]
    assert 18000 <= port <= 18999
    assert state.steps["a/work"].output["said"] == f"a {port} {port} {world.tree('a')}"


def test_setup_that_fails_shows_its_end(world: KindWorld):
    steps = world.task("a", "true", worktree={"setup": ["true", "echo no network; exit 7"]})
    state = world.play(world.plan(*steps))
    failed = state.steps["a/worktree"]
    assert (failed.standing, failed.failure) == ("failed", "agent")
    assert "setup command 2 exited with 7" in failed.text
    assert "no network" in failed.text


def test_a_branch_that_is_checked_out_elsewhere_is_told_with_its_place(world: KindWorld):
    place = world.root.parent / "mine"
    world.repo.git("worktree", "add", "-q", "-b", "fleet/a", str(place))
    state = world.play(world.plan(*world.task("a", "true")))
    assert "already checked out at" in state.steps["a/worktree"].text
    assert str(place) in state.steps["a/worktree"].text


def test_a_port_that_is_taken_names_who_has_it(world: KindWorld):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        state = world.play(world.plan(*world.task("a", "true", worktree={"port": port})))
    assert f"port {port} of a is in use by pid" in state.steps["a/worktree"].text


def test_a_crash_during_the_making_converges(world: KindWorld):
    program = textwrap.dedent(
        """
        import sys; sys.path[:0] = {path!r}
        from pathlib import Path
        from support.kind_world import KindWorld
        world = KindWorld.__new__(KindWorld)
        world.root = Path({root!r}); world.folder = world.root / ".fleet"
        world.socket, world.state, world.log = {socket!r}, None, []
        setup = ["echo x >> setup.txt", "echo y >> setup.txt"]
        steps = world.task("a", "cat setup.txt", worktree={{"setup": setup}})
        world.play(world.plan(*steps))
        """
    ).format(path=sys.path, root=str(world.root), socket=world.socket)
    for point in (
        "kinds.worktree.before_setup",
        "kinds.worktree.after_setup",
        "kinds.worktree.after_setup:2",
    ):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**__import__("os").environ, "FLEET_CRASH_AT": point},
            check=False,
        )
        assert done.returncode in (-9, 0)
    steps = world.task(
        "a", "cat setup.txt", worktree={"setup": ["echo x >> setup.txt", "echo y >> setup.txt"]}
    )
    state = world.play(world.plan(*steps))
    assert state.steps["a/work"].output["said"] == "x\ny"


def test_set_puts_out_its_value(world: KindWorld):
    steps = [
        Step(id="one", kind="set", params={"value": {"x": 1}, "label": "left"}),
        Step(id="two", kind="set", params={"value": 2}, needs=(Need(step="one", on="left"),)),
    ]
    state = world.play(world.plan(*steps))
    assert state.ended == "succeeded"
    assert state.steps["one"].output == {"x": 1}
    assert state.steps["two"].output == 2
