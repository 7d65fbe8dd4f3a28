"""What a run has taken up of its documents: texts, plans, edits, also without the old plan."""

from __future__ import annotations

import shutil
import stat

import pytest

from fleet.errors import InvalidPlan
from fleet.files import kept
from fleet.files.load import load
from support.lowered_run import LoweredRun, fleet


@pytest.fixture
def place(tmp_path):
    root = tmp_path / "repo"
    return (
        root,
        root / ".fleet",
        LoweredRun(kept.lowered(fleet(root, one="", two="deps: [one]"), root / ".fleet")),
    )


def edit(root, task, old, new):
    path = root / "tasks" / f"{task}.md"
    path.write_text(path.read_text().replace(old, new))
    return load(root, use_cache=False)


def test_the_plan_and_its_texts_are_kept_private_and_once(place):
    root, folder, run = place
    texts = sorted((folder / "texts").iterdir())
    assert stat.S_IMODE((folder / "texts").stat().st_mode) == 0o700
    assert f"plan-{run.state.about['digest']}" in [one.name for one in texts]
    brief = run.state.steps["one/work"].step.params["brief"]
    assert (folder / "texts" / brief).read_text().strip() == "Do one."
    before = [(one.name, one.stat().st_mtime_ns) for one in texts]
    kept.lowered(load(root, use_cache=False), folder)
    assert [
        (one.name, one.stat().st_mtime_ns) for one in sorted((folder / "texts").iterdir())
    ] == before


def test_documents_that_a_run_follows_are_no_revision(place):
    root, folder, run = place
    assert kept.pending_revision(load(root, use_cache=False), folder, run.state) is None


def test_an_edit_is_told_from_the_plan_that_was_lowered_before(place):
    root, folder, run = place
    run.begin("one").ok("one/work").red("one/check", spent=1)
    found = kept.pending_revision(edit(root, "two", "deps", "days: 3\ndeps"), folder, run.state)
    assert found.lines == ("~ two/work: span", "~ two: task")
    assert found.kept == ()


def test_an_edit_is_told_from_the_run_where_the_old_plan_is_gone(place):
    root, folder, run = place
    run.begin("one").ok("one/work").red("one/check", spent=1)
    shutil.rmtree(folder / "texts")
    found = kept.pending_revision(edit(root, "two", "deps", "days: 3\ndeps"), folder, run.state)
    assert found.lines == ("~ two/work: span", "~ two: task")
    assert found.patch.drop == ()
    run.revise(found.patch)
    assert [need.step for need in run.state.steps["one"].step.needs] == ["one/check.2"]


def test_documents_that_do_not_hold_raise_and_keep_nothing(place):
    root, folder, run = place
    before = sorted((folder / "texts").iterdir())
    with pytest.raises(InvalidPlan):
        kept.pending_revision(edit(root, "two", "[one]", "[nobody]"), folder, run.state)
    assert sorted((folder / "texts").iterdir()) == before


def test_the_fingerprint_changes_with_each_edit_and_with_nothing_else(place):
    root, folder, _ = place
    seen = [kept.fingerprint(root)]
    (root / "notes.txt").write_text("not a document")
    (folder / "other").write_text("")
    assert kept.fingerprint(root) == seen[0]
    for act in (
        lambda: edit(root, "one", "Do one", "Do more"),
        lambda: (root / "agents" / "b.yaml").write_text("role: x\n"),
        (root / "agents" / "b.yaml").unlink,
        lambda: (root / "coordination.md").write_text("---\nbase: main\n---\nOther rules.\n"),
    ):
        act()
        assert kept.fingerprint(root) != seen[-1]
        seen.append(kept.fingerprint(root))
