"""What agents may use: budgets that ask, accounts that rest, launch rates; and the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.scripted_fleet import ScriptedFleet, until

CODEX = """#!/bin/sh
echo "$FLEET_TASK $FLEET_ATTEMPT" >> "{ran}"
U='{{"input_tokens":90,"cached_input_tokens":40,"output_tokens":10}}'
if [ -e "{top}/closed" ]; then
  echo '{{"type":"turn.started"}}'
  M="You hit your usage limit. Try again in 1 hour."
  echo "{{\\"type\\":\\"turn.failed\\",\\"error\\":{{\\"message\\":\\"$M\\"}}}}"
  exit 1
fi
echo "{{\\"type\\":\\"turn.completed\\",\\"usage\\":$U}}"
[ "$FLEET_ATTEMPT" = 1 ] && [ -e "{top}/fails" ] && exit 3
echo done > $FLEET_TASK.md && git add . && git commit -qm "$FLEET_TASK"
"""


def put_codex(fleet: ScriptedFleet) -> Path:
    """Writes the program that plays a Codex, and returns it."""
    program = fleet.put("bin/codex", CODEX.format(ran=fleet.ran_path, top=fleet.top), fleet.top)
    program.chmod(0o755)
    return program


def with_codex(fleet: ScriptedFleet, *tasks: str, **limits: Any) -> None:
    """Declares tasks of one agent, whose program plays a Codex that tells what it used."""
    program = put_codex(fleet)
    path = f"{program.parent}:{os.environ['PATH']}"
    told = f"harness: codex\nenv: {{PATH: '{path}'}}\nlimits: {limits}\n"
    fleet.put("agents/ann.yaml", told)
    for name in tasks:
        fleet.put(f"tasks/{name}.md", f"---\nagent: ann\ndeliverables: [{name}.md]\n---\nDo it.\n")
    fleet.write()


def test_a_spent_budget_asks_in_the_inbox_and_raised_goes_on(fleet: ScriptedFleet) -> None:
    fleet.settings["limits"] = {"agents": 1}
    (fleet.top / "fails").touch()
    with_codex(fleet, "a", "b", tokens=100)
    fleet("launch", "--all")
    (asked,) = until(lambda: fleet.status()["questions"], "the question about the budget")
    assert (asked["kind"], asked["choices"]) == ("budget", ["raise", "stop"])
    assert "agent ann has spent 120 of 100 tokens" in asked["message"]
    waits = {row["id"]: row["waiting_for"] for row in fleet.status()["tasks"]}
    assert ["budget of agent ann"] in waits.values()
    assert sum(fleet.ran().values()) == 2, "the failed attempt was paid for too"
    assert "fleet answer" in fleet.must("inbox").stdout
    fleet.must("answer", asked["id"], "raise")
    assert fleet.wait("a", "b").code == 0
    report = fleet.must("report", "--json").json()
    assert report["agents"][0]["usage"]["tokens"] == 4 * 60
    assert report["agents"][0]["failed"] == 2
    assert fleet.status()["spend"] == {"usd": 0, "tokens": 4 * 60}
    text = fleet.must("report", "--width", "80").stdout
    assert "4 attempts, 2 failed" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "| a/work 1 |" in fleet.must("report", "--markdown").stdout
    fleet.nothing_runs()


def test_an_account_that_is_closed_rests_for_all_its_agents_until_a_person_retries(
    fleet: ScriptedFleet,
) -> None:
    fleet.settings["limits"] = {"agents": 1}
    (fleet.top / "closed").touch()
    with_codex(fleet, "a", "b")
    fleet("launch", "--all")
    until(lambda: _waits(fleet).count("account codex until") == 2, "both waiting for the account")
    assert sum(fleet.ran().values()) == 1, "the other one was not even tried"
    tried = next(iter(fleet.ran())).split()[0]
    assert not fleet.status()["questions"]
    (fleet.top / "closed").unlink()
    fleet.must("retry", tried)
    assert fleet.wait("a", "b").code == 0
    fleet.nothing_runs()


def _waits(fleet: ScriptedFleet) -> str:
    return str([row["waiting_for"] for row in fleet.status()["tasks"]])


def test_no_more_launches_a_minute_than_are_allowed_also_after_a_crash(
    fleet: ScriptedFleet,
) -> None:
    with_codex(fleet, "a", "b", "c", launches_per_minute=2)
    fleet("launch", "--all")
    until(lambda: "launch rate of agent ann" in _waits(fleet), "one that waits for the rate")
    until(lambda: sum(fleet.ran().values()) == 2, "two launches")
    pid = fleet.coordinator()
    assert pid is not None
    os.kill(pid, 9)
    until(lambda: fleet.coordinator() is None, "the coordinator's end")
    fleet("launch", "--all")
    until(lambda: fleet.coordinator() is not None, "a new coordinator")
    fleet("wait", "a", "b", "--any", "--timeout", "20")
    assert sum(fleet.ran().values()) == 2
    assert "launch rate of agent ann" in _waits(fleet)
    fleet("stop", "a", "b", "c")


def test_a_program_that_crashes_at_once_is_not_tried_by_task_after_task(
    fleet: ScriptedFleet,
) -> None:
    names = [f"t{number}" for number in range(6)]
    fleet.settings["limits"] = {"agents": 1}
    with_codex(fleet, *names)
    (fleet.top / "bin/codex").write_text("#!/bin/sh\nexec /nowhere/codex-of-old\n")
    fleet("launch", "--all")
    (asked,) = until(lambda: fleet.status()["questions"], "the question about the crashes")
    assert (asked["kind"], asked["choices"]) == ("quarantine", ["retry", "stop"])
    assert "agent ann crashes at once in one task after another" in asked["message"]
    assert _waits(fleet).count("agent ann, which crashes") == len(names)
    pid = fleet.coordinator()
    if pid is not None:
        os.kill(pid, 9)
        until(lambda: fleet.coordinator() is None, "the coordinator's end")
    started = [one for one in fleet.history() if one["event"] == "attempt-started"]
    tried = [one["step"] for one in started if one["step"].endswith("/work")]
    assert len(tried) <= 4, tried
    put_codex(fleet)
    fleet.must("resume")
    assert fleet.wait(*names, timeout_s=60).code == 0
    assert not fleet.status()["questions"]
    fleet.nothing_runs()


@pytest.mark.parametrize(
    ("own", "accounts", "waits"),
    [({"limits": {"sessions": 1}}, {}, "limit agent:ann"),
     ({"account": "team"}, {"team": {"sessions": 1}}, "limit account:team")],
)  # fmt: skip
def test_no_more_sessions_at_once_than_an_agent_or_an_account_has(
    fleet: ScriptedFleet, own: dict[str, Any], accounts: dict[str, Any], waits: str
) -> None:
    fleet.settings |= {"limits": {"agents": 3}, "accounts": accounts}
    script = f'echo "$FLEET_TASK $FLEET_ATTEMPT" >> "{fleet.ran_path}"\n'
    script += fleet.waits("on") + "echo x > $FLEET_TASK.md; git add . && git commit -qm x\n"
    fleet.put("agents/ann.yaml", yaml.safe_dump({"harness": "shell", "args": script, **own}))
    for name in ("a", "b"):
        fleet.put(f"tasks/{name}.md", f"---\nagent: ann\ndeliverables: [{name}.md]\n---\nDo it.\n")
    fleet.write()
    fleet("launch", "--all")
    until(lambda: sum(fleet.ran().values()) == 1, "the first session")
    until(lambda: waits in _waits(fleet), "one that waits for the limit")
    assert len(fleet.sessions()) == 1
    fleet.go("on")
    assert fleet.wait("a", "b").code == 0
    assert sum(fleet.ran().values()) == 2
    fleet.nothing_runs()


def test_the_last_line_of_a_flood_is_kept_and_the_cut_is_told(fleet: ScriptedFleet) -> None:
    flood = "echo first; seq -f '%0.f" + "x" * 1000 + "' 70000; echo last of all\n"
    fleet.task("a", flood + fleet.delivers("a"), deliverables=["a.md"])
    fleet.write()
    fleet("launch", "a")
    assert fleet.wait("a").code == 0
    shown = fleet.must("logs", "a", "-n", "100000").stdout
    assert "last of all" in shown.splitlines()[-1]
    assert shown.startswith("first")
    assert "bytes are not kept]" in shown
    kept = sum(path.stat().st_size for path in fleet.state.rglob("output.log*"))
    assert kept <= (64 << 20) + 7
    said = next(one["outcome"]["output"]["said"] for one in fleet.history()
                if one["event"] == "attempt-ended" and one["step"] == "a/work")  # fmt: skip
    assert said.endswith("last of all")


def test_the_wall_clock_ends_an_attempt_and_silence_only_asks(fleet: ScriptedFleet) -> None:
    fleet.task("a", "sleep 300", timeout="1s", attempts=1, on_failure=["fail"])
    quiet = fleet.waits("b") + fleet.delivers("b")
    fleet.task("b", quiet, agent={"limits": {"idle": "1s"}}, deliverables=["b.md"])
    fleet.write()
    fleet("launch", "--all")
    asked = until(
        lambda: [q for q in fleet.status()["questions"] if q["topic"] == "idle"], "the question"
    )[0]
    assert "b has shown no progress for 1 s" in asked["message"]
    until(lambda: fleet.row("a")["state"] == "failed", "the end of its time")
    assert "it ran out of time" in fleet.row("a")["why"]
    fleet.go("b")
    assert fleet.wait("b").code == 0
    assert fleet.row("b")["attempt"] == 1
    fleet.nothing_runs()
