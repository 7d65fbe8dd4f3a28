"""The main job end to end: two phases, planned, launched, judged, gated and merged."""

from __future__ import annotations

from pathlib import Path

from support.scripted_fleet import ScriptedFleet, until

STATUS_KEYS = {
    "schema", "fleet", "now", "day", "of_days", "done_pct", "planned_pct", "finish",
    "forecast_finish", "slip_days", "slip_causes", "coordinator", "inbox", "spend", "tasks",
    "phases", "questions",
}  # fmt: skip
TASK_KEYS = {
    "id", "agent", "phase", "state", "attempt", "since", "evidence", "facts", "deliverables",
    "checks", "branch", "head", "ahead", "behind", "dirty", "worktree", "port", "port_open",
    "session", "pid", "last_checkin", "usage", "slack_days", "waiting_for",
}  # fmt: skip
ENV = (
    "FLEET_ROOT FLEET_RUN FLEET_TASK FLEET_ATTEMPT FLEET_AGENT FLEET_BRANCH FLEET_WORKTREE "
    "FLEET_PORT PORT FLEET_BRIEF"
).split()


def two_phases(fleet: ScriptedFleet) -> ScriptedFleet:
    fleet.phases({"id": "build", "tag": "v1"}, {"id": "ship", "checks": ["test -f a.md"]})
    fleet.settings["limits"] = {"agents": 2}
    told = f'env > "{fleet.top}/env-a"\ngit rev-parse --show-toplevel > "{fleet.top}/top-a"\n'
    fleet.task(
        "a",
        told + fleet.waits("a") + fleet.delivers("a"),
        phase="build",
        port="auto",
        deliverables=["a.md"],
        checks=["grep -q done a.md"],
    )
    fleet.task("b", phase="build", dependencies=["a"], deliverables=["b.md"])
    fleet.task("c", phase="ship", deliverables=["c.md"], checks=["test -f b.md"])
    return fleet.write()


def test_two_phases_from_plan_to_the_last_merge(fleet: ScriptedFleet) -> None:
    two_phases(fleet)
    plan = fleet.must("plan", "--json").json()
    assert (plan["schema"], plan["duration_days"], plan["work_days"]) == ("fleet.plan/1", 3, 3)
    assert plan["critical_path"] == ["a", "b", "c"]
    assert fleet.status()["tasks"][0]["state"] == "ready"

    early = fleet("launch", "c")
    assert early.code == 1
    assert "c cannot start yet" in early.stderr
    assert "build" in early.stderr
    assert "--when-ready" in early.stderr
    refused = fleet("launch", "b")
    assert refused.code == 1
    assert "b cannot start yet: it needs a" in refused.stderr
    assert not fleet.ran()

    started = fleet.must("launch", "a", "--json").json()
    assert started["schema"] == "fleet.launch/1"
    assert started["tasks"][0]["state"] == "working"
    session = started["tasks"][0]["session"]
    assert session.startswith("a-1-")
    assert len(session) == len("a-1-") + 6
    assert fleet.sessions() == [session]
    assert fleet.must("launch", "b", "--when-ready").stdout.startswith("b  b  waiting")
    fleet.must("launch", "--all")

    status = fleet.status()
    assert STATUS_KEYS - set(status) == set()
    assert TASK_KEYS - set(status["tasks"][0]) == set()
    assert set(status["tasks"][0]["facts"]) == {"reported", "verified", "accepted", "merged"}
    assert set(status["tasks"][0]["deliverables"][0]) == {"text", "met", "commit", "why"}
    assert set(status["tasks"][0]["checks"][0]) == {"text", "passed", "at_commit"}
    assert set(status["phases"][0]) == {"id", "gate", "missing", "merged_as"}
    assert set(status["coordinator"]) == {"alive", "pid", "host"}
    assert [row["state"] for row in status["tasks"]] == ["working", "waiting", "waiting"]
    assert status["tasks"][0]["pid"]
    assert status["tasks"][0]["session"] == session

    slow = fleet("wait", "a", "--for", "verified", "--timeout", "0.2")
    assert slow.code == 124
    closed = fleet("gate", "build", "--json")
    assert closed.code == 1
    assert closed.json()["gate"] == "closed"
    early_merge = fleet("merge", "build")
    assert early_merge.code == 1
    assert "the gate of build is closed" in early_merge.stderr
    assert "a is verified: not yet" in early_merge.stderr

    fleet.go("a")
    assert fleet.wait("a", "b").code == 0
    seen = until(
        lambda: (got := fleet("gate", "build", "--json")).code == 0 and got.json(), "an open gate"
    )
    assert all(one["met"] for one in seen["conditions"])
    before = fleet.rev()
    landed = fleet.must("merge", "build", "--json").json()
    assert landed["phases"][0]["before"] == before
    assert landed["phases"][0]["commit"] == fleet.rev() == fleet.rev("v1")
    assert fleet.row("a")["state"] == "merged"
    assert fleet.row("a")["facts"]["merged"] is True
    assert fleet.wait("a", "b", state="verified").code == 0  # merged is later on the same line
    assert fleet.wait("c").code == 0  # the next phase was unlocked
    fleet.must("merge", "ship")
    assert sorted(path.name for path in fleet.root.glob("?.md")) == ["a.md", "b.md", "c.md"]
    assert fleet.git("status", "--porcelain") == ""
    assert fleet.ran() == {"a 1": 1, "b 1": 1, "c 1": 1}
    events = fleet.history()
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"] == "run-ended"
    final = fleet.status()
    assert final["done_pct"] == 100
    assert {row["state"] for row in final["tasks"]} == {"merged"}

    told = dict(
        line.split("=", 1) for line in (fleet.top / "env-a").read_text().splitlines() if "=" in line
    )
    row = fleet.row("a")
    assert [told[name] for name in ENV] == [
        str(fleet.root), "plan", "a", "1", "a", row["branch"], row["worktree"],
        str(row["port"]), str(row["port"]), told["FLEET_BRIEF"],
    ]  # fmt: skip
    assert {n for n in told if n.startswith("FLEET_")} - set(ENV) <= {"FLEET_ATTEMPT_KEY"}
    assert told.get("GIT_CEILING_DIRECTORIES")
    assert (fleet.top / "top-a").read_text().strip() == row["worktree"]
    assert "Keep to the rules." in Path(told["FLEET_BRIEF"]).read_text()
    again = fleet("merge")
    assert again.code == 1
    assert "every phase has landed" in again.stderr
    fleet.nothing_runs()
