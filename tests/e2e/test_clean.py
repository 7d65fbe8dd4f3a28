"""What has landed is cleared away; what has not is kept, and rescued when it is forced."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fleet.adapters import git as git_of_fleet
from support.crash_walks import OF_A_CLEAN
from support.scripted_fleet import ScriptedFleet, until


@pytest.fixture
def landed(fleet: ScriptedFleet) -> ScriptedFleet:
    """Two tasks have landed as one phase, one task is verified."""
    fleet.task("a", phase="one", deliverables=["a.md"], port="auto")
    fleet.task("b", phase="one", deliverables=["b.md"])
    fleet.task("c", phase="two", deliverables=["c.md"], teardown=["echo down > ../c-down"])
    fleet.phases({"id": "one", "strategy": "squash"}, "two")
    fleet.put(".gitignore", "*.log\nnode_modules/\n")
    fleet.write()
    fleet.must("launch", "a", "b")
    assert fleet.wait("a", "b").code == 0
    fleet.must("merge", "one")
    return fleet


@pytest.fixture
def one(fleet: ScriptedFleet) -> ScriptedFleet:
    """One task, which has landed."""
    fleet.task("a", phase="one", deliverables=["a.md"])
    fleet.phases({"id": "one", "strategy": "squash"})
    fleet.put(".gitignore", "*.log\n")
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    fleet.must("merge", "one")
    return fleet


def branch(fleet: ScriptedFleet, task: str) -> str:
    found: str = fleet.row(task)["branch"]
    return found


def row(done: object, task: str) -> dict[str, object]:
    return next(one for one in done.json()["tasks"] if one["task"] == task)  # type: ignore[attr-defined]


def trash(fleet: ScriptedFleet) -> list[Path]:
    return list((fleet.root / ".git/fleet").glob("trash-*"))


def test_what_has_landed_goes_and_nothing_else(landed: ScriptedFleet) -> None:
    landed.must("launch", "c")
    assert landed.wait("c").code == 0
    before, tip = landed.fingerprint(), landed.rev(branch(landed, "a"))
    landed.put("kept.log", "worth keeping\n", landed.worktree("a"))
    landed.put("node_modules/x/y.js", "made again\n", landed.worktree("a"))
    left = landed.worktree(".trial-plan%2Fgone")
    git_of_fleet.trial_checkout(git_of_fleet.Repository.at(landed.root), landed.rev(), left)
    assert landed.rev("refs/fleet/candidate/plan/one") == landed.rev()
    shown = landed.must("clean", "--dry-run")
    assert "a: would be removed" in shown.stdout
    assert f"left by a merge: {left}: would be removed" in shown.stdout
    assert (landed.worktree("a").exists(), left.exists()) == (True, True)

    done = landed.must("clean", "--json", cwd=landed.worktree("c"))
    assert row(done, "a")["removed"]
    assert (done.json()["left"], left.exists()) == ([str(left)], False)
    assert landed.rev("refs/fleet/candidate/plan/one") == "", "nobody asks about it any more"
    assert "not merged: fleet merge two" in str(row(done, "c")["reasons"])
    assert not landed.worktree("a").exists()
    assert landed.worktree("c").exists()
    assert landed.rev(f"refs/heads/{branch(landed, 'a')}") == ""
    assert landed.fingerprint() == before
    (ref,) = row(done, "a")["rescued"]  # type: ignore[misc]
    assert landed.git("show", f"{ref}:kept.log") == "worth keeping"
    assert "node_modules" not in landed.git("ls-tree", "-r", "--name-only", ref)
    assert landed.git("cat-file", "-t", tip) == "commit"
    assert tip in landed.git("rev-list", "--all").split(), "squashed, and still reachable"
    assert "a" not in (landed.state / "ports.json").read_text()
    assert landed.must("logs", "a").code == 0
    until(lambda: not trash(landed), "the folder's end")
    again = landed("clean", "a")
    assert (again.code, "worktree or branch" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda tree: (tree / "u").write_text("u"), "uncommitted work in 1 file: u"),
        (lambda tree: (tree / "a.md").write_text("edited"), "uncommitted work in 1 file: a.md"),
        (lambda tree: commit(tree, "later"), "not in the base: 2 commits"),
        (lambda tree: git(tree, "checkout", "-q", "--detach") or commit(tree, "x"), "not in the"),
        (lambda tree: git(tree, "checkout", "-qb", "rogue") or commit(tree, "x"), "not in the"),
    ],
    ids=["untracked", "edited", "committed", "detached", "rogue"],
)
def test_what_is_not_in_the_base_is_kept_and_rescued_when_forced(
    one: ScriptedFleet, spoil: object, why: str
) -> None:
    landed, tree = one, one.worktree("a")
    spoil(tree)  # type: ignore[operator]
    head = git(tree, "rev-parse", "HEAD")
    files = {p.name: p.read_bytes() for p in tree.iterdir() if p.is_file() and p.name != ".git"}
    kept = landed("clean", "a")
    assert (kept.code, why in kept.stdout) == (1, True), kept.stdout
    assert tree.exists()
    done = landed.must("clean", "a", "--force", "--json")
    assert not tree.exists()
    name = row(done, "a")["rescued"][0].removeprefix("refs/fleet/rescue/")  # type: ignore[index]
    assert head in landed.git("rev-list", "--all").split()
    back = landed.must("rescue", "restore", name, "--branch", "again", "--json").json()
    found = Path(back["folder"])
    there = {p.name: p.read_bytes() for p in found.iterdir() if p.is_file() and p.name != ".git"}
    assert there == files
    assert git(found, "rev-parse", "HEAD") == head
    listed = landed.must("rescue", "list", "--json").json()["rescues"]
    assert name in [one["name"] for one in listed]


def test_a_live_process_and_an_open_file_keep_it(one: ScriptedFleet) -> None:
    landed, tree = one, one.worktree("a")
    inside = subprocess.Popen(["sleep", "60"], cwd=tree)
    with (tree / "a.md").open():
        holds = landed("clean", "a", "--force")
        assert f"process {os.getpid()} " in holds.stdout
    try:
        told = landed("clean", "a", "--force")
        assert (told.code, f"process {inside.pid} (sleep) works in it" in told.stdout) == (1, True)
    finally:
        inside.send_signal(signal.SIGKILL)
        inside.wait()
    landed.must("clean", "a")


def test_a_running_task_is_refused_also_by_force(landed: ScriptedFleet) -> None:
    landed.task("c", landed.waits("c") + landed.delivers("c"), phase="two", deliverables=["c.md"])
    landed.git("commit", "-qam", "edited")
    landed.must("launch", "c")
    for words in (["clean", "c"], ["clean", "c", "--force"]):
        told = landed(*words)
        assert (told.code, "it is working" in told.stdout) == (1, True), told.stdout
    landed.go("c")
    assert landed.wait("c").code == 0


def test_force_runs_the_teardown_and_keeps_the_work(landed: ScriptedFleet) -> None:
    landed.must("launch", "c")
    assert landed.wait("c").code == 0
    tip, tree = landed.rev(branch(landed, "c")), landed.worktree("c")
    landed.put("staged", "s\n", tree)
    git(tree, "add", "staged")
    landed.put("staged", "edited\n", tree)
    done = landed.must("clean", "c", "--force", "--all", "--json")
    assert (tree.parent / "c-down").exists()
    assert tip in landed.git("rev-list", "--all").split()
    name = row(done, "c")["rescued"][0].removeprefix("refs/fleet/rescue/")  # type: ignore[index]
    back = landed.must("rescue", "restore", name, "--to", "back", "--json").json()
    assert (landed.root / "back/staged").read_text() == "edited\n"
    assert back["staged"] == 1
    assert landed("rescue", "restore", name, "--to", "back").code == 1, "never over what is there"
    assert not (landed.state / "attempts/plan/c%2Fwork").exists()


@pytest.mark.parametrize("point", OF_A_CLEAN)
def test_killed_anywhere_the_next_clean_finishes(one: ScriptedFleet, point: str) -> None:
    landed = one
    landed.put("kept.log", "worth keeping\n", landed.worktree("a"))
    git(landed.worktree("a"), "commit", "-q", "--amend", "-m", "amended")
    tips = [landed.rev(branch(landed, "a")), landed.rev(f"{branch(landed, 'a')}@{{1}}")]
    assert landed("clean", "a", env={"FLEET_CRASH_AT": point}).code == -signal.SIGKILL
    landed("clean", "a")
    assert not landed.worktree("a").exists()
    assert landed.rev(f"refs/heads/{branch(landed, 'a')}") == ""
    refs = landed.must("rescue", "list", "--json").json()["rescues"]
    kept = [one for one in refs if one["kind"] == "files"]
    assert landed.git("show", f"{kept[0]['ref']}:kept.log") == "worth keeping"
    known = landed.git("rev-list", "--all").split()
    assert all(tip in known for tip in tips)
    until(lambda: not trash(landed), "the folder's end")
    assert landed.git("worktree", "list").count("\n") == 0, "the root only"


def test_a_folder_that_somebody_else_removed_is_told_and_dropped_by_force(
    one: ScriptedFleet,
) -> None:
    tree = one.worktree("a")
    one.put("staged", "s\n", tree)
    git(tree, "add", "staged")
    shutil.rmtree(tree)
    told = one("clean")
    assert (told.code, "removed by somebody else" in told.stdout) == (1, True), told.stdout
    done = one.must("clean", "--force", "--json")
    (ref,) = [one for one in row(done, "a")["rescued"] if "index" in one]  # type: ignore[attr-defined]
    assert one.git("show", f"{ref}:staged") == "s"
    assert one.git("worktree", "list").count("\n") == 0


def git(tree: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(tree: Path, name: str) -> None:
    (tree / name).write_text(name)
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", name)
