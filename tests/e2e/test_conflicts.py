"""Conflicts that are foreseen while agents still work, through the command line."""

from __future__ import annotations

import json

from support.scripted_fleet import ScriptedFleet

LINES = "\n".join(str(n) for n in range(1, 31)) + "\n"


def changes(line: int, text: str, more: str = "") -> str:
    """Returns a script that changes a line of shared.txt, commits, and delivers."""
    return f"sed -i '{line}s/.*/{text}/' shared.txt\n{more}git commit -qam '{text}'\n"


def conflicting(fleet: ScriptedFleet) -> ScriptedFleet:
    fleet.put("shared.txt", LINES)
    for name, line in (("a", 10), ("b", 11), ("c", 25)):
        script = changes(line, f"by {name}") + fleet.delivers(name) + fleet.waits(name)
        fleet.task(name, script, deliverables=[f"{name}.md"])
    return fleet.write()


def test_pairs_that_would_conflict_are_told_with_their_lines(fleet: ScriptedFleet) -> None:
    conflicting(fleet)
    none = fleet("conflicts")
    assert (none.code, none.stdout) == (0, "no branch is live; nothing can conflict with main\n")
    fleet.must("launch", "--all")
    fleet.until_committed("a", "b", "c")

    found = fleet("conflicts", "--json")
    assert found.code == 1
    told = found.json()
    assert (told["schema"], told["base"]["branch"], told["pairs"]) == (
        "fleet.conflicts/1",
        "main",
        6,
    )
    (clash,) = told["conflicts"]
    assert (clash["tasks"], clash["with_base"]) == (["a", "b"], False)
    lines = [{"ours": [10, 10], "theirs": [11, 11]}]
    assert clash["paths"] == [{"path": "shared.txt", "kind": "contents", "lines": lines}]
    shown = fleet("conflicts").stdout
    assert "a and b would conflict:\n    shared.txt: line 10 of a, line 11 of b\n" in shown
    assert [one["tasks"] for one in fleet.status()["conflicts"]] == [["a", "b"]]
    assert "WOULD CONFLICT\n  a and b: shared.txt" in fleet.must("status").stdout
    assert fleet("conflicts", "c").code == 0


def test_only_pairs_whose_head_moved_are_looked_at_again(fleet: ScriptedFleet) -> None:
    conflicting(fleet)
    fleet.must("launch", "--all")
    fleet.until_committed("a", "b", "c")
    fleet("conflicts")
    assert fleet("conflicts", "--json").json()["looked_at"] == 0
    fleet.put("shared.txt", LINES.replace("25", "by hand"))
    fleet.git("commit", "-qam", "by hand")
    moved = fleet("conflicts", "--json").json()
    assert (moved["pairs"], moved["looked_at"]) == (6, 3), "the base's three pairs"
    both = [one for one in moved["conflicts"] if one["with_base"]]
    assert [(one["tasks"], [p["path"] for p in one["paths"]]) for one in both] == [
        (["c"], ["shared.txt"])
    ]
    assert "c and main would conflict" in fleet("conflicts").stdout


def test_what_a_third_branch_has_resolved_conflicts_no_more(fleet: ScriptedFleet) -> None:
    conflicting(fleet)
    fleet.must("launch", "--all")
    fleet.until_committed("a", "b", "c")
    worktree = fleet.worktree("c")
    branches = {name: fleet.row(name)["branch"] for name in ("a", "b")}

    def told() -> list[list[str]]:
        found = [one["tasks"] for one in fleet("conflicts", "--json").json()["conflicts"]]
        assert [one["tasks"] for one in fleet.status()["conflicts"]] == found
        return found

    assert told() == [["a", "b"]]
    fleet.git("merge", "-q", "--no-edit", branches["a"], cwd=worktree)
    fleet.git("merge", "-q", "--no-edit", "-X", "theirs", branches["b"], cwd=worktree)
    assert told() == []
    fleet.put("more.txt", "more")
    fleet.git("add", "more.txt")
    fleet.git("commit", "-qm", "the base moves on")
    assert told() == []
    fleet.git("reset", "-q", "--hard", "HEAD^", cwd=worktree)
    assert told()[0] == ["a", "b"]


def test_a_look_touches_nothing(fleet: ScriptedFleet) -> None:
    conflicting(fleet)
    fleet.must("launch", "--all")
    fleet.until_committed("a", "b", "c")

    def seen() -> list[str]:
        asked = ("for-each-ref", "count-objects -v", "status --porcelain", "worktree list")
        return [fleet.git(*words.split()) for words in asked]

    before = seen()
    fleet("conflicts")
    assert seen() == before


def test_broken_answers_are_looked_up_anew(fleet: ScriptedFleet) -> None:
    conflicting(fleet)
    fleet.must("launch", "--all")
    fleet.until_committed("a", "b", "c")
    first = fleet("conflicts", "--json").json()
    for text in ("", "[]", json.dumps({"x": 1}), "{"):
        (fleet.state / "cache" / "conflicts.json").write_text(text)
        assert fleet("conflicts", "--json").json() == first


def test_tasks_that_own_the_same_files_are_warned_of_before_launch(fleet: ScriptedFleet) -> None:
    for name in ("a", "b"):
        fleet.task(name, deliverables=[f"{name}.md"], agent={"owns": ["src/api/**", f"{name}.md"]})
    fleet.task("c", dependencies=["a", "b"], agent={"owns": ["src/**"]})
    fleet.write()
    warned = fleet.must("plan", "--json").json()["warnings"]
    assert [one["text"] for one in warned] == [
        "a and b may run side by side, and both are to write 'src/api/**'"
    ]
    assert warned[0]["place"].startswith("agents/a.yaml:")
    told = fleet("conflicts")
    assert told.code == 0
    assert "a and b may run side by side, and both are to write src/api/**" in told.stdout


def test_what_was_often_changed_together_is_warned_of_before_launch(fleet: ScriptedFleet) -> None:
    for name in ("api", "web", "docs"):
        fleet.task(name, deliverables=[f"{name}.md"], agent={"owns": [f"{name}/**"]})
    for number in range(4):
        fleet.put("api/routes.py", f"{number}\n")
        fleet.put("web/client.js", f"{number}\n")
        fleet.git("add", "-A")
        fleet.git("commit", "-qm", f"both {number}")
    fleet.put("docs/a.md", "a\n")
    fleet.write()
    warned = fleet.must("plan", "--json").json()["warnings"]
    (one,) = [one["text"] for one in warned]
    assert one.startswith("api and web may run side by side, but 4 of the last ")
    assert one.endswith("commits changed files of both, such as api/routes.py with web/client.js")
    assert warned[0]["place"].startswith("agents/api.yaml:")
    assert "4 of the last" in " ".join(fleet.must("plan").stdout.split())
