"""Moves are recorded, none over another, and taken back without touching anybody's work."""

from __future__ import annotations

import pytest

from fleet.adapters import git
from fleet.adapters.crash import CRASH_POINTS
from fleet.errors import Rejected

LAND_POINTS = [p for p in CRASH_POINTS if p.startswith("git.land.")]


@pytest.fixture
def landed(repo, user):
    """Returns (before, after): main was moved from one to the other by the act `run/p`."""
    before = user.head()
    after = user.branch("t1", {"a.txt": "A\n", "b.txt": None, "new/n.txt": "n\n"})
    user.git("branch", "-D", "t1")
    assert isinstance(git.land(repo, "main", before, after, name="run/p"), git.Landed)
    return before, after


def back(repo, before, after, name="undo/p"):
    return git.take_back(repo, "main", after, before, name=name)


def test_no_record_overwrites_another(repo, user, landed):
    before, after = landed
    first = back(repo, before, after)
    assert user.rev("refs/heads/main") == before
    again = git.land(repo, "main", before, after, name="run/p")
    second = back(repo, before, after)
    assert (again.undo_ref, second.undo_ref) == ("refs/fleet/undo/run/p.2", f"{first.undo_ref}.2")
    told = [(m.number, m.target, m.old, m.new, m.act) for m in git.recorded_moves(repo)]
    main, there, here = "refs/heads/main", (before, after), (after, before)
    assert told == [
        (1, main, *there, "run/p"),
        (2, main, *here, "undo/p"),
        (3, main, *there, "run/p"),
        (4, main, *here, "undo/p"),
    ]
    assert [git.stands(repo, m) for m in git.recorded_moves(repo)] == [False, True, False, True]
    user.git("gc", "-q", "--prune=now")
    assert repo.resolve(again.undo_ref) == before
    assert after in user.git("rev-list", "--all").split(), "what was undone is kept"
    user.git("fsck", "--strict")


@pytest.mark.parametrize("point", LAND_POINTS)
@pytest.mark.parametrize("dirty", [False, True])
def test_killed_anywhere_the_next_undo_converges(repo, user, landed, die_at, point, dirty):
    before, after = landed
    if dirty:
        user.write({"dir/c.txt": "edited\n", "untracked": "u\n"})
    die_at(point, f"take_back(repo, 'main', {after!r}, {before!r}, name='undo/p')")
    tip = user.rev("refs/heads/main")
    assert tip in {before, after}
    user.git("commit", "-q", "-m", "by accident", check=False)
    assert user.git("diff", "--name-only", user.rev("refs/heads/main"), tip) == ""
    done = back(repo, before, after)
    assert isinstance(done, git.Landed)
    assert user.rev("refs/heads/main") == before
    assert user.git("status", "--porcelain") == ("M dir/c.txt\n?? untracked" if dirty else "")
    assert (user.root / "a.txt").read_text() == "a\n"
    assert not (user.root / ".git/index.lock").exists()
    assert len(git.recorded_moves(repo)) == 2


def test_an_undo_that_would_overwrite_is_refused_with_names(repo, user, landed):
    before, after = landed
    user.write({"a.txt": "mine\n"})
    (user.root / ".git/info/exclude").write_text("b.txt\n")
    user.write({"b.txt": "mine, ignored\n"})
    refused = back(repo, before, after)
    assert isinstance(refused, git.WouldOverwrite)
    assert refused.paths == ("a.txt", "b.txt")
    assert git.what_blocks(repo, "main", after, before) == refused
    assert user.rev("refs/heads/main") == after
    assert (user.root / "b.txt").read_text() == "mine, ignored\n"


def test_a_base_that_moved_is_never_taken_back(repo, user, landed):
    before, after = landed
    moved = user.commit({"dir/c.txt": "somebody else\n"})
    assert back(repo, before, after) == git.BaseMoved(moved)
    way = git.way_back(repo, "main", old=before, new=after)
    assert (way.reverts, "moved on" in way.why) == (True, True)
    made = git.revert(repo, moved, [(before, after)], name="undo/p", message=lambda _: "Revert p")
    assert user.git("show", f"{made.commit}:dir/c.txt") == "somebody else"
    assert user.git("show", f"{made.commit}:a.txt") == "a"
    assert (made.known, user.git("rev-parse", f"{made.commit}^")) == (False, moved)
    user.write({"a.txt": "built upon\n"})
    built = user.commit({})
    clash = git.revert(repo, built, [(before, after)], name="undo/p", message=lambda _: "Revert p")
    assert clash.paths == ("a.txt",)


def test_a_move_that_never_was_stands_nowhere_once_its_commit_is_gone(repo, user, landed, die_at):
    _, after = landed
    lost = user.branch("t2", {"c.txt": "c\n"})
    die_at("git.land.after_undo", f"land(repo, 'main', {after!r}, {lost!r}, name='run/q')")
    git.recover_landings(repo)
    user.git("branch", "-D", "t2")
    user.git("-c", "gc.reflogExpireUnreachable=now", "gc", "-q", "--prune=now")
    assert repo.resolve(lost) is None
    told = [(m.new == lost, git.stands(repo, m)) for m in git.recorded_moves(repo)]
    assert told == [(False, True), (True, False)]


def test_who_has_seen_it_decides_how_it_goes_back(repo, user, landed):
    before, after = landed
    assert not git.way_back(repo, "main", old=before, new=after).reverts
    user.git("update-ref", "refs/remotes/origin/main", after)
    assert "origin/main" in git.way_back(repo, "main", old=before, new=after).why
    user.git("update-ref", "-d", "refs/remotes/origin/main")
    user.git("branch", "somebody", after)
    assert "somebody" in git.way_back(repo, "main", old=before, new=after).why
    with pytest.raises(Rejected, match="no way back"):
        git.take_back(repo, "main", after, user.branch("apart", {"x": "x\n"}), name="undo/p")


def test_tags_go_and_come_with_a_record(repo, user, landed):
    _, after = landed
    git.tag(repo, "v1", after, act="run/p")
    assert git.tag(repo, "v1", after, act="run/p") == "refs/tags/v1"
    assert git.untag(repo, "v1", after, act="undo/p")
    assert not git.untag(repo, "v1", after, act="undo/p")
    git.tag(repo, "v1", after, act="run/p")
    told = [(m.old, m.new) for m in git.recorded_moves(repo) if m.target == "refs/tags/v1"]
    assert told == [(None, after), (after, None), (None, after)]
    with pytest.raises(Rejected, match="not at"):
        git.untag(repo, "v1", user.commit({"x": "x\n"}), act="undo/p")


@pytest.mark.parametrize("how", ["merge", "squash", "rebase", "squash, then the same lines again"])
def test_what_was_merged_by_content_counts(repo, user, how):
    place = user.root.parent / "wt"
    user.git("worktree", "add", "-q", "-b", "t", str(place))
    user.commit({"a.txt": "1\n"}, cwd=place)
    tip = user.commit({"a.txt": "2\n", "more": "m\n"}, cwd=place)
    user.commit({"b.txt": "moved\n"})
    assert git.how_merged(repo, tip, user.head()) == ""
    match how:
        case "merge":
            user.git("merge", "-q", "--no-edit", "t")
        case "rebase":
            user.git("cherry-pick", "t~1", "t")
        case _:
            user.git("merge", "-q", "--squash", "t")
            user.git("commit", "-qm", "squashed")
    if "again" in how:
        user.commit({"a.txt": "3\n"})
        user.commit({"a.txt": "4\n", "more": None})
    elif how == "rebase":
        user.commit({"a.txt": "3\n"})
    found = git.how_merged(repo, tip, user.head())
    expected = {"merge": "merged", "squash": "merged by content", "rebase": "rebased"}
    assert found == expected.get(how, "squashed")


def test_half_of_it_is_not_all_of_it(repo, user):
    place = user.root.parent / "wt"
    user.git("worktree", "add", "-q", "-b", "t", str(place))
    one = user.commit({"a.txt": "1\n"}, cwd=place)
    tip = user.commit({"b.txt": "2\n"}, cwd=place)
    user.git("cherry-pick", one)
    user.commit({"dir/c.txt": "moved\n"})
    assert git.how_merged(repo, one, user.head())
    assert git.how_merged(repo, tip, user.head()) == ""
