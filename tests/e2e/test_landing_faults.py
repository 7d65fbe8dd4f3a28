"""What may go wrong at a landing: base only ever holds judged trees, nothing is lost, the error is
clear. Here is what needs the whole fleet; what is shown elsewhere:

- SIGKILL at each step: `support.crash_walks` names who dies where, and the first test here fails
  for a point that nobody dies at; `tests/histories` dies at random.
- Base moved by a person: test_repository (`..._while_the_phase_is_judged`), tests/kinds/test_merge
  (`..._moves_during_the_check_...`, `..._given_up_after_three_rounds`), tests/adapters/git/
  test_landing (`..._moves_between_look_and_move_is_kept`, `test_twenty_landers_at_once_...`).
- Disk full; filters such as that of git-lfs, absent or there; submodules; CRLF; case-only renames;
  files for folders; 10 MB; names of every sort: tests/adapters/git/test_landing_contents. A full
  disk under the whole fleet: test_damage.
- Hooks that refuse, hang, or change the tree: tests/kinds/test_landing_hooks, test_publish, and
  `..._hook_that_hangs_...` of tests/adapters/git/test_landing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fleet.adapters.crash import CRASH_POINTS
from support.crash_walks import WALKS
from support.scripted_fleet import ScriptedFleet

NAME = os.fsdecode(b"sp ace\n\xff'\"$(touch pwned)`touch pwned`")


def test_somebody_dies_at_each_crash_point() -> None:
    walked = {point for walk in WALKS.values() for point in walk}
    assert walked == set(CRASH_POINTS)
    tests = "\n".join(p.read_text() for p in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name in WALKS if tests.count(name) < 2] == [], "imported and walked"


def test_two_merges_at_once_land_once(fleet: ScriptedFleet) -> None:
    fleet.phases({"id": "p", "checks": ["sleep 0.5"]})
    fleet.task("a", phase="p", deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    argv = [sys.executable, "-m", "fleet", "merge", "p", "--json"]
    both = [subprocess.Popen(argv, cwd=fleet.root, stdout=subprocess.PIPE) for _ in range(2)]
    said = [json.loads(one.communicate(timeout=60)[0])["phases"] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert said[0] == said[1]
    assert said[0][0]["commit"] == fleet.rev()
    assert fleet.git("log", "--first-parent", "--format=%s", "main").startswith("Merge a (p)\nthe")
    begun = [one for one in fleet.history() if one["event"] == "attempt-started"]
    assert [one["attempt"] for one in begun if one["step"] == "p/merge"] == [1]
    assert fleet.git("status", "--porcelain") == ""


def test_a_hostile_name_conflicts_is_in_the_way_and_lands(fleet: ScriptedFleet) -> None:
    fleet.phases({"id": "p", "checks": ["test ! -e pwned"]})
    for name in ("one", "two"):
        file = fleet.top / f"{name}.py"
        file.write_text(f"open({NAME!r}, 'w').write({name!r})\n", "utf-8", "surrogateescape")
        script = f'{sys.executable} "{file}"\ngit add -A\n{fleet.delivers(name)}'
        fleet.task(name, script, phase="p", deliverables=[f"{name}.md"])
    fleet.write()
    fleet.must("launch", "one", "two")
    assert fleet.wait("one", "two").code == 0
    before = fleet.rev()

    told = fleet("conflicts")
    assert "sp ace" in told.stdout, told
    (found,) = fleet("conflicts", "--json").json()["conflicts"]
    assert found["paths"][0]["path"] == NAME
    refused = fleet("merge", "p")
    assert (refused.code, fleet.rev()) == (1, before)
    assert "two conflicts with one in sp ace" in " ".join(refused.stdout.split())

    place = fleet.worktree("two")
    fleet.git("merge", "-q", "-X", "ours", "--no-edit", "fleet/one", cwd=place)
    (fleet.root / NAME).write_text("mine\n")
    refused = fleet("merge", "p")
    assert (refused.code, fleet.rev()) == (1, before)
    assert "would overwrite your uncommitted changes" in " ".join(refused.stdout.split())
    (again,) = fleet("merge", "p", "--json").json()["phases"]
    assert again["evidence"]["overwrites"] == [NAME]
    assert (fleet.root / NAME).read_text() == "mine\n"
    for said in (refused.stdout, told.stdout, fleet("status").stdout):
        assert all(sign.isprintable() or sign == "\n" for sign in said)

    (fleet.root / NAME).unlink()
    fleet.must("merge", "p")
    assert (fleet.root / NAME).read_text() == "two"
    assert fleet.git("status", "--porcelain") == ""
    fleet.must("undo", "p", "--yes")
    assert not (fleet.root / NAME).exists()
    assert fleet.rev() == before
    fleet.must("clean", "--force")
    assert not place.exists()
    assert fleet.must("rescue", "list", "--json").json()["rescues"]
    assert not list(fleet.top.rglob("pwned"))
