"""Lowering: the exact steps, needs, uses and ladders that documents mean, and what is refused."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from fleet.core.plan import Ask, Failure, Need, Retry
from fleet.errors import InvalidPlan
from fleet.files.load import load
from fleet.files.lower import lower
from fleet.files.unsupported import MEASURED
from fleet.harnesses import HARNESSES, find_harness
from support.lowered_run import fleet, plan

HERE = Path(__file__).parents[2]
TROUBLE = frozenset({Failure.AGENT, Failure.INFRA})
TWO_PHASES = "phases: [{id: p, tasks: [one, two]}, {id: q, tasks: [three]}]"


def needs(found, step):
    return [need.step for need in found.steps[step].needs]


def problems(root, /, **told):
    with pytest.raises(InvalidPlan) as refused:
        lower(fleet(root, **told))
    return [str(one) for one in refused.value.problems]


# --- steps and needs ------------------------------------------------------------------------------


def test_two_phases_lower_to_composites_gates_and_merges(tmp_path):
    found = plan(tmp_path, settings=TWO_PHASES, one="", two="dependencies: [one]", three="")
    assert {name: needs(found, name) for name in found.steps} == {
        "one/worktree": [],
        "one/work": ["one/worktree"],
        "one/check": ["one/work"],
        "one": ["one/check"],
        "two/worktree": ["one"],
        "two/work": ["two/worktree"],
        "two/check": ["two/work"],
        "two": ["two/check"],
        "p/gate": ["one", "two"],
        "p/merge": ["p/gate"],
        "three/worktree": ["p/merge"],
        "three/work": ["three/worktree"],
        "three/check": ["three/work"],
        "three": ["three/check"],
        "q/gate": ["three", "p/merge"],
        "q/merge": ["q/gate"],
    }
    assert {need.on for step in found.steps.values() for need in step.needs} == {"succeeded"}
    kinds = {name: step.kind for name, step in found.steps.items() if step.whole in ("one", "p")}
    assert kinds == {
        "one/worktree": "worktree",
        "one/work": "agent",
        "one/check": "check",
        "one": "join",
        "p/gate": "gate",
        "p/merge": "merge",
    }
    assert [name for name, step in found.steps.items() if not step.released] == [
        "one/worktree", "two/worktree", "p/merge", "three/worktree", "q/merge",
    ]  # fmt: skip


def test_limits_and_uses(tmp_path):
    found = plan(
        tmp_path, settings="limits: {agents: 3, staging: 1}", one="uses: {staging: 1}\ndays: 2"
    )
    assert found.limits == {"checks": 4, "branch:main": 1, "agents": 3, "staging": 1}
    uses = {name: step.uses for name, step in found.steps.items()}
    work = {"agents": 1, "staging": 1}
    assert uses["one/worktree"] == work
    assert uses["one/work"] == {**work, "agent:a": 1, "account:shell": 1}
    assert uses["one/check"] == {"checks": 1}
    assert uses["one"] == {}
    merge = next(step for step in found.steps.values() if step.kind == "merge")
    assert merge.uses == {"branch:main": 1}
    assert found.steps["one/work"].span_ms == 2 * 86_400_000


def test_a_fleet_without_phases_has_one_gate_and_one_merge(tmp_path):
    found = plan(tmp_path, one="", two="")
    gates = [step for step in found.steps.values() if step.kind == "gate"]
    assert len(gates) == 1
    assert needs(found, gates[0].id) == ["one", "two"]
    shown = [found.steps[name].params["task"]["phase"] for name in ("one", "two")]
    assert shown == [gates[0].whole] * 2, "a task's phase is the one whose gate it passes"


def test_a_phase_without_tasks_has_no_gate(tmp_path):
    phases = "phases: [{id: p, tasks: [one]}, {id: none}, {id: q, tasks: [two]}]"
    found = plan(tmp_path, settings=phases, one="", two="")
    assert "none/gate" not in found.steps
    assert needs(found, "two/worktree") == ["p/merge"]


def test_a_phase_merges_in_the_order_of_dependencies(tmp_path):
    phases = "phases: [{id: p, tasks: [one, two, three]}]"
    found = plan(tmp_path, settings=phases, one="deps: [three]", two="", three="deps: [two]")
    assert found.steps["p/merge"].params["tasks"] == ["two", "three", "one"]


# --- gates and merges -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "task", "approve"),
    [
        ("", "", False),
        ("approve: true", "", True),
        ("approve: [ben, ana]", "", ["ana", "ben"]),
        ("", "approved_by: [eve]", ["eve"]),
        ("approve: [ben]", "approved_by: [eve]", ["ben", "eve"]),
        ("approve: true", "approved_by: [eve]", ["eve"]),
    ],
)
def test_who_has_to_approve(tmp_path, phase, task, approve):
    settings = f"phases: [{{id: p, tasks: [one]{phase and ', '}{phase}}}]"
    assert plan(tmp_path, settings=settings, one=task).steps["p/gate"].params["approve"] == approve


def test_merge_auto_is_released_and_carries_its_checks(tmp_path):
    settings = (
        "phases: [{id: p, tasks: [one], merge: auto, strategy: squash, tag: v1,"
        " checks: [make test, [make, lint]]}]"
    )
    merge = plan(tmp_path, settings=settings, one="").steps["p/merge"]
    assert merge.released
    assert merge.params["auto"] is True
    assert (merge.params["strategy"], merge.params["tag"]) == ("squash", "v1")
    assert merge.params["checks"] == [
        {"text": "make test", "command": "make test", "timeout_s": None},
        {"text": "make lint", "command": ["make", "lint"], "timeout_s": None},
    ]


# --- ladders --------------------------------------------------------------------------------------


def test_the_usual_ladders(tmp_path):
    steps = plan(tmp_path, one="").steps
    assert steps["one/worktree"].ladder[0] == Retry(times=4, backoff_ms=2_000, on=TROUBLE)
    again, trouble, ask = steps["one/work"].ladder
    assert again == Retry(times=2, backoff_ms=0)
    assert trouble == Retry(times=4, backoff_ms=10_000, on=TROUBLE)
    assert isinstance(ask, Ask)
    assert ask.choices == ("retry", "skip", "fail")
    trouble, ask = steps["one/check"].ladder
    assert trouble == Retry(times=4, backoff_ms=2_000, on=TROUBLE)
    assert isinstance(ask, Ask)
    assert ask.choices[0] == "rework"
    assert steps["one/check"].params["attempts"] == 3


def test_attempts_backoff_and_on_failure(tmp_path):
    found = plan(
        tmp_path,
        one="attempts: 5\nbackoff: 30s\non_failure: [fail: true]",
        two="on_failure: [{ask: ana, question: What now?}]",
    )
    assert found.steps["one/work"].ladder[0] == Retry(times=4, backoff_ms=30_000)
    for step in ("one/work", "one/check"):
        assert not any(isinstance(rung, Ask) for rung in found.steps[step].ladder)
    assert found.steps["one/check"].params["attempts"] == 5
    for step in ("two/work", "two/check"):
        ask = found.steps[step].ladder[-1]
        assert (ask.message, ask.whom) == ("What now?", "ana")


def test_attempts_of_the_agent_hold_where_the_task_names_none(tmp_path):
    fleet(tmp_path, one="", two="attempts: 2")
    agent = tmp_path / "agents/a.md"
    agent.write_text(agent.read_text().replace("harness", "limits: {attempts: 7}\nharness"))
    found = lower(load(tmp_path, use_cache=False))[0]
    assert found.steps["one/check"].params["attempts"] == 7
    assert found.steps["two/check"].params["attempts"] == 2


# --- params and texts -----------------------------------------------------------------------------


def test_long_texts_leave_the_plan_under_their_digest(tmp_path):
    found, texts = lower(fleet(tmp_path, one=""))
    params = found.steps["one/work"].params
    assert texts[params["brief"]].strip() == "Do one."
    assert texts[params["rules"]].strip() == "Be kind."
    assert all(sha256(text.encode()).hexdigest() == digest for digest, text in texts.items())
    assert "Do one" not in repr(found)


def test_what_a_task_tells_its_steps(tmp_path):
    found = plan(
        tmp_path,
        one=(
            "deliverables: [A.md, {path: 'src/*', count: 2}]\nchecks: [make]\nport: 8123\n"
            "branch: topic\nworktree: w/one\ntimeout: 2h\nidle: 5m\nsetup: [make deps]\n"
            "copy: [.env]"
        ),
    ).steps
    place = found["one/worktree"].params
    assert (place["branch"], place["base"], place["port"]) == ("topic", "main", 8123)
    assert place["path"] == str(tmp_path / "w/one")
    assert (place["setup"], place["copy"]) == (["make deps"], [".env"])
    work = found["one/work"].params
    assert (work["timeout_s"], work["idle_s"], work["round"]) == (7200, 300, 1)
    assert work["deliverables"] == ["A.md", "src/* (at least 2)"]
    check = found["one/check"].params
    assert [one["text"] for one in check["deliverables"]] == ["A.md", "src/* (at least 2)"]
    assert check["deliverables"][1]["count"] == 2
    assert (check["round"], check["spent"], check["before"]) == (1, 0, ["one"])
    shown = found["one"].params["task"]
    assert (shown["branch"], shown["worktree"], shown["days"]) == ("topic", place["path"], 1)


def test_branch_and_worktree_of_a_task_that_names_none(tmp_path):
    place = plan(tmp_path / "repo", one="").steps["one/worktree"].params
    assert place["branch"] == "fleet/one"
    assert place["path"] == str(tmp_path / "repo.worktrees" / "one")


def test_the_plan_carries_the_times_that_forecasts_are_held_against(tmp_path):
    told = plan(tmp_path, one="days: 2", two="days: 3\ndeps: [one]", three="days: 1").about
    assert told["schedule"] == {
        "days": 5,
        "slots": {"one": [0, 2, 0], "two": [2, 5, 0], "three": [0, 1, 4]},
        "after": {},
        "chain": ["one", "two"],
    }


def test_under_a_limit_it_also_carries_who_takes_over_from_whom(tmp_path):
    told = plan(tmp_path, settings="limits: {agents: 1}", one="days: 2", two="days: 3", three="")
    schedule = told.about["schedule"]
    assert schedule["days"] == 6
    order = sorted(schedule["slots"], key=lambda name: schedule["slots"][name][0])
    assert schedule["after"] == {order[1]: [order[0]], order[2]: [order[1]]}


def test_who_waits_for_a_dependency_takes_over_from_nobody(tmp_path):
    told = plan(tmp_path, settings="limits: {agents: 1}", one="days: 2", two="deps: [one]")
    assert told.about["schedule"]["after"] == {}


def budgets(root, **limits):
    fleet(root, one="")
    told = "".join(f"  {name}: {amount}\n" for name, amount in limits.items())
    (root / "agents/a.md").write_text(f"---\nharness: claude\nlimits:\n{told}---\n")
    return lower(load(root, use_cache=False))[0].budgets


def test_what_an_agent_may_spend_is_a_budget_of_all_its_work(tmp_path):
    assert budgets(tmp_path, attempts=2) == {}
    assert budgets(tmp_path, tokens=1000, usd=2.5) == {"agent:a": {"tokens": 1000, "usd": 2.5}}


def test_the_harnesses_tell_what_budgets_are_held_by():
    profiles = {name: getattr(find_harness(name), "profile", None) for name in HARNESSES}
    told = {name: one.measures for name, one in profiles.items() if one is not None}
    assert {name: what for name, what in told.items() if what} == MEASURED
    # Held while it runs: by what it has used so far.
    assert all(hasattr(find_harness(name), "meter") for name in MEASURED)


def test_launches_a_minute_bound_the_starts_of_the_work_alone(tmp_path):
    fleet(
        tmp_path, settings="limits: {'account:claude/min': 9}", agents="a b", one="agent: b", two=""
    )
    keys = "---\nharness: claude\nlimits: {launches_per_minute: 3}\n---\n"
    (tmp_path / "agents/a.md").write_text(keys)
    found, _ = lower(load(tmp_path, use_cache=False))
    assert (found.limits["agent:a/min"], found.limits["account:claude/min"]) == (3, 9)
    uses = {name: one.uses for name, one in found.steps.items()}
    assert uses["two/work"] == {
        "agents": 1, "agent:a": 1, "account:claude": 1, "agent:a/min": 1, "account:claude/min": 1,
    }  # fmt: skip
    assert uses["two/worktree"] == {"agents": 1}
    assert uses["one/work"] == {"agents": 1, "agent:b": 1, "account:shell": 1}
    assert found.about["schedule"]["days"] == 1, "a rate of launches makes no task longer"


def test_a_limit_on_an_agent_or_an_account_counts_in_the_schedule(tmp_path):
    for name in ("agent:a", "account:shell"):
        told = plan(tmp_path, settings=f"limits: {{'{name}': 1}}", one="days: 2", two="days: 3")
        assert told.about["schedule"]["days"] == 5


def test_an_account_is_shared_by_the_agents_that_name_it_and_bounded_in_all(tmp_path):
    settings = "accounts: {team: {sessions: 1, launches_per_minute: 4, tokens: 900, usd: 5}}"
    fleet(tmp_path, settings=settings, agents="a b", one="agent: b\ndays: 2", two="days: 3")
    keys = "---\nharness: claude\naccount: team\nlimits: {sessions: 2}\n---\n"
    for name in ("a", "b"):
        (tmp_path / f"agents/{name}.md").write_text(keys)
    found, _ = lower(load(tmp_path, use_cache=False))
    bounds = {"account:team": 1, "account:team/min": 4, "agent:a": 2, "agent:b": 2}
    assert {name: found.limits[name] for name in bounds} == bounds
    assert found.budgets == {"account:team": {"tokens": 900, "usd": 5}}
    assert found.steps["one/work"].uses["account:team"] == 1
    assert found.about["schedule"]["days"] == 5, "one session at once"


@pytest.mark.parametrize(
    ("account", "harness", "what"),
    [("nobody: {sessions: 1}", "claude", "on which no agent works"),
     ("team: {usd: 5}", "codex", "of an account with a, a harness that does not tell it")],
)  # fmt: skip
def test_an_account_that_cannot_be_bounded_is_refused(tmp_path, account, harness, what):
    fleet(tmp_path, settings=f"accounts: {{{account}}}", one="")
    (tmp_path / "agents/a.md").write_text(f"---\nharness: {harness}\naccount: team\n---\n")
    with pytest.raises(InvalidPlan, match=f"coordination.md:.*{what}"):
        lower(load(tmp_path, use_cache=False))


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "key", "what", "column"),
    [
        ("one", "checks: [make, {agent: a, verdict: form.json}]", "a verdict in a file", 36),
        ("one", "on_failure: [escalate @ann, {model: big}]", "a rung after one with which", 29),
        ("one", "on_failure: [fail, ask]", "a rung after", 20),
        (
            "one", "assumptions: [{text: x, proof: {command: m}, on_failure: [ask, fail]}]",
            "`ask` or `fail` beside", 64,
        ),
        ("one", "assumptions: [{text: x, on_failure: fail}]", "`on_failure`", 37),
        ("settings", "phases: [{id: p, land: pr, merge: auto}]", "`merge: auto` with", 35),
        ("settings", "phases: [{id: p, checks: [{agent: a}]}]", "check by an agent", 27),
        ("settings", "metrics: [{name: x, measure: make}]", "`measure`", 30),
        ("settings", "notify: [{command: beep, on: [failed]}]", "`notify`", 9),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_is_refused_with_its_place(tmp_path, file, key, what, column):
    (found,) = problems(tmp_path, **{"one": "", "two": "", file: key})
    assert what in found
    assert "not carried out" in found
    path = "coordination.md" if file == "settings" else f"tasks/{file}.md"
    assert found.startswith(f"{path}:3:{column}: ")


@pytest.mark.parametrize(
    "keys",
    [
        "harness: shell, limits: {tokens: 1000}",
        "harness: shell, limits: {usd: 3}",
        "harness: claude, mode: interactive, limits: {usd: 3}",
        "harness: gemini, mode: interactive, limits: {usd: 3}",
        "harness: codex, limits: {usd: 3}",
        "harness: [codex], limits: {tokens: 3}",
        "harness: shell, sandbox: {network: loopback}",
    ],
)
def test_what_nobody_holds_an_agent_to_is_refused(tmp_path, keys):
    fleet(tmp_path, one="")
    (tmp_path / "agents/a.md").write_text("---\n" + keys.replace(", ", "\n") + "\n---\n")
    with pytest.raises(InvalidPlan, match=r"agents/a.md:[34]:.*not carried out"):
        lower(load(tmp_path, use_cache=False))


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("sandbox: bwrap", {}),
        ("sandbox: {memory: 1.5G}", {"memory_bytes": 3 << 29}),
        ("sandbox: {processes: 9}", {"processes": 9}),
        ("sandbox: {network: true}", {"network": "full"}),
        ("sandbox: {network: full}", {"network": "full"}),
        ("sandbox: {network: false}", {}),
        ("sandbox: {network: []}", {}),
        ("sandbox: {network: api.example.org}", {"network": ["api.example.org:443"]}),
        (
            'sandbox: {network: [API.example.org., "*.example.org:80", "localhost:8080"]}',
            {"network": ["api.example.org:443", "*.example.org:80", "localhost:8080"]},
        ),
        (
            'sandbox: {network: [203.0.113.7, "[2001:DB8::0:1]:8443", "203.0.113.7:443"]}',
            {"network": ["203.0.113.7:443", "[2001:db8::1]:8443"]},
        ),
        ("sandbox: {read: docs, write: [a, b]}", {"read": ["docs"], "write": ["a", "b"]}),
    ],
)
def test_any_key_of_a_sandbox_asks_for_one(tmp_path, keys, wanted):
    fleet(tmp_path, one="")
    (tmp_path / "agents/a.md").write_text(f"---\n{keys}\n---\n")
    found, _ = lower(load(tmp_path, use_cache=False))
    default = {"kind": "bwrap", "read": [], "write": [], "copy": [], "network": "none"}
    default |= {"memory_bytes": None, "processes": None}
    assert found.steps["one/work"].params["agent"]["sandbox"] == default | wanted


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("https://api.example.org", "write its name alone"),
        ("api.example.org/v1", "write its name alone"),
        ("user@example.org", "write its name alone"),
        ("*", "no name of a host"),
        ("*.org", "too wide"),
        ("a.*.org", "no name of a host"),
        ("example..org", "no name of a host"),
        ("bücher.example", "xn--"),
        ("example.org:0", "from 1 to 65535"),
        ("example.org:70000", "from 1 to 65535"),
        ("::1", "in brackets"),
        ("127.1:8080", "no address"),
        ("0x7f.1:8080", "no address"),
        ("2130706433:8080", "no address"),
        ("127.0.0.1", "needs its port"),
        ("localhost:80", "no port below 1024"),
        ("full", "stands alone"),
    ],
)
def test_a_place_of_the_network_that_could_mislead_is_refused_where_it_stands(
    tmp_path, written, said
):
    fleet(tmp_path, one="")
    lines = f"---\nsandbox:\n  network:\n    - example.org\n    - {json.dumps(written)}\n---\n"
    (tmp_path / "agents/a.md").write_text(lines)
    with pytest.raises(InvalidPlan, match=rf"agents/a.md:5:7: .*{re.escape(said)}"):
        lower(load(tmp_path, use_cache=False))


def test_without_a_sandbox_a_plan_says_nothing_of_one(tmp_path):
    fleet(tmp_path, one="")
    (tmp_path / "agents/a.md").write_text("---\nsandbox: none\n---\n")
    found, _ = lower(load(tmp_path, use_cache=False))
    assert "sandbox" not in found.steps["one/work"].params["agent"]


def test_a_sandboxed_agent_needs_a_branch_in_a_folder(tmp_path):
    fleet(tmp_path, one="branch: login")
    (tmp_path / "agents/a.md").write_text("---\nsandbox: bwrap\n---\n")
    with pytest.raises(InvalidPlan, match="outside a folder"):
        lower(load(tmp_path, use_cache=False))


def test_what_is_only_read_by_people_and_agents_is_no_reason_to_refuse(tmp_path):
    shown = "risks: [x]\ndecisions: [y]\nevidence: z\nassumptions: [w]\nmetrics: [{name: m}]"
    settings = "metrics: [{name: m}]\nrisks: [x]\nphases: [{id: p, rollback: [make undo]}]"
    fleet(tmp_path, settings=settings, one=shown)
    (tmp_path / "agents/a.md").write_text("---\nowns: [src/*]\n---\n")
    lower(load(tmp_path, use_cache=False))


# --- the product's own plan -----------------------------------------------------------------------


def test_the_fleet_at_the_root_lowers(tmp_path):
    found, _ = lower(load(HERE, use_cache=False))
    tasks = [step for step in found.steps.values() if step.kind == "join"]
    assert len(tasks) == 6
    assert len(found.steps) == 6 * 4 + 4 * 2
    assert needs(found, "agent-3/worktree")[0] == "agent-2"
    assert found.about["schedule"]["days"] == 25
    assert Need(step="agent-6") in found.steps[f"{tasks[-1].params['task']['phase']}/gate"].needs
