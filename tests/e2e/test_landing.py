"""A phase whose whole is red: who breaks it, what lands, and what is sent back; by hand."""

from __future__ import annotations

from support.scripted_fleet import ScriptedFleet


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


def test_the_rest_lands_and_the_culprit_comes_after(fleet: ScriptedFleet) -> None:
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
    assert fleet.must("merge", "build").code == 0
    assert fleet.git("show", "main:bad.md") == "good"
    words = {row["state"] for row in fleet.status()["tasks"]}
    assert words == {"merged"}
    message = fleet.git("log", "-1", "--format=%B", "main")
    assert "Fleet-Task: bad" in message
    assert "Fleet-Run: plan" in message
    fleet.nothing_runs()


def test_without_the_flag_a_person_is_asked(fleet: ScriptedFleet) -> None:
    broken(fleet)
    before = fleet.rev()
    done = fleet("merge", "build")
    assert done.code == 1
    assert "Land the rest (one, two)?" in " ".join(fleet("inbox").stdout.split())
    assert fleet.rev() == before
    (asked,) = fleet.must("inbox", "--json").json()["questions"]
    assert asked["choices"] == ["land-rest", "rework", "hold"]
    fleet.must("answer", asked["id"], "rework")
    assert fleet.wait("bad").code == 0
    assert fleet.rev() == before
    assert fleet.must("merge", "build").code == 0
    assert fleet.git("show", "main:one.md") == "done"
