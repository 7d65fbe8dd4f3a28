"""What must be true before a phase may be merged, each condition with its evidence."""

from __future__ import annotations

from dataclasses import replace

from fleet.core import messages as m
from fleet.core.plan import Step
from fleet.runtimes.runs import now_ms
from support.kind_world import KindWorld, standings


def commit(script: str) -> str:
    return f"{script}; git add -A; git commit -qm work"


def simple(world: KindWorld, **task) -> list[Step]:
    return world.task("a", commit("echo $FLEET_ATTEMPT > a.txt"), deliverables=["a.txt"], **task)


def held(steps: list[Step]) -> list[Step]:
    """Leaves the merge unreleased, as `merge: ask` does."""
    return [replace(step, released=step.kind != "merge") for step in steps]


def question(state) -> m.Question:
    return next(iter(state.questions.values())).question


def answer(state, value: str, note: str = "", by: str = "eve") -> m.AnswerQuestion:
    return m.AnswerQuestion(
        id=next(iter(state.questions)), value=value, note=note, by=by, at_ms=now_ms()
    )


def test_an_open_gate_pins_the_verified_commits(world: KindWorld):
    state = world.play(world.plan(*simple(world), *held(world.phase(["a"]))))
    gate = state.steps["p/gate"]
    assert gate.standing == "succeeded"
    assert gate.output["commits"] == {"a": world.repo.rev("refs/heads/fleet/a")}
    assert gate.output["base"] == world.repo.rev("refs/heads/main")
    assert gate.output["evidence"][0]["met"]


def test_a_head_that_moved_is_checked_again_before_the_gate_opens(world: KindWorld):
    plan = world.plan(*simple(world), *held(world.phase(["a"], approve=True)))
    asked = world.play(plan)
    later = world.repo.commit({"a.txt": "later\n"}, cwd=world.tree("a"))
    state = world.play(None, answer(asked, "approve"))
    assert standings(state)["a/check.2"] == "succeeded"
    assert state.steps["a/check.2"].output["commit"] == later
    assert state.steps["p/gate"].standing == "asking", "the approval was for other commits"
    assert question(state).about["commits"] == {"a": later}
    done = world.play(None, answer(state, "approve"))
    assert done.steps["p/gate"].output["commits"] == {"a": later}
    assert done.steps["p/gate"].output["approved"] == ["eve"]


def test_a_head_that_moved_and_is_red_is_reworked_before_the_gate(world: KindWorld):
    steps = world.task(
        "a",
        commit("echo $FLEET_ATTEMPT > a.txt"),
        deliverables=["a.txt"],
        checks=["test -e a.txt"],
        attempts=3,
    )
    asked = world.play(world.plan(*steps, *held(world.phase(["a"], approve=True))))
    world.repo.commit({"a.txt": None}, cwd=world.tree("a"))
    state = world.play(None, answer(asked, "approve"))
    found = standings(state)
    assert (found["a/check.2"], found["a/work.3"], found["a/check.3"]) == (
        "failed",
        "succeeded",
        "succeeded",
    )
    assert found["p/gate"] == "asking"


def test_a_rejection_reworks_the_tasks_that_its_note_names(world: KindWorld):
    other = world.task("b", commit("echo b > b.txt"), deliverables=["b.txt"])
    mine = world.task(
        "a",
        "cp $FLEET_BRIEF a.$FLEET_ATTEMPT; " + commit("echo $FLEET_ATTEMPT > a.txt"),
        deliverables=["a.txt"],
    )
    asked = world.play(world.plan(*mine, *other, *held(world.phase(["a", "b"], approve=True))))
    again = world.play(None, answer(asked, "reject", "not good"))
    assert again.steps["p/gate"].standing == "asking", "a note that names nobody is asked about"
    assert "with the ids" in question(again).message
    state = world.play(None, answer(again, "reject", "a is too short"))
    found = standings(state)
    assert (found["a/work.2"], found["a/check.2"]) == ("succeeded", "succeeded")
    assert "b/work.2" not in found
    assert found["p/gate"] == "asking"
    assert "a is too short" in (world.tree("a") / "a.2").read_text()


def test_each_of_the_named_has_to_approve(world: KindWorld):
    asked = world.play(
        world.plan(*simple(world), *held(world.phase(["a"], approve=["eve", "bob"])))
    )
    assert question(asked).whom == "eve"
    asked = world.play(None, answer(asked, "approve", by="eve"))
    assert question(asked).whom == "bob"
    asked = world.play(None, answer(asked, "approve", by="mallory"))
    assert question(asked).whom == "bob", "a stranger's approval is none"
    state = world.play(None, answer(asked, "approve", by="bob"))
    assert state.steps["p/gate"].standing == "succeeded"
