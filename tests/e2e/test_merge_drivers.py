"""Merge drivers that the user declares are obeyed wherever fleet merges; nobody else's are."""

from __future__ import annotations

import pytest

from support.scripted_fleet import ScriptedFleet

LINES = "\n".join(str(n) for n in range(1, 31)) + "\n"
DECLARED = """\
CHANGES merge=union
*.lock merge=join
whole.txt -merge
"""


def side(name: str, line: int, more: str = "") -> str:
    """Returns a script that changes each file in its own way."""
    return (
        f"echo 'by {name}' >> CHANGES\necho {name} > sub/deps.lock\n"
        f"sed -i '{line}s/.*/{name}/' whole.txt\n{more}git add -A\ngit commit -qm {name}\n"
    )


@pytest.fixture
def two(fleet: ScriptedFleet) -> ScriptedFleet:
    """A repository with attributes at its top and in a folder, whose driver notes that it ran."""
    driver = f"cat %A %B >> {fleet.top}/driven; printf 'joined\\n' > %A"
    fleet.git("config", "merge.join.driver", driver)
    fleet.put(".gitattributes", DECLARED)
    fleet.put("sub/.gitattributes", "notes.txt merge=union\n")
    fleet.put("sub/notes.txt", "")
    fleet.put("CHANGES", "")
    fleet.put("sub/deps.lock", "none\n")
    fleet.put("whole.txt", LINES)
    return fleet


def clashing(fleet: ScriptedFleet) -> list[str]:
    found = fleet("conflicts", "--json").json()["conflicts"]
    return [path["path"] for one in found for path in one["paths"]]


def test_drivers_run_and_what_is_not_to_be_merged_conflicts(two: ScriptedFleet) -> None:
    notes = "echo {0} >> sub/notes.txt\n"
    for name, line in (("a", 2), ("b", 29)):
        script = side(name, line, notes.format(name))
        two.task(name, script + two.delivers(name), phase="p", deliverables=[f"{name}.md"])
    last = "test -s sub/notes.txt\n"
    two.task("c", last + two.delivers("c"), dependencies=["a", "b"], phase="q",
             deliverables=["c.md"])  # fmt: skip
    two.phases("p", "q")
    two.write()
    two.must("launch", "a", "b")
    assert two.wait("a", "b").code == 0
    assert clashing(two) == ["whole.txt"]
    refused = two("merge", "p")
    assert (refused.code, "whole.txt" in refused.stdout) == (1, True)

    # What the base declares counts from its next commit on, also for what was foreseen before.
    two.put(".gitattributes", DECLARED.replace("whole.txt -merge\n", ""))
    two.git("commit", "-qam", "merge it")
    assert clashing(two) == []
    two.must("merge", "p")
    assert sorted(two.git("show", "main:CHANGES").splitlines()) == ["by a", "by b"]
    assert sorted(two.git("show", "main:sub/notes.txt").splitlines()) == ["a", "b"]
    assert two.git("show", "main:sub/deps.lock") == "joined"
    assert set((two.top / "driven").read_text().splitlines()) == {"a", "b"}
    assert two.git("status", "--porcelain") == ""
    two.must("launch", "c")
    assert two.wait("c").code == 0
    two.must("undo", "p", "--yes")
    assert two.git("show", "main:CHANGES") == ""
    two.nothing_runs()


def test_what_a_task_declares_counts_only_once_it_has_landed(fleet: ScriptedFleet) -> None:
    fleet.put("CHANGES", "none\n")
    mine = "echo 'CHANGES merge=union' > .gitattributes\n"
    for name in ("a", "b"):
        script = f"{mine}echo {name} > CHANGES\ngit add -A\ngit commit -qm {name}\n"
        fleet.task(name, script + fleet.delivers(name), phase="p", deliverables=[f"{name}.md"])
    fleet.phases("p")
    fleet.write()
    fleet.must("launch", "--all")
    assert fleet.wait("a", "b").code == 0
    assert clashing(fleet) == ["CHANGES"]
    before = fleet.rev()
    refused = fleet("merge", "p")
    assert (refused.code, "CHANGES" in refused.stdout, fleet.rev()) == (1, True, before)
