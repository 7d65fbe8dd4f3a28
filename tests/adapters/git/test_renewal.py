"""A worktree that begins anew: the commits that come into it now, its own on top, nothing lost."""

from __future__ import annotations

import pytest

from fleet.adapters import git
from fleet.adapters.git import moves
from fleet.errors import Rejected
from support.crash_walks import OF_A_RENEWAL


class Judged:
    """Two branches that came into a worktree, the first of which was written anew since."""

    def __init__(self, repo, user):
        self.repo, self.user = repo, user
        self.base = user.head()
        self.old = user.branch("api", {"api.txt": "old\n", "secret.txt": "s\n"})
        self.web = user.branch("web", {"web.txt": "w\n"})
        self.asked = {
            "path": user.root.parent / "wt" / "qa",
            "branch": "fleet/qa",
            "key": "run/qa",
            "start": self.base,
        }
        self.tree = git.create(repo, **self.asked, merge=(self.old, self.web))
        self.own = user.commit({"QA.md": "bad\n"}, "what I saw", cwd=self.tree.path)
        user.git("branch", "-D", "api")
        self.new = user.branch("api", {"api.txt": "new\n"})

    def renewed(self, **told):
        return git.renew(
            self.repo,
            self.tree,
            **{
                "start": self.base,
                "merge": (self.new, self.web),
                "since": self.tree.start,
                **told,
            },
        )

    def files(self):
        found = self.tree.path.rglob("*")
        return {
            p.name: p.read_text() for p in found if p.is_file() and ".git" not in (p.name, *p.parts)
        }

    def whole(self):
        return {
            "a.txt": "a\n", "b.txt": "b\n", "c.txt": "c\n",
            "api.txt": "new\n", "web.txt": "w\n", "QA.md": "bad\n",
        }  # fmt: skip


@pytest.fixture
def judged(repo, user):
    return Judged(repo, user)


def test_what_came_in_goes_and_its_own_commits_stay(judged):
    user, tree = judged.user, judged.tree
    again = judged.renewed()
    assert judged.files() == judged.whole()
    assert user.git("status", "--porcelain", cwd=tree.path) == ""
    tip = git.head(tree).sha
    assert user.git("log", "--format=%s", f"{again.start}..{tip}") == "what I saw"
    assert user.git("merge-base", "--all", tip, judged.old) == judged.base, "the old is not in it"
    # where it stood is kept; the same once more changes nothing
    (move,) = [one for one in git.recorded_moves(judged.repo) if one.target.endswith("fleet/qa")]
    assert (move.old, move.new) == (judged.own, tip)
    assert judged.renewed() == again
    assert git.head(tree).sha == tip
    assert len(moves.recorded_moves(judged.repo)) == 1
    # and again, from where it began last; a base that has moved comes in as well
    base = user.commit({"base.txt": "later\n"})
    third = git.renew(
        judged.repo, tree, start=base, merge=(judged.new, judged.web), since=again.start
    )
    assert judged.files() == {**judged.whole(), "base.txt": "later\n"}
    assert user.git("log", "--format=%s", f"{third.start}..fleet/qa") == "what I saw"
    user.git("fsck", "--strict")


def test_nothing_moves_when_nothing_has(judged):
    again = judged.renewed(merge=(judged.old, judged.web))
    assert again.start == judged.tree.start
    assert git.head(judged.tree).sha == judged.own


@pytest.mark.parametrize("point", OF_A_RENEWAL)
def test_one_that_was_killed_half_way_is_found_and_ended(judged, die_at, point):
    tree = judged.tree
    made = f"Worktree(Path({str(tree.path)!r}), 'fleet/qa', {tree.start!r}, 'run/qa', "
    made += f"Path({str(tree.admin)!r}), repo.common)"
    merge = f"merge=({judged.new!r}, {judged.web!r}), since={tree.start!r}"
    die_at(point, f"renew(repo, {made}, start={judged.base!r}, {merge})")
    again = judged.renewed()
    assert judged.files() == judged.whole()
    assert judged.user.git("status", "--porcelain", cwd=tree.path) == ""
    assert judged.user.git("log", "--format=%s", f"{again.start}..fleet/qa") == "what I saw"
    assert not (tree.admin / "index.lock").exists()


def test_work_that_is_not_committed_is_not_written_over(judged):
    tree, user = judged.tree, judged.user
    user.write({"api.txt": "mine\n", "loose.txt": "l\n"}, cwd=tree.path)
    with pytest.raises(Rejected, match=r"uncommitted changes .*: api.txt") as refused:
        judged.renewed()
    assert "commit them" in refused.value.hint
    assert (tree.path / "api.txt").read_text() == "mine\n"
    assert git.head(tree).sha == judged.own
    assert git.recorded_moves(judged.repo) == ()
    user.git("checkout", "-q", "api.txt", cwd=tree.path)
    judged.renewed()
    assert judged.files() == {**judged.whole(), "loose.txt": "l\n"}


def test_own_commits_that_conflict_and_a_branch_that_was_left_are_told(judged):
    tree, user = judged.tree, judged.user
    own = user.commit({"api.txt": "mended\n"}, cwd=tree.path)
    with pytest.raises(Rejected, match=r"fleet/qa conflicts .* in api.txt"):
        judged.renewed()
    assert git.head(tree).sha == own
    user.git("switch", "-q", "--detach", cwd=tree.path)
    with pytest.raises(Rejected, match="is on no branch"):
        judged.renewed()


def test_what_has_come_before_a_task_is_merged_in_beside_its_own_commits(judged):
    tree, user = judged.tree, judged.user
    more = user.branch("more", {"more.txt": "m\n"})
    user.write({"loose.txt": "l\n", "web.txt": "mine\n"}, cwd=tree.path)
    again = git.bring_in(judged.repo, tree, {"web": judged.web, "more": more})
    assert again.start == tree.start
    assert (tree.path / "more.txt").read_text() == "m\n"
    assert (tree.path / "web.txt").read_text() == "mine\n"
    assert (
        user.git("log", "-1", "--format=%s", "fleet/qa")
        == f"Merge more ({more[:12]}) into fleet/qa"
    )
    assert user.git("merge-base", "--is-ancestor", judged.own, "fleet/qa") == ""
    moved = git.head(tree).sha
    assert git.head(git.bring_in(judged.repo, tree, {"more": more})).sha == moved


def test_what_has_come_and_conflicts_is_told_with_its_files(judged):
    tree, user = judged.tree, judged.user
    other = user.branch("other", {"QA.md": "good\n"})
    with pytest.raises(Rejected, match=r"fleet/qa conflicts with other \(.*\) in QA.md") as refused:
        git.bring_in(judged.repo, tree, {"other": other})
    assert refused.value.hint.startswith(f"git merge {other[:12]}")
    user.write({"more.txt": "mine\n"}, cwd=tree.path)
    more = user.branch("more", {"more.txt": "m\n"})
    with pytest.raises(Rejected, match=r"stand in the way of what is to come into it: more.txt"):
        git.bring_in(judged.repo, tree, {"more": more})
    assert git.head(tree).sha == judged.own


@pytest.mark.parametrize("point", ["git.land.after_files", "git.land.after_ref"])
def test_a_merge_that_was_killed_half_way_is_ended(judged, die_at, point):
    tree, user = judged.tree, judged.user
    more = user.branch("more", {"more.txt": "m\n"})
    made = f"Worktree(Path({str(tree.path)!r}), 'fleet/qa', {tree.start!r}, 'run/qa', "
    made += f"Path({str(tree.admin)!r}), repo.common)"
    die_at(point, f"bring_in(repo, {made}, {{'more': {more!r}}})")
    git.bring_in(judged.repo, tree, {"more": more})
    assert (tree.path / "more.txt").read_text() == "m\n"
    assert user.git("status", "--porcelain", cwd=tree.path) == ""
    assert user.git("rev-list", "--count", f"{judged.own}..fleet/qa", "^more") == "1"
