"""How a check ends whose red findings close a loop of rounds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fleet.core.messages import Ending, Then
from fleet.core.plan import Failure
from fleet.files.changes.rework import course_of, next_round
from fleet.kinds.check.loops import ended_by_loop
from support.lowered_run import LoweredRun, plan, sha

PHASE = "phases: [{id: p, tasks: [one]}]\npatches: {more: {add: [{id: x, agent: a}]}}\n"
FOUND = {"commit": sha("c"), "deliverables": [{"text": "A.md", "met": False, "why": "missing"}]}


def second_round(tmp_path, loops: str = "") -> SimpleNamespace:
    """The second check of a task whose first was red at the same commit."""
    settings = f"{PHASE}loops: {{{loops}}}" if loops else PHASE
    run = LoweredRun(plan(tmp_path, settings=settings, one="attempts: 9\ndeliverables: [A.md]"))
    run.begin("one").ok("one/work")
    check = run.state.steps["one/check"].step
    steps = {n: s.step for n, s in run.state.steps.items() if s.step.whole == "one"}
    patch = next_round(check, steps, reason="red", spent=1)
    run.fail("one/check", text="red", evidence=FOUND, patch=patch).ok("one/work.2")
    again = run.state.steps["one/check.2"].step
    return SimpleNamespace(params=again.params, step=again, course=course_of(run.state), run=run)


def ended(work: SimpleNamespace, **more: object):
    return ended_by_loop(work, "one is not there yet", {**FOUND, **more})


def test_without_a_word_the_ladder_goes_on_and_says_which_rounds_made_the_loop(tmp_path):
    work = second_round(tmp_path)
    outcome = ended(work)
    assert (outcome.ending, outcome.failure, outcome.patch) == (Ending.FAILED, Failure.TASK, None)
    assert outcome.text.startswith("one is not there yet; a loop of one/check and one/check.2: ")
    assert outcome.evidence["loop"]["rounds"] == ["one/check", "one/check.2"]
    work.run.end("one/check.2", outcome)
    (asked,) = work.run.state.questions.values()
    assert "a loop of one/check and one/check.2" in asked.question.message
    assert "one/work.3" not in work.run.state.steps
    assert ended(work, commit=sha("d")) is None


def test_a_change_of_the_plan_follows_where_that_is_said(tmp_path):
    work = second_round(tmp_path, "then: adapt more")
    outcome = ended(work)
    (step,) = outcome.patch.put
    assert (step.id, step.kind, step.params["change"]) == ("one/check.2/loop", "adapt", "more")
    assert "a loop of one/check and one/check.2" in step.params["why"]
    work.run.end("one/check.2", outcome)
    assert work.run.standing("one/check.2") == "failed"
    assert work.run.standing("one/check.2/loop") == "running"


@pytest.mark.parametrize(("then", "whom"), [("escalate a", "a"), ("ask @ann", "@ann")])
def test_who_is_named_is_asked_and_may_send_it_back(tmp_path, then, whom):
    work = second_round(tmp_path, f"then: '{then}'")
    outcome = ended(work)
    question = outcome.question
    assert (outcome.ending, question.whom, question.then) == (Ending.ASKED, whom, Then.LADDER)
    assert question.choices == ("rework", "retry", "skip", "fail")
    assert outcome.evidence["loop"]
    work.run.end("one/check.2", outcome)
    assert work.run.standing("one/check.2") == "asking"


def test_how_many_rounds_without_evidence_are_a_loop_is_the_documents_to_say(tmp_path):
    work = second_round(tmp_path, "after: 2")
    other = {"commit": sha("d"), "deliverables": [{**FOUND["deliverables"][0], "why": "empty"}]}
    assert "after 2 rounds" in ended(work, **other).text
    assert ended(second_round(tmp_path, "after: 3"), **other) is None
