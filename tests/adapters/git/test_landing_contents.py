"""What git keeps otherwise than it lies on a disk lands as it was judged, and goes back: line ends,
filters, submodules, names of every sort, what is large, and what is a file here and a folder there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet.adapters import git
from fleet.errors import FleetError, Rejected
from support.git_repo import GitRepo
from support.small_disk import PAGE_BYTES, fill, small_disk

WHO = git.Identity("Bob", "bob@example.org", 1_700_000_000)
LOCAL = ("-c", "protocol.file.allow=always")
NAMES = [
    b"sp ace", b"q\"uote's", b"new\nline", b"tab\t", b"\xff\xfe.bin", b"-dash", b"*glob?[x]",
    b"back\\slash", "\u00fc.txt".encode(), b"\xe9/sp ace/x", b"%s%0a",
]  # fmt: skip
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 12\n"
LFS = "*.bin filter=lfs -text\n"

Disk = dict[bytes, tuple[str, bytes]]


@dataclass
class Scene:
    """A user's repository and the worktree of a task, before it has committed."""

    user: GitRepo
    tree: Path = field(init=False)

    def begin(self) -> None:
        self.tree = self.user.root.parent / "tree"
        self.user.git("worktree", "add", "-q", "-b", "t", str(self.tree))

    def put(self, files: dict[str, str | bytes | None], cwd: Path | None = None) -> None:
        self.user.write(files, cwd or self.tree)

    def commit(self, cwd: Path | None = None) -> None:
        self.user.git("add", "-A", cwd=cwd or self.tree)
        self.user.git("commit", "-q", "-m", "work", cwd=cwd or self.tree)

    def check_out_anew(self) -> None:
        """Has git write the user's files with the line ends that are wanted now."""
        for name in self.user.git("ls-files").split():
            (self.user.root / name).unlink()
        self.user.git("checkout", "--", ".")

    def library(self, cwd: Path) -> GitRepo:
        """Returns another repository, which is the submodule `lib` of this one."""
        other = GitRepo(self.user.root.parent / "library", files={"l.txt": "1\n"})
        self.user.git(*LOCAL, "submodule", "--quiet", "add", str(other.root), "lib", cwd=cwd)
        self.user.git("commit", "-q", "-m", "lib", cwd=cwd)
        return other


def autocrlf(scene: Scene) -> None:
    scene.user.git("config", "core.autocrlf", "true")
    scene.check_out_anew()
    scene.begin()
    scene.put({"a.txt": b"x\r\ny\r\n", "new.txt": b"n\r\n", "mixed.txt": b"m\r\nm\n"})


def line_ends_by_attributes(scene: Scene) -> None:
    scene.put({".gitattributes": "*.txt text eol=crlf\n"}, scene.user.root)
    scene.commit(scene.user.root)
    scene.check_out_anew()
    scene.begin()
    scene.put({"a.txt": b"x\r\n", "dir/new.txt": b"n\r\n", ".gitattributes": "*.txt text eol=lf\n"})


def line_ends_that_are_kept_as_they_are(scene: Scene) -> None:
    scene.put({"a.txt": b"a\r\nb\r\n"}, scene.user.root)
    scene.commit(scene.user.root)
    scene.begin()
    scene.put({"a.txt": b"a\r\nc\r\n", "b.txt": b"b\nb\r\n"})


def pointers_without_a_filter(scene: Scene) -> None:
    scene.begin()
    scene.put({".gitattributes": LFS, "x.bin": POINTER})


def a_filter(scene: Scene) -> None:
    """A filter as that of git-lfs: pointers in git, contents in a store, on the disk the latter."""
    store, program = scene.user.root.parent / "store", scene.user.root.parent / "filter"
    store.mkdir()
    program.write_text(
        f"#!/bin/sh\nif [ $1 = clean ]; then cat > {store}/new\n"
        f"set -- $(sha256sum {store}/new); mv {store}/new {store}/$1\n"
        'printf "version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\n" $1\n'
        f"else cat {store}/$(sed -n s/^oid.sha256://p); fi\n"
    )
    program.chmod(0o755)
    for name, value in (("clean", "clean"), ("smudge", "smudge"), ("required", "")):
        told = f"{program} {value}" if value else "true"
        scene.user.git("config", f"filter.lfs.{name}", told)
    scene.put({".gitattributes": LFS, "x.bin": "large\n"}, scene.user.root)
    scene.commit(scene.user.root)
    scene.begin()
    scene.put({"x.bin": "larger\n", "y.bin": os.urandom(70_000)})


def a_new_submodule(scene: Scene) -> None:
    scene.begin()
    scene.library(scene.tree)


def a_submodule_at_another_commit(scene: Scene) -> None:
    other = scene.library(scene.user.root)
    scene.begin()
    scene.user.git(*LOCAL, "submodule", "--quiet", "update", "--init", cwd=scene.tree)
    other.commit({"l.txt": "2\n"})
    scene.user.git(*LOCAL, "fetch", "-q", cwd=scene.tree / "lib")
    scene.user.git("checkout", "-q", "origin/main", cwd=scene.tree / "lib")


def a_submodule_that_was_never_checked_out(scene: Scene) -> None:
    scene.library(scene.user.root)
    scene.user.git("submodule", "--quiet", "deinit", "lib")
    scene.begin()
    scene.user.git("rm", "-q", "lib", cwd=scene.tree)
    scene.put({"lib/l.txt": "now ours\n"})


def case_only_renames_and_files_for_folders(scene: Scene) -> None:
    scene.put({"Case.txt": "case\n", "Deep/er/case": "case\n"}, scene.user.root)
    scene.commit(scene.user.root)
    scene.begin()
    for old, new in (("Case.txt", "cASE.txt"), ("Deep/er", "Deep/Er"), ("Deep", "deep")):
        scene.user.git("mv", old, new, cwd=scene.tree)
    scene.put({"dir/c.txt": None, "a.txt": None})
    (scene.tree / "dir").rmdir()
    scene.put({"dir": "a file\n", "a.txt/in/it": "x\n"})
    (scene.tree / "b.txt").unlink()
    (scene.tree / "b.txt").symlink_to("a.txt/in/it")


def ten_megabytes(scene: Scene) -> None:
    scene.put({"big": bytes(10 << 20)}, scene.user.root)
    scene.commit(scene.user.root)
    scene.begin()
    scene.put({"big": os.urandom(10 << 20)})


def names_of_every_sort(scene: Scene) -> None:
    scene.put({os.fsdecode(name): name for name in NAMES[1:6]}, scene.user.root)
    scene.commit(scene.user.root)
    scene.begin()
    scene.put({os.fsdecode(name): b"new " + name for name in NAMES})
    scene.put({os.fsdecode(name): None for name in NAMES[2:4]})


CONTENTS: list[Callable[[Scene], None]] = [
    autocrlf, line_ends_by_attributes, line_ends_that_are_kept_as_they_are,
    pointers_without_a_filter, a_filter, a_new_submodule, a_submodule_at_another_commit,
    a_submodule_that_was_never_checked_out, case_only_renames_and_files_for_folders, ten_megabytes,
    names_of_every_sort,
]  # fmt: skip


def disk(root: Path) -> Disk:
    """Returns what lies in a checkout, but for git's own and for what is within submodules."""
    found: Disk = {}
    for folder, names, files in os.walk(root):
        inside = Path(folder)
        submodule = inside != root and ".git" in files
        names[:] = [] if submodule else [name for name in names if name != ".git"]
        for path in [] if submodule else [inside / name for name in files if name != ".git"]:
            info = path.lstat()
            link = stat.S_ISLNK(info.st_mode)
            kind = "link" if link else oct(info.st_mode & 0o111)
            content = os.fsencode(path.readlink()) if link else path.read_bytes()
            found[os.fsencode(path.relative_to(root))] = (kind, content)
    return found


def assemble(repo: git.Repository, user: GitRepo) -> git.Assembled:
    made = git.assemble(
        repo, user.head(), [git.Part("t", "t", user.rev("refs/heads/t"))], name="run/p",
        message=lambda _: "Merge t", identity=WHO,
    )  # fmt: skip
    assert isinstance(made, git.Assembled), made
    return made


@pytest.mark.parametrize("prepare", CONTENTS, ids=lambda one: one.__name__)
def test_it_lands_as_it_was_judged_survives_a_kill_and_goes_back(
    repo, user, die_at, prepare, tmp_path
):
    scene = Scene(user)
    prepare(scene)
    if user.git("status", "--porcelain", cwd=scene.tree):
        scene.commit()
    old, before = user.head(), disk(user.root)
    assert user.git("status", "--porcelain") == ""
    made = assemble(repo, user)
    trial = git.trial_checkout(repo, made.commit, tmp_path / "trial")
    judged = disk(trial)
    assert user.git("status", "--porcelain", cwd=trial) == ""
    git.remove_trial(repo, trial)

    die_at("git.land.after_files", f"land(repo, 'main', {old!r}, {made.commit!r})")
    assert "took back" in git.recover_landings(repo)
    assert (user.git("status", "--porcelain"), user.head()) == ("", old)
    assert disk(user.root) == before

    landed = git.land(repo, "main", old, made.commit)
    assert isinstance(landed, git.Landed), landed
    assert user.rev("refs/heads/main^{tree}") == made.tree
    there = disk(user.root)
    unconverted = {b"b.txt", b"dir/c.txt"} if prepare is line_ends_by_attributes else set()
    assert {p for p in there.keys() | judged.keys() if there.get(p) != judged.get(p)} == unconverted
    # A submodule's own checkout is left to `git submodule update`, as after any merge.
    left = " M lib" if prepare is a_submodule_at_another_commit else ""
    assert user.git("status", "--porcelain") == left.strip()

    back = git.take_back(repo, "main", made.commit, old, name="undo/p")
    assert isinstance(back, git.Landed), back
    assert user.git("status", "--porcelain") == ""
    assert disk(user.root) == before


@pytest.mark.parametrize("replaced", ["lib", "lib/l.txt"])
def test_a_submodule_in_use_is_not_replaced_by_files(repo, user, replaced):
    scene = Scene(user)
    scene.library(user.root)
    scene.begin()
    user.git("rm", "-q", "lib", cwd=scene.tree)
    scene.put({replaced: "a file\n"})
    scene.commit()
    scene.put({"lib/mine": "not committed anywhere\n"}, user.root)
    old, made = user.head(), assemble(repo, user)
    refused = git.land(repo, "main", old, made.commit)
    assert isinstance(refused, git.WouldOverwrite)
    assert (refused.paths, refused.why) == (("lib",), "checked-out submodules")
    assert (user.root / "lib/mine").read_text() == "not committed anywhere\n"
    user.git("submodule", "--quiet", "deinit", "--force", "lib")
    assert isinstance(git.land(repo, "main", old, made.commit), git.Landed)
    assert (user.root / replaced).read_text() == "a file\n"


def test_a_filter_that_is_not_installed_is_said_and_nothing_is_left(repo, user, tmp_path):
    scene = Scene(user)
    pointers_without_a_filter(scene)
    scene.commit()
    user.git("config", "filter.lfs.smudge", "no-such-git-lfs smudge -- %f")
    user.git("config", "filter.lfs.required", "true")
    old, made = user.head(), assemble(repo, user)
    with pytest.raises(Rejected, match=r"cannot be checked out.*smudge filter lfs failed") as said:
        git.trial_checkout(repo, made.commit, tmp_path / "trial")
    assert "git-lfs" in said.value.hint
    assert not (tmp_path / "trial").exists()
    assert len(repo.worktrees()) == 2, "the user's and the task's"
    with pytest.raises(Rejected, match=r"cannot follow and is as it was: .*no-such-git-lfs"):
        git.land(repo, "main", old, made.commit)
    assert (user.head(), user.git("status", "--porcelain")) == (old, "")
    assert git.recorded_moves(repo) == ()
    assert not list(user.root.glob(".git/**/index.lock"))
    user.git("config", "filter.lfs.smudge", "cat")
    assert isinstance(git.land(repo, "main", old, made.commit), git.Landed)


def test_wherever_the_disk_is_full_nothing_has_moved_and_it_lands_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", 24) as place:
        user = GitRepo(place / "repo", files={"a.txt": "a\n", "b.txt": "b\n", "mine.txt": "m\n"})
        scene, repo = Scene(user), git.Repository.at(user.root)
        scene.begin()
        scene.put({"a.txt": "A\n", "b.txt": None, "big": os.urandom(4 << 20)})
        scene.commit()
        scene.put({"mine.txt": "edited\n"}, user.root)
        old, made = user.head(), assemble(repo, user)
        said = set()
        for left in [*(n * PAGE_BYTES for n in range(10)), 1 << 20]:
            filler = fill(place, left_bytes=left)
            with pytest.raises((FleetError, OSError)) as full:
                git.land(repo, "main", old, made.commit)
            said.add(str(full.value).split(":")[0])
            filler.unlink()
            assert user.head() == old, left
            assert user.git("status", "--porcelain") == "M mine.txt", left
            assert {p.name for p in user.root.glob(".git/**/*.lock")} <= {"fleet.lock"}, left
            assert git.recover_landings(repo) is None, left
            assert [m for m in git.recorded_moves(repo) if git.stands(repo, m)] == [], left
        assert len(said) > 2, "full at several of a record, a ref, the index and a file"
        assert isinstance(git.land(repo, "main", old, made.commit), git.Landed)
        assert (user.root / "big").read_bytes() == (scene.tree / "big").read_bytes()
        assert user.git("status", "--porcelain") == "M mine.txt"
