"""Landing: exactly what was judged, never over anybody's work, whatever dies."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.adapters import git
from fleet.adapters.crash import CRASH_POINTS
from fleet.adapters.git import following, scraps
from fleet.errors import FleetError, Rejected
from support.sleepers import alive, sleeper

LAND_POINTS = [p for p in CRASH_POINTS if p.startswith("git.land.")]
WHO = git.Identity("Bob", "bob@example.org", 1_700_000_000)


def assemble(repo, base, *parts, **more):
    return git.assemble(
        repo,
        base,
        parts,
        name="run/phase",
        message=lambda p: f"Merge {p.task}",
        identity=WHO,
        **more,
    )


@pytest.fixture
def candidate(repo, user):
    """Returns (old, new): a candidate that changes a.txt, deletes b.txt and adds new/n.txt."""
    sha = user.branch("t1", {"a.txt": "A\n", "b.txt": None, "new/n.txt": "n\n"})
    old = user.head()
    return old, assemble(repo, old, git.Part("t1", "t1", sha)).commit


def test_assembly_merges_in_order_and_anchors(repo, user):
    before, base = user.fingerprint(), user.head()
    one, two = user.branch("t1", {"1": "1\n"}), user.branch("t2", {"2": "2\n"})
    parts = [git.Part("t1", "t1", one), git.Part("t2", "t2", two), git.Part("t0", "t0", base)]
    done = assemble(repo, base, *parts)
    assert repo.is_ancestor(one, done.commit)
    assert repo.is_ancestor(two, done.commit)
    assert [s.contained for s in done.steps] == [False, False, True]
    assert user.rev("refs/fleet/candidate/run/phase") == done.commit
    assert user.git("log", "-1", "--format=%an %s", done.commit) == "Bob Merge t2"
    assert user.fingerprint() == before
    squashed = assemble(repo, base, *parts, strategy="squash")
    assert squashed.tree == done.tree
    assert repo.ahead_behind(squashed.commit, base) == (2, 0)
    rebased = assemble(repo, base, *parts, strategy="rebase")
    assert rebased.tree == done.tree
    assert user.git("log", "-1", "--format=%an|%cn|%s", rebased.commit) == "Ada|Bob|work on t2"


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_a_conflict_names_paths_and_tasks(repo, user, strategy):
    base = user.head()
    one, two = user.branch("t1", {"a.txt": "1\n"}), user.branch("t2", {"a.txt": "2\n"})
    third = user.branch("t3", {"b.txt": "3\n"})
    parts = [git.Part("t3", "t3", third), git.Part("t1", "t1", one), git.Part("t2", "t2", two)]
    found = assemble(repo, base, *parts, strategy=strategy)
    assert isinstance(found, git.Conflict)
    assert (found.task, found.paths, found.with_tasks) == ("t2", ("a.txt",), ("t1",))
    assert "CONFLICT" in found.text
    moved = user.commit({"b.txt": "moved\n"})
    found = assemble(repo, moved, git.Part("t3", "t3", third), strategy=strategy)
    assert found.with_tasks == ("base",)


def test_a_trial_is_a_tree_of_its_own(repo, user, candidate, tmp_path):
    before = user.fingerprint()
    folder = git.trial_checkout(repo, candidate[1], tmp_path / "trial")
    assert (folder / "a.txt").read_text() == "A\n"
    assert user.git("status", "--porcelain", cwd=folder) == ""
    (folder / "made-by-a-check").write_text("x")
    folder = git.trial_checkout(repo, candidate[0], tmp_path / "trial")
    assert not (folder / "made-by-a-check").exists()
    git.remove_trial(repo, folder)
    assert not folder.exists()
    assert len(repo.worktrees()) == 1
    assert user.fingerprint() == before


@pytest.mark.parametrize("point", [p for p in CRASH_POINTS if p.startswith("git.trial.")])
def test_a_trial_that_was_killed_is_taken_up_or_swept(repo, user, candidate, die_at, point):
    folder = user.root.parent / "trial"
    code = f"""folder = Path({str(folder)!r})
remove_trial(repo, trial_checkout(repo, {candidate[1]!r}, folder))"""
    die_at(point, code)
    (listed,) = scraps.trial_checkouts(repo)
    assert (git.trial_checkout(repo, candidate[1], folder) / "new/n.txt").exists()
    assert not scraps.remove_trial_checkout(repo, listed), "that one was made since"
    (again,) = scraps.trial_checkouts(repo)
    with subprocess.Popen(["sleep", "60"], cwd=folder) as inside:
        assert not scraps.remove_trial_checkout(repo, again)
        inside.kill()
    assert scraps.remove_trial_checkout(repo, again)
    scraps.remove_halves(repo)
    assert (folder.exists(), len(repo.worktrees())) == (False, 1)
    assert list((user.root / ".git/fleet").iterdir()) == []


def test_landing_where_nobody_has_the_base(repo, user, candidate):
    user.git("checkout", "-q", "-b", "elsewhere")
    before = user.fingerprint()
    landed = git.land(repo, "main", *candidate)
    assert isinstance(landed, git.Landed)
    assert user.rev("refs/heads/main") == candidate[1]
    assert repo.resolve(landed.undo_ref) == candidate[0]
    assert user.fingerprint() == before
    assert git.land(repo, "main", *candidate).already


def test_an_edit_in_the_moment_of_its_add_is_still_seen_after_a_landing(repo, user, candidate):
    user.git("config", "core.trustctime", "false")
    place, index = user.root / "dir/c.txt", user.root / ".git/index"
    user.write({"dir/c.txt": "staged\n"})
    moment = place.stat().st_mtime_ns - 10**10
    os.utime(place, ns=(moment, moment))
    user.git("add", "dir/c.txt")
    user.write({"dir/c.txt": "edited\n"})
    for path in (place, index):
        os.utime(path, ns=(moment, moment))
    assert isinstance(git.land(repo, "main", *candidate), git.Landed)
    assert user.git("status", "--porcelain") == "MM dir/c.txt"


@pytest.mark.parametrize("linked", [False, True])
def test_a_checkout_follows_and_keeps_what_is_uncommitted_elsewhere(repo, user, candidate, linked):
    place = user.root
    if linked:
        user.git("checkout", "-q", "--detach")
        place = user.root.parent / "linked"
        user.git("worktree", "add", "-q", str(place), "main")
    user.write({"dir/c.txt": "staged\n"}, cwd=place)
    user.git("add", "dir/c.txt", cwd=place)
    user.write({"dir/c.txt": "edited\n", "untracked": "u\n"}, cwd=place)
    config = (user.root / ".git/config").read_bytes()
    landed = git.land(repo, "main", *candidate)
    assert isinstance(landed, git.Landed)
    assert (place / "a.txt").read_text() == "A\n"
    assert not (place / "b.txt").exists()
    assert (place / "new/n.txt").exists()
    assert user.git("status", "--porcelain", cwd=place) == "MM dir/c.txt\n?? untracked"
    assert user.git("show", ":dir/c.txt", cwd=place) == "staged"
    assert (user.root / ".git/config").read_bytes() == config
    assert not list(user.root.glob(".git/**/index.lock"))


@pytest.mark.parametrize(
    ("files", "stage", "named"),
    [
        ({"a.txt": "mine\n"}, False, ("a.txt",)),
        ({"a.txt": "mine\n"}, True, ("a.txt",)),
        ({"b.txt": "mine\n"}, False, ("b.txt",)),
        ({"new/n.txt": "mine\n"}, False, ("new/n.txt",)),
        ({"new": "a file where a folder must be\n"}, False, ("new",)),
    ],
)
def test_a_landing_that_would_overwrite_is_refused_with_names(
    repo, user, candidate, files, stage, named
):
    (user.root / ".git/info/exclude").write_text("new*\n")  # ignored files are work too
    user.write(files)
    if stage:
        user.git("add", "-A")
    before = user.fingerprint()
    refused = git.land(repo, "main", *candidate)
    assert isinstance(refused, git.WouldOverwrite)
    assert refused.paths == named
    assert user.fingerprint() == before
    assert user.rev("refs/heads/main") == candidate[0]
    assert all((user.root / n).read_text() == text for n, text in files.items())
    assert user.git("for-each-ref", "refs/fleet/undo") == ""


def test_hidden_edits_and_a_merge_under_way_are_work_too(repo, user, candidate):
    user.git("update-index", "--assume-unchanged", "a.txt")
    (user.root / "a.txt").write_text("hidden\n")
    assert git.land(repo, "main", *candidate).paths == ("a.txt",)
    assert (user.root / "a.txt").read_text() == "hidden\n"
    user.git("update-index", "--no-assume-unchanged", "a.txt")
    user.git("checkout", "a.txt")
    user.git("merge", "-q", "--no-commit", "--no-ff", user.branch("other", {"o": "o\n"}))
    assert "MERGE_HEAD" in git.land(repo, "main", *candidate).why


def test_a_base_that_moved_is_never_overwritten(repo, user, candidate):
    moved = user.commit({"dir/c.txt": "somebody else\n"})
    assert git.land(repo, "main", *candidate) == git.BaseMoved(moved)
    assert user.rev("refs/heads/main") == moved
    with pytest.raises(Rejected, match="only moves forward"):
        git.land(repo, "main", moved, user.branch("apart", {"x": "x\n"}, start=candidate[0]))


@pytest.mark.parametrize("point", LAND_POINTS)
@pytest.mark.parametrize("dirty", [False, True])
def test_killed_anywhere_the_next_landing_converges(repo, user, candidate, die_at, point, dirty):
    old, new = candidate
    if dirty:
        user.write({"dir/c.txt": "edited\n", "untracked": "u\n"})
    die_at(point, f"land(repo, 'main', {old!r}, {new!r})")
    # Whatever was left, nobody can commit a reversal of the landing by accident.
    user.git("commit", "-q", "-m", "by accident", check=False)
    tip = user.rev("refs/heads/main")
    assert (user.git("diff", "--name-only", new, tip) == "") or tip == old
    landed = git.land(repo, "main", old, new)
    assert isinstance(landed, git.Landed)
    assert user.rev("refs/heads/main") == new
    assert repo.resolve(landed.undo_ref) == old
    expected = "M dir/c.txt\n?? untracked" if dirty else ""
    assert user.git("status", "--porcelain") == expected
    assert {p.name for p in user.root.glob(".git/**/*.lock")} == {"fleet.lock"}
    assert not (user.root / ".git/fleet-landing.json").exists()


@pytest.mark.parametrize("point", ["git.land.after_files", "git.land.after_prepare"])
def test_files_half_written_are_taken_back_and_later_edits_kept(
    repo, user, candidate, die_at, point
):
    old, new = candidate
    die_at(point, f"land(repo, 'main', {old!r}, {new!r})")
    (user.root / "a.txt").write_text("edited since\n")
    (user.root / "new").mkdir(exist_ok=True)
    (user.root / "new/n.txt").write_text("")  # the beginning of a file
    assert "took back" in git.recover_landings(repo)
    assert (user.root / "a.txt").read_text() == "a\n"
    assert (user.root / "a.txt.kept-1").read_text() == "edited since\n"
    assert user.git("status", "--porcelain") == "?? a.txt.kept-1"
    assert git.recover_landings(repo) is None


def test_twenty_landers_at_once_lose_nothing(repo, user):
    shas = [user.branch(f"t{n}", {f"f{n}": f"{n}\n"}) for n in range(20)]

    def land(n):
        while True:
            base = repo.resolve("main")
            part = git.Part(f"t{n}", f"t{n}", shas[n])
            made = git.assemble(
                repo, base, [part], name=f"t{n}", message=lambda p: p.task, identity=WHO
            )
            outcome = git.land(repo, "main", base, made.commit)
            if isinstance(outcome, git.Landed):
                return
            assert isinstance(outcome, git.BaseMoved)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(land, range(20)))
    assert all(repo.is_ancestor(sha, user.rev("refs/heads/main")) for sha in shas)
    assert user.git("status", "--porcelain") == ""
    user.git("fsck", "--strict")


def test_the_users_hook_may_refuse_and_nothing_has_moved(repo, user, candidate):
    hook = user.root / ".git/hooks/reference-transaction"
    hook.write_text(
        '#!/bin/sh\n[ "$1" = prepared ] || exit 0\ngrep -q heads/main && exit 1\nexit 0\n'
    )
    hook.chmod(0o755)
    before = user.fingerprint()
    assert isinstance(git.land(repo, "main", *candidate), git.HookFailed)
    assert (user.rev("refs/heads/main"), user.fingerprint()) == (candidate[0], before)
    empty = user.git("commit-tree", "-p", candidate[0], "-m", "e", f"{candidate[0]}^{{tree}}")
    assert isinstance(git.land(repo, "main", candidate[0], empty), git.HookFailed)
    assert isinstance(git.land(repo, "main", *candidate, hooks=False), git.Landed)


def test_a_hook_that_hangs_is_ended_and_the_checkout_is_as_it_was(
    repo, user, candidate, monkeypatch
):
    monkeypatch.setattr("fleet.adapters.git.transaction.ANSWER_S", 0.5)
    hook = user.root / ".git/hooks/reference-transaction"
    mine = sleeper()
    hook.write_text(f"#!/bin/sh\ngrep -q heads/main && exec {' '.join(mine)}\nexit 0\n")
    hook.chmod(0o755)
    before = user.fingerprint()
    refused = git.land(repo, "main", *candidate)
    assert refused == git.HookFailed("no answer within 0.5 s")
    assert (user.rev("refs/heads/main"), user.fingerprint()) == (candidate[0], before)
    assert not alive(mine)
    assert {p.name for p in user.root.glob(".git/**/*.lock")} == {"fleet.lock"}
    hook.unlink()
    assert isinstance(git.land(repo, "main", *candidate), git.Landed)


def test_trouble_of_gits_own_is_no_refusal_of_a_hook(repo, user, candidate):
    lock = user.root / ".git/refs/heads/main.lock"
    lock.touch()
    with pytest.raises(FleetError, match=r"main cannot be moved: .*main\.lock"):
        git.land(repo, "main", *candidate)
    assert git.recorded_moves(repo) == ()
    assert user.git("status", "--porcelain") == ""
    lock.unlink()
    assert isinstance(git.land(repo, "main", *candidate), git.Landed)


def test_a_held_index_lock_is_named_and_left_alone(repo, user, candidate, monkeypatch):
    monkeypatch.setattr("fleet.adapters.git.following.LOCK_WAIT_S", 0.1)
    lock = user.root / ".git/index.lock"
    lock.touch()
    with pytest.raises(Rejected, match=r"index\.lock"):
        git.land(repo, "main", *candidate)
    assert lock.exists()
    assert user.rev("refs/heads/main") == candidate[0]
    lock.unlink()
    assert isinstance(git.land(repo, "main", *candidate), git.Landed)


def test_tags_are_created_once(repo, user):
    first = user.head()
    assert git.tag(repo, "v1", first) == git.tag(repo, "v1", first) == "refs/tags/v1"
    second = user.commit({"x": "x\n"})
    with pytest.raises(Rejected, match="exists at"):
        git.tag(repo, "v1", second)
    with pytest.raises(Rejected):
        git.tag(repo, "-d", second)
    assert repo.tag_commit("v1") == first


def test_names_are_never_confused(repo, user):
    first = user.head()
    user.git("tag", "twin")
    sha = user.branch("twin", {"x": "x\n"}, start="refs/heads/main")
    assert repo.resolve("twin") == sha
    assert repo.resolve("refs/tags/twin") == first
    assert repo.resolve(first[:10]) == first
    assert [repo.resolve(n) for n in ("--all", "a..b", "main~0", "", "nope", "0" * 40)] == [
        None
    ] * 6
    assert repo.heads(["main", "twin", "nope"]) == {"main": first, "twin": sha}
    assert repo.holders("main") == (user.root,)
    assert repo.holders("twin") == ()


def test_files_of_a_commit(repo, user):
    (user.root / "link").symlink_to("/etc/passwd")
    base = user.head()
    sha = user.commit({"docs/x/y.md": "y\n", "docs/z.md": "zz\n", "a b'\n.txt": "o\n"})
    paths = lambda glob: [f.path for f in git.find_files(repo, sha, glob)]  # noqa: E731
    assert paths("docs/*.md") == ["docs/z.md"]
    assert paths("docs/**/*.md") == ["docs/x/y.md", "docs/z.md"]
    assert paths("**/*.md") == ["docs/x/y.md", "docs/z.md"]
    assert paths("docs/") == paths("docs") == paths("docs/**") == ["docs/x/y.md", "docs/z.md"]
    assert paths("[ab].txt") == ["a.txt", "b.txt"]
    assert paths("*") == [
        "a b'\n.txt",
        "a.txt",
        "b.txt",
        "dir/c.txt",
        "docs/x/y.md",
        "docs/z.md",
        "link",
    ]
    (link,) = git.find_files(repo, sha, "link")
    assert (link.mode, git.read_file(repo, sha, "link", 100)) == ("symlink", b"/etc/passwd")
    assert git.read_file(repo, sha, "docs/z.md", 3) == b"zz\n"
    with pytest.raises(Rejected, match="more than"):
        git.read_file(repo, sha, "docs/z.md", 2)
    assert git.changed_since(repo, base, sha) == {"docs/x/y.md", "docs/z.md", "a b'\n.txt", "link"}
    subprocess.run(["git", "gc", "-q"], cwd=user.root, check=True)
    assert git.read_file(repo, sha, "docs/z.md", 3) == b"zz\n"


def test_a_base_that_moves_between_look_and_move_is_kept(repo, user, candidate, monkeypatch):
    other = user.branch("other", {"o": "o\n"})
    record = following.record

    def interfere(follow):
        record(follow)
        user.git("update-ref", "refs/heads/main", other, candidate[0])

    monkeypatch.setattr(following, "record", interfere)
    assert git.land(repo, "main", *candidate) == git.BaseMoved(other)
    assert user.rev("refs/heads/main") == other
    assert (user.root / "a.txt").read_text() == "a\n"
    assert not (user.root / ".git/index.lock").exists()


def test_a_branch_without_a_common_past_is_refused_with_its_cure(user, repo):
    user.git("switch", "-q", "--orphan", "apart")
    sha = user.commit({"a.txt": "other\n"})
    user.git("switch", "-q", "main")
    with pytest.raises(Rejected) as refused:
        assemble(repo, user.head(), git.Part("t", "fleet/t", sha))
    assert refused.value.text == "fleet/t of task 't' has no common past with the base"
    assert "begin the branch anew" in refused.value.hint
