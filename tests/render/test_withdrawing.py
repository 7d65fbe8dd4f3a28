"""What is taken back, cleaned up and rescued, as people read it, also with hostile names."""

from __future__ import annotations

import pytest

from fleet.app.removing import Cleaned
from fleet.app.rescuing import Restored
from fleet.app.undoing import Undoing, Undone
from fleet.render.withdrawing import (
    cleaned_text,
    rescues_text,
    restored_text,
    undoing_text,
    undone_text,
)

EVIL = "\x1b]0;owned\x07\nnext line"


@pytest.fixture(autouse=True)
def ascii_marks(monkeypatch):
    monkeypatch.setenv("FLEET_ASCII", "1")


def an_undoing(**more) -> Undoing:
    return Undoing("one", "refs/heads/main", old="a" * 40, new="b" * 40, phase="one", **more)


def test_what_would_be_taken_back_is_told_before():
    shown = undoing_text(
        an_undoing(
            commits=(("b" * 40, f"Merge {EVIL}"),),
            count=3,
            tasks=("t1", "t2"),
            waits=("t3",),
            goes_on=("t4",),
            tags=("refs/tags/v1",),
            checkout="/repo",
            overwrites=("a.txt",),
            rollback=("make down",),
        )
    )
    assert shown.splitlines() == [
        "one: main bbbbbbbbbb -> aaaaaaaaaa",
        r"    leaves: bbbbbbbbbb Merge \x1b]0;owned\x07 next line",
        "    and 2 more",
        "    lands no longer: t1, t2",
        "    tags: v1",
        "    waits until it lands again: t3",
        "    has started and goes on: t4",
        "    follows: /repo",
        "    would overwrite: a.txt",
        "    does not run, without --rollback: make down",
    ]


def test_a_revert_says_why_it_is_one():
    shown = undoing_text(an_undoing(reverts=True, why="it was pushed: origin/main has it"))
    assert shown.splitlines() == [
        "one: a commit on main reverts bbbbbbbbbb",
        "    it was pushed: origin/main has it",
    ]


def test_what_became_of_it_is_told_with_each_command():
    ran = {"text": "make down", "code": 7, "seconds": 1.0, "tail": f"broken {EVIL}"}
    row = Undone(
        an_undoing(),
        done=True,
        text="one was taken back",
        undo="refs/fleet/undo/x",
        rollback=(ran,),
    )
    assert row.failed
    shown = undone_text(row)
    assert shown.startswith("+ one was taken back\n  x rollback make down: exit 7\n")
    assert "\x1b" not in shown
    assert shown.endswith("    undo ref refs/fleet/undo/x")


def test_what_was_cleaned_says_how_it_comes_back():
    row = Cleaned(
        "t1",
        removed=True,
        how="squashed",
        branch="fleet/t1",
        port=8001,
        sessions=("t1-1-abcdef",),
        rescued=("refs/fleet/rescue/t1-2026",),
        undo="refs/fleet/undo/heads/fleet/t1",
    )
    assert cleaned_text(row).splitlines() == [
        "+ t1: removed, squashed",
        "    port 8001, session t1-1-abcdef",
        "    rescued: fleet rescue restore t1-2026 --branch NAME",
        "    its branch again: fleet undo fleet/t1",
    ]
    kept = Cleaned("t1", removed=False, reasons=(f"uncommitted work in 1 file: {EVIL}", "more"))
    shown = cleaned_text(kept)
    assert shown.startswith(". t1: kept: uncommitted work in 1 file: ")
    assert (shown.count("\n"), "\x1b" in shown) == (0, False)


def test_rescues_are_a_table_and_none_is_said():
    assert rescues_text([]) == "nothing was rescued"
    one = {
        "name": "t1-2026", "at": "2026-11-29T14:00:00.000Z", "kind": "files", "branch": EVIL,
        "files": 3, "size_bytes": 4096, "worktree": "/w/t1",
    }  # fmt: skip
    head, row = rescues_text([one]).splitlines()
    assert head.split() == ["NAME", "WHEN", "KIND", "BRANCH", "FILES", "SIZE", "WORKTREE"]
    assert "2026-11-29 14:00" in row
    assert "4 kB" in row


def test_where_it_was_restored_is_told():
    row = Restored("t1-2026", "/back", "again", 2, 1, "")
    assert restored_text(row).splitlines() == [
        "t1-2026: restored to /back, 2 files that differed",
        "    on branch again; 1 staged",
    ]
