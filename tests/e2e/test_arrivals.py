"""Edits of the documents that land: a person's count at once, an agent's are asked about."""

from __future__ import annotations

from support.scripted_fleet import ScriptedFleet, until

HEAD = "---\\nagent: a\\nphase: q\\ndeliverables: [{0}.md]\\n---\\nMore.\\n"
MORE = f'printf -- "{HEAD}" > tasks/{{0}}.md\n'


def tasks(fleet: ScriptedFleet) -> set[str]:
    return {one["id"] for one in fleet.status()["tasks"]}


def test_an_edit_that_lands_is_a_proposal_and_one_by_hand_counts_at_once(
    fleet: ScriptedFleet,
) -> None:
    writes = 'case "$FLEET_TASK" in a) n=first ;; b) n=second ;; *) n= ;; esac\n'
    writes += f'[ -z "$n" ] || {{\n{MORE.format("$n")}}}\n'
    writes += 'echo x > "$FLEET_TASK.md"; git add -A; git commit -qm "$FLEET_TASK"\n'
    fleet.phases({"id": "o", "merge": "auto"}, {"id": "p", "merge": "auto"}, "q")
    fleet.task("a", writes, phase="o", deliverables=["a.md"])
    fleet.task("b", writes, phase="p", deliverables=["b.md"])
    fleet.task("c", fleet.waits("c") + writes, phase="q", deliverables=["c.md"])
    fleet.write()
    fleet("launch", "a", "c", "--when-ready")
    question = fleet.asked("tasks/first.md")
    assert "What has landed changes the plan" in question["message"]
    assert "+ first/work" in question["message"]
    assert fleet.git("show", "main:tasks/first.md"), "it has landed"
    assert (fleet.root / "tasks/first.md").exists(), "and the checkout has followed"
    # nobody takes it up: not the coordinator, not a launch, not a change of the plan
    fleet("launch", "c", "--when-ready")
    fleet.put("change.yaml", "needs: {c: {add: [b]}}\nreason: in turn", fleet.top)
    fleet.must("adapt", fleet.top / "change.yaml", "--yes")
    assert tasks(fleet) == {"a", "b", "c"}
    fleet.must("approve", question["id"])
    assert tasks(fleet) == {"a", "b", "c", "first"}
    assert "b" in " ".join(fleet.row("c")["waiting_for"]), "the change holds beside it"

    # rejected, it stays in the files and out of the plan; what a person writes then is another edit
    fleet("launch", "b", "--when-ready")
    question = fleet.asked("tasks/second.md")
    fleet.must("reject", question["id"], "--reason", "not now")
    fleet("launch", "c", "--when-ready")
    assert tasks(fleet) == {"a", "b", "c", "first"}
    fleet.put("tasks/third.md", "---\nagent: a\nphase: q\ndeliverables: [third.md]\n---\nMine.\n")
    until(lambda: "third" in tasks(fleet), "an edit by hand beside what was rejected")
    assert tasks(fleet) == {"a", "b", "c", "first", "third"}
    assert not fleet.must("inbox", "--json").json()["questions"], "and nobody is asked once more"
    path = fleet.root / "tasks/second.md"
    path.write_text(path.read_text() + "\nAs I want it.\n")
    until(lambda: "second" in tasks(fleet), "the edit by hand")
    assert not [one for one in fleet.status()["questions"] if "landed" in one["message"]]
    fleet.must("down", "--all")
