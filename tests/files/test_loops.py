"""What `loops` of coordination.md lowers to, and what is wrong with it."""

from __future__ import annotations

import pytest

from fleet.core.plan import Ask, Loops, Revise
from fleet.errors import InvalidPlan
from support.lowered_run import LoweredRun, fleet, plan

PATCHES = "patches: {more: {add: [{id: extra, agent: a}]}}\n"


def test_without_a_word_three_times_are_a_loop_and_a_person_is_asked(tmp_path):
    found = plan(tmp_path, one="days: 1")
    assert found.loops == Loops(after=3, then=())
    assert "loops" not in found.steps["one/check"].params


def test_what_follows_a_loop_is_lowered_for_questions_and_for_rework(tmp_path):
    said = f"{PATCHES}loops: {{after: 5, then: [adapt more, escalate a]}}"
    found = plan(tmp_path, settings=said, one="days: 1")
    change, asked = found.loops.then
    assert found.loops.after == 5
    assert isinstance(change, Revise)
    assert (change.patch.put[0].kind, change.patch.put[0].params["change"]) == ("adapt", "more")
    assert isinstance(asked, Ask)
    assert asked.whom == "a"
    told = found.steps["one/check"].params["loops"]
    assert told == {"after": 5, "then": [{"adapt": "more"}, {"escalate": "a"}]}


def test_a_person_is_asked_by_name_or_whoever_looks(tmp_path):
    for word, whom in (("ask", "person"), ("ask ann", "ann")):
        found = plan(tmp_path, settings=f"loops: {{then: {word}}}", one="days: 1")
        assert [rung.whom for rung in found.loops.then] == [whom]
        assert found.loops.after == 3


@pytest.mark.parametrize(
    ("then", "words", "hint"),
    [
        ("adapt mroe", "no patch 'mroe'", "did you mean 'more'?"),
        ("fail", "'fail' cannot follow a loop", "adapt PATCH"),
        ("agent a", "'agent' cannot follow a loop", "adapt PATCH"),
        ("[ask, adapt more]", "nothing comes after a question", "take it out"),
    ],
)
def test_what_cannot_follow_a_loop_is_refused_with_its_place(tmp_path, then, words, hint):
    with pytest.raises(InvalidPlan) as refused:
        fleet(tmp_path, settings=f"{PATCHES}loops: {{then: {then}}}", one="days: 1")
    (problem,) = refused.value.problems
    assert words in problem.text
    assert hint in problem.hint
    assert str(problem.place).startswith("coordination.md:4:")


def test_an_edit_of_loops_reaches_a_run(tmp_path):
    from fleet.files.changes.revise import revision_of

    before = plan(tmp_path, one="days: 1")
    run = LoweredRun(before)
    after = plan(tmp_path, settings="loops: {after: 2}", one="days: 1")
    revision = revision_of(run.state, before, after)
    assert "~ loops" in revision.lines
    run.revise(revision.patch)
    assert run.state.loops.after == 2
    assert revision_of(run.state, after, after).patch.loops is None
    back = revision_of(run.state, after, before)
    run.revise(back.patch)
    assert run.state.loops.after == 3
