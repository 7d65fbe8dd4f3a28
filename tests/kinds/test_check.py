"""What counts as delivered: committed on the branch, fresh, and judged at one commit."""

from __future__ import annotations

import pytest

from support.kind_world import KindWorld, standings
from support.sleepers import alive, sleeper


def judged(world: KindWorld, command: str, **task):
    """Returns the check's state and its verdicts, green or red."""
    state = world.play(world.plan(*world.task("a", command, **task)))
    check = state.steps["a/check"]
    found = check.output or check.evidence
    return check, found


def commit(script: str) -> str:
    return f"{script}; git add -A; git commit -qm work"


def test_a_file_on_the_wrong_branch_is_red_and_says_where_it_is(world: KindWorld):
    check, _ = judged(
        world, f"git switch -qc feature; {commit('echo hi > OUT.md')}", deliverables=["OUT.md"]
    )
    assert check.standing == "asking"
    assert "are on branch 'feature', not on 'fleet/a'" in check.text
    assert "1 commit" in check.text


def test_a_branch_that_was_left_again_is_named_too(world: KindWorld):
    command = f"git switch -qc feature; {commit('echo hi > OUT.md')}; git switch -q fleet/a"
    check, _ = judged(world, command, deliverables=["OUT.md"])
    assert "OUT.md is on branch feature, not on fleet/a" in check.text


def test_a_detached_head_is_red(world: KindWorld):
    check, _ = judged(
        world, f"git switch -q --detach; {commit('echo hi > OUT.md')}", deliverables=["OUT.md"]
    )
    assert "are on a detached HEAD" in check.text


@pytest.mark.parametrize(
    ("script", "wanted", "why"),
    [
        ("echo hi > OUT.md", {}, "OUT.md is there but not committed"),
        (commit("echo hi > OUT.md") + "; echo more >> OUT.md", {}, "are there but not committed"),
        ("true", {"path": "README.md"}, "README.md is as it was at the branch point"),
        (commit("ln -s /etc/passwd OUT.md"), {}, "OUT.md is a symlink, not a file"),
        ("mkfifo OUT.md", {}, "OUT.md is a FIFO"),
        (commit("echo hi > OUT.md"), {"min_bytes": 10}, "has 3 bytes, at least 10"),
        (commit("echo hi > OUT.md"), {"contains": ["ho"]}, "does not contain 'ho'"),
        (commit("echo hi > OUT.md"), {"contains": ["/^H/"]}, "does not match /^H/"),
        (commit(f"echo {'a' * 34}b > OUT.md"), {"contains": ["/^(a+)+$/"]}, "within 5 s"),
        (commit("echo hi > OUT.md"), {"path": "*.md", "count": 2}, "1 of 2 count"),
        (commit("echo {} > o.json"), {"path": "o.json", "schema": {"required": ["b"]}}, "schema"),
        (commit("echo '{' > o.json"), {"path": "o.json", "schema": {}}, "cannot be read"),
        ("true", {"path": None, "tag": "v1"}, "there is no tag 'v1'"),
        ("git tag v1", {"path": None, "tag": "v1"}, "from before the branch point"),
        ("true", {"path": None, "branch_merged": ["nope"]}, "there is no branch 'nope'"),
        ("true", {"path": None, "command": "echo why; exit 4"}, "it exited with 4"),
    ],
)  # fmt: skip
def test_what_does_not_count_says_why(world: KindWorld, script, wanted, why):
    check, found = judged(world, script, deliverables=[{"path": "OUT.md", "text": "out", **wanted}])
    assert check.standing == "asking"
    assert not found["deliverables"][0]["met"]
    assert why in found["deliverables"][0]["why"]


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("true", {"path": "README.md", "fresh": False}),
        (commit("echo hi > OUT.md"), {"contains": ["hi", "/^h/"], "min_bytes": 3}),
        (commit("mkdir d; echo 1 > d/a.md; echo 2 > d/b.md"), {"path": "d/*.md", "count": 2}),
        (commit("echo 'a: 1' > o.yaml"), {"path": "o.yaml", "schema": {"required": ["a"]}}),
        (commit("echo hi > x") + "; git tag v1", {"path": None, "tag": "v1"}),
        (commit("echo hi > x") + "; git branch done", {"path": None, "branch_merged": ["done"]}),
        ("true", {"path": None, "command": ["true"]}),
    ],
)
def test_what_counts(world: KindWorld, script, wanted):
    check, found = judged(world, script, deliverables=[{"path": "OUT.md", "text": "out", **wanted}])
    assert found["deliverables"][0]["met"], found["deliverables"]
    assert check.standing == "succeeded"


def test_a_red_check_shows_the_end_of_its_output_without_controls(world: KindWorld):
    _, found = judged(world, "true", checks=["printf '\\033[31mred\\007 words\\n'; exit 1"])
    assert found["checks"][0]["tail"] == "red words"
    assert not found["checks"][0]["passed"]
    assert found["checks"][0]["at_commit"] == world.repo.rev("refs/heads/fleet/a")


def test_a_check_that_moves_head_or_changes_tracked_files_is_red(world: KindWorld):
    _, found = judged(world, "true", checks=["git commit -q --allow-empty -m mine"])
    assert "it moved HEAD from" in found["checks"][0]["why"]


def test_a_check_that_changes_tracked_files_is_red(world: KindWorld):
    _, found = judged(world, "true", checks=["echo x >> README.md", "true"])
    assert found["checks"][0]["why"] == "it changed tracked files: README.md"
    assert "another tree" in found["checks"][1]["why"]


def test_a_check_has_a_time_limit_and_leaves_nobody(world: KindWorld):
    mine = sleeper()
    slow = " ".join(mine)
    judge = {"text": "slow", "command": f"nohup setsid {slow} & {slow}", "timeout_s": 0.5}
    _, found = judged(world, "true", check={"checks": [judge]})
    assert found["checks"][0]["why"] == "it ran out of time"
    assert not alive(mine)


def test_metrics_are_measured_and_held_against_their_targets(world: KindWorld):
    metrics = [
        {"name": "fast", "op": "<", "target": 100, "measure": "echo took 42 ms"},
        {"name": "slow", "op": ">=", "target": 85, "measure": "echo 80.5"},
        {"name": "none", "op": "==", "target": 1, "measure": "echo nothing"},
    ]
    check, found = judged(world, "true", check={"metrics": metrics})
    assert [(one["value"], one["met"]) for one in found["metrics"]] == [
        (42, True),
        (80.5, False),
        (None, None),
    ]
    assert check.standing == "succeeded"


def test_a_verified_commit_survives_a_gc(world: KindWorld):
    state = world.play(
        world.plan(*world.task("a", commit("echo hi > OUT.md"), deliverables=["OUT.md"]))
    )
    sha = state.steps["a/check"].output["commit"]
    world.repo.git("worktree", "remove", "--force", "--force", str(world.tree("a")))
    world.repo.git("branch", "-D", "fleet/a")
    world.repo.git("reflog", "expire", "--expire=now", "--all")
    world.repo.git("gc", "-q", "--prune=now")
    assert world.repo.git("cat-file", "-t", sha) == "commit"
    assert standings(state)["a"] == "succeeded"
