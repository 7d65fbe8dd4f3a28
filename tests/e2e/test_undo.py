"""What has landed is taken back through the `fleet` command, and lands again; nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.crash_walks import OF_AN_UNDO
from support.scripted_fleet import PATIENCE_S, ScriptedFleet, until


@pytest.fixture
def landed(fleet: ScriptedFleet) -> ScriptedFleet:
    """A fleet whose first phase has landed, with a tag; the second waits for it."""
    return landed_by(fleet, "merge")


def landed_by(fleet: ScriptedFleet, strategy: str, **more: object) -> ScriptedFleet:
    fleet.task("a", phase="one", deliverables=["a.md"])
    fleet.task("b", phase="one", deliverables=["b.md"])
    fleet.task("c", phase="two", deliverables=["c.md"])
    fleet.phases({"id": "one", "tag": "v1", "strategy": strategy, **more}, "two")
    fleet.write()
    fleet.must("launch", "a", "b")
    assert fleet.wait("a", "b").code == 0
    fleet.must("merge", "one")
    return fleet


def phase(fleet: ScriptedFleet, name: str = "one") -> dict[str, object]:
    return next(row for row in fleet.status()["phases"] if row["id"] == name)


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_a_landing_is_taken_back_and_lands_again(fleet: ScriptedFleet, strategy: str) -> None:
    landed = landed_by(fleet, strategy)
    there, before = landed.rev(), landed.rev("refs/fleet/undo/plan/one")
    shown = landed.must("undo", "--dry-run")
    assert "lands no longer: a, b" in shown.stdout
    assert "waits until it lands again: two, c" in shown.stdout or "c, two" in shown.stdout
    assert landed.rev() == there

    asked = landed("undo", "one")
    assert (asked.code, "--yes" in asked.stderr, landed.rev()) == (2, True, there)

    done = landed.must("undo", "one", "--yes", "--json").json()
    assert done["undone"][0]["how"] == "moved"
    assert landed.rev() == before
    assert landed.rev("refs/tags/v1") == ""
    assert not (landed.root / "a.md").exists(), "the checkout follows"
    assert landed.git("status", "--porcelain") == ""
    assert landed.row("a")["state"] in ("verified", "accepted")
    assert "taken back" in str(phase(landed)["undone"])
    assert landed("launch", "c").code == 1, "the next phase waits"

    again = landed.must("merge", "one", "--json").json()["phases"][0]
    assert again["landed"]
    assert landed.rev() == again["commit"] == landed.rev("refs/tags/v1")
    assert (landed.root / "a.md").read_text() == "done\n"
    assert landed.row("a")["state"] == "merged"
    assert "undone" not in phase(landed)
    landed.must("launch", "c")
    assert landed.wait("c").code == 0
    records = landed.git("for-each-ref", "--format=%(refname)", "refs/fleet/undo").splitlines()
    assert len([one for one in records if "/plan/one" in one]) == 3, records


def test_an_undo_is_a_move_too_and_is_taken_back(landed: ScriptedFleet) -> None:
    there = landed.rev()
    landed.must("undo", "one", "--yes")
    assert landed.rev() != there
    refused = landed("undo", "one", "--yes")
    assert (refused.code, "already" in refused.stderr) == (1, True)
    landed.must("undo", "--yes")
    assert landed.rev() == there == landed.rev("refs/tags/v1")
    assert landed.wait("a", "b", state="merged").code == 0
    assert landed.rev() == there
    assert (landed.root / "a.md").exists()


def test_what_was_built_upon_is_reverted_and_lands_again(landed: ScriptedFleet) -> None:
    landed.must("launch", "c")
    assert landed.wait("c").code == 0
    there = landed.rev()
    done = landed.must("undo", "one", "--yes", "--json").json()["undone"][0]
    assert done["how"] == "reverted"
    assert "built upon" in done["undoing"]["why"]
    assert landed.git("rev-parse", "main^") == there
    assert not (landed.root / "a.md").exists()
    assert landed.git("status", "--porcelain") == ""
    assert "not landed" in " ".join(phase(landed, "two")["missing"])  # type: ignore[arg-type]
    landed.must("merge", "one")
    assert landed.git("show", "main:a.md") == "done"
    landed.must("merge", "two")
    assert landed.git("show", "main:c.md") == "done"
    assert landed.git("show", "main:b.md") == "done"
    assert (landed.root / "c.md").exists()


def test_what_was_pushed_is_reverted(landed: ScriptedFleet) -> None:
    landed.git("update-ref", "refs/remotes/origin/main", "main")
    done = landed.must("undo", "--yes", "--json").json()["undone"][0]
    assert (done["how"], "pushed" in done["undoing"]["why"]) == ("reverted", True)
    assert landed.git("diff", "refs/fleet/undo/plan/one^{commit}", "main") == ""


def test_uncommitted_work_in_the_checkout_is_never_overwritten(landed: ScriptedFleet) -> None:
    there = landed.rev()
    landed.put("a.md", "mine, not committed\n")
    shown = landed.must("undo", "--dry-run")
    assert "would overwrite: a.md" in shown.stdout
    refused = landed("undo", "one", "--yes")
    assert (refused.code, landed.rev()) == (1, there)
    assert "a.md" in refused.stdout
    assert (landed.root / "a.md").read_text() == "mine, not committed\n"
    assert landed.row("a")["state"] == "merged"
    landed.git("checkout", "a.md")
    landed.put("README.md", "mine too\n")
    landed.must("undo", "one", "--yes")
    assert (landed.root / "README.md").read_text() == "mine too\n"
    assert landed.git("status", "--porcelain") == "M README.md"


def test_a_revert_that_conflicts_moves_nothing(landed: ScriptedFleet) -> None:
    landed.put("a.md", "changed by a person\n")
    landed.git("commit", "-q", "-am", "later")
    there = landed.rev()
    refused = landed("undo", "one", "--yes")
    assert (refused.code, landed.rev()) == (1, there)
    assert "conflicts in a.md" in refused.stdout
    assert landed.row("a")["state"] == "merged"


def test_a_revert_is_judged_by_what_stays(fleet: ScriptedFleet) -> None:
    fleet.task("a", phase="one", deliverables=["a.md"])
    fleet.task("b", phase="two", deliverables=["b.md"])
    fleet.phases("one", {"id": "two", "checks": ["test -e a.md"]})
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    fleet.must("merge", "one")
    fleet.must("launch", "b")
    assert fleet.wait("b").code == 0
    fleet.must("merge", "two")
    there = fleet.rev()
    refused = fleet("undo", "one", "--yes")
    assert (refused.code, fleet.rev()) == (1, there)
    assert "red" in refused.stdout
    fleet.must("undo", "two", "--yes")
    fleet.must("undo", "one", "--yes")
    assert not (fleet.root / "a.md").exists()


def test_rollback_runs_on_what_is_restored(fleet: ScriptedFleet) -> None:
    commands = ["test ! -e a.md && touch rolled && pwd", "echo broken; exit 7", "echo never"]
    landed_by(fleet, "merge", rollback=commands)
    done = fleet("undo", "one", "--yes", "--rollback", "--json")
    row = done.json()["undone"][0]
    assert (done.code, row["done"]) == (1, True)
    assert [one["code"] for one in row["rollback"]] == [0, 7]
    assert "broken" in row["rollback"][1]["tail"]
    assert not (fleet.root / "rolled").exists(), "never in the user's checkout"
    ended = [
        e for e in fleet.history() if e["event"] == "attempt-ended" and e["step"] == "one/undo"
    ]
    assert "broken" in str(ended[-1])
    assert not list(fleet.top.glob("**/.trial-*"))


def test_a_tag_and_a_deleted_branch_come_back_by_name(landed: ScriptedFleet) -> None:
    there, tip = landed.rev(), landed.rev("a")
    landed.must("undo", "v1", "--yes")
    assert (landed.rev("refs/tags/v1"), landed.rev()) == ("", there)
    branch = landed.row("a")["branch"]
    tip = landed.rev(f"refs/heads/{branch}")
    landed.must("clean", "a")
    assert landed.rev(f"refs/heads/{branch}") == ""
    landed.must("undo", branch, "--yes")
    assert landed.rev(f"refs/heads/{branch}") == tip
    landed.must("clean", "a")
    nobody = landed("undo", "nobody", "--yes")
    assert (nobody.code, "nobody" in nobody.stderr) == (1, True)


def test_what_was_cleaned_away_lands_again_too(fleet: ScriptedFleet) -> None:
    landed = landed_by(fleet, "squash")
    landed.must("clean")
    assert not landed.worktree("a").exists()
    landed.must("undo", "one", "--yes")
    landed.git("gc", "-q", "--prune=now")
    landed.must("merge", "one")
    assert landed.git("show", "main:a.md") == landed.git("show", "main:b.md") == "done"


def test_a_terminal_is_asked(landed: ScriptedFleet) -> None:
    there = landed.rev()
    assert _typed(landed, "n") == (1, True)
    assert landed.rev() == there
    assert _typed(landed, "y") == (0, True)
    assert landed.rev() == landed.rev("refs/fleet/undo/plan/one")


def _typed(fleet: ScriptedFleet, answer: str) -> tuple[int, bool]:
    """Types an answer to `fleet undo` at a terminal; returns its code, and whether it asked."""
    person, terminal = os.openpty()
    os.write(person, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "fleet", "undo"],
        cwd=fleet.root,
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(person)
    os.close(terminal)
    return done.returncode, "Do it?" in done.stdout


@pytest.mark.parametrize("point", OF_AN_UNDO)
def test_a_coordinator_that_dies_there_finishes_the_undo(landed: ScriptedFleet, point: str) -> None:
    before = landed.rev("refs/fleet/undo/plan/one")
    landed("down")
    up = subprocess.Popen(
        [sys.executable, "-m", "fleet", "up"],
        cwd=landed.root,
        env={**os.environ, "FLEET_CRASH_AT": point},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: landed.coordinator() == up.pid, "the coordinator that is to die")
        landed.must("undo", "one", "--yes", timeout_s=PATIENCE_S)
        assert up.wait(PATIENCE_S) == -signal.SIGKILL, f"{point} was never passed"
    finally:
        up.kill()
        up.wait()
    assert (landed.rev(), landed.rev("refs/tags/v1")) == (before, "")
    assert landed.git("status", "--porcelain") == ""
    assert not (landed.root / "a.md").exists()
    assert landed.row("a")["state"] in ("verified", "accepted")
    names = landed.git("for-each-ref", "--format=%(refname)", "refs/fleet/undo/taken-back")
    assert names == "refs/fleet/undo/taken-back/plan/one/undo"
    landed.must("merge", "one")
    assert landed.row("a")["state"] == "merged"
