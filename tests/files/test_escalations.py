"""Escalations lower to routes, rungs to swaps and further rounds; what names nobody is an error."""

from __future__ import annotations

import json

import pytest

from fleet.core.messages import Question
from fleet.core.plan import Ask, Swap
from fleet.errors import InvalidPlan
from fleet.files.answers import ANSWER_CHARS, spoken
from fleet.files.changes.revise import revision_of
from fleet.files.changes.rework import course_of, handed_over
from fleet.files.load import load
from fleet.files.lower import lower
from support.lowered_run import LoweredRun
from support.lowered_run import fleet as write

ROLES = {
    "ada": "role: architect\nharness: shell\nargs: 'true'\nlimits: {timeout: 20m}",
    "bob": "roles: [lead, architect]\nharness: claude\naccount: team",
}


def lowered(top, escalations="[]", **tasks):
    (top / "agents").mkdir(exist_ok=True)
    for name, keys in ROLES.items():
        (top / f"agents/{name}.md").write_text(f"---\n{keys}\n---\nDecide well.\n")
    write(top, settings=f"escalations: {escalations}", **{"one": "", **tasks})
    return lower(load(top, use_cache=False))[0]


def problems(top, escalations="[]", **tasks):
    with pytest.raises(InvalidPlan) as refused:
        lowered(top, escalations, **tasks)
    return [str(problem) for problem in refused.value.problems]


def test_each_escalation_is_a_route_and_each_agent_answers_by_name(tmp_path):
    told = "[{topic: auth, to: architect, within: 30m}, {severity: high, kind: choice, to: '@ann'}]"
    plan = lowered(tmp_path, told, one="on_failure: escalate lead")
    architect, lead, first, second = plan.routes
    assert [(one.whom, one.topic) for one in (architect, lead)] == [("architect", ""), ("lead", "")]
    assert (architect.limit_ms, lead.limit_ms) == (1_800_000, None)
    assert (first.whom, first.topic, first.limit_ms) == ("architect", "auth", 1_800_000)
    assert (second.whom, second.severity, second.kind, second.steps) == (
        "@ann",
        "high",
        "choice",
        (),
    )
    brief, work, answer = first.steps
    assert (brief.kind, work.kind, answer.kind) == ("inquiry", "agent", "answer")
    assert work.params["agent"]["id"] == "ada", "the first by id that has the role"
    assert (work.params["timeout_s"], work.uses["agents"]) == (1_200, 1)
    assert lead.steps[1].uses == {"agent:bob": 1, "account:team": 1, "agents": 1}
    (rung,) = (one for one in plan.steps["one/check"].ladder if isinstance(one, Ask))
    assert rung.whom == "lead"


def test_an_edit_of_escalations_is_taken_up(tmp_path):
    before = lowered(tmp_path)
    after = lowered(tmp_path, "[{topic: x, to: person}]")
    found = revision_of(LoweredRun(before).state, before, after)
    assert found.patch.routes == after.routes
    assert "~ whom questions go to" in found.lines
    same = revision_of(LoweredRun(before).state, before, before)
    assert same.patch.routes is None


@pytest.mark.parametrize(
    ("escalations", "task", "said"),
    [
        (
            "[{topic: x, to: architekt}]",
            "",
            "coordination.md:3:30: no agent has the role 'architekt'",
        ),
        ("[{topic: x, to: grace}]", "", "or @grace for a person"),
        ("[{kind: chioce, to: lead}]", "", "no question is of the kind 'chioce' (did you mean"),
        ("[{to: lead}]", "", "an escalation names a topic, a kind or a severity"),
        ("[{severity: grave, to: lead}]", "", "severity: expected 'critical', 'high'"),
        ("[]", "on_failure: escalate boss", "tasks/one.md:3:13: no agent has the role 'boss'"),
        ("[]", "on_failure: [agent nobody]", "no agent 'nobody'"),
    ],
)
def test_what_names_nobody_is_an_error_with_its_place(tmp_path, escalations, task, said):
    found = problems(tmp_path, escalations, one=task)
    assert any(said in one for one in found), found


def test_another_agent_and_another_model_try_once_each(tmp_path):
    plan = lowered(
        tmp_path, one="agent: ada\nattempts: 1\non_failure: [agent bob, model big, fail]"
    )
    swaps = [rung for rung in plan.steps["one/work"].ladder if isinstance(rung, Swap)]
    agents = [(rung.params["agent"]["id"], rung.params["agent"]["model"]) for rung in swaps]
    assert agents == [("bob", None), ("bob", "big")]
    assert swaps[0].uses["account:team"] == 1
    run = LoweredRun(plan)
    run.begin("one").fail("one/work")
    assert run.state.steps["one/work"].step.params["agent"]["id"] == "bob"
    assert run.state.steps["one/work"].step.uses["agent:bob"] == 1


def test_a_red_check_hands_the_task_over_in_turn(tmp_path):
    plan = lowered(tmp_path, one="agent: ada\nattempts: 1\non_failure: [agent bob, fail]")
    run = LoweredRun(plan).begin("one").ok("one/work")
    course, check = course_of(run.state), run.state.steps["one/check"].step
    siblings = {n: one.step for n, one in run.state.steps.items() if one.step.whole == "one"}
    patch = handed_over(
        check, siblings, reason="red", spent=1, before=course.waiting_for("one/check")
    )
    work, judged = patch.put
    assert (work.params["agent"]["id"], work.uses["agent:bob"]) == ("bob", 1)
    assert judged.params["swapped"] == 1
    assert handed_over(judged, siblings, reason="red", spent=2, before=()) is None


CHOICES = Question(message="?", choices=("jwt", "session"))


@pytest.mark.parametrize(
    ("said", "question", "answer", "wrong"),
    [
        ('{"answer": "jwt", "reason": "why"}', CHOICES, ("jwt", "why"), ""),
        ('So:\n```json\n{"answer": "JWT"}\n```\n', CHOICES, ("jwt", ""), ""),
        ("**jwt**.\nit is stateless", CHOICES, ("jwt", "it is stateless"), ""),
        ("jwt it is", CHOICES, None, "'jwt it is' is none of jwt, session"),
        ('{"answer": 5}', Question(message="?"), ("5", ""), ""),
        ('{"answer": {"a": 1}}', Question(message="?"), ('{"a": 1}', ""), ""),
        (
            "use the cache\nit is there",
            Question(message="?"),
            ("use the cache\nit is there", ""),
            "",
        ),
        ("many", Question(message="?", kind="number"), None, "'many' is no number"),
        ("12", Question(message="?", kind="number"), ("12", ""), ""),
        ("  \n", Question(message="?"), None, "it gave no answer"),
        ("x" * (ANSWER_CHARS + 1), Question(message="?"), None, "characters at most"),
        ("[" * 9_999, CHOICES, None, "is none of"),
    ],
)
def test_an_answer_is_a_choice_or_a_text_and_its_reason(said, question, answer, wrong):
    found, why = spoken(said, question)
    assert (wrong in why, bool(why)) == (True, bool(wrong))
    if answer is not None:
        assert found == {"answer": answer[0], "reason": answer[1]}


def test_the_reference_of_an_answer_is_one():
    told = json.dumps({"answer": "jwt", "reason": "stateless"})
    assert spoken(told, CHOICES)[0]["answer"] == "jwt"
