"""A phase whose whole is red: who breaks it, what lands, and what is sent back; by hand."""

from __future__ import annotations

from hashlib import sha256

import pytest

from support.scripted_fleet import ScriptedFleet, until


def broken(fleet: ScriptedFleet) -> ScriptedFleet:
    """Three tasks, of which `bad` breaks the check of the phase until it is sent back."""
    mends = "if [ -e bad.md ]; then echo good > bad.md; else echo bad > bad.md; fi\n"
    fleet.phases({"id": "build", "checks": ["! grep -s bad bad.md"]})
    fleet.task("one", phase="build", deliverables=["one.md"])
    fleet.task(
        "bad", f"{mends}git add -A\ngit commit -qm bad\n", phase="build", deliverables=["bad.md"]
    )
    fleet.task("two", phase="build", deliverables=["two.md"])
    fleet.write()
    fleet.must("launch", "--all")
    assert fleet.wait("one", "bad", "two").code == 0
    return fleet


@pytest.mark.parametrize("undone", ["", "moved", "reverted"])
def test_the_rest_lands_and_the_culprit_comes_after(fleet: ScriptedFleet, undone: str) -> None:
    broken(fleet)
    before = fleet.rev()
    done = fleet("merge", "build", "--land-rest")
    assert done.code == 1
    assert "✘ build: landed in part" in done.stdout
    assert "bad breaks it; bad is sent back to work, the rest landed as" in " ".join(
        done.stdout.split()
    )
    assert sorted(fleet.git("ls-tree", "--name-only", "main").split())[-2:] == ["tasks", "two.md"]
    assert "bad.md" not in fleet.git("ls-tree", "--name-only", "main").split()
    assert fleet.git("rev-parse", "main^{tree}") != fleet.git("rev-parse", f"{before}^{{tree}}")
    assert {row["id"]: row["state"] for row in fleet.status()["tasks"]}["one"] == "merged"
    assert fleet.wait("bad").code == 0
    assert fleet.row("bad")["attempt"] == 2
    if undone:
        take_a_part_back(fleet, undone)
    (phase,) = fleet.status()["phases"]
    assert (phase["gate"], phase["missing"]) == ("open", []), "what was red is mended"
    assert fleet.must("merge", "build").code == 0
    assert fleet.git("show", "main:bad.md") == "good"
    assert fleet.git("show", "main:one.md") == fleet.git("show", "main:two.md") == "done"
    words = {row["state"] for row in fleet.status()["tasks"]}
    assert words == {"merged"}
    message = fleet.git("log", "-1", "--format=%B", "main")
    assert f"Fleet-Task: {'two' if undone == 'moved' else 'bad'}" in message
    assert "Fleet-Run: plan" in message
    fleet.nothing_runs()


def take_a_part_back(fleet: ScriptedFleet, undone: str) -> None:
    refused = fleet("undo", "build", "--yes")
    assert "a part of it has: fleet undo, without a name" in " ".join(refused.stderr.split())
    if undone == "reverted":
        fleet.git("commit", "-q", "--allow-empty", "-m", "built upon it")
    done = fleet.must("undo", "--yes")
    assert "lands no longer: one, two" in done.stdout
    assert "two.md" not in fleet.git("ls-tree", "--name-only", "main").split()
    words = {row["id"]: row["state"] for row in fleet.status()["tasks"]}
    assert words == dict.fromkeys(("one", "bad", "two"), "accepted"), "nothing is merged any more"


@pytest.mark.parametrize("between", ["", "by hand"])
def test_a_phase_that_landed_in_two_moves_is_taken_back_as_a_whole(
    fleet: ScriptedFleet, between: str
) -> None:
    broken(fleet)
    before = fleet.rev("main^{tree}")
    assert fleet("merge", "build", "--land-rest").code == 1
    if between:
        fleet.put("between.txt", between)
        fleet.git("add", "between.txt")
        fleet.git("commit", "-qm", between)
    assert fleet.wait("bad").code == 0
    fleet.must("merge", "build")
    landed = fleet.rev("main^{tree}")
    shown = fleet.must("undo", "build", "--dry-run").stdout
    assert "lands no longer: bad, one, two" in shown
    assert ("main has moved on between its 2 landings" in shown) == bool(between)
    assert between not in shown or not between, "the commit of others stays"
    done = fleet.must("undo", "build", "--yes", "--json").json()["undone"][0]
    assert done["how"] == ("reverted" if between else "moved")
    files = fleet.git("ls-tree", "--name-only", "main").split()
    assert not {"one.md", "two.md", "bad.md"} & set(files)
    assert ("between.txt" in files) == bool(between)
    assert between or fleet.rev("main^{tree}") == before
    words = {row["state"] for row in fleet.status()["tasks"]}
    assert words == {"accepted"}, "nothing is merged any more"
    fleet.must("merge", "build")
    assert fleet.rev("main^{tree}") == landed
    assert {row["state"] for row in fleet.status()["tasks"]} == {"merged"}
    fleet.nothing_runs()


def test_without_the_flag_a_person_is_asked(fleet: ScriptedFleet) -> None:
    broken(fleet)
    before = fleet.rev()
    done = fleet("merge", "build")
    assert done.code == 1
    assert "next: fleet inbox   fleet merge build --land-rest" in done.stdout
    assert "Land the rest (one, two)?" in " ".join(fleet("inbox").stdout.split())
    assert fleet.rev() == before
    (asked,) = fleet.must("inbox", "--json").json()["questions"]
    assert asked["choices"] == ["land-rest", "rework", "hold"]
    fleet.must("answer", asked["id"], "rework")
    until(lambda: fleet.row("bad")["attempt"] == 2, "the rework")
    assert fleet.wait("bad").code == 0
    assert fleet.rev() == before
    assert fleet.must("merge", "build").code == 0
    assert fleet.git("show", "main:one.md") == "done"


def test_the_gate_is_a_manifest_of_what_the_phase_rests_on(fleet: ScriptedFleet) -> None:
    fleet.phases({"id": "p", "approve": True, "checks": ["echo whole"]})
    metric = {"name": "size", "target": "<100", "unit": "B", "measure": "wc -c < a.md"}
    fleet.task(
        "a",
        phase="p",
        deliverables=["a.md"],
        checks=["echo looked; grep done a.md"],
        metrics=[metric],
    )
    fleet.write()
    fleet.must("launch", "--all")
    assert fleet.wait("a").code == 0

    def manifest() -> dict[str, dict[str, object]]:
        found = fleet("gate", "p", "--json").json()
        return {one["text"]: one for one in found["conditions"]}

    until(lambda: fleet.must("inbox", "--json").json()["questions"], "the gate's question")
    head = fleet.rev("fleet/a")
    told = manifest()
    made = told["a: a.md"]
    assert (made["met"], made["commit"]) == (True, head)
    assert made["digest"] == f"git:{fleet.git('rev-parse', 'fleet/a:a.md')}"
    assert made["by"] == "plan/a/check/1"
    looked = told["a: check echo looked; grep done a.md"]
    assert (
        looked["digest"]
        == f"sha256:{sha256(b'looked' + bytes([10]) + b'done' + bytes([10])).hexdigest()}"
    )
    assert str(looked["at"]).endswith("Z")
    (question,) = fleet.must("inbox", "--json").json()["questions"]
    fleet.must("approve", question["id"])
    until(lambda: manifest()["approved"]["met"], "an open gate")

    fleet.put("a.md", "done, later\n", fleet.worktree("a"))
    fleet.git("commit", "-qam", "later", cwd=fleet.worktree("a"))
    gone = manifest()
    assert not gone["a: a.md"]["met"]
    assert "its branch has moved" in str(gone["a: a.md"]["evidence"])

    assert fleet("merge", "p").code == 1, "approved was another commit"
    (question,) = fleet.must("inbox", "--json").json()["questions"]
    assert "for other commits than these" in str(manifest()["approved"]["evidence"])
    fleet.must("approve", question["id"])
    until(lambda: manifest()["approved"]["met"], "a gate that is open again")
    fleet.must("merge", "p")
    landed = fleet.must("gate", "p", "--json").json()
    assert [one["text"] for one in landed["conditions"]][-1] == "p: check echo whole"
    assert landed["metrics"][0]["value"] == 12
    page = fleet.must("gate", "p", "--export").stdout
    assert page.startswith(f"# Gate p: open\n\nRun plan, landed as {fleet.rev()[:10]}.")
    assert "| a: size | 12 B | \\<100 |" in page


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_a_conflict_is_resolved_by_an_agent_as_a_task(fleet: ScriptedFleet, strategy: str) -> None:
    fleet.phases({"id": "p", "strategy": strategy, "checks": ["test -f one.md"]})
    for name in ("one", "two"):
        script = f"echo {name} > same.txt\ngit add -A\n{fleet.delivers(name)}"
        fleet.task(name, script, phase="p", deliverables=[f"{name}.md"], body=f"Say {name}.")
    joins = 'git status > seen; cp "$FLEET_BRIEF" brief.seen; cat same.txt > conflict.seen\n'
    joins += "(echo one; echo two) > same.txt\ngit add same.txt\ngit commit -q --no-edit\n"
    fleet.task("joiner", joins, phase="later")
    fleet.settings["phases"].append({"id": "later"})
    fleet.put(".gitignore", "*seen\n")
    fleet.write()
    fleet.must("launch", "one", "two")
    assert fleet.wait("one", "two").code == 0
    before = fleet.rev()

    assert fleet("conflicts").code == 1
    unknown = fleet("merge", "p", "--resolve", "joinr")
    assert (unknown.code, "joiner" in unknown.stderr) == (1, True)
    done = fleet("merge", "p", "--resolve", "joiner")
    assert done.code == 1
    assert "joiner resolves it as task p-resolve; then: fleet merge p" in " ".join(
        done.stdout.split()
    )
    assert fleet.rev() == before
    assert fleet.wait("p-resolve").code == 0
    assert fleet.must("conflicts", "--json").json()["conflicts"] == [], "it holds both"
    place = fleet.root.parent / "repo.worktrees/p-resolve"
    assert "two conflicts with one" in (place / "brief.seen").read_text()
    assert "<<<<<<< " in (place / "conflict.seen").read_text()
    assert "You have unmerged paths" in (place / "seen").read_text()
    assert {row["text"]: row["passed"] for row in fleet.row("p-resolve")["checks"]} == {
        "holds two": True, "holds one": True, "no conflict is left": True,
    }  # fmt: skip

    # An edit of the phase, and of a task that is done, leaves the resolution where it is.
    fleet.settings["phases"][0]["checks"] = ["test -f two.md"]
    fleet.put("tasks/one.md", (fleet.root / "tasks/one.md").read_text() + "\nSay it well.\n")
    fleet.write()
    assert fleet.must("merge", "p").code == 0
    checked = [one["text"] for one in fleet.must("gate", "p", "--json").json()["conditions"]]
    assert checked[-1] == "p: check test -f two.md"
    assert fleet.git("show", "main:same.txt") == "one\ntwo"
    assert fleet.git("show", "main:two.md") == "done"
    words = {row["id"]: row["state"] for row in fleet.status()["tasks"]}
    assert {words[name] for name in ("one", "two", "p-resolve")} == {"merged"}
    assert fleet.git("status", "--porcelain") == ""


def test_a_resolution_that_leaves_markers_or_drops_a_side_is_no_resolution(
    fleet: ScriptedFleet,
) -> None:
    fleet.phases("p", "later")
    for name in ("one", "two"):
        script = f"echo {name} > same.txt\ngit add -A\n{fleet.delivers(name)}"
        fleet.task(name, script, phase="p", deliverables=[f"{name}.md"])
    bad = 'if [ "$FLEET_ATTEMPT" = 1 ]; then git add -A; git commit -qm marked\n'
    bad += "else git reset -q --hard HEAD^; fi\n"
    fleet.task("joiner", bad, phase="later", agent={"limits": {"attempts": 2}})
    fleet.write()
    fleet.must("launch", "one", "two")
    assert fleet.wait("one", "two").code == 0
    fleet("merge", "p", "--resolve", "joiner")
    until(lambda: fleet.must("inbox", "--json").json()["questions"], "a person is asked")
    red = [one for one in fleet.history() if one["event"] == "attempt-ended"
           and one["step"].startswith("p-resolve/check")]  # fmt: skip
    failed = [
        [check["text"] for check in one["outcome"]["evidence"]["checks"] if not check["passed"]]
        for one in red
    ]
    assert failed == [["no conflict is left"], ["holds two"]]
    assert fleet("merge", "p").code == 1
