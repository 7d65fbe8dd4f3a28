"""Workflows through the `fleet` command: both dialects as people write them, scripted agents."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.app.place import FleetPlace
from fleet.app.workflows import Asked, follow, start_run
from support.scripted_fleet import TIMED_OUT, ScriptedFleet, until

FILES = Path(__file__).parent / "workflows"
GRAPHS = sorted(FILES.glob("*.json"))
TOOLS = """\
def tasks(description, requirements):
    return [f"{description}: part {n}" for n in range(7)]

def merge(plan, feedback):
    return f"{plan} / {feedback}"

def analyze(results):
    return f"{len(results['sources'])} sources"

def search(query, max_results):
    return {"sources": [f"{query} #{n}" for n in range(int(max_results))]}
"""
SAYS = """\
echo "<$FLEET_TASK> $(sed -n '/^## Task/,/^## While/p' "$FLEET_BRIEF" | sed -n 3p)"
"""


@pytest.fixture
def flows(fleet: ScriptedFleet) -> ScriptedFleet:
    """A fleet with an agent for each role, which says its name and the first line of its task."""
    for role in ("orchestrator", "dev", "ux"):
        told = json.dumps({"id": role, "role": role, "harness": "shell", "args": SAYS})
        fleet.put(f"agents/{role}.yaml", told)
    return fleet.write()


def run_of(fleet: ScriptedFleet, name: str) -> dict:
    return fleet.must("status", name, "--json").json()


def steps_of(run: dict) -> dict:
    return {one["id"]: one for one in run["steps"]}


def ended(fleet: ScriptedFleet, names: list[str]) -> list[dict]:
    return [follow(FleetPlace(fleet.root), name) for name in names]


def test_every_graph_runs_in_order_with_its_references_filled_in(flows):
    place, asked = FleetPlace(flows.root), Asked(inputs={}, roles={})
    started = {path.name: start_run(place, str(path), asked) for path in GRAPHS}
    names = [name for runs in started.values() for name in runs]
    for run in ended(flows, names):
        assert run["state"] == "succeeded", run
        steps = steps_of(run)
        for name, step in steps.items():
            assert step["output"].startswith(f"<{name}>")
            assert ".output}" not in step["output"]
            for need in step["needs"]:
                assert steps[need]["ended_at"] <= step["started_at"]
    assert len(started["iterative-fix-and-re-review.json"]) == 5
    (crisis,) = map(steps_of, ended(flows, started["cascading-failure-investigation.json"]))
    cause = crisis["identify-root-cause"]["output"]
    assert all(crisis[name]["output"][:30] in cause for name in ("analyze-logs",))
    review = ended(flows, started["iterative-fix-and-re-review.json"])
    assert [one["started_at"] for one in review] == sorted(one["started_at"] for one in review)
    assert {one["thread"] for one in review} == {"pr-iteration-test"}
    last = review[-1]["run"]
    brief = next((flows.state / "attempts" / last).rglob("brief.md")).read_text()
    assert "Earlier in this thread" in brief
    assert "<request-review>" in brief


THREADED = """\
// the first round
{"threadId": "talk", "workflow": {"id": "first", "role": "dev", "task": "one {not.a.reference}"}}
{"threadId": "talk", "workflow":
    [{"id": "second", "role": "dev", "task": "to {thread.first.output}"}]}
"""


def test_a_failure_stays_in_its_branch_and_is_gone_on_with(flows):
    mended = flows.top / "mended"
    graph = {
        "workflow": [
            {"id": "a", "role": "dev", "task": "begin"},
            {"id": "bad", "role": "flaky", "task": "try {a.output}", "deps": ["a"]},
            {"id": "good", "role": "dev", "task": "go on", "deps": ["a"]},
            {"id": "behind", "role": "dev", "task": "use {bad.output}", "deps": ["bad", "good"]},
        ]
    }
    path = flows.put("graph.json", json.dumps(graph))
    role = f"flaky=test -e {mended} && {SAYS}"
    failed = flows("run", path, "--wait", "--json", "--role", role)
    run = json.loads(failed.stdout)
    assert failed.code == 1
    assert run["state"] == "failed"
    assert run["result"] == {"good": "<good> go on"}
    states = {name: one["state"] for name, one in steps_of(run).items()}
    assert states == {"a": "succeeded", "bad": "failed", "good": "succeeded", "behind": "unreached"}
    shown = flows.must("status", run["run"]).stdout
    assert shown.endswith(f"\ngo on:  fleet run --resume {run['run']}\n")
    would = flows.must("run", "--resume", run["run"], "--dry-run").stdout
    assert (would, run_of(flows, run["run"])) == (f"would go on with {run['run']}\n", run)
    again = flows("run", "--resume", run["run"], "--wait", "--json")
    assert (again.code, steps_of(again.json())["bad"]["attempts"]) == (1, 2)
    mended.touch()
    flows.must("run", "--resume", run["run"], "--wait")
    after = run_of(flows, run["run"])
    assert after["state"] == "succeeded"
    assert after["result"] == {"behind": "<behind> use <bad> try <a> begin"}
    for name in ("a", "good"):
        assert steps_of(after)[name] == steps_of(run)[name]
    refused = flows("run", "--resume", run["run"])
    assert refused.code == 1
    assert "only a run that has failed" in refused.stderr
    assert 'result: {"behind": "<behind> use' in flows.must("status", run["run"]).stdout
    report = flows.must("report", run["run"], "--json").json()["runs"][0]
    took = {one["id"]: one for one in report["steps"]}
    assert (took["bad"]["retries"], took["good"]["retries"]) == (2, 0)
    assert (report["success_rate"], report["counts"]["attempts"]) == (1, 6)
    chain = report["critical_path"]
    assert [one["id"] for one in chain] == ["a", "bad", "behind"]
    spans = sum(one[key] for one in chain for key in ("queued_s", "ran_s", "waited_s"))
    assert abs(spans - report["took_s"]) < 0.01  # rounded to milliseconds, one by one
    assert "| bad | succeeded | flaky |" in flows.must("report", run["run"], "--markdown").stdout
    flows.must("run", path, "--role", role)
    assert "'graph' may be several runs" in flows("status", "graph").stderr


def test_documents_of_a_file_run_in_order_and_share_their_thread(flows):
    path = flows.put("talk.json", THREADED)
    done = flows.must("run", path, "--wait", "--json")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["ended_at"] <= second["started_at"]
    assert second["result"] == {"second": "<second> to <first> one {not.a.reference}"}
    both = [first["run"], second["run"]]
    whole = first["run"].removesuffix(".1")
    for name in (whole, whole[:-2], "talk"):
        found = flows.must("report", name, "--json").json()
        assert ([one["run"] for one in found["runs"]], found["totals"]["runs"]) == (both, 2)
    shown = flows.must("status", whole, "--json").stdout.splitlines()
    assert [json.loads(line)["run"] for line in shown] == both
    later = json.dumps(
        {"workflow": {"id": "third", "role": "dev", "task": "{thread.first.output}"}}
    )
    done = flows.must("run", flows.put("later.json", later), "--thread", "talk", "--wait", "--json")
    assert done.json()["result"] == {"third": "<third> <first> one {not.a.reference}"}
    alone = json.dumps(
        {"threadId": "other", "workflow": {"role": "dev", "task": "{thread.first.output}"}}
    )
    lost = flows("run", flows.put("alone.json", alone), "--wait", "--json")
    assert lost.code == 1
    assert "no earlier run of the thread" in lost.json()["steps"][0]["error"]


@pytest.fixture
def planning(fleet: ScriptedFleet) -> ScriptedFleet:
    """A fleet in which the interactive planning workflow and its sub-task lie as they stand."""
    fleet.settings["functions"] = {
        "generate_research_tasks": "planning_tools:tasks",
        "merge_plan_with_feedback": "planning_tools:merge",
        "analyze_search_results": "planning_tools:analyze",
        "web.search": "planning_tools:search",
    }
    fleet.put("planning_tools.py", TOOLS)
    for name in ("interactive-planning.yaml", "research_task.yaml"):
        fleet.put(f"workflows/{name}", (FILES / name).read_text())
    for role in ("task", "code-standards-reviewer"):
        script = f'cat "$FLEET_BRIEF" > {fleet.top}/{role}.brief; echo {role} says so'
        told = {"id": role, "harness": "shell", "args": script}
        fleet.put(f"agents/{role}.yaml", json.dumps(told))
    return fleet.write()


def question(fleet: ScriptedFleet, kind: str) -> dict:
    def asked():
        found = fleet.must("inbox", "--json").json()["questions"]
        mine = (one for one in found if one["kind"] == kind and not one["answering"])
        return next(mine, None)

    return until(asked, f"a question of kind {kind}")


def audit_trail(fleet: ScriptedFleet, name: str, asked: str) -> None:
    """Insists on who answered, what was started, each attempt, its outcome, each revision."""
    lines = fleet.must("history", name[:-3], "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    started = events[0]
    assert (started["workflow"], started["file"]) == (
        "planning:interactive",
        "workflows/interactive-planning.yaml",
    )
    (answered,) = [one for one in events if one["event"] == "question-answered"][:1]
    assert (answered["id"], answered["step"]) == (asked, "gather-requirements")
    assert "I'll help you with" in answered["message"]
    assert answered["by"] == started["by"] != ""
    begun = [(one["step"], one["attempt"]) for one in events if one["event"] == "attempt-started"]
    over = [one for one in events if one["event"] == "attempt-ended"]
    assert len(begun) == len(set(begun)) == len(over)
    assert all(one["outcome"]["ending"] for one in over)
    revised = [one for one in events if one["event"] == "plan-revised"]
    assert [one["revision"] for one in revised] == list(range(2, len(revised) + 2))
    assert revised[0]["by"] == "research-phase.open"
    assert all(one["patch"]["put"] for one in revised)


def test_interactive_planning_runs_to_its_return(planning):
    told = "task_description=Build {{ 6 * 7 }}"
    name = planning.must("run", "planning:interactive", "--input", told).stdout.strip()
    first = question(planning, "text")
    assert "I'll help you with: Build {{ 6 * 7 }}" in first["message"]
    assert run_of(planning, name)["state"] == "waiting"
    assert planning("wait", name, "--timeout", "0.1").code == TIMED_OUT
    until(lambda: planning.coordinator() is None, "the coordinator's leave: nothing is left to do")
    planning.must("answer", first["id"], "Fast, and {{ inputs.task_description }}")
    planning.must("approve", question(planning, "confirm")["id"])
    (run,) = ended(planning, [name])
    audit_trail(planning, name, first["id"])
    assert planning.must("wait", name).stdout == f"{name} succeeded\n"
    plan = "task says so / code-standards-reviewer says so"
    assert run["result"] == {"success": True, "plan": plan, "approved": True, "saved": True}
    steps = steps_of(run)
    found = steps["research-phase"]["output"]
    assert [one["query"] for one in found] == [f"Build {{{{ 6 * 7 }}}}: part {n}" for n in range(5)]
    assert found[1]["findings"] == "5 sources"
    inner = [steps[f"research-phase[{n}]/search-web"] for n in range(5)]
    assert max(one["queued_at"] for one in inner) <= min(one["ended_at"] for one in inner)
    brief = (planning.top / "task.brief").read_text()
    assert "Requirements: Fast, and {{ inputs.task_description }}" in brief
    wrong = ("run", "planning:interactive", "--input", "max_research_tasks=many")
    for words in (wrong, (*wrong, "--dry-run")):
        refused = planning(*words)
        assert refused.code == 2
        assert "'task_description' is required" in refused.stderr
        assert "'max_research_tasks' must be of type number" in refused.stderr
    would = planning.must("run", "planning:interactive", "--input", told, "--dry-run").stdout
    assert would.startswith("would run planning:interactive: ")
    assert len(planning.must("runs", "--json").json()["runs"]) == 1

    kept = planning.top / "memory.json"
    planning.must("memory", "export", kept)
    entries = json.loads(kept.read_text())["entries"]
    assert entries
    for words, said in (
        (("export", planning.top / "gone/memory.json"), "cannot be written: No such file"),
        (("import", planning.top / "planning_tools.py"), "cannot be read: No such file"),
        (("import", planning.root / "planning_tools.py"), "is no JSON"),
    ):
        refused = planning("memory", *words)
        assert (refused.code, said in refused.stderr) == (1, True), refused.stderr
    (planning.state / "memory.db").unlink()
    assert planning.must("memory", "import", kept, "--dry-run").stdout.startswith("would keep ")
    assert planning.must("memory", "import", kept).stdout == f"kept {len(entries)} entries\n"
    assert json.loads(planning.must("memory", "export").stdout)["entries"] == entries


def _squeezed(text: str) -> str:
    """Returns a text with the columns of its tables cut down to the first two."""
    return re.sub(r"(?m)^((?:RUN|asks-)\S* +\w+(?: \(1 \?\))?).*$", r"\1", text)


ASKS = """
steps:
  - {id: who, type: escalate, question: "Which store?", topic: storage, to: dev, output_to: a}
  - {id: me, type: escalate, question: "And {{ state.a }}?", topic: money, to: finance,
     output_to: b}
  - {id: number, type: prompt, input: number, message: "How many?", output_to: n}
  - {id: way, type: prompt, input: choice, choices: [left, right], message: "Which way?"}
  - id: end
    type: return
    value: ["{{ state.a }}", "{{ state.b }}", "{{ state.n }}", "{{ steps.way.output }}"]
"""


def test_questions_wait_for_an_answer_that_fits_whatever_becomes_of_the_coordinator(flows):
    flows.put("workflows/asks.yaml", ASKS)
    name = flows.must("run", "asks").stdout.strip()
    asked = question(flows, "escalate")
    said = f"<{name}.q1> `who` asks about storage, and waits for you to decide:"
    assert (asked["message"], asked["whom"], asked["topic"], asked["expires_at"]) == (
        f"And {said}?",
        "finance",
        "money",
        None,
    )
    assert "for finance  about money" in flows.must("inbox").stdout
    status = flows.status()
    assert (status["inbox"], [one["run"] for one in status["runs"]]) == (1, [name])
    shown = flows.must("status").stdout
    assert f"WORKFLOWS\nRUN          STATE\n{name}  waiting (1 ?)" in _squeezed(shown)
    assert "Next: fleet inbox" in shown
    coordinator = flows.coordinator()
    if coordinator is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(coordinator, signal.SIGKILL)
        until(lambda: flows.coordinator() is None, "the coordinator's end")
    assert question(flows, "escalate") == asked
    flows.must("answer", asked["id"], "{{ state.a }}")
    again = flows("answer", asked["id"], "something else")
    assert (again.code, "answered already: '{{ state.a }}' by uid:" in again.stderr) == (1, True)
    number = question(flows, "number")
    for wrong in ("many", "1e999", "nan", ""):
        refused = flows("answer", number["id"], wrong)
        assert (refused.code, f"{wrong!r} is no number" in refused.stderr) == (1, True)
    flows.must("answer", number["id"], "12")
    way = question(flows, "choice")
    refused = flows("answer", way["id"], "up")
    assert (refused.code, "one of: left, right" in refused.stderr) == (1, True)
    assert flows.must("inbox", "--json").json()["questions"] == [way]
    flows.must("answer", way["id"], "right")
    (run,) = ended(flows, [name])
    assert run["result"] == [said, "{{ state.a }}", 12, "right"]
    decided = flows.must("decisions", "--json").json()["decisions"]
    assert [(one["task"], one["by"]) for one in decided][:1] == [("who", "agent:dev")]
    closed = flows("answer", way["id"], "left")
    assert "answered already: 'right'" in closed.stderr


def test_a_terminal_that_waits_is_asked(planning):
    mine, theirs = pty.openpty()
    argv = [sys.executable, "-m", "fleet", "run", "interactive-planning", "--wait", "--json"]
    told = ["--input", "task_description=Build", "--input", "max_research_tasks=1"]
    child = subprocess.Popen(
        [*argv, *told], cwd=planning.root, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    for marker, line in (
        (b"objectives", b""),
        (b"answered elsewhere", b""),
        (b"[yes/no]", b"maybe\n"),
        (b"no answer", b"N\n"),
    ):
        said = b""
        while marker not in said:
            assert select.select([mine], [], [], 30)[0], said
            said += os.read(mine, 4096)
        if marker == b"objectives":
            planning.must("answer", question(planning, "text")["id"], "Nothing more")
        os.write(mine, line)
    out, _ = child.communicate(timeout=60)
    os.close(mine)
    run = json.loads(out)
    assert run["state"] == "succeeded"
    assert run["result"]["approved"] is False


def test_a_run_is_paused_gone_on_with_and_stopped(flows):
    flows.put("workflows/asks.yaml", ASKS)
    slow = {"workflow": [{"id": n, "role": "slow", "task": n} for n in ("one", "two")]}
    both = json.dumps({**slow, "name": "a"}) + "\n" + json.dumps({**slow, "name": "b"})
    path = flows.put("slow.json", both)
    role = f"slow={flows.waits('on')}{SAYS}"
    first, second = flows.must("run", path, "--role", role).stdout.split()
    until(lambda: first in flows.must("runs").stdout, "the first document")
    assert flows.must("pause", first, "--dry-run").stdout == f"would pause: {first}\n"
    assert flows.must("pause", first).stdout == f"paused: {first}\n"
    assert flows.must("resume", first[:-1]).stdout == f"going on: {first}\n"
    until(lambda: len(flows.agents()) > 1, "the agents")
    assert f"would stop {first}\n" in flows.must("down", "--all", "--dry-run").stdout
    assert f"stopped {first}\n" in flows.must("down", "--all").stdout
    flows.nothing_runs()
    flows.must("resume", first)
    until(flows.agents, "the agents once more")
    assert flows.must("stop", first).stdout == f"stopped: {first}\n"
    waited = flows("wait", first, "--json")
    assert (waited.code, waited.json()["runs"]) == (1, {first: "cancelled"})
    run = run_of(flows, first)
    assert (run["state"], {one["state"] for one in run["steps"]}) == ("cancelled", {"cancelled"})
    assert second not in flows.must("runs").stdout
    refused = flows("resume", first)
    assert (refused.code, "nothing of it goes on" in refused.stderr) == (1, True)
    assert "fleet run --resume RUN" in refused.stderr
    flows.nothing_runs()


ADAPTS = """
name: adapts
inputs: {why: {type: string, required: true}}
steps:
  - id: change
    type: adapt
    patch:
      reason: "{{ inputs.why }}"
      add: [{id: c, agent: b, deliverables: [c.md], days: 2, dependencies: [b]}]
    else:
      - {id: kept, type: set_state, updates: {kept: true}}
  - {id: named, type: adapt, patch: later}
  - {id: end, type: return, value: "{{ steps.change.output }}"}
"""


def test_a_workflow_changes_the_plan_once_a_person_has_read_the_change(fleet):
    fleet.task("a", fleet.delivers("a") + fleet.waits("a"), deliverables=["a.md"])
    fleet.task("b", deliverables=["b.md"], dependencies=["a"])
    fleet.put("workflows/adapts.yaml", ADAPTS)
    later = {"id": "d", "agent": "b", "body": "{{ 7 * 7 }}"}
    fleet.settings["patches"] = {"later": {"insert": {"task": later, "after": "b"}}}
    fleet.put("workflows/wrong.yaml", ADAPTS.replace("patch: later", "patch: latr"))
    fleet.write()
    told = fleet("check", "workflows/wrong.yaml").stderr
    assert "no patch 'latr' (did you mean 'later'?)" in told
    fleet.must("launch", "a")
    hostile = "{{ 7 * 7 }} $(touch pwned)"
    runs = [
        fleet.must("run", "adapts", "--input", f"why={hostile}").stdout.split()[-1]
        for _ in range(2)
    ]

    def asked() -> dict[str, dict]:
        found = fleet.must("inbox", "--json").json()["questions"]
        return {one["id"].rpartition(".")[0]: one for one in found}

    until(lambda: {*runs} <= asked().keys(), "both questions")
    first, second = [asked()[run] for run in runs]
    assert first["message"].splitlines()[0] == hostile
    assert "+ task c:" in first["message"]
    assert "c" not in [row["id"] for row in fleet.status()["tasks"]]
    fleet.must("approve", first["id"])
    assert fleet.row("c")["waiting_for"] == ["b"]
    fleet.must("reject", second["id"], "--reason", "not twice")
    until(lambda: {first["id"], second["id"]}.isdisjoint(one["id"] for one in asked().values())
          and {*runs} <= asked().keys(), "both questions about the named patch")  # fmt: skip
    for run in runs:  # the second finds it done
        assert "{{ 7 * 7 }}" in asked()[run]["message"]
        fleet.must("approve", asked()[run]["id"])
    assert fleet.row("d")["waiting_for"] == ["b"]
    assert fleet.must("wait", *runs, "--for", "succeeded").code == 0
    outputs = [run_of(fleet, run)["result"] for run in runs]
    assert [one["approved"] for one in outputs] == [True, False]
    assert outputs[1]["note"] == "not twice"
    assert run_of(fleet, runs[1])["steps"][1]["state"] == "succeeded"
    assert not (fleet.root / "pwned").exists()
