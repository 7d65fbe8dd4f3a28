"""What a task shows: files and commands judged at the commit, statements kept; what disproves."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.kinds.check.proving import disproved, tries_at
from support.kind_world import KindWorld

WANTED: list[dict[str, Any]] = [
    {"text": "the plan", "path": "PLAN.md"},
    {"text": "all notes", "path": "notes/*.md", "count": 2, "contains": ["seen"]},
    {"text": "loose", "path": "LOOSE.md"},
    {"text": "old", "path": "README.md"},
    {"text": "it counts", "command": "wc -l < PLAN.md"},
    {"text": "it fails", "command": ["sh", "-c", "echo no; exit 3"]},
    {"text": "it meddles", "command": "echo more >> PLAN.md"},
    {"text": "believed"},
    {"text": "shown"},
    {"text": "late"},
    {"text": "outside"},
]
SCRIPT = """
echo one > PLAN.md; mkdir notes; echo seen > notes/a.md; echo seen > notes/b.md
git add .; git commit -qm work
echo two > LOOSE.md; echo three > LATE.md
cat > $(dirname $FLEET_BRIEF)/done.json <<'END'
{0}
END
"""
BACKED = {"shown": "README.md", "late": "LATE.md", "outside": "../x", "unasked": "notes/a.md"}


def test_what_is_shown_is_judged_at_the_commit_and_kept(world: KindWorld) -> None:
    script = SCRIPT.replace("{0}", json.dumps({"output": None, "done": True, "evidence": BACKED}))
    state = world.play(world.plan(*world.task("a", script, check={"evidence": WANTED})))
    check = state.steps["a/check"]
    rows: dict[str, Any] = {one["text"]: one for one in check.evidence["evidence"]}
    met = [text for text, row in rows.items() if row["met"]]
    assert met == ["the plan", "all notes", "it counts", "believed", "shown",
                   "unasked"]  # fmt: skip
    head = world.repo.rev("refs/heads/fleet/a")
    assert {row["commit"] for row in rows.values()} == {head}
    assert rows["the plan"]["digest"] == f"git:{world.repo.rev('fleet/a:PLAN.md')}"
    assert (rows["the plan"]["how"], rows["the plan"]["file"]) == ("file", "PLAN.md")
    assert rows["all notes"]["digest"].startswith("sha256:")
    assert (rows["it counts"]["code"], rows["it counts"]["tail"].strip()) == (0, "1")
    assert (rows["it fails"]["code"], rows["it fails"]["why"]) == (3, "it exited with 3")
    assert rows["it meddles"]["why"] == "it changed tracked files: PLAN.md"
    assert rows["believed"]["how"] == "stated"
    assert rows["shown"]["file"] == rows["old"]["file"] == "README.md"
    assert "as it was at the branch point" in rows["old"]["why"]
    assert rows["late"]["why"] == "LATE.md is there but not committed"
    assert "it must stay inside the worktree" in rows["outside"]["why"]
    assert "evidence 'late': LATE.md is there but not committed" in check.text


def test_a_number_is_held_against_its_bound(world: KindWorld) -> None:
    bound = {"op": "<", "target": 200.0, "unit": "ms", "timeout_s": 20}
    told = {"fine": "echo 199", "slow": "echo p95: 600", "mute": "echo none", "gone": "exit 2"}
    told["meddles"] = "echo 600; git commit -q --allow-empty -m more"
    checks = [{"text": name, "command": one, **bound} for name, one in told.items()]
    state = world.play(world.plan(*world.task("a", "true", check={"checks": checks})))
    rows = {one["text"]: one for one in state.steps["a/check"].evidence["checks"]}
    assert {n: (one["passed"], one["value"], one["met"]) for n, one in rows.items()} == {
        "fine": (True, 199, True), "slow": (False, 600, False),
        "mute": (False, None, None), "gone": (False, None, None),
        "meddles": (False, None, None),
    }  # fmt: skip
    assert rows["slow"]["why"] == "it measured 600 ms; < 200 is wanted"
    assert rows["mute"]["why"] == "it printed no number"
    assert rows["gone"]["why"] == "it exited with 2"


@pytest.mark.parametrize(
    ("row", "says_no"),
    [
        ({"code": 1}, True),
        ({"code": 0}, False),  # it changed something
        ({"code": None}, False),  # not run, or out of time
        ({"code": -9}, False),  # ended from outside
        ({"code": 127}, False),
        ({"code": None, "judge": "qa"}, True),
        ({"code": 0, "target": 1, "met": False}, True),
        ({"code": 0, "target": 1, "met": None}, False),
    ],
)
def test_only_what_decides_disproves(row: dict[str, Any], says_no: bool) -> None:
    told = {"then": [{"adapt": "more"}], "attempts": 2}
    work: Any = SimpleNamespace(params={"proof": told, "attempts": 3})
    rows = [{"passed": True, "code": 0}, {"passed": False, **row}]
    assert disproved(work, [], rows, 2) is says_no
    assert tries_at(work, [], rows) == (2 if says_no else 3)
    assert not disproved(work, [], rows, 1), "it is tried once more"
    assert not disproved(work, ["README.md is missing"], rows, 2), "nothing is shown"
    work.params["proof"]["then"] = []
    assert not disproved(work, [], rows, 2), "nothing follows: it is the ladder's"
