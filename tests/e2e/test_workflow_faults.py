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
from support.scripted_fleet import ScriptedFleet

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
