"""Workflows that call MCP servers, through the `fleet` command: real servers, by hand and of the
official library over HTTP; a coordinator that is killed in the middle of a call.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.app.place import FleetPlace
from fleet.app.workflows import follow
from support.mcp_peers import BY_HAND, Web, alive, end_all, noted
from support.scripted_fleet import ScriptedFleet, until

SECRET = "hunter22-and-more"

WORKS = r"""
initial_state: {found: null}
steps:
  - id: each
    type: foreach
    items: "{{ range(20) | list }}"
    max_parallel: 20
    steps:
      - {id: one, type: mcp_call, tool: hand.echo, parameters: {n: "{{ item }}", pause: 0.01}}
      - {id: out, type: return, value: "{{ steps.one.output.n }}"}
  - {id: died, type: mcp_call, tool: hand.die, parameters: {once: true}}
  - {id: limited, type: mcp_call, tool: web.add, parameters: {first: 40, second: 2}}
  - {id: find, type: mcp_call, tool: web.find, parameters: {query: q}, output_to: found}
  - id: words
    type: mcp_call
    tool: hand.words
    parameters: {texts: ["{{ state.found.found[1] }}", "```json\n{\"price\": 3}\n```"]}
    output: {type: object, required: [price]}
  - {id: env, type: mcp_call, tool: hand.env}
  - id: end
    type: return
    value:
      - "{{ steps.each.output }}"
      - "{{ state.found.found[0] }}!"
      - "{{ steps.words.output.price + 1 }}"
      - "{{ steps.limited.output.result }}"
"""

FAILS = r"""
steps:
  - {id: unknown, type: mcp_call, tool: hand.ecko, needs: []}
  - id: refused
    type: mcp_call
    tool: hand.refuse
    parameters: {what: way}
    attempts: 2
    needs: []
  - {id: late, type: mcp_call, tool: slow.hang, timeout: 300ms, needs: []}
  - {id: big, type: mcp_call, tool: hand.big, parameters: {megabytes: 50}, needs: []}
  - {id: absent, type: mcp_call, tool: absent.anything, needs: []}
  - {id: denied, type: mcp_call, tool: denied.add, needs: []}
  - id: types
    type: mcp_call
    tool: web.add
    parameters: {first: 1, second: two}
    needs: []
  - id: unlike
    type: mcp_call
    tool: hand.words
    parameters: {texts: ['{"price": "dear"}']}
    output: {properties: {price: {type: number}}}
    needs: []
"""


@pytest.fixture
def web(tmp_path: Path):
    made = Web(tmp_path).start()
    yield made
    made.stop()


@pytest.fixture
def tools(fleet: ScriptedFleet) -> Iterator[ScriptedFleet]:
    """A fleet with a server by hand, in three settings; it is still to be written."""
    hand = [*BY_HAND, str(fleet.top / "notes")]
    fleet.settings["secrets"] = {"TOKEN": "env:THE_TOKEN"}
    fleet.settings["mcp_servers"] = {
        "hand": {"command": hand, "secrets": ["TOKEN"], "env": {"OWN": "cmd:echo own-and-secret"}},
        "slow": {"command": hand, "cwd": ".", "timeout": "90s", "idle": "5s"},
        "absent": {"command": ["no-such-program"], "startup": "5s"},
    }
    yield fleet
    end_all(fleet.top / "notes")


def steps_of(run: dict) -> dict:
    return {one["id"]: one for one in run["steps"]}


def test_a_workflow_calls_servers_and_goes_on_through_their_failures(tools, web):
    tools.put("token", "letmein\n", tools.top)
    tools.settings["mcp_servers"] |= {
        "web": {"url": web.url, "headers": {"Authorization": f"Bearer file:{tools.top}/token"}},
        "denied": {"url": web.url, "headers": {"Authorization": "Bearer nonsense"}},
    }
    tools.put("workflows/works.yaml", WORKS)
    tools.put("workflows/fails.yaml", FAILS)
    tools.write()
    env = {"THE_TOKEN": SECRET}
    tools.must("check", "works")
    (tools.top / "limited").touch()
    (tools.top / "unwell").touch()
    run = tools.must("run", "works", "--wait", "--json", env=env).json()
    assert run["result"] == [[*range(20)], "q {{ 7 * 6 }} #0!", 4, 42]
    steps = steps_of(run)
    tries = {name: steps[name]["attempts"] for name in ("died", "limited", "find")}
    assert tries == {"died": 2, "limited": 3, "find": 1}, "neither spends an attempt of the step"
    environment = steps["env"]["output"]
    assert (environment["TOKEN"], environment["OWN"]) == ("[TOKEN]", "[OWN]")
    assert environment["FLEET_ROOT"] == str(tools.root)
    notes = tools.top / "notes"
    assert len(noted(notes, "start")) == 2, "it died once"
    calls = [json.loads(call.partition(" ")[2])["key"] for call in noted(notes, "call")]
    assert [run["run"], "died", 2] in calls
    until(lambda: tools.coordinator() is None, "the coordinator's leave")
    assert not any(alive(int(pid)) for pid in noted(notes, "start"))

    failed = tools("run", "fails", "--wait", "--json", env=env)
    assert failed.code == 1
    found = steps_of(json.loads(failed.stdout))
    told = {name: (one["state"], one["error"], one["attempts"]) for name, one in found.items()}
    big = "hand.big: it answered with more than 4259840 bytes"
    started = "the MCP server 'absent' did not start: it ended with 127: no-such-program could not"
    assert told["unknown"] == (
        "failed",
        "hand.ecko: it has no tool 'ecko'; did you mean 'echo'?",
        1,
    )
    assert told["refused"] == ("failed", "hand.refuse: no way", 2)
    assert told["late"] == ("failed", "slow.hang: it did not answer within 0.3 s", 1)
    assert told["big"] == ("failed", big, 1)
    assert told["absent"][1].startswith(started)
    assert told["denied"][1:] == ("denied.add: it refuses access (401)", 3)
    assert "Input should be a valid integer" in told["types"][1]
    assert "its output does not follow the schema at $.price" in told["unlike"][1]
    for path in tools.state.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert not any(one in held for one in (SECRET.encode(), b"letmein")), path

    found = {
        one["name"]: (one["level"], one["text"])
        for one in tools("doctor", "--json", env=env).json()["checks"]
    }
    assert found["mcp hand"][0] == "ok"
    assert found["mcp hand"][1].startswith("it starts; 13 tools: echo, words")
    assert found["mcp web"] == ("ok", "it answers; 4 tools: add, find, big, die")
    assert found["mcp denied"] == ("error", "it refuses access (401)")
    assert found["mcp absent"][1].startswith("it ended with 127: no-such-program could not be")
    quick = tools("doctor", "--quick", "--json", env=env).json()["checks"]
    assert ("mcp absent", "ok") in [(one["name"], one["level"]) for one in quick]
    until(lambda: not any(alive(int(pid)) for pid in noted(notes, "start")), "the servers' end")


def test_a_call_is_made_again_when_its_coordinator_was_killed(tools):
    wait = "steps:\n- {id: wait, type: mcp_call, tool: slow.hang}\n"
    tools.put("workflows/waits.yaml", wait)
    tools.write()
    name = tools.must("run", "waits").stdout.strip()
    notes = tools.top / "notes"
    until(lambda: noted(notes, "call"), "the call")
    (pid,) = map(int, noted(notes, "start"))
    os.kill(tools.coordinator(), signal.SIGKILL)
    until(lambda: not alive(pid), "the end of the server, whose coordinator is gone")
    (tools.top / "alive").touch()
    run = follow(FleetPlace(tools.root), name)
    assert (run["state"], steps_of(run)["wait"]["output"]) == ("succeeded", "alive")
    keys = [json.loads(call.partition(" ")[2])["key"] for call in noted(notes, "call")]
    assert keys == [[name, "wait", 1]] * 2, "at least once, and it says so"

    (tools.top / "alive").unlink()
    name = tools.must("run", "waits").stdout.strip()
    until(lambda: len(noted(notes, "call")) == 3, "another call")
    tools.must("down")
    until(lambda: not any(alive(int(pid)) for pid in noted(notes, "start")), "its server's end")
    (tools.top / "alive").touch()
    tools.must("run", "waits", "--wait")  # whoever comes next begins a coordinator for all
    assert follow(FleetPlace(tools.root), name)["state"] == "succeeded"
    assert len(noted(notes, "call")) == 5
