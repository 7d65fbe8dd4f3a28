"""Worktrees are adopted or created, whatever happened before; others' are not touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleet.adapters import git
from fleet.adapters.crash import CRASH_POINTS
from fleet.adapters.git import snapshot
from fleet.errors import FleetError, Rejected, ToolFailed

CREATE_POINTS = [p for p in CRASH_POINTS if p.startswith("git.create.")]
REMOVE_POINTS = [p for p in CRASH_POINTS if p.startswith("git.remove.")]


def make(repo, user, name="one", **more):
    asked = {
        "path": user.root.parent / "wt" / name,
        "branch": f"fleet/{name}",
        "key": f"run/{name}",
    }
    asked |= {"start": user.rev("refs/heads/main")} | more
    return git.create(repo, **asked)


def test_a_worktree_is_made_and_found_again(repo, user):
    before = user.fingerprint()
    tree = make(repo, user)
    assert (tree.path / "dir/c.txt").read_text() == "c\n"
    assert git.head(tree) == git.Head("fleet/one", user.head())
    assert git.dirty(tree) == ()
    again = make(repo, user)
    assert again.adopted
    assert (again.path, again.start, again.admin) == (tree.path, tree.start, tree.admin)
    assert git.find(repo, tree.path).key == "run/one"
    assert user.git("worktree", "list", "--porcelain").count("locked fleet:run/one") == 1
    assert user.git("status", "--porcelain", cwd=tree.path) == ""
    user.git("fsck", "--strict")
    assert user.fingerprint() == before


def test_an_agents_work_survives_a_second_call_although_the_base_moved(repo, user):
    tree = make(repo, user)
    start = tree.start
    work = user.commit({"new.txt": "n\n"}, cwd=tree.path)
    user.write({"a.txt": "half\n"}, cwd=tree.path)
    user.commit({"b.txt": "moved\n"})
    again = make(repo, user)
    assert (again.start, git.head(again).sha) == (start, work)
    assert (tree.path / "a.txt").read_text() == "half\n"


def test_fifty_at_once_by_processes_and_in_one_batch(repo, user):
    code = (
        "import sys\nfrom pathlib import Path\nfrom fleet.adapters.git import *\n"
        "root, start, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])\n"
        "repo = Repository.at(root)\n"
        "for i in range(5):\n"
        "    create(repo, path=root.parent / 'p' / f'{n}-{i}', branch=f'p/{n}-{i}',\n"
        "           start=start, key=f'p/{n}-{i}')\n"
    )
    source = str(Path(__file__).parents[3] / "src")
    argv = [sys.executable, "-c", code, str(user.root), user.head()]
    env = os.environ | {"PYTHONPATH": source}
    started = [
        subprocess.Popen([*argv, str(n)], env=env, stderr=subprocess.PIPE) for n in range(10)
    ]
    assert [p.communicate()[1] for p in started] == [b""] * 10
    asked = [
        git.Request(user.root.parent / "b" / str(n), f"b/{n}", user.head(), f"b/{n}")
        for n in range(50)
    ]
    seen = []
    made = git.create_many(repo, asked, ready=lambda r, o: seen.append(r.key))
    assert all(isinstance(tree, git.Worktree) for tree in made)
    assert sorted(seen) == sorted(r.key for r in asked)
    assert len(repo.worktrees()) == 101
    assert all(git.dirty(tree) == () for tree in made[:5])


def test_threads_asking_for_the_same_worktree_all_get_it(repo, user):
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(lambda _: make(repo, user), range(8)))
    assert len({tree.admin for tree in trees}) == 1


@pytest.mark.parametrize("point", CREATE_POINTS)
def test_killed_anywhere_the_next_call_converges(repo, user, die_at, point):
    (user.root / ".worktreeinclude").write_text(".env\n")
    (user.root / ".env").write_text("KEY=1\n")
    code = f"create(repo, path=Path({str(user.root.parent / 'wt/one')!r}), branch='fleet/one', "
    die_at(point, code + f"start={user.head()!r}, key='run/one')")
    tree = make(repo, user)
    assert git.dirty(tree) == (".env",)
    assert (tree.path / ".env").read_text() == "KEY=1\n"
    assert len(repo.worktrees()) == 2
    assert {p.name for p in user.root.glob(".git/**/*.lock")} == {"fleet.lock"}


def test_stale_locks_of_a_killed_git_are_broken_and_half_files_rewritten(repo, user, die_at):
    code = f"create(repo, path=Path({str(user.root.parent / 'wt/one')!r}), branch='fleet/one', "
    die_at("git.create.after_link", code + f"start={user.head()!r}, key='run/one')")
    (user.root / ".git/worktrees/one/index.lock").touch()
    (user.root.parent / "wt/one/a.txt").write_text("ha")
    assert git.dirty(make(repo, user)) == ()
    lock = user.root / ".git/refs/heads/fleet/two.lock"
    lock.touch()
    assert make(repo, user, "two").branch == "fleet/two"


def test_a_vanished_folder_is_made_again_with_its_commits_and_staged_work_kept(repo, user):
    tree = make(repo, user)
    work = user.commit({"new.txt": "n\n"}, cwd=tree.path)
    user.write({"staged.txt": "s\n"}, cwd=tree.path)
    user.git("add", "staged.txt", cwd=tree.path)
    subprocess.run(["rm", "-rf", str(tree.path)], check=True)
    again = make(repo, user)
    assert git.head(again).sha == work
    assert (again.path / "new.txt").exists()
    kept = user.git("for-each-ref", "--format=%(refname)", "refs/fleet/rescue/")
    assert user.git("show", f"{kept}:staged.txt") == "s"


def test_what_is_not_ours_is_refused_with_the_cure(repo, user):
    sha = user.branch("theirs", {"t.txt": "t\n"})
    with pytest.raises(Rejected, match="1 commit of its own") as refused:
        make(repo, user, branch="theirs")
    assert "git branch -m" in refused.value.hint
    assert make(repo, user, "own", branch="theirs", owned=True).start == user.head()
    user.git("branch", "clean")
    assert make(repo, user, "clean", branch="clean").branch == "clean"
    with pytest.raises(Rejected, match=f"already checked out at {user.root}"):
        make(repo, user, "m", branch="main")
    full = user.root.parent / "full"
    full.mkdir()
    (full / "x").write_text("mine")
    with pytest.raises(Rejected, match="not empty"):
        make(repo, user, "full", path=full)
    assert (full / "x").read_text() == "mine"
    assert not user.rev("refs/heads/fleet/full")
    with pytest.raises(Rejected, match="folder of the other"):
        make(repo, user, "nest", branch="theirs/below")
    for path in (user.root, user.root / ".git/x", user.root.parent):
        with pytest.raises(Rejected):
            make(repo, user, "bad", path=path)
    assert user.rev("refs/heads/theirs") == sha


def test_a_foreign_worktree_is_adopted_only_when_clean_at_the_start(repo, user):
    place = user.root.parent / "wt" / "one"
    user.git("worktree", "add", "-q", "-b", "fleet/one", str(place))
    (place / "junk").write_text("j")
    with pytest.raises(Rejected, match="1 uncommitted changes"):
        make(repo, user)
    (place / "junk").unlink()
    assert make(repo, user).adopted


def test_dependencies_are_merged_into_the_start_the_same_way_each_time(repo, user):
    main = user.head()
    one, two = user.branch("d1", {"d1": "1\n"}), user.branch("d2", {"d2": "2\n"})
    tree = make(repo, user, merge=[one, two, main])
    assert {p.name for p in tree.path.iterdir()} >= {"d1", "d2", "a.txt"}
    assert git.head(tree).sha == tree.start
    other = make(repo, user, "other", merge=[one, two])
    assert other.start != tree.start
    clash = user.branch("d3", {"d1": "other\n"})
    conflict = make(repo, user, "third", merge=[one, clash])
    assert isinstance(conflict, git.StartConflict)
    assert conflict.paths == ("d1",)
    assert not user.rev("refs/heads/fleet/third")


def test_hostile_names(repo, user):
    for name in (
        "-x",
        "",
        "a..b",
        "a b",
        "x.lock",
        "HEAD",
        "a" * 40,
        "a\nb",
        "@{-1}",
        "a\0b",
        "/a",
    ):
        assert git.branch_name_problem(name), name
    assert git.branch_name_problem("fleet/ä.b") is None
    for number, folder in enumerate(("a b", 'it\'s "q"', "new\nline", "\udcff\udcfe", "$(id);")):
        tree = make(repo, user, f"n{number}", path=user.root.parent / "odd" / folder)
        name = os.fsdecode(b"sp ace\n\xff")
        (tree.path / name).write_text("x")
        assert git.dirty(tree) == (name,)


def test_copies_and_exclusion(repo, user):
    user.commit({".gitignore": ".env\ncache/\n", ".worktreeinclude": ".env\ncache/*.bin\na.txt\n"})
    user.write({".env": "K=1", "cache/x.bin": "x", "cache/y.log": "y", "plain": "p"})
    tree = make(repo, user, path=user.root / ".worktrees" / "in", copy=["plain"])
    assert (tree.path / ".env").read_text() == "K=1"
    assert (tree.path / "cache/x.bin").exists()
    assert not (tree.path / "cache/y.log").exists()
    assert (tree.path / "plain").exists()
    assert ".worktrees" not in user.git("status", "--porcelain")
    with pytest.raises(Rejected, match="not inside"):
        make(repo, user, "esc", copy=["../x"])
    nested = make(repo, user, "two", path=user.root / ".worktrees" / "two")
    assert not (nested.path / ".worktrees").exists()


def test_no_hook_runs_and_a_failed_checkout_is_withdrawn(repo, user):
    hook = user.root / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {user.root.parent}/ran\n")
    hook.chmod(0o755)
    make(repo, user)
    assert not (user.root.parent / "ran").exists()
    user.commit({".gitattributes": "z.txt filter=broken\n", "z.txt": "z\n"})
    user.git("config", "filter.broken.smudge", "false")
    user.git("config", "filter.broken.required", "true")
    with pytest.raises(ToolFailed):
        make(repo, user, "two")
    assert not (user.root.parent / "wt/two").exists()
    assert not user.rev("refs/heads/fleet/two")
    assert len(repo.worktrees()) == 2


def test_changed_pointers_are_noticed_before_git_runs(repo, user):
    tree = make(repo, user)
    evil = user.root.parent / "evil"
    user.git("init", "-q", str(evil))
    user.git("config", "core.fsmonitor", f"touch {evil}/ran", cwd=evil)
    (tree.path / ".git").write_text(f"gitdir: {evil}/.git\n")
    for ask in (git.dirty, git.head):
        with pytest.raises(Rejected, match="tampered"):
            ask(tree)
    with pytest.raises(Rejected, match="tampered"):
        make(repo, user)
    (tree.path / ".git").write_text(f"gitdir: {tree.admin}\n")
    (tree.admin / "commondir").write_text(f"{evil}/.git\n")
    with pytest.raises(Rejected, match="tampered"):
        git.dirty(tree)
    assert not (evil / "ran").exists()


def test_removal_needs_a_proof(repo, user):
    tree = make(repo, user)
    base = user.head()
    with pytest.raises(AssertionError):
        git.Proof(object(), tree.path, base, "")
    user.write({"u.txt": "u\n"}, cwd=tree.path)
    assert "uncommitted" in git.prove_removable(repo, tree, base).reasons[0]
    work = user.commit({}, cwd=tree.path)
    assert work[:12] in git.prove_removable(repo, tree, base).reasons[0]
    user.git("update-index", "--assume-unchanged", "a.txt", cwd=tree.path)
    (tree.path / "a.txt").write_text("hidden")
    assert git.dirty(tree) == ("a.txt",)
    (tree.path / "a.txt").write_text("a\n")
    sleeper = subprocess.Popen(["sleep", "60"], cwd=tree.path)
    try:
        assert str(sleeper.pid) in git.prove_removable(repo, tree, work).reasons[0]
    finally:
        sleeper.send_signal(signal.SIGKILL)
        sleeper.wait()
    proof = git.prove_removable(repo, tree, work)
    (tree.path / "late.txt").write_text("late")
    with pytest.raises(Rejected, match="changed since"):
        git.remove(repo, tree, proof, name="x")
    (tree.path / "late.txt").unlink()
    user.commit({"x": "squashed\n"})
    user.git("checkout", work, "--", "u.txt")
    squashed = user.commit({})
    git.remove(repo, tree, git.prove_removable(repo, tree, squashed), name="x")
    assert not tree.path.exists()
    assert user.rev("refs/heads/fleet/one") == work
    assert len(repo.worktrees()) == 1


@pytest.mark.parametrize("point", ["", *REMOVE_POINTS])
def test_everything_in_a_removed_worktree_is_in_its_rescue_ref(repo, user, die_at, point):
    user.commit({".gitignore": "*.log\n"})
    tree = make(repo, user)
    user.write({"a.txt": "staged\n"}, cwd=tree.path)
    user.git("add", "a.txt", cwd=tree.path)
    user.write({"a.txt": "edited\n", "b.txt": None, "u": "u\n", "r.log": "l\n"}, cwd=tree.path)
    before = user.git("status", "--porcelain", cwd=tree.path)
    ref = git.rescue(tree, "run/one")
    assert user.git("status", "--porcelain", cwd=tree.path) == before
    for name, text in (("a.txt", "edited"), ("u", "u"), ("r.log", "l")):
        assert user.git("show", f"{ref}:{name}") == text
    assert user.git("show", f"{ref}^2:a.txt") == "staged"
    if point:
        code = f"w = find(repo, Path({str(tree.path)!r}))\n"
        code += "remove(repo, w, prove_rescued(w, 'x/y'), name='x')"
        die_at(point, code)
        assert user.git("show", "refs/fleet/rescue/x/y:a.txt") == "edited"
        assert make(repo, user).path.exists()
    else:
        git.remove(repo, tree, git.prove_rescued(tree, "x/y"), name="x")
        assert not tree.path.exists()


def test_head_tells_a_wrong_branch_and_a_detached_one(repo, user):
    tree = make(repo, user)
    user.git("checkout", "-q", "-b", "rogue", cwd=tree.path)
    rogue = user.commit({"r": "r\n"}, cwd=tree.path)
    assert git.head(tree) == git.Head("rogue", rogue)
    user.git("checkout", "-q", "--detach", cwd=tree.path)
    assert git.head(tree) == git.Head(None, rogue)
    assert isinstance(git.prove_removable(repo, tree, user.head()), git.NotRemovable)


def test_the_tip_is_what_the_head_is_however_git_keeps_it(repo, user, monkeypatch):
    tree = make(repo, user)
    asked = []
    head = snapshot.head
    monkeypatch.setattr(snapshot, "head", lambda one: asked.append(one) or head(one))

    def seen(look):
        try:
            return look(tree)
        except ToolFailed:
            return "refused"

    def same(asking: bool) -> None:
        asked.clear()
        found = seen(git.tip)
        assert found == seen(lambda one: head(one).sha)
        assert bool(asked) is asking, "git itself is asked"

    user.commit({"n": "n\n"}, cwd=tree.path)
    same(asking=False)
    user.git("pack-refs", "--all")
    same(asking=True)
    user.git("checkout", "-q", "--detach", cwd=tree.path)
    same(asking=True)
    user.git("checkout", "-q", "--orphan", "unborn", cwd=tree.path)
    same(asking=True)
    assert git.tip(tree) is None
    elsewhere = tree.path.parent / "elsewhere"
    elsewhere.write_text("1" * 40 + "\n")
    for hostile in (f"ref: refs/heads/../../../{elsewhere}", f"ref: {elsewhere}", "", "\0"):
        (tree.admin / "HEAD").write_text(hostile)
        same(asking=True)
    user.git("branch", "linked", cwd=user.root)
    (tree.admin / "HEAD").write_text("ref: refs/heads/linked\n")
    same(asking=False)
    ref = repo.common / "refs/heads/linked"
    ref.unlink()
    ref.symlink_to(elsewhere)
    asked.clear()
    git.tip(tree)
    assert asked, "a link is git's to follow"


def test_what_is_no_repository_is_said_with_the_cure(tmp_path, user):
    with pytest.raises(FleetError, match="not in a git repository"):
        git.Repository.at(tmp_path)
    user.git("init", "-q", str(tmp_path / "empty"))
    with pytest.raises(FleetError, match="no commit"):
        git.Repository.at(tmp_path / "empty")
    user.git("clone", "-q", "--bare", str(user.root), str(tmp_path / "bare.git"))
    with pytest.raises(FleetError, match="bare"):
        git.Repository.at(tmp_path / "bare.git")
    user.git("config", "core.bare", "true")
    with pytest.raises(FleetError, match="calls it bare") as refused:
        git.Repository.at(user.root)
    assert "core.bare false" in refused.value.hint


def test_git_variables_of_the_environment_lead_nowhere(repo, user, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert git.dirty(make(repo, user)) == ()


def test_every_crash_point_is_passed_in_the_code():
    root = Path(git.__file__).parents[2]
    code = "\n".join(p.read_text() for p in root.rglob("*.py"))
    assert [p for p in CRASH_POINTS if f'crash_point("{p}")' not in code] == []
