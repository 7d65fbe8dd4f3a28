"""A repository that people work in: dirty checkouts, moved bases, things in the way."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.scripted_fleet import Cli, ScriptedFleet, until


def open_gate(fleet: ScriptedFleet, phase: str) -> None:
    until(lambda: fleet("gate", phase, "--json").code == 0, f"the gate of {phase}")


def test_a_landing_keeps_what_is_not_committed_or_is_refused_with_the_names(
    fleet: ScriptedFleet,
) -> None:
    fleet.put("shared.txt", "one\n")
    fleet.phases("p")
    change = "echo two >> shared.txt\ngit commit -qam change\n"
    fleet.task("a", change, phase="p", deliverables=["shared.txt"])
    fleet.write()
    fleet.put("README.md", "mine, not committed\n")
    fleet.put("new note.txt", "untracked\n")
    fleet.put("staged.txt", "staged\n")
    fleet.git("add", "staged.txt")
    fleet.put("shared.txt", "one\nmine\n")
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    open_gate(fleet, "p")
    before, seen = fleet.rev(), fleet.fingerprint()
    refused = fleet("merge", "p")
    assert refused.code == 1
    said = refused.stdout + refused.stderr
    assert "shared.txt" in said, said
    assert "overwrite" in said, said
    assert fleet.rev() == before
    assert fleet.fingerprint() == seen
    dry = fleet.must("merge", "p", "--dry-run")
    assert "would" in dry.stdout
    assert fleet.fingerprint() == seen

    fleet.put("shared.txt", "one\n")
    fleet.must("merge", "p")
    assert fleet.rev() != before
    assert (fleet.root / "shared.txt").read_text() == "one\ntwo\n"
    assert (fleet.root / "README.md").read_text() == "mine, not committed\n"
    status = [line.strip() for line in fleet.git("status", "--porcelain").splitlines()]
    assert sorted(status) == ['?? "new note.txt"', "A  staged.txt", "M README.md"]
    undo = fleet.git("for-each-ref", "--format=%(*objectname)", "refs/fleet/undo/")
    assert before in undo


def test_a_base_that_somebody_moves_while_the_phase_is_judged(fleet: ScriptedFleet) -> None:
    mark = fleet.top / "moved"
    move = (
        f'if [ ! -e "{mark}" ]; then touch "{mark}"; cd "{fleet.root}" && '
        "echo theirs > theirs.txt && git add theirs.txt && git commit -qm theirs; fi"
    )
    fleet.phases({"id": "p", "checks": [move, "test -f a.md"]})
    fleet.task("a", phase="p", deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    open_gate(fleet, "p")
    fleet.must("merge", "p")
    assert (fleet.root / "a.md").exists()
    assert (fleet.root / "theirs.txt").exists()
    assert fleet.git("log", "--format=%s", "main").count("theirs") == 1
    assert fleet.git("show", "main:theirs.txt") == "theirs"
    assert fleet.git("status", "--porcelain") == ""


def test_two_tasks_that_conflict_leave_the_base_and_land_after_a_fix(
    fleet: ScriptedFleet,
) -> None:
    fleet.put("shared.txt", "one\n")
    fleet.phases("p")
    for name in ("a", "b"):
        change = f"echo {name} > shared.txt\ngit commit -qam change\n"
        fleet.task(name, change, phase="p", deliverables=["shared.txt"])
    fleet.write()
    fleet.must("launch", "--all")
    assert fleet.wait("a", "b").code == 0
    open_gate(fleet, "p")
    before, seen = fleet.rev(), fleet.fingerprint()
    refused = fleet("merge", "p")
    assert refused.code == 1
    said = refused.stdout + refused.stderr
    assert "b conflicts with a in shared.txt" in said, said
    assert "base is" in said
    assert fleet.rev() == before
    assert fleet.fingerprint() == seen
    as_json = fleet("merge", "p", "--json")
    assert as_json.code == 1
    assert as_json.json()["phases"][0]["evidence"]["conflict"]["paths"] == ["shared.txt"]
    closed = until(
        lambda: (found := fleet("gate", "p", "--json").json())["missing"] and found, "a closed gate"
    )
    assert "b conflicts with a in shared.txt" in str(closed["conditions"])

    place = fleet.worktree("b")
    fleet.git("merge", "-q", fleet.row("a")["branch"], cwd=place, check=False)
    fleet.put("shared.txt", "a and b\n", place)
    fleet.git("commit", "-qam", "both", cwd=place)
    until(lambda: fleet("merge", "p").code == 0, "the landing after the fix", 20)
    assert (fleet.root / "shared.txt").read_text() == "a and b\n"
    assert fleet.ran() == {"a 1": 1, "b 1": 1}


def test_a_red_check_on_the_combined_tree_lands_nothing(fleet: ScriptedFleet) -> None:
    fleet.phases({"id": "p", "checks": ["echo both are there; ! test -f a.md -a -f b.md"]})
    for name in ("a", "b"):
        fleet.task(name, phase="p", deliverables=[f"{name}.md"], checks=[f"test -f {name}.md"])
    fleet.write()
    fleet.must("launch", "--phase", "p")
    assert fleet.wait("a", "b").code == 0
    open_gate(fleet, "p")
    seen = fleet.fingerprint()
    refused = fleet("merge", "p")
    said = refused.stdout + refused.stderr
    assert refused.code == 1, said
    assert "both are there" in said, said
    assert "a and b break it together" in " ".join(said.split())
    assert "base is" in said
    assert fleet.fingerprint() == seen
    assert not list(fleet.root.parent.glob("repo.worktrees/.trial*"))


def test_branches_and_folders_in_the_way_are_named_and_kept(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    for name in ("held", "own", "folder", "fine"):
        fleet.task(name, deliverables=[f"{name}.md"])
    fleet.write()
    fleet.git("worktree", "add", "-q", "-b", "fleet/held", str(fleet.top / "elsewhere"))
    fleet.git("worktree", "add", "-q", "-b", "fleet/own", str(fleet.top / "scratch"))
    fleet.put("work.txt", "precious", fleet.top / "scratch")
    fleet.git("add", "-A", cwd=fleet.top / "scratch")
    fleet.git("commit", "-q", "-m", "precious", cwd=fleet.top / "scratch")
    fleet.git("worktree", "remove", str(fleet.top / "scratch"))
    own = fleet.rev("fleet/own")
    kept = fleet.put("keep.txt", "precious", fleet.worktree("folder"))
    untouched()
    done = fleet("launch", "--all", timeout_s=90)
    assert done.code == 1
    until(lambda: fleet.status()["inbox"] == 3, "three questions")
    rows = {row["id"]: row for row in fleet.status()["tasks"]}
    assert {rows[name]["state"] for name in ("held", "own", "folder")} == {"needs-you"}
    told = {
        one["task"]: one["message"] + rows[one["task"]]["why"]
        for one in fleet.status()["questions"]
    }
    assert "already checked out at" in told["held"]
    assert "elsewhere" in told["held"]
    assert "exists with 1 commit of its own" in told["own"]
    assert "is not empty, and fleet did not make it" in told["folder"]
    assert fleet.rev("fleet/own") == own
    assert kept.read_text() == "precious"
    assert fleet.git("rev-parse", "HEAD", cwd=fleet.top / "elsewhere") == fleet.rev()
    assert fleet.wait("fine").code == 0
    # out of the way, tried again: the task goes on
    kept.unlink()
    fleet.must("retry", "folder")
    assert fleet.wait("folder").code == 0


def test_a_declared_port_that_is_taken_names_who_has_it_and_auto_takes_the_next(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        port = mine.getsockname()[1]
        if port > 65_000:
            pytest.skip("no room above the port")
        fleet.settings["ports"] = f"{port}-{port + 20}"
        fleet.task("fixed", port=port, deliverables=["fixed.md"])
        fleet.task("free", 'echo "$PORT" > free.md\ngit add .\ngit commit -qm x\n', port="auto",
                   deliverables=["free.md"])  # fmt: skip
        fleet.write()
        untouched()
        done = fleet("launch", "free")
        assert done.code == 0, done
        assert fleet.wait("free").code == 0
        got = int(fleet.git("show", "fleet/free:free.md"))
        assert port < got <= port + 20
        assert fleet.row("free")["port"] == got
        refused = fleet("launch", "fixed", timeout_s=90)
        assert refused.code == 1
        row = fleet.row("fixed")
        said = refused.stdout + refused.stderr + row["why"] + str(fleet.status()["questions"])
        assert f"port {port}" in said, said
        assert "in use" in said, said
    fleet.must("retry", "fixed")
    assert fleet.wait("fixed").code == 0


@pytest.mark.parametrize("form", ["sha256", "submodule"])
def test_repositories_of_another_form_are_worked_in_and_landed_on(
    tmp_path: Path, fleet_cli: Cli, form: str
) -> None:
    root = tmp_path / "repo"
    if form == "sha256":
        subprocess.run(["git", "init", "-q", "--object-format=sha256", root], check=True)
    fleet = ScriptedFleet(tmp_path, fleet_cli, root=root)
    if form == "submodule":
        other = tmp_path / "other"
        subprocess.run(["git", "clone", "-q", root, other], check=True)
        fleet.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "lib")
    fleet.task("a", phase="p", deliverables=["a.md"])
    fleet.phases("p")
    fleet.write()
    modules = fleet.git("submodule", "status")
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    open_gate(fleet, "p")
    fleet.must("merge", "p")
    assert (fleet.root / "a.md").read_text() == "done\n"
    assert len(fleet.rev()) == (64 if form == "sha256" else 40)
    assert fleet.git("status", "--porcelain") == ""
    assert fleet.git("submodule", "status") == modules
