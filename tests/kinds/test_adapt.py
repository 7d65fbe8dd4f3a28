"""The kind `adapt`: who is asked, and what an answer, or a change that is there already, means."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from fleet.core import messages as m
from fleet.core.plan import Patch
from fleet.core.state import Answered
from fleet.errors import Rejected
from fleet.files.changes.proposals import text_of
from fleet.kinds import Changed, adapt

CHANGE = {"drop": ["x"], "reason": "Nobody wants it."}
PATCH = Patch(reason="it")


def run(found, *answers, why=""):
    async def change(name, wanted):
        assert (name, wanted) == ("plan", "over")
        if isinstance(found, Exception):
            raise found
        return found

    work = SimpleNamespace(
        run="plan", params={"change": "over", "why": why}, answers=answers,
        world=SimpleNamespace(change=change),
    )  # fmt: skip
    return asyncio.run(adapt.run(work))


def answer(value, message=None, topic="plan"):
    message = text_of(CHANGE) if message is None else message
    question = m.Question(message=message, topic=topic)
    return Answered("q", question, "s", value, "a word", "ann", 1)


OUTSIDE = Changed(CHANGE, ["it may not be dropped"], PATCH)


def test_inside_of_the_envelope_it_happens_at_once():
    found = run(Changed(CHANGE, (), PATCH))
    assert (found.ending, found.patch, found.label) == (m.Ending.SUCCEEDED, PATCH, "")


def test_outside_of_it_a_person_reads_all_of_it_and_why():
    found = run(OUTSIDE, why="x has failed.")
    assert found.ending is m.Ending.ASKED
    named = "The plan would be changed by its patch over:"
    assert found.question.message == f"x has failed.\n\n{named}\n\n{text_of(CHANGE)}"
    assert found.question.about == {"proposal": CHANGE, "against": ["it may not be dropped"]}
    assert (found.question.topic, found.question.then) == ("plan", m.Then.AGAIN)


def test_who_approves_approves_what_was_shown():
    assert run(OUTSIDE, answer("approve")).patch == PATCH
    asked = run(OUTSIDE, answer("approve", message="something else"))
    assert (asked.ending, asked.patch) == (m.Ending.ASKED, None)


def test_a_rejected_change_is_no_failure_and_is_not_worked_out_again():
    found = run(AssertionError("nobody asks"), answer("reject"))
    assert (found.ending, found.label) == (m.Ending.SUCCEEDED, "rejected")
    assert found.output == {"approved": False, "by": "ann", "note": "a word"}


def test_what_the_plan_has_taken_up_is_not_applied_again():
    taken = Changed(CHANGE, taken=True)
    assert (run(taken).label, run(taken).patch) == ("already", None)
    assert run(taken, answer("approve")).label == ""  # with the answer, or by whoever was first


def test_an_answer_to_how_to_go_on_is_no_approval():
    retried = answer("retry", topic="")
    assert run(OUTSIDE, retried).ending is m.Ending.ASKED


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Rejected("others change the plan", hint="try again"), "others change the plan try again"),
        (Changed({"drop": ["x" * 70_000]}, ["it is long"], PATCH), "more than a person reads"),
    ],
)
def test_what_cannot_be_is_a_failure_that_says_so(found, words):
    outcome = run(found)
    assert outcome.ending is m.Ending.FAILED
    assert words in outcome.text
