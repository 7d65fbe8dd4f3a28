"""What is a decision, who may give one, and what the documents say was decided."""

from __future__ import annotations

from hashlib import sha256

import pytest

from fleet.core import messages as m
from fleet.core.plan import Ask
from fleet.views.decisions import decisions_of, why_not, written_decisions
from support.lowered_run import LoweredRun, plan


@pytest.fixture
def run(tmp_path):
    told = "attempts: 1\ndecisions: [{text: jwt, reason: stateless}, no queue]"
    return LoweredRun(plan(tmp_path, agents="a b", one=told))


def asked(run):
    return next(reversed(run.state.questions.values()))


def test_answers_of_people_and_roles_are_decisions_others_are_not(run):
    run.begin("one")
    for text, then in (("a?", m.Then.NOTE), ("may I?", m.Then.REPLY), ("late?", m.Then.NOTE)):
        question = m.Question(message=text, topic="auth", then=then)
        run.tell(m.RaiseQuestion(step="one/work", question=question, by="agent:a"))
    ids = list(run.state.questions)
    run.tell(m.AnswerQuestion(id=ids[0], value="yes", note="law", by="agent:b"))
    run.tell(m.AnswerQuestion(id=ids[1], value="allow", by="ann"))
    run.tell(m.AnswerQuestion(id=ids[2], value="", by="timeout"))
    (found,) = decisions_of(run.state, str)
    assert (found["task"], found["topic"], found["question"]) == ("one", "auth", "a?")
    assert (found["answer"], found["reason"], found["by"]) == ("yes", "law", "agent:b")
    assert found["change"] is None
    about = {"proposal": {"drop": ["x"], "reason": "late"}}
    question = m.Question(message="long", about=about, choices=("approve", "reject"))
    run.tell(m.RaiseQuestion(step="one/work", question=question, by="agent:a"))
    run.tell(m.AnswerQuestion(id=next(iter(run.state.questions)), value="reject", by="ann"))
    assert decisions_of(run.state, str)[1]["change"] == "late"
    written = [(one["id"], one["answer"], one["reason"]) for one in written_decisions(run.state)]
    # what is written before another one does not take its id: a record keeps its name
    names = [f"one.{sha256(text).hexdigest()[:8]}" for text in (b"jwt", b"no queue")]
    assert written == [(names[0], "jwt", "stateless"), (names[1], "no queue", "")]


def test_nobody_answers_what_they_asked_nor_decides_about_their_own_work(run):
    run.begin("one")
    question = m.Question(message="which?")
    run.tell(m.RaiseQuestion(step="one/work", question=question, by="agent:b"))
    look = run.state.known
    assert why_not(look, asked(run), "b") == "b asked this itself"
    assert why_not(look, asked(run), "a") == "a would decide about its own work"
    assert why_not(look, asked(run), "c") == ""
    run.fail("one/work")
    assert any(isinstance(rung, Ask) for rung in run.state.steps["one/work"].step.ladder)
    assert why_not(look, asked(run), "a") == "a would decide about its own work"
    run.tell(m.RaiseQuestion(question=question, by="agent:b"))
    assert why_not(look, asked(run), "a") == "", "it is about nobody's work"
