"""What is removed can be brought back byte for byte, whatever it is called and however it lay."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from fleet.adapters import git
from fleet.adapters.git import trash
from fleet.errors import NotFound, Rejected
from histories.oracle import disk
from support.crash_walks import OF_A_RESTORE


@pytest.fixture
def tree(repo, user):
    """Returns a task's worktree."""
    user.commit({".gitignore": "*.log\nnode_modules/\n", ".gitattributes": "*.txt text=auto\n"})
    start = user.rev("refs/heads/main")
    return git.create(
        repo, path=user.root.parent / "w t", branch="fleet/one", start=start, key="run/one"
    )


def take(repo, tree, name="one"):
    git.remove(repo, tree, git.prove_rescued(tree, name), name=name)
    assert not tree.path.exists()
    return git.find_rescue(repo, name)


NASTY = [
    *(
        os.fsdecode(name)
        for name in (b'sp ace "q"', b"new\nline", b"\xff\xfe", b"-dash", b"\\back")
    ),
    *("unicode é", "tab\there", "r.log", "deep/er/x.log", "*.glob", ":(top)"),
]


def test_everything_comes_back_as_it_was(repo, user, tree):
    root = tree.path
    for number, name in enumerate(NASTY):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"%d\r\n" % number)
    (root / "a.txt").write_bytes(b"crlf\r\nline\r\n")
    (root / "program").write_text("#!/bin/sh\n")
    (root / "program").chmod(0o755)
    (root / "link").symlink_to(os.fsdecode(b"../../out\xff/side"))
    (root / "b.txt").unlink()
    (root / "b.txt").mkdir()
    (root / "b.txt/inside").write_text("a folder where a file was\n")
    user.git("rm", "-q", "--cached", "dir/c.txt", cwd=root)
    (root / "dir/c.txt").unlink()
    (root / "dir").rmdir()
    (root / "dir").write_text("a file where a folder was\n")
    with (root / "sparse").open("wb") as file:
        file.truncate(5 << 20)
    closed = root / "closed"
    closed.mkdir()
    (closed / "in").write_text("in a closed folder\n")
    closed.chmod(0o555)
    os.mkfifo(root / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(root / "sock"))
    server.close()
    (root / "node_modules/x").mkdir(parents=True)
    (root / "node_modules/x/y.js").write_text("made again")
    before = disk(root)
    found = take(repo, tree)
    assert (found.worktree, found.branch, found.kind) == (str(root), "fleet/one", "files")
    folder = git.restore(repo, found, user.root.parent / "back")
    assert disk(folder) == before
    second = git.restore_worktree(repo, found, "again", user.root.parent / "again")
    assert disk(second) == before
    assert user.git("rev-parse", "HEAD", cwd=second) == user.rev("refs/heads/fleet/one")


def test_case_only_renames_and_hidden_and_sparse_files(repo, user, tree):
    root = tree.path
    user.git("mv", "a.txt", "A.TXT", cwd=root)
    (root / "a.txt").write_text("both\n")
    user.git("update-index", "--skip-worktree", "b.txt", "dir/c.txt", cwd=root)
    (root / "b.txt").unlink()  # left out, as a sparse checkout does
    (root / "dir/c.txt").write_text("hidden edit\n")
    found = take(repo, tree)
    folder = git.restore(repo, found, user.root.parent / "back")
    assert (folder / "A.TXT").read_text() == "a\n"
    assert (folder / "a.txt").read_text() == "both\n"
    assert (folder / "b.txt").exists(), "what was only left out is no deletion"
    assert (folder / "dir/c.txt").read_text() == "hidden edit\n"


def test_the_staged_state_and_the_branchs_commits_come_back(repo, user, tree):
    root = tree.path
    user.write({"a.txt": "staged\n"}, cwd=root)
    user.git("add", "a.txt", cwd=root)
    user.write({"a.txt": "edited\n"}, cwd=root)
    before = user.git("status", "--porcelain", cwd=root)
    found = take(repo, tree)
    assert found.staged == 1
    folder = git.restore_worktree(repo, found, "again", user.root.parent / "back")
    assert user.git("status", "--porcelain", cwd=folder) == before == "MM a.txt"
    assert user.git("show", ":a.txt", cwd=folder) == "staged"
    for target in (folder, user.root):
        with pytest.raises(Rejected, match="there already"):
            git.restore(repo, found, target)
    with pytest.raises(Rejected, match="exists"):
        git.restore_worktree(repo, found, "again", user.root.parent / "third")
    with pytest.raises(NotFound):
        git.find_rescue(repo, "nobody")


def test_commits_that_only_logs_and_marks_know_are_kept(repo, user, tree):
    root, known = tree.path, set()
    known.add(user.commit({"x": "1\n"}, cwd=root))
    user.git("commit", "-q", "--amend", "-m", "amended", cwd=root)
    user.git("checkout", "-q", "--detach", cwd=root)
    known.add(user.commit({"y": "1\n"}, cwd=root))
    known.add(user.commit({"y": "2\n"}, cwd=root))
    user.git("checkout", "-q", "fleet/one", cwd=root)
    user.git("update-ref", "refs/worktree/mine", user.commit({"z": "1\n"}, cwd=root), cwd=root)
    known.add(user.head(root))
    user.git("reset", "-q", "--hard", "HEAD~1", cwd=root)
    user.git("merge", "-q", "--no-commit", "--no-ff", user.branch("m", {"m": "m\n"}), cwd=root)
    known.add(user.rev("refs/heads/m"))
    user.git("branch", "-q", "-D", "m")
    take(repo, tree)
    (start,) = git.started(repo)
    git.delete_branch(repo, start, user.rev("refs/heads/fleet/one"), name="one")
    user.git("gc", "-q", "--prune=now")
    assert known <= set(user.git("rev-list", "--all").split())


def test_a_rescue_never_overwrites_another(repo, user, tree):
    user.write({"u": "1\n"}, cwd=tree.path)
    first = git.rescue(tree, "one")
    user.write({"u": "2\n"}, cwd=tree.path)
    assert git.rescue(tree, "one") == f"{first}.2"
    assert user.git("show", f"{first}:u") == "1"


def test_what_a_snapshot_cannot_hold_is_refused(repo, user, tree, monkeypatch):
    root = tree.path
    user.git("init", "-q", str(root / "inner"))
    (root / "inner/f").write_text("f")
    with pytest.raises(Rejected, match="repository of its own"):
        git.prove_rescued(tree, "one")
    (root / "inner").rename(root.parent / "inner")
    monkeypatch.setattr("fleet.adapters.git.snapshot.RESCUE_LIMIT_BYTES", 10)
    (root / "big").write_text("more than ten bytes")
    with pytest.raises(Rejected, match="more than a snapshot may take"):
        git.prove_rescued(tree, "one")
    assert (root / "big").exists()


def test_a_submodule_with_commits_of_its_own_keeps_its_worktree(repo, user, tree):
    library = user.root.parent / "library"
    user.git("init", "-q", "-b", "main", str(library))
    user.git("config", "user.name", "Ada", cwd=library)
    user.git("config", "user.email", "ada@example.org", cwd=library)
    user.commit({"lib": "1\n"}, cwd=library)
    allow = ("-c", "protocol.file.allow=always")
    user.git(*allow, "submodule", "--quiet", "add", str(library), "lib", cwd=tree.path)
    tip = user.commit({}, cwd=tree.path)
    assert isinstance(git.prove_removable(repo, tree, tip), git.Proof), "pushed, and clean"
    inner = tree.path / "lib"
    user.git("config", "user.name", "Ada", cwd=inner)
    user.git("config", "user.email", "ada@example.org", cwd=inner)
    user.commit({"lib": "2\n"}, cwd=inner)
    for proof in (git.prove_removable(repo, tree, tip), git.prove_rescued(tree, "one")):
        assert "that no remote has" in "".join(proof.reasons)
    user.git("push", "-q", "origin", "HEAD:other", cwd=inner)
    assert "changes of its own" in "".join(git.prove_rescued(tree, "one").reasons)
    user.git("checkout", "-q", "HEAD~1", cwd=inner)
    git.remove(repo, tree, git.prove_rescued(tree, "one"), name="one")
    assert not tree.path.exists()


def test_a_restore_that_was_killed_is_made_anew(repo, user, tree, die_at):
    (tree.path / "u").write_text("u")
    before = disk(tree.path)
    found, target = take(repo, tree), user.root.parent / "back"
    (point,) = OF_A_RESTORE
    die_at(
        point,
        f"restore(repo, find_rescue(repo, 'one'), Path({str(target)!r}))",
    )
    assert not target.exists()
    assert disk(git.restore(repo, found, target)) == before
    assert not list(target.parent.glob(".fleet-restore-*"))


def test_who_is_inside_is_named(repo, tree):
    sleeper = subprocess.Popen(["sleep", "60"], cwd=tree.path / "dir")
    try:
        found = git.prove_rescued(tree, "one")
        assert found.reasons == (f"process {sleeper.pid} (sleep) works in it",)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_write_in_the_last_moment_puts_it_back(repo, user, tree, monkeypatch):
    (tree.path / "u").write_text("1")
    proof = git.prove_rescued(tree, "one")
    point = trash.crash_point

    def write(name: str) -> None:
        for late in (repo.common / "fleet").glob("trash-*/tree/u"):
            late.write_text("written while it was on its way")
        point(name)

    monkeypatch.setattr(trash, "crash_point", write)
    with pytest.raises(Rejected, match="changed while"):
        git.remove(repo, tree, proof, name="one")
    assert (tree.path / "u").read_text() == "written while it was on its way"
    assert git.find(repo, tree.path) is not None
    assert not list((repo.common / "fleet").glob("trash-*"))


def test_a_tree_that_is_being_deleted_is_never_put_back(repo, tree, monkeypatch):
    monkeypatch.setattr(trash, "delete", lambda *_, **__: None)
    git.remove(repo, tree, git.prove_rescued(tree, "one"), name="one", wait=False)
    (slot,) = trash.leftovers(repo.common)
    for folder in slot.folders:
        while found := sorted(folder.iterdir()) if folder.exists() else []:  # `checked` first
            shutil.rmtree(found[0]) if found[0].is_dir() else found[0].unlink()
            trash.put_back(repo.common)
            assert not tree.path.exists()
        shutil.rmtree(folder, ignore_errors=True)
    assert trash.leftovers(repo.common) == ()


def test_only_branches_that_fleet_made_are_deleted_and_they_come_back(repo, user, tree):
    user.git("branch", "theirs")
    tip = user.commit({"x": "1\n"}, cwd=tree.path)
    (start,) = git.started(repo)
    with pytest.raises(Rejected, match="checked out"):
        git.delete_branch(repo, start, tip, name="one")
    take(repo, tree)
    with pytest.raises(Rejected, match="moved"):
        git.delete_branch(repo, start, start.sha, name="one")
    git.delete_branch(repo, start, tip, name="one")
    assert (user.rev("refs/heads/fleet/one"), bool(user.rev("refs/heads/theirs"))) == ("", True)
    assert git.started(repo) == ()
    move = git.recorded_moves(repo)[-1]
    git.restore_branch(repo, move)
    assert user.rev("refs/heads/fleet/one") == tip
    assert git.started(repo) == (start,)


def test_a_folder_that_vanished_keeps_what_was_staged(repo, user, tree):
    user.write({"a.txt": "staged\n"}, cwd=tree.path)
    user.git("add", "a.txt", cwd=tree.path)
    user.git("checkout", "-q", "--detach", cwd=tree.path)
    loose = user.commit({"x": "1\n"}, cwd=tree.path)
    user.write({"a.txt": "staged again\n"}, cwd=tree.path)
    user.git("add", "a.txt", cwd=tree.path)
    tree.path.rename(tree.path.with_name("gone"))
    (owned,) = git.owned(repo)
    kept = git.drop_vanished(repo, owned, name="one")
    assert user.git("show", f"{kept[0]}:a.txt") == "staged again"
    assert loose in user.git("rev-list", "--all").split()
    assert git.owned(repo) == ()


def test_files_of_another_disk_go_too(repo, user, tree, monkeypatch):
    lstat = Path.lstat

    def elsewhere(path: Path) -> os.stat_result:
        found = lstat(path)
        if path == tree.path:
            values = list(found)
            values[2] += 1
            return os.stat_result(values)
        return found

    monkeypatch.setattr(Path, "lstat", elsewhere)
    take(repo, tree)
    assert not list(tree.path.parent.glob(".fleet-trash-*"))
