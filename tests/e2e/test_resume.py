"""After a reboot, or when tmux and the coordinator die together: all of it goes on, once each."""

from __future__ import annotations

from datetime import datetime

from support.scripted_fleet import ScriptedFleet, until

NAMES = ("a", "b", "c")


def test_after_a_reboot_resume_starts_every_unfinished_attempt_again_at_once(
    fleet: ScriptedFleet,
) -> None:
    for name in NAMES:
        script = f'echo half >> {name}.txt\n[ "$FLEET_ATTEMPT" = 1 ] && sleep 987\n'
        agent = {"mode": "interactive"} if name == "c" else {}
        told = f"{fleet.waits('go')}{fleet.delivers(name)}"
        fleet.task(name, script + told, agent=agent, deliverables=[f"{name}.md"], attempts=1)
    fleet.task("d", deliverables=["d.md"], dependencies=["a"])
    fleet.write()
    fleet.must("launch", "--all")
    until(lambda: all(f"{name} 1" in fleet.ran() for name in NAMES), "all agents")
    before = {row["id"]: row["session"] for row in fleet.status()["tasks"]}
    fleet.reboot()
    rows = {row["id"]: row for row in fleet.status()["tasks"]}
    assert {rows[name]["state"] for name in NAMES} == {"lost"}
    assert all(rows[name]["evidence"]["doubt"] for name in NAMES)
    assert "lost?" in fleet.must("status").stdout
    said = fleet.must("resume").stdout
    assert said.split() == ["going", "on:", "a,", "b,", "c"]
    until(lambda: all(f"{name} 2" in fleet.ran() for name in NAMES), "all agents again")
    rows = {row["id"]: row for row in fleet.status()["tasks"]}
    events = fleet.history()
    for name in NAMES:
        row, mine = rows[name], [e for e in events if e.get("step") == f"{name}/work"]
        later_ms = max(e["retry_at_ms"] for e in mine if e["event"] == "retry-scheduled")
        again = [e["at"] for e in mine if e["event"] == "attempt-started"][1]
        assert datetime.fromisoformat(again).timestamp() * 1000 < later_ms, "nobody waits a pause"
        assert (row["state"], row["attempt"]) == ("working", 2)
        assert row["session"] != before[name]
        assert (fleet.worktree(name) / f"{name}.txt").read_text() == "half\nhalf\n"
        brief = fleet.state / f"attempts/plan/{name}%2Fwork/2/brief.md"
        assert "it was lost" in brief.read_text()
    assert sorted(fleet.sessions()) == sorted(rows[name]["session"] for name in NAMES)
    fleet.go("go")
    assert fleet.wait("a", "b", "c", "d").code == 0
    assert fleet.ran() == {f"{name} {n}": 1 for name in NAMES for n in (1, 2)} | {"d 1": 1}
    fleet.nothing_runs()


def test_whoever_only_waits_sees_what_a_reboot_ended_go_on(fleet: ScriptedFleet) -> None:
    script = '[ "$FLEET_ATTEMPT" = 1 ] && sleep 986\n'
    fleet.task("a", script + fleet.delivers("a"), deliverables=["a.md"], attempts=1)
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: "a 1" in fleet.ran(), "the agent")
    fleet.reboot()
    assert fleet.wait("a").code == 0
    assert fleet.ran() == {"a 1": 1, "a 2": 1}
