"""The plan changes while it runs: shown, weighed against the envelope, applied whole or not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping

import yaml

from support.scripted_fleet import ScriptedFleet, until

KEEP = 'cp "$FLEET_BRIEF" "{top}/brief-$FLEET_TASK-$FLEET_ATTEMPT"\n'


def crew(fleet: ScriptedFleet, name: str = "crew", roles: str = "") -> None:
    """Declares an agent that commits a file of its task's name."""
    script = 'echo "$FLEET_TASK $FLEET_ATTEMPT" >> "' + str(fleet.ran_path) + '"\n'
    script += 'echo done > "$FLEET_TASK.md"; git add -A; git commit -q -m "$FLEET_TASK"\n'
    told = {"harness": "shell", "args": script} | ({"roles": [roles]} if roles else {})
    fleet.put(f"agents/{name}.yaml", yaml.safe_dump(told))


def change(fleet: ScriptedFleet, name: str, **told: object) -> str:
    """Writes a change beside the repository and returns its path."""
    return str(fleet.put(f"{name}.yaml", yaml.safe_dump(told, sort_keys=False), fleet.top))


def added(name: str, **keys: object) -> dict[str, object]:
    return {"id": name, "agent": "crew", "days": 2, **keys}


def brief(fleet: ScriptedFleet, which: str) -> str:
    return (fleet.top / f"brief-{which}").read_text()


def lives_until(fleet: ScriptedFleet, task: str, env: Mapping[str, str]) -> set[int]:
    """Returns the pids of all coordinators that were there until a task is verified."""
    waiting = subprocess.Popen(
        [sys.executable, "-m", "fleet", "wait", task, "--timeout", "60"],
        cwd=fleet.root,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
    )
    found: set[int] = set()
    while waiting.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            found.add(json.loads((fleet.state / "coordinator.json").read_text())["pid"])
        time.sleep(0.01)
    assert waiting.returncode == 0
    return found


def test_tasks_come_before_running_failed_and_waiting_ones(fleet: ScriptedFleet) -> None:
    keep = KEEP.format(top=fleet.top)
    crew(fleet)
    crew(fleet, "planner", roles="architect")
    first = 'if [ "$FLEET_ATTEMPT" = 1 ]; then\n{then}fi\n'
    half = "echo half > {0}-half.md; git add -A; git commit -q -m half\n"
    fleet.phases("build", "rest")
    fleet.settings["envelope"] = {"max_tasks": 3, "max_days": 4, "agents": ["crew"]}
    fleet.settings["patches"] = {
        "cache": {
            "insert": {"task": {**added("cache"), "agent": "architect"}, "before": "red"},
            "reason": "red needs a cache",
        }
    }
    stuck = first.format(then=half.format("works") + fleet.waits("never"))
    fleet.task(
        "works",
        keep + stuck + fleet.delivers("works"),
        phase="build",
        deliverables=["works.md"],
        checks=["test -e base.md", "test -e works-half.md"],
    )
    fleet.task("left", fleet.waits("left") + fleet.delivers("left"), phase="build")
    fleet.task(
        "red",
        keep + fleet.delivers("red", "$FLEET_ATTEMPT"),
        phase="build",
        checks=["test -e cache.md"],
        attempts=1,
        on_failure=["adapt cache", "ask"],
    )
    fleet.task("behind", dependencies=["works", "left", "red"], phase="build")
    fleet.task("gone", fleet.waits("gone-never"), phase="rest")
    fleet.write()
    assert fleet("adapt", "cache").code == 1  # nothing was launched yet
    assert "would ask; nothing was done" in fleet.must("adapt", "cache", "--dry-run").stdout
    assert fleet.must("check").stdout.strip().endswith("no problems")
    fleet.must("launch", "--all")
    until(lambda: fleet.git("cat-file", "-t", "fleet/works:works-half.md", check=False), "half")
    asked = until(
        lambda: fleet.must("inbox", "--json").json()["questions"], "the approval of a patch"
    )
    assert [one["task"] for one in asked] == ["red"]
    assert "red has failed." in asked[0]["message"]
    (raised,) = [one for one in fleet.history() if one["event"] == "question-raised"]
    assert raised["question"]["about"]["against"] == [
        "agent 'planner' may get no task without approval"
    ]

    # what cannot be: said with its place, and nothing has changed
    wrong = change(
        fleet, "wrong",
        add=[added("works"), {"id": "x", "agent": "crew", "dayz": 1}], drop=["nope"],
    )  # fmt: skip
    told = fleet("adapt", wrong)
    assert (told.code, "wrong.yaml:7:3: unknown key 'dayz'" in told.stderr) == (2, True), told
    wrong = change(
        fleet, "wrong", add=[added("works")], drop=["nope"],
        insert=[{"task": added("y", needs=["behind"]), "before": "works"}],
        needs={"red": {"add": ["zz"]}},
    )  # fmt: skip
    told = fleet("adapt", wrong)
    for problem in ("'works' is there already", "no task 'nope'", "no task 'zz'", "in a circle"):
        assert problem in told.stderr, told.stderr
    base = {"task": added("base"), "before": ["works", "left"]}
    wrong = change(fleet, "base", insert=[base], reason="Both need the base.")
    told = fleet("adapt", wrong)
    assert "task 'works' is running" in told.stderr
    assert "running: {works: stop}" in told.stderr
    wrong = change(fleet, "wrong", drop=["works"], needs={"behind": {"remove": ["works"]}})
    assert "task 'works' is running" in fleet("adapt", wrong).stderr
    assert fleet.ran() == {"works 1": 1, "left 1": 1, "red 1": 1}

    # inside of the envelope: applied at once, also by an agent
    good = change(
        fleet, "base", insert=[base], running={"works": "stop", "left": "leave"},
        reason="Both need the base.",
    )  # fmt: skip
    told = fleet.must("adapt", good, "--dry-run").stdout
    for line in (
        "Both need the base.", "+ base (crew, build, 2 days)", "~ works also needs base",
        "~ behind also needs base", "! works is stopped and goes on behind that",
        "! left goes on", "finish moves from day", "new critical path: base -> works -> behind",
        "would apply; nothing was done",
    ):  # fmt: skip
        assert line in told, told
    inside = {"FLEET_RUN": "plan", "FLEET_TASK": "works", "FLEET_AGENT": "works"}
    assert "does not approve its own" in fleet("adapt", good, "--yes", env=inside).stderr
    told = fleet.must("adapt", good, "--json", env=inside).json()
    assert (told["schema"], told["state"]) == ("fleet.adapt/1", "applied")
    assert told["schedule"]["moved_days"] == 2
    assert fleet.must("adapt", good).stdout.strip().endswith("taken this change up already")

    # the patch of the ladder is outside of it: approved, the failed task begins again behind it
    shown = fleet.must("approve", asked[0]["id"]).stdout
    assert "+ cache (planner, build, 2 days)" in shown
    fleet.go("left")
    assert fleet.wait("behind", timeout_s=60).code == 0
    ran = fleet.ran()
    assert {name: ran[name] for name in ("base 1", "works 2", "left 1", "red 2", "cache 1")} == {
        "base 1": 1, "works 2": 1, "left 1": 1, "red 2": 1, "cache 1": 1,
    }  # fmt: skip
    assert ran["works 3"] == ran["left 2"] == ran["red 3"] == 0
    told = brief(fleet, "works-2")
    assert "The plan has changed" in told
    assert "`base` came before this task" in told
    assert "`base` is done" in told
    assert fleet.git("show", "fleet/behind:base.md") == "done"
    assert fleet.git("cat-file", "-t", "fleet/left:base.md", check=False) == ""

    # dropped while it runs: out of reach, and no gate waits for it
    drop = change(fleet, "drop", drop=["gone"], running={"gone": "stop"}, reason="Nobody wants it.")
    flow = {"FLEET_RUN": "flow", "FLEET_TASK": "a-step", "FLEET_AGENT": "ann"}
    told = fleet.must("adapt", drop, env=flow)
    assert "task 'gone' may not be dropped without approval" in told.stdout
    assert "asked as" in told.stdout
    question = fleet.must("inbox", "--json").json()["questions"][-1]
    assert (question["kind"], question["topic"]) == ("approval", "plan")
    own = fleet("approve", question["id"], env=flow)
    assert "ann asked this itself" in own.stderr
    shown = fleet.must("approve", question["id"], "--dry-run").stdout
    assert "- gone" in shown
    fleet.must("reject", question["id"], "--reason", "perhaps later")
    fleet.must("merge", "build")
    until(lambda: fleet.row("gone")["state"] == "working", "the task of the next phase")
    shown = fleet.must("adapt", drop, "--yes").stdout
    assert "applied as revision" in shown
    until(lambda: not fleet.sessions(), "the end of what was dropped")
    assert fleet.row("gone")["state"] == "unreached"
    revisions = [one for one in fleet.history() if one["event"] == "plan-revised"]
    assert "Both need the base." in [one["patch"]["reason"] for one in revisions]
    assert {one["by"] for one in revisions} >= {"agent:works"}


def test_changes_that_race_crash_and_meet_later_edits_are_each_taken_up_once(
    fleet: ScriptedFleet,
) -> None:
    crew(fleet)
    fleet.settings["envelope"] = {"max_tasks": 9}
    fleet.settings["patches"] = {
        "mend": {"insert": {"task": added("mend"), "before": "red"}, "reason": "Mend it."},
        "over": {"drop": ["last"], "reason": "Enough."},
    }
    fleet.task(
        "red",
        fleet.delivers("red", "$FLEET_ATTEMPT"),
        checks=["test -e mend.md"],
        attempts=1,
        on_failure=["adapt mend", "fail"],
    )
    fleet.task("slow", fleet.waits("slow") + fleet.delivers("slow"))
    fleet.task("last", dependencies=["slow", "red"])
    fleet.write()

    # each life of the coordinator ends before its fifth commit, wherever the change is by then
    dies = {"FLEET_CRASH_AT": "journal.before_commit:5"}
    fleet.must("launch", "--all", env=dies)
    assert len(lives_until(fleet, "red", dies)) > 2, "it died, and so did the next"
    assert {name: count for name, count in fleet.ran().items() if "slow" not in name} == {
        "red 1": 1, "mend 1": 1, "red 2": 1,
    }  # fmt: skip

    # of several at once none is lost, and none is applied to a plan that it was not worked out for
    wanted = [
        change(fleet, f"c{n}", insert={"task": added(f"c{n}"), "after": "slow"}, reason=f"c{n}")
        for n in range(3)
    ]
    racing = [
        subprocess.Popen([sys.executable, "-m", "fleet", "adapt", one], cwd=fleet.root,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for one in (*wanted, wanted[0])
    ]  # fmt: skip
    said = [one.communicate(timeout=60)[0].decode() for one in racing]
    assert [one.returncode for one in racing] == [0] * 4, said
    assert sum("taken this change up already" in one for one in said) == 1, said
    reasons = [one["patch"]["reason"] for one in fleet.history() if one["event"] == "plan-revised"]
    for reason in ("Mend it.", "c0", "c1", "c2"):
        assert reasons.count(reason) == 1, reasons
    told = fleet.must("plan", "--json").json()
    assert {"mend", "c0", "c1", "c2"} <= {one["id"] for one in told["tasks"]}

    # an edit of the files keeps them; one with which a change does not hold is refused, naming it
    path = fleet.root / "tasks/last.md"
    good = path.read_text()
    path.write_text(good.replace("days: 1", "days: 3"))
    until(lambda: "the documents were edited" in str(fleet.history()), "the edit", 15)
    assert {"mend", "c0"} <= {row["id"] for row in fleet.status()["tasks"]}
    (fleet.root / "tasks/slow.md").rename(fleet.top / "slow.md")
    path.write_text(good.replace("- slow\n", ""))
    checked = fleet("check")
    assert checked.code == 2
    first = next(one for one in reasons if one in ("c0", "c1", "c2"))  # of the race
    assert (
        f"the change that was taken up already ({first}): there is no task 'slow'" in checked.stderr
    )
    (fleet.top / "slow.md").rename(fleet.root / "tasks/slow.md")
    path.write_text(good)
    assert fleet.must("check").stdout.strip().endswith("no problems")
    assert {"mend", "c0"} <= {row["id"] for row in fleet.status()["tasks"]}

    # each revision can be looked at, and the journal names who made it and why
    first = fleet.must("plan", "--revision", "1", "--json").json()
    assert [one["id"] for one in first["tasks"]] == ["last", "red", "slow"]
    assert first["revision"]["reason"] == "the start"
    shown = fleet.must("plan", "--revision", str(reasons.index("Mend it.") + 2)).stdout
    assert "Mend it." in shown
    assert "red/adapt" in shown
    assert "mend" in shown
    none = fleet("plan", "--revision", "99")
    assert (none.code, "the plan has no revision 99; there are 1 to" in none.stderr) == (1, True)
    assert "by red/adapt: Mend it." in fleet.must("history", "--width", "200").stdout
    fleet.must("stop", "--all")
