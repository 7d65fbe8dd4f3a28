"""Workflows under faults: a coordinator that dies between any two writes, and bad input."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from fleet.adapters.memory import Memory
from fleet.app.inbox import answer
from fleet.app.place import FleetPlace
from fleet.app.runs import run_status
from fleet.app.telling import changes
from fleet.app.workflows import Asked, start_run
from support.crash_walks import OF_A_WORKFLOW
from support.scripted_fleet import ScriptedFleet, until

AT = {"journal.before_commit": "journal.before_commit:2"}
"""Where a life that died at its first passing would get no further than the last."""
PATIENCE_S = 90

WORKFLOW = """
name: crashes
initial_state: {items: []}
steps:
  - {id: begin, type: set_state, updates: {items: [1, 2]}}
  - id: each
    type: foreach
    items: "{{ state.items }}"
    steps:
      - {id: write, type: shell, env: {LOG: "LOGGED"},
         command: 'echo each-{{ item }} >> "$LOG"; echo {{ item * 10 }}'}
  - {id: work, type: delegate, agent: dev, instructions: "{{ steps.each.output }}", output_to: said}
  - {id: ask, type: prompt, input: number, message: "{{ state.said }}?", output_to: number}
  - {id: sub, type: workflow, workflow: inner, inputs: {number: "{{ state.number }}"}}
  - id: end
    type: return
    value: ["{{ steps.each.output }}", "{{ state.said }}", "{{ steps.sub.output }}"]
"""
INNER = """
name: inner
inputs: {number: {type: number}}
steps:
  - id: note
    type: mcp_call
    tool: memory.add
    parameters: {category: c, content: "n {{ inputs.number }}"}
  - {id: write, type: shell, env: {LOG: "LOGGED"}, command: 'echo inner >> "$LOG"; echo done'}
  - {id: out, type: return, value: "{{ inputs.number + 1 }}"}
"""


@pytest.fixture
def crashing(fleet: ScriptedFleet) -> ScriptedFleet:
    """A fleet with a workflow whose every side effect is a line of `ran`."""
    note = f'echo "$FLEET_TASK" >> "{fleet.ran_path}"; echo so'
    fleet.put("agents/dev.yaml", json.dumps({"harness": "shell", "args": note}))
    for name, text in (("crashes", WORKFLOW), ("inner", INNER)):
        fleet.put(f"workflows/{name}.yaml", text.replace("LOGGED", str(fleet.ran_path)))
    return fleet.write()


@pytest.mark.parametrize("point", OF_A_WORKFLOW)
def test_a_coordinator_that_dies_there_in_every_life_repeats_nothing(crashing, monkeypatch, point):
    monkeypatch.setenv("FLEET_CRASH_AT", AT.get(point, point))
    place = FleetPlace(crashing.root)
    (name,) = start_run(place, "crashes", Asked(inputs={}, roles={}))
    for state in changes(place, time.monotonic() + PATIENCE_S, name):
        if state.ended:
            break
        for asked in state.questions:
            answer(place, asked, "41")
    run = run_status(place, name)
    assert run["result"] == [["10", "20"], "so", 42], run
    assert crashing.ran() == Counter(["each-1", "each-2", "work", "inner"])
    assert [one["content"] for one in Memory(place.state).entries()] == ["n 41"]
    log = (place.state / "logs/coordinator.jsonl").read_text()
    assert log.count("coordinator started") >= 3, "nobody died"
    monkeypatch.delenv("FLEET_CRASH_AT")
    crashing.nothing_runs()


BAD = """
steps:
  - {id: a, type: shell, command: "echo a >> LOGGED"}
  - {id: a, type: return, value: "{{ nobody }}"}
"""
SAYS = """
steps:
  - {id: work, type: delegate, agent: loud, instructions: Speak., output_to: said}
  - {id: raw, type: shell, command: "sh ROOT/say.sh"}
  - {id: each, type: foreach, items: ["{{ steps.raw.output }}"], steps: [
      {id: echo, type: shell, command: 'printf %s {{ item }}'}]}
  - {id: ask, type: approve, message: "{{ state.said }} {{ steps.raw.output }}"}
  - {id: end, type: return, value: ["{{ state.said }}", "{{ steps.raw.output }}"]}
"""


def test_a_file_that_does_not_hold_starts_nothing(crashing):
    path = crashing.put("workflows/bad.yaml", BAD.replace("LOGGED", str(crashing.ran_path)))
    for words in (
        ("run", "bad"),
        ("run", path, "--wait"),
        ("run", path, "--demo"),
        ("check", path),
    ):
        refused = crashing(*words)
        assert (refused.code, refused.stdout) == (2, "")
        assert (
            "workflows/bad.yaml:4:10: step 'a' is there twice (first on line 3)" in refused.stderr
        )
    refused = crashing("run", "inner", "--input", "numbr=1", "--input", "number=many")
    assert refused.code == 2
    assert "the workflow takes no input 'numbr' (did you mean 'number'?)" in refused.stderr
    assert "the input 'number' must be of type number" in refused.stderr
    assert crashing.must("runs", "--json").json()["runs"] == []
    assert not crashing.ran()


def test_what_an_agent_says_is_data_on_every_screen(crashing):
    hostile = r"\033[2J\033]0;owned\007{{ inputs }} {work.output} $(touch pwned)\r\nsecond: obey me"
    told = {"harness": "shell", "args": f"printf '{hostile}'"}
    crashing.put("agents/loud.yaml", json.dumps(told))
    crashing.put("say.sh", f"printf '{hostile}'")
    crashing.put("workflows/says.yaml", SAYS.replace("ROOT", str(crashing.root)))
    name = crashing.must("run", "says").stdout.strip()
    until(lambda: "approve" in crashing.must("inbox").stdout, "the question")
    (asked,) = crashing.must("inbox", "--json").json()["questions"]
    shown = [crashing.must("inbox").stdout, crashing.must("status", name).stdout]
    crashing.must("approve", asked["id"])
    until(lambda: crashing.must("status", name, "--json").json()["state"] == "succeeded", "its end")
    run = crashing.must("status", name, "--json").json()
    said, raw = run["result"]
    assert asked["message"] == f"{said} {raw}"
    assert "\x1b[2J" in raw
    for text in (said, raw):
        assert "{{ inputs }} {work.output} $(touch pwned)" in text
    assert next(one for one in run["steps"] if one["id"] == "each")["output"] == [raw]
    for words in (["status", name], ["report", name, "--markdown"], ["history", name]):
        shown += [crashing.must(*words).stdout]
    shown += [crashing.must("logs", f"{name}/work").stdout]
    assert "{work.output} $(touch pwned)" in shown[-1]
    for words, told in (
        (("logs", f"{name}/raw"), "no agent at the step 'raw'\n  there are: work"),
        (("logs", f"{name}/work", "--attempt", "2"), f"{name}/work has attempts 1 to 1, not 2"),
        (("attach", f"{name}/work"), f"{name}/work has no live session"),
    ):
        assert told in crashing(*words).stderr
    for text in shown:
        assert not {one for one in text if ord(one) < ord(" ")} - {"\n"}, repr(text)
    assert any("owned" in text for text in shown)
    assert not list(crashing.top.rglob("pwned"))
