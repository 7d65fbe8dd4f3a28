"""Landing a phase: exactly what the gate pinned, or the base stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from fleet.core import messages as m
from fleet.runtimes.runs import now_ms
from support.crash_walks import OF_A_PART, OF_A_TRIAL
from support.kind_world import KindWorld, standings
from support.sleepers import alive, sleeper


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
    mine = sleeper()
    slow = f"test -e a.txt && test -e b.txt && nohup setsid {' '.join(mine)}"
    judge = f"{slow} & echo broken together; exit 1"
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[judge])))
    merge = state.steps["p/merge"]
    assert base(world) == before
    assert "red on the combined tree of a, b" in merge.text
    assert "broken together" in merge.evidence["checks"][0]["tail"]
    assert not trials(world)
    assert not alive(mine)


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


def test_a_base_that_moved_to_the_same_tree_is_not_judged_again(world: KindWorld):
    judge = noted(world, f"git -C {world.root} commit -q --allow-empty -m again")
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[judge])))
    assert state.steps["p/merge"].standing == "succeeded"
    assert len(ran(world)) == 1


def test_a_base_that_always_moves_is_given_up_after_three_rounds(world: KindWorld):
    judge = f"cd {world.root}; echo >> again.txt; git add again.txt; git commit -qm again"
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[judge])))
    merge = state.steps["p/merge"]
    assert "3 times" in merge.text
    assert not merge.released
    assert world.repo.git("rev-list", "--count", "main") == "4"


def test_a_dirty_checkout_that_would_be_overwritten_is_named_and_kept(world: KindWorld):
    before = base(world)
    (world.root / "a.txt").write_text("mine, not committed\n")
    phase = world.phase(["a", "b"], checks=[noted(world, "true")])
    state = world.play(world.plan(*two(world), *phase))
    merge = state.steps["p/merge"]
    assert merge.evidence["overwrites"] == ["a.txt"]
    assert "a.txt" in merge.text
    assert base(world) == before
    assert (world.root / "a.txt").read_text() == "mine, not committed\n"
    (world.root / "a.txt").unlink()
    done = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    assert done.steps["p/merge"].standing == "succeeded"
    assert len(ran(world)) == 1, "what was green at this tree is not judged again"
    (check,) = done.steps["p/merge"].evidence["checks"]
    assert (check["attempt"], done.steps["p/merge"].attempt) == (1, 2)
    assert check["at_commit"] == base(world)


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


HEAD = """
import sys; sys.path[:0] = {path!r}
from pathlib import Path
from support.kind_world import KindWorld
from support.git_repo import GitRepo
world = KindWorld.__new__(KindWorld)
world.repo = GitRepo.__new__(GitRepo)
world.root = Path({root!r}); world.folder = world.root / ".fleet"
world.socket, world.state, world.log = {socket!r}, None, []
"""
PROGRAM = """
steps = [
    *world.task("a", "true", deliverables=["a.txt"]), *world.task("b", "true",
    deliverables=["b.txt"]),
    *world.phase(["a", "b"], checks=["sleep 0.1"], tag="v1"),
]
world.play(world.plan(*steps))
"""


def die_at(world: KindWorld, point: str, program: str) -> None:
    """Runs a program about the same world in a process that dies at a crash point."""
    head = HEAD.format(path=sys.path, root=str(world.root), socket=world.socket)
    killed = subprocess.run(
        [sys.executable, "-c", head + program],
        env={**os.environ, "FLEET_CRASH_AT": point},
        check=False,
    )
    assert killed.returncode == -9


@pytest.mark.parametrize("point", [*OF_A_TRIAL, "git.land.after_index", "kinds.merge.after_tag"])
def test_a_merge_that_was_killed_is_finished_by_the_next(world: KindWorld, point):
    before = base(world)
    world.play(world.plan(*two(world)))
    die_at(world, point, PROGRAM)
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


def test_a_merge_that_is_killed_within_a_hook_is_done_by_the_next(world: KindWorld):
    before = base(world)
    world.play(world.plan(*two(world)))
    hook = world.root / ".git/hooks/commit-msg"
    once = f"{world.root.parent}/once"
    hook.write_text(f"#!/bin/sh\n[ -e {once} ] || {{ touch {once}; kill -9 $PPID; }}\n")
    hook.chmod(0o755)
    die_at(world, "nowhere", PROGRAM)
    assert (base(world), len(trials(world))) == (before, 1)
    world.state = None
    again = [
        *world.task("a", "true", deliverables=["a.txt"]),
        *world.task("b", "true", deliverables=["b.txt"]),
        *world.phase(["a", "b"], tag="v1"),
    ]
    merge = world.play(world.plan(*again)).steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    assert not trials(world)
    assert world.repo.git("status", "--porcelain") == ""


# --- who breaks it --------------------------------------------------------------------------------


def many(world: KindWorld, count: int = 5, **scripts: str):
    """Returns tasks t1 ... tN, each of which leaves a file of its name (or does what is told)."""
    found = []
    for number in range(1, count + 1):
        name = f"t{number}"
        script = commit(scripts.get(name, f"echo {name} > {name}.txt"))
        found += world.task(name, script, deliverables=[f"{name}.txt"], attempts=3)
    return found, [f"t{number}" for number in range(1, count + 1)]


def noted(world: KindWorld, check: str) -> str:
    """Returns a check that notes each of its runs outside the repository."""
    ran = world.root.parent / "ran"
    return f"ls *.txt | tr '\\n' ' ' >> {ran}; echo >> {ran}; {check}"


def ran(world: KindWorld) -> list[list[str]]:
    return [line.split() for line in (world.root.parent / "ran").read_text().splitlines()]


def question(state):
    (asked,) = state.questions.values()
    return asked


def test_the_task_that_breaks_the_whole_is_named_and_the_rest_lands_if_wanted(world: KindWorld):
    before = base(world)
    mend = "if [ -e t3.txt ]; then git rm -qf bad.txt; else echo x > bad.txt; echo t3 > t3.txt; fi"
    tasks, names = many(world, t3=mend)
    phase = world.phase(
        names, auto=False, checks=[noted(world, "test ! -e bad.txt || { echo it is bad; false; }")]
    )
    state = world.play(world.plan(*tasks, *phase))
    merge, asked = state.steps["p/merge"], question(state)
    assert base(world) == before
    assert "t3 breaks it" in merge.text
    assert asked.question.choices == ("land-rest", "rework", "hold")
    assert "Land the rest (t1, t2, t4, t5)?" in asked.question.message
    assert merge.evidence["culprits"] == [["t3"]]
    trees = ran(world)
    assert len(trees) <= 10, "whole twice, base, log2(5) halves, red ones twice, and the rest"

    state = world.play(None, m.AnswerQuestion(id=asked.id, value="land-rest", at_ms=now_ms()))
    merge = state.steps["p/merge"]
    assert "the rest landed as" in merge.text
    assert world.repo.git("ls-tree", "--name-only", "main").split() == [
        "README.md", "t1.txt", "t2.txt", "t4.txt", "t5.txt",
    ]  # fmt: skip
    assert merge.facts["landed"].keys() == {"t1", "t2", "t4", "t5"}
    assert world.repo.rev(f"{merge.evidence['undo']}^{{commit}}") == before
    assert state.steps["t3/work.2"].attempt == 1
    brief = (world.folder / "attempts/plan/t3%2Fwork.2/1/brief.md").read_text()
    assert "The merge of p sent this work back" in brief
    assert "it is bad" in brief
    assert not merge.released, "a person lands what is left"
    state = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    assert state.steps["p/merge"].standing == "succeeded", state.steps["p/merge"].text
    assert world.repo.git("show", "main:t3.txt") == "t3"
    assert not trials(world)


def test_two_tasks_that_break_it_together_are_named_and_the_last_is_sent_back(world: KindWorld):
    tasks, names = many(world)
    together = "test ! -e t2.txt -o ! -e t4.txt"
    state = world.play(world.plan(*tasks, *world.phase(names, checks=[together])))
    merge = state.steps["p/merge"]
    assert "t2 and t4 break it together" in merge.text
    assert (merge.evidence["sent_back"], merge.evidence["rest"]) == (
        ["t4"],
        ["t1", "t2", "t3", "t5"],
    )


def test_what_holds_the_culprits_commits_waits_and_is_not_blamed(world: KindWorld):
    first = world.task("a", commit("echo a > a.txt; touch bad"), deliverables=["a.txt"])
    second = world.task("b", commit("echo b > b.txt"), deliverables=["b.txt"], after=["a"])
    third = world.task("c", commit("echo c > c.txt"), deliverables=["c.txt"])
    phase = world.phase(["a", "b", "c"], checks=["test ! -e bad"])
    merge = world.play(world.plan(*first, *second, *third, *phase)).steps["p/merge"]
    assert (merge.evidence["sent_back"], merge.evidence["waits"]) == (["a"], ["b"])
    assert merge.evidence["rest"] == ["c"]


def test_what_another_one_of_the_rest_holds_lands_with_it(world: KindWorld):
    first = world.task("a", commit("echo a > a.txt"), deliverables=["a.txt"])
    second = world.task("b", commit("echo b > b.txt"), deliverables=["b.txt"], after=["a"])
    third = world.task("c", commit("touch bad c.txt"), deliverables=["c.txt"])
    phase = world.phase(["b", "a", "c"], auto=False, checks=["test ! -e bad"])
    state = world.play(world.plan(*first, *second, *third, *phase))
    assert "Land the rest (b, a)?" in question(state).question.message


def test_a_check_that_is_red_without_the_tasks_too_finds_the_one_without_which_it_is_green(world):
    tasks, names = many(world, 3)
    looks = "test -e t1.txt -a -e t3.txt -a ! -e t2.txt"
    merge = world.play(world.plan(*tasks, *world.phase(names, checks=[looks]))).steps["p/merge"]
    assert (merge.evidence["culprits"], merge.evidence["rest"]) == ([["t2"]], ["t1", "t3"])


def test_a_flaky_check_blames_nobody_and_is_told(world: KindWorld):
    once = f"[ -e {world.root.parent}/once ] || {{ touch {world.root.parent}/once; false; }}"
    state = world.play(world.plan(*two(world), *world.phase(["a", "b"], checks=[once])))
    merge = state.steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    (check,) = merge.evidence["checks"]
    assert (check["flaky"], check["why"]) == (
        True,
        "flaky: it exited with 1, then it passed on the same tree",
    )


def test_rework_without_landing_and_holding_are_the_other_answers(world: KindWorld):
    before = base(world)
    tasks, names = many(world, 3, t2="echo t2 > t2.txt; echo x >> bad.txt")
    check = noted(world, "test ! -e bad.txt")
    state = world.play(world.plan(*tasks, *world.phase(names, auto=False, checks=[check])))
    runs = len(ran(world))
    held = world.play(None, m.AnswerQuestion(id=question(state).id, value="hold", at_ms=now_ms()))
    assert "left to you" in held.steps["p/merge"].text
    assert "t2/work.2" not in held.steps
    assert len(ran(world)) == runs, "the answer is about what was found"
    again = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    assert runs < len(ran(world)) < 2 * runs, "only what was red is run again"
    back = world.play(None, m.AnswerQuestion(id=question(again).id, value="rework", at_ms=now_ms()))
    assert "t2 is sent back to work, the base is as it was" in back.steps["p/merge"].text
    assert back.steps["t2/work.2"].attempt == 1
    assert base(world) == before


ANSWERED = """
from fleet.core import messages as m
steps = [*world.task("a", "true", deliverables=["a.txt"]),
         *world.task("b", "true", deliverables=["b.txt"])]
phase = world.phase(["a", "b"], auto=False, checks=["test ! -e b.txt"])
state = world.play(world.plan(*steps, *phase))
(asked,) = state.questions
world.play(None, m.AnswerQuestion(id=asked, value="land-rest", at_ms=state.at_ms + 1))
"""


def test_a_rest_that_landed_in_a_killed_attempt_is_taken_for_landed(world: KindWorld):
    before = base(world)
    world.play(world.plan(*two(world)))
    (point,) = OF_A_PART
    die_at(world, point, ANSWERED)
    landed = base(world)
    assert world.repo.git("show", "main:a.txt") == "a"
    world.state = None
    again = [
        *world.task("a", "true", deliverables=["a.txt"]),
        *world.task("b", "git rm -qf b.txt; echo b > c.txt; git add -A; git commit -qm b",
                    deliverables=["b.txt"], attempts=9),
        *world.phase(["a", "b"], auto=False, checks=["test ! -e b.txt"]),
    ]  # fmt: skip
    state = world.play(world.plan(*again), until=lambda s: "b/work.2" in s.steps)
    merge = state.steps["p/merge"]
    assert merge.facts["landed"].keys() == {"a"}
    assert merge.evidence["sent_back"] == ["b"]
    assert base(world) == landed != before, "nothing lands twice"
