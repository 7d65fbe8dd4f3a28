"""A program that nobody knew: described by a file of the fleet, without a line of code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.scripted_fleet import ScriptedFleet, until

PROGRAM = """#!/usr/bin/env python3
import json, os, pathlib, subprocess, sys, time
top = pathlib.Path({top!r})
def say(**event):
    print(json.dumps(event), flush=True)
with (top / "heard").open("a") as file:
    file.write(json.dumps([sys.argv[1:], sys.stdin.read(), os.environ.get("MINE_RULES")]) + "\\n")
say(type="start", id="S-1")
say(type="usage", tokens={{"in": 30, "out": 6}}, cost=0.25)
if (top / "hangs").exists():
    (top / "hangs").unlink()
    (top / "hanging").touch()
    time.sleep(600)
if (top / "closed").exists():
    (top / "closed").unlink()
    say(type="error", text="Over your allowance, again in 2 seconds.")
    sys.exit(1)
task = os.environ["FLEET_TASK"]
pathlib.Path(task + ".md").write_text("done")
subprocess.run("git add . && git commit -qm " + task, shell=True, check=True)
say(type="said", text="It is written.")
say(type="end", ok=True)
"""
HARNESS: dict[str, Any] = {
    "name": "Mine",
    "words": ["--permission", "{permission}", "--model", "{model}", "{args}"],
    "headless": {
        "start": ["work", "{words}"],
        "resume": ["work", "--again", "{session}", "{words}"],
        "stdin": "{text}",
    },
    "permissions": {"edits": "may-edit"},
    "env": {"MINE_RULES": "{folder}/rules.txt"},
    "files": {"rules.txt": "permission {permission}\nmodel {model}\n"},
    "reads": {
        "done": {"type": "end", "ok": True},
        "session": "id",
        "output": {"key": "text", "where": {"type": "said"}},
        "error": {"key": "text", "where": {"type": "error"}},
        "usage": {
            "where": {"type": "usage"},
            "keys": {"input_tokens": "tokens.in", "output_tokens": "tokens.out", "usd": "cost"},
        },
        "limited": "allowance",
        "resets": r"again in (?P<wait>[\w ]+)",
    },
    "measures": ["tokens", "usd"],
}


@pytest.fixture
def mine(fleet: ScriptedFleet) -> ScriptedFleet:
    """A fleet of one agent, whose program is a script that the fleet describes."""
    program = fleet.put("bin/mine", PROGRAM.format(top=str(fleet.top)), fleet.top)
    program.chmod(0o755)
    describe(fleet)
    fleet.put("agents/ann.yaml", "harness: mine\nlimits: {usd: 100}\n")
    fleet.put(
        "tasks/a.md", "---\nagent: ann\ndeliverables: [a.md]\nattempts: 1\n---\nDo it, dear Ann.\n"
    )
    return fleet.write()


def describe(fleet: ScriptedFleet, **changed: Any) -> None:
    told = {**HARNESS, "program": str(fleet.top / "bin/mine"), **changed}
    fleet.put("harnesses/mine.yaml", yaml.safe_dump(told))


def heard(fleet: ScriptedFleet) -> list[Any]:
    """Returns argv, standard input and MINE_RULES of each start of the program."""
    return [json.loads(line) for line in (fleet.top / "heard").read_text().splitlines()]


def ends(fleet: ScriptedFleet) -> list[dict[str, Any]]:
    found = [one for one in fleet.history() if one["event"] == "attempt-ended"]
    return [one["outcome"] for one in found if one["step"] == "a/work"]


def test_it_is_briefed_read_and_paid_for(mine: ScriptedFleet) -> None:
    mine.must("launch", "--all")
    assert mine.wait("a").code == 0
    ((argv, said, rules),) = heard(mine)
    assert argv == ["work", "--permission", "may-edit"]
    assert "Do it, dear Ann." in said
    assert Path(rules).read_text() == "permission may-edit\n"
    (end,) = ends(mine)
    assert (end["output"]["said"], end["output"]["session"]) == ("It is written.", "S-1")
    assert end["usage"]["tokens"] == 36
    assert mine.status()["spend"] == {"usd": 0.25, "tokens": 36}
    mine.nothing_runs()


def test_what_was_lost_is_gone_on_with_as_it_was_begun(mine: ScriptedFleet) -> None:
    (mine.top / "hangs").touch()
    mine.must("launch", "--all")
    until((mine.top / "hanging").exists, "the program that hangs")
    (mine.root / "harnesses/mine.yaml").unlink()  # what has begun goes on as it was
    refused = mine("launch", "--all")
    assert (refused.code, "no harness 'mine'" in refused.stderr) == (2, True)
    mine.tmux("kill-server")
    assert mine.wait("a").code == 0
    first, second = heard(mine)
    assert first[0] == ["work", "--permission", "may-edit"]
    assert second[0] == ["work", "--again", "S-1", "--permission", "may-edit"]
    assert "it was lost" in second[1]


def test_a_used_up_account_rests_until_it_opens_and_spends_no_try(mine: ScriptedFleet) -> None:
    (mine.top / "closed").touch()
    mine.must("launch", "--all")
    assert mine.wait("a").code == 0
    first, last = ends(mine)
    assert (first["failure"], first["account"]) == ("account", "account:mine")
    assert first["until_ms"]
    assert last["ending"] == "succeeded"


def test_what_a_program_does_not_have_is_told_before_it_starts(mine: ScriptedFleet) -> None:
    def told(agent: str) -> str:
        mine.put("agents/ann.yaml", agent)
        found = mine("check")
        assert found.code == 2
        return found.stderr

    asked = told("harness: mine\npermissions: plan\n")
    assert "agents/ann.yaml:2:14: mine cannot keep to permissions 'plan' headless" in asked
    assert "agents/ann.yaml:2:7: mine has no mode 'interactive'" in told(
        "harness: mine\nmode: interactive\n"
    )
    assert "did you mean 'mine'?" in told("harness: mime\n")
    describe(mine, words=[], files={}, permissions=["edits"])
    untold = told("harness: mine\nmodel: big\n")
    assert "agents/ann.yaml:2:8: mine hands no model to its program" in untold
    describe(mine, measures=["tokens"])
    assert "limit `usd` for a harness that does not tell it" in told(
        "harness: mine\nlimits: {usd: 1}\n"
    )
    (mine.root / "harnesses/mine.yaml").rename(mine.root / "harnesses/claude.yaml")
    assert "harnesses/claude.yaml:1:1: harness 'claude' is there already" in told(
        "harness: claude\n"
    )


def test_doctor_and_agents_know_it(mine: ScriptedFleet) -> None:
    row = mine.must("agents", "--json").json()["programs"][-1]
    assert (row["name"], row["agents"]) == ("mine", ["ann"])
    assert row["path"] == str(mine.top / "bin/mine")
    checks = {one["name"]: one for one in mine("doctor", "--json").json()["checks"]}
    assert checks["mine"]["level"] == "ok"
    shown = mine.must("agents", "show", "mine").stdout
    assert "read from JSON lines: done, session, output, error, usage, limited, resets" in shown
    assert yaml.safe_load(mine.must("agents", "show", "mine", "--yaml").stdout) == {
        **HARNESS,
        "program": str(mine.top / "bin/mine"),
        "reads": {
            **HARNESS["reads"],
            "limited": [HARNESS["reads"]["limited"]],
            "resets": [HARNESS["reads"]["resets"]],
        },
    }
    describe(mine, version={"asked": "version", "tested": "1.0"}, install="fetch mine")
    mine.put("bin/mine", "#!/bin/sh\necho mine 2.0\n", mine.top)
    checks = {one["name"]: one for one in mine("doctor", "--json").json()["checks"]}
    assert (checks["mine"]["level"], "2.0" in checks["mine"]["text"]) == ("ok", True)
    describe(mine, version={"tested": "1.0 - 1.9"})
    checks = {one["name"]: one for one in mine("doctor", "--json").json()["checks"]}
    assert checks["mine"]["level"] == "warning"
    assert "newer than 1.9" in checks["mine"]["text"]
    (mine.top / "bin/mine").unlink()
    checks = {one["name"]: one for one in mine("doctor", "--json").json()["checks"]}
    assert checks["mine"]["level"] == "error"
