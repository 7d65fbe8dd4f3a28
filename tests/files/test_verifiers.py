"""Verifiers in the documents: what they lower to, what waits for them, what is refused."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from fleet.core.plan import Ask
from fleet.errors import InvalidPlan
from fleet.files.lower import lower
from fleet.files.verdicts import EXAMPLE, blamed, schema
from fleet.files.verifiers import order_of
from support.lowered_run import fleet, plan


def needs(found, step):
    return [need.step for need in found.steps[step].needs]


def problems(root, /, **told):
    with pytest.raises(InvalidPlan) as refused:
        lower(fleet(root, **told))
    return [str(one) for one in refused.value.problems]


def command_only(root, **told):
    """Writes a verifier without an agent, beside tasks as `fleet` writes them."""
    (root / "tasks").mkdir(parents=True)
    (root / "tasks/smoke.md").write_text("---\nverifies: [one, two]\nchecks: [make]\n---\n")
    return fleet(root, **told)


def test_a_verifier_waits_for_what_it_judges_and_what_depends_on_that_for_it(tmp_path):
    found = plan(
        tmp_path,
        one="",
        two="deps: [one]",
        qa="verifies: [one]\ndeps: [zero]",
        zero="",
        after="deps: [one]",
    )
    assert needs(found, "qa/worktree") == ["zero", "one"]
    assert found.steps["qa/worktree"].params["after"] == ["zero", "one"]
    assert needs(found, "two/worktree") == ["one", "qa"]
    assert needs(found, "after/worktree") == ["one", "qa"]
    assert needs(found, "one/worktree") == []
    check = found.steps["qa/check"]
    assert check.params["verifies"] == [{"id": "one", "branch": "fleet/one", "beside": []}]
    assert check.uses == {"checks": 1, "verdicts:qa": 1}
    assert found.limits["verdicts:qa"] == 1
    asks = [rung for rung in check.ladder if isinstance(rung, Ask)]
    assert asks[0].message == "qa does not pass one."
    assert found.steps["qa/work"].params["schema"] == schema(["one"])
    gate = next(step for step in found.steps.values() if step.kind == "gate")
    judged = {one["id"]: one.get("verifies") for one in gate.params["tasks"]}
    assert judged == {"zero": None, "one": None, "two": None, "qa": ["one"], "after": None}
    slots = found.about["schedule"]["slots"]
    assert (slots["qa"][0], slots["after"][0]) == (1, 2)


def test_what_the_verifier_itself_waits_for_does_not_wait_for_it(tmp_path):
    found = plan(tmp_path, one="", two="deps: [one]", qa="verifies: [one, two]")
    assert needs(found, "two/worktree") == ["one"]
    assert needs(found, "qa/worktree") == ["one", "two"]
    assert next(s for s in found.steps.values() if s.kind == "merge").params["tasks"] == [
        "one", "two", "qa",
    ]  # fmt: skip


def test_verifiers_that_wait_for_each_others_dependents_make_no_circle(tmp_path):
    told = {
        "one": "", "two": "",
        "left": "deps: [one]", "right": "deps: [two]",
        "qa": "verifies: [one]\ndeps: [right]", "qb": "verifies: [two]\ndeps: [left]",
    }  # fmt: skip
    found = plan(tmp_path, **told)
    both = [needs(found, f"{name}/worktree") for name in ("left", "right")]
    assert both == [["one", "qa"], ["two"]], "one of the two has to go first"


def test_a_verifier_that_only_runs_commands_has_no_agent(tmp_path):
    found, _ = lower(command_only(tmp_path, one="", two=""))
    assert [name for name in found.steps if name.startswith("smoke")] == [
        "smoke/worktree", "smoke/check", "smoke",
    ]  # fmt: skip
    assert needs(found, "smoke/check") == ["smoke/worktree"]
    assert found.steps["smoke"].params["task"]["agent"] == ""


def test_verifiers_with_a_task_in_common_conclude_one_after_the_other(tmp_path):
    found = fleet(
        tmp_path, one="", two="", three="", four="",
        qa="verifies: [one]", qb="verifies: [one, two]", qc="verifies: [two, three]",
        qd="verifies: [four]",
    )  # fmt: skip
    limits = order_of(found).limits
    assert {limits["qa"], limits["qb"], limits["qc"]} == {"verdicts:qa"}
    assert limits["qd"] == "verdicts:qd"
    steps = lower(found)[0].steps
    assert [one["beside"] for one in steps["qb/check"].params["verifies"]] == [["qa"], ["qc"]]


def test_what_landed_before_is_verified_before_what_depends_on_it_in_the_phase(tmp_path):
    phases = "phases: [{id: p, tasks: [one, too]}, {id: q, tasks: [two, qa, qb]}]"
    found = plan(
        tmp_path,
        settings=phases,
        one="",
        too="deps: [one]",
        two="deps: [one]",
        qa="verifies: [one]",
        qb="verifies: [one, two]",
    )
    assert needs(found, "too/worktree") == ["one"]
    assert needs(found, "two/worktree") == ["one", "qa", "p/merge"]
    (judged,) = found.steps["qa/check"].params["verifies"]
    assert judged == {"id": "one", "branch": "fleet/one", "beside": ["qb"], "landed": True}


def test_what_a_verifier_cannot_do_yet_is_refused_with_its_place(tmp_path):
    (found,) = problems(tmp_path / "2", one="", qa="verifies: [one]", qb="verifies: [one, qa]")
    assert "to verify a verifier is not carried out" in found
    assert found.startswith("tasks/qb.md:3:17: ")
    (found,) = problems(tmp_path / "4", one="", qa="verifies: [one]\nchecks: [{agent: a}]")
    assert "a check by an agent of a task that verifies others" in found
    (tmp_path / "3/tasks").mkdir(parents=True)
    front = "verifies: [one]\nchecks: [make]\ndeliverables: [A.md]"
    (tmp_path / "3/tasks/smoke.md").write_text(f"---\n{front}\n---\n")
    (found,) = problems(tmp_path / "3", one="")
    assert "a deliverable of a verifier without an agent" in found


def test_agents_among_the_checks_are_told_to_the_check(tmp_path):
    checks = "checks: [make, {agent: b, instructions: Be strict., timeout: 5m, name: strict}]"
    checks += "\ndeliverables: [A.md]"
    found, texts = lower(fleet(tmp_path / "1", agents="a b", one=checks))
    params = found.steps["one/check"].params
    assert [one["text"] for one in params["checks"]] == ["make"]
    (judge,) = params["judges"]
    assert (judge["text"], judge["timeout_s"], judge["agent"]["id"]) == ("strict", 300, "b")
    told = "Be strict.\n\nWhat `one` was to do:\n\nDo one.\n\nIt was to leave:\n\n- A.md"
    assert texts[judge["brief"]] == told
    assert judge["uses"] == {"agents": 1, "agent:b": 1, "account:shell": 1}
    assert found.steps["one/work"].params["checks"] == ["make", "strict"]
    assert "judges" not in plan(tmp_path / "2", one="checks: [make]").steps["one/check"].params


# --- verdicts -------------------------------------------------------------------------------------


def test_a_verdict_may_have_to_hold_more(tmp_path):
    form = "{required: [score], properties: {score: {minimum: 7}}}"
    checks = f"checks: [{{agent: b, verdict: {form}}}]"
    found, texts = lower(fleet(tmp_path / "1", agents="a b", one=checks))
    (judge,) = found.steps["one/check"].params["judges"]
    assert judge["verdict"] == {"required": ["score"], "properties": {"score": {"minimum": 7}}}
    assert '"score"' in texts[judge["brief"]]
    with pytest.raises(InvalidPlan) as refused:
        fleet(tmp_path / "2", agents="a b", one="checks: [{agent: b, verdict: {required: 7}}]")
    (told,) = refused.value.problems
    assert str(told).startswith("tasks/one.md:3:30: it is no JSON Schema: 7 is not ")


def finding(severity="high", **about):
    return {"severity": severity, "text": "t", "evidence": "e", **about}


@pytest.mark.parametrize(
    ("verdict", "where"),
    [
        ({"passed": True, "findings": []}, None),
        ({"passed": True, "findings": [finding("low", task="one")]}, None),
        ({"passed": False, "findings": [finding()], "more": 1}, None),
        ({"passed": False, "findings": [finding()], "commits": {"one": "abcdef0"}}, None),
        ({"passed": "true", "findings": []}, "$.passed"),
        ({"findings": []}, "$"),
        ({"passed": True}, "$"),
        ({"passed": False, "findings": []}, "$.findings"),
        ({"passed": True, "findings": [finding("critical")]}, "$.findings[0].severity"),
        ({"passed": False, "findings": [finding("awful")]}, "$.findings[0].severity"),
        ({"passed": False, "findings": [finding(task="other")]}, "$.findings[0].task"),
        ({"passed": False, "findings": [{"severity": "high", "text": "t"}]}, "$.findings[0]"),
        ({"passed": False, "findings": [{**finding(), "evidence": ""}]}, "$.findings[0].evidence"),
        ({"passed": True, "findings": [], "commits": {"one": "HEAD"}}, "$.commits.one"),
        ([True], "$"),
    ],
)
def test_the_form_of_a_verdict(verdict, where):
    form = schema(["one", "two"])
    Draft202012Validator.check_schema(form)
    found = [error.json_path for error in Draft202012Validator(form).iter_errors(verdict)]
    assert found[:1] == ([] if where is None else [where])


def test_the_example_of_a_brief_has_the_form():
    import json

    Draft202012Validator(schema(["TASK"])).validate(json.loads(EXAMPLE))


@pytest.mark.parametrize(
    ("findings", "back"),
    [
        ([], ["one", "two"]),
        ([finding(task="two")], ["two"]),
        ([finding(task="two"), finding("low", task="one")], ["two"]),
        ([finding("medium", task="two"), finding("low", task="one")], ["one", "two"]),
        ([finding(task="two"), finding("critical")], ["one", "two"]),
    ],
)
def test_who_is_sent_back(findings, back):
    assert blamed(findings, ["one", "two"]) == back
