"""What the coordinator adds to what runs are told: questions that are the same, and circles."""

from __future__ import annotations

import json
import secrets

import pytest

from fleet.adapters.journal import DiskFull, Journal, Reader
from fleet.core import messages as m
from fleet.core.plan import Loops, Need, NeedsChange, Patch, Revise, Step
from fleet.runtimes.loops import is_forged
from fleet.runtimes.runs import Runs, Told
from support.lowered_run import plan

SAME = ("Which format do tenant ids have?", "What is the format of a tenant id?")


@pytest.fixture
def runs(tmp_path):
    yield from opened(tmp_path / "state")


def opened(folder):
    journal, reader = Journal.open(folder), Reader(folder)
    found = Runs(journal, reader, lambda *_, **__: None)
    found.recover()
    yield found
    reader.close()
    journal.close()


@pytest.fixture
def begun(runs, tmp_path):
    """A run of two tasks whose agents work."""
    lowered = plan(tmp_path / "fleet", a="days: 1", b="days: 1")
    tell(runs, m.StartRun(run="plan", plan=lowered))
    tell(runs, m.ReleaseStep(steps=("a/worktree", "b/worktree")))
    for step in ("a/worktree", "b/worktree"):
        runs.give_grants()
        done = m.Outcome(ending=m.Ending.SUCCEEDED)
        tell(runs, m.ReportOutcome(step=step, attempt=1, outcome=done))
    runs.give_grants()
    assert set(state(runs).running) == {"a/work", "b/work"}
    return runs


def tell(runs, command):
    runs.tell(Told("plan", command, secrets.token_hex(8)))
    assert "rejected" not in json.loads(runs.open.handled[-1][2])


def state(runs):
    return runs.states["plan"]


def ask(runs, task, text, **rest):
    about = rest.pop("about", {})
    question = m.Question(message=text, about=about, **rest)
    tell(runs, m.RaiseQuestion(question=question, step=f"{task}/work", by=f"agent:{task}"))


def open_kinds(runs):
    return [(name, one.question.kind) for name, one in state(runs).questions.items()]


def test_the_third_of_like_questions_is_followed_by_one_about_the_loop(begun):
    ask(begun, "a", SAME[0])
    ask(begun, "a", "Which port is it?")
    ask(begun, "a", SAME[1])
    assert [kind for _, kind in open_kinds(begun)] == ["text"] * 3
    ask(begun, "a", SAME[0].upper())
    assert open_kinds(begun)[-1] == ("plan.q5", "loop")
    question = state(begun).questions["plan.q5"].question
    assert question.about["rounds"] == ["plan.q1", "plan.q3", "plan.q4"]
    for name in question.about["rounds"]:
        assert f"- {name}, a, agent:a, 2" in question.message
    ask(begun, "a", SAME[0])
    assert open_kinds(begun)[-1] == ("plan.q6", "text"), "a person is asked about it already"
    tell(begun, m.AnswerQuestion(id="plan.q5", value="ULID"))
    assert open_kinds(begun) == [("plan.q2", "text")]


def test_what_was_asked_is_known_again_after_a_crash(begun, tmp_path):
    ask(begun, "a", SAME[0])
    ask(begun, "b", SAME[1])
    begun.commit()
    for again in opened(tmp_path / "state"):
        ask(again, "b", SAME[0])
        assert open_kinds(again)[-1] == ("plan.q4", "loop")
        again.commit()
    for again in opened(tmp_path / "state"):
        ask(again, "b", SAME[0])
        assert open_kinds(again)[-1] == ("plan.q5", "text")
        assert state(again).questions["plan.q5"].question.about == {"loop": "plan.q4"}
        change = state(again).questions["plan.q4"].question.about["proposal"]
        assert set(change["insert"][0]["before"]) == {"a", "b"}


def test_what_a_full_disk_took_was_never_asked(begun, monkeypatch):
    begun.commit()
    ask(begun, "a", SAME[0])
    ask(begun, "a", SAME[0])
    monkeypatch.setattr(begun.journal, "append", lambda _batch: full())
    with pytest.raises(DiskFull):
        begun.commit()
    monkeypatch.undo()
    ask(begun, "a", SAME[0])
    assert open_kinds(begun) == [("plan.q1", "text")]


def full():
    raise DiskFull("the disk is full")


def test_a_loop_that_changes_the_plan_is_left_once_a_change(begun):
    change = Revise(patch=Patch(put=(Step(id="loop", kind="adapt"),)))
    tell(begun, m.RevisePlan(patch=Patch(loops=Loops(after=2, then=(change,)))))
    ask(begun, "a", SAME[0])
    ask(begun, "a", SAME[1])
    step = state(begun).steps["loop/plan.q2"].step
    assert step.params["rounds"] == ["plan.q1", "plan.q2"]
    assert "was asked 2 times" in step.params["why"]
    ask(begun, "a", SAME[0])
    assert state(begun).questions["plan.q3"].question.about == {"loop": "loop/plan.q2"}
    done = m.Outcome(ending=m.Ending.SUCCEEDED)
    tell(begun, m.ReportOutcome(step="loop/plan.q2", attempt=1, outcome=done))
    ask(begun, "a", SAME[0])
    assert "loop/plan.q4" not in state(begun).steps
    ask(begun, "a", SAME[0])
    assert "loop/plan.q5" in state(begun).steps


def test_an_agent_that_asks_for_ever_costs_a_question_for_every_third_of_its_own(begun):
    for _ in range(30):
        ask(begun, "a", SAME[0])
        loop = [name for name, kind in open_kinds(begun) if kind == "loop"]
        if loop:
            tell(begun, m.AnswerQuestion(id=loop[0], value="ULID"))
    loops = [one for one in state(begun).answers.values() if one.question.kind == "loop"]
    assert len(loops) == 10


def test_a_circle_is_asked_about_in_the_commit_that_closes_it(begun):
    ask(begun, "a", "What is a tenant?", about={"waits_for": "b"})
    assert [kind for _, kind in open_kinds(begun)] == ["text"]
    tell(begun, m.CheckIn(step="b", blockers=("a",)))
    assert open_kinds(begun)[-1] == ("plan.q2", "loop")
    question = state(begun).questions["plan.q2"].question
    assert question.about["circle"] == ["b", "a"]
    assert "What is a tenant?" in question.message
    tell(begun, m.CheckIn(step="b", blockers=("a",)))
    ask(begun, "b", "And what is a user?", about={"waits_for": "a"})
    assert [kind for _, kind in open_kinds(begun)] == ["text", "loop", "text"]
    assert [row[0] for row in begun.open.handled], "all of it waits for one commit"


@pytest.mark.parametrize("waits", ["question", "blocker"])
@pytest.mark.parametrize("way", ["revise", "answer", "outcome"])
def test_a_circle_that_a_change_of_the_plan_closes_is_asked_about_once(begun, waits, way):
    tell(begun, m.RevisePlan(patch=Patch(put=(Step(id="set", kind="set"),))))
    asks = {"about": {"waits_for": "b"}} if waits == "question" else {}
    ask(begun, "a", "What is a tenant?", **asks)
    if waits == "blocker":
        tell(begun, m.CheckIn(step="a", blockers=("b",)))
    kept = len(open_kinds(begun))
    patch = Patch(needs={"b/check": NeedsChange(add=(Need(step="a"),))})
    if way == "revise":
        tell(begun, m.RevisePlan(patch=patch))
    elif way == "answer":
        tell(begun, m.RaiseQuestion(question=m.Question(message="like this?")))
        tell(begun, m.AnswerQuestion(id=list(state(begun).questions)[-1], value="yes", patch=patch))
    else:
        done = m.Outcome(ending=m.Ending.SUCCEEDED, patch=patch)
        tell(begun, m.ReportOutcome(step="set", attempt=1, outcome=done))
    loops = [one.question for one in state(begun).questions.values() if one.question.kind == "loop"]
    assert [set(one.about["circle"]) for one in loops] == [{"a", "b"}]
    tell(begun, m.RevisePlan(patch=Patch(put=(Step(id="later", kind="set"),))))
    assert len(open_kinds(begun)) == kept + 1, "what is asked about already is not asked again"


@pytest.mark.parametrize(
    "told",
    [
        {"like": ("plan.q1",)},
        {"loop": m.Question(message="a loop")},
        {"question": m.Question(message="x", kind="loop")},
        {"question": m.Question(message="x", about={"rounds": ["plan.q1"]})},
        {"question": m.Question(message="x", about={"loop": "plan.q1"})},
        {"question": m.Question(message="x", about={"circle": ["a", "b"]})},
    ],
)
def test_only_the_coordinator_says_what_is_a_loop(told):
    asked = {"question": m.Question(message="x"), **told}
    assert is_forged(m.RaiseQuestion(**asked))
    assert not is_forged(
        m.RaiseQuestion(question=m.Question(message="x", about={"waits_for": "a"}))
    )
