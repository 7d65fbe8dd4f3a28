"""The sandbox with the real bubblewrap, as whoever runs the tests and, from root, as `nobody`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleet.adapters import sandbox
from fleet.adapters.sandbox.mounts import Mounts
from fleet.adapters.sandbox.programs import places_of
from fleet.errors import Rejected
from support.git_repo import GitRepo
from support.scripted_fleet import until

SOURCE = Path(__file__).resolve().parents[2] / "src"
NOBODY = 65_534
PLAIN_PYTHON = "/usr/bin/python3"
# What runs as another user: told by JSON, it makes the argv there and becomes it.
AS_ANOTHER = """\
import json, os, sys
from pathlib import Path
from fleet.adapters import sandbox
told = json.load(sys.stdin)
place = sandbox.Place(**{k: v if k == "branch" else Path(v) for k, v in told["place"].items()})
rules = {k: list(map(Path, v)) if isinstance(v, list) else v for k, v in told["rules"].items()}
inside = sandbox.Confined(argv=told["argv"], env=told["env"])
argv = sandbox.confine(inside, sandbox.Rules(**rules), place)
os.chdir("/")
os.execve(argv[0], argv, {**os.environ, **told["env"]})
"""


class Scene:
    """A repository with two worktrees, and what a program in one of them comes to."""

    def __init__(self, top: Path) -> None:
        self.top, self.repo = top, GitRepo(top / "repo")
        self.home = top / "home"
        (self.home / ".ssh").mkdir(parents=True)
        (self.home / ".ssh/key").write_text("key\n")
        for name in ("a", "b"):
            self.repo.git("worktree", "add", "-q", "-b", f"fleet/{name}", str(top / name))
        common, state = self.repo.root / ".git", self.repo.root / ".fleet"
        folder = state / "attempts/plan/a/1"
        folder.mkdir(parents=True)
        self.place = {
            "root": self.repo.root,
            "state": state,
            "common": common,
            "worktree": top / "a",
            "admin": common / "worktrees/a",
            "branch": "fleet/a",
            "folder": folder,
        }
        self.user: int | None = None

    def hand_over(self) -> None:
        """Gives all of it to the user that works there."""
        if self.user is not None:
            for folder, _, files in os.walk(self.top):
                for name in (".", *files):
                    os.chown(Path(folder, name), self.user, self.user, follow_symlinks=False)

    def __call__(self, script: str, **rules) -> subprocess.CompletedProcess[str]:
        """Runs a shell script inside."""
        env = {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIT_CONFIG_GLOBAL": "",
            "GIT_CONFIG_SYSTEM": "",
        }
        argv = ["/bin/sh", "-c", script]
        if self.user is None:
            inside = sandbox.Confined(argv=argv, env=env)
            made = sandbox.confine(inside, sandbox.Rules(**rules), sandbox.Place(**self.place))
            return subprocess.run(
                made, env=env, capture_output=True, text=True, check=False, timeout=60
            )
        told = {"place": self.place, "argv": argv, "env": env, "rules": rules}
        who = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return subprocess.run(
            [*who, PLAIN_PYTHON, "-c", AS_ANOTHER],
            input=json.dumps(told, default=str),
            env={"PATH": env["PATH"], "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def _another_user(scene: Scene) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    old = "import sys, fleet.adapters.sandbox; sys.exit(sys.version_info < (3, 11))"
    seen = [PLAIN_PYTHON, "-c", old]
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    if subprocess.run([*who, *seen], env=environ, check=False, capture_output=True).returncode:
        pytest.skip(f"{PLAIN_PYTHON} as nobody cannot read this fleet")
    scene.user = NOBODY
    scene.hand_over()


@pytest.fixture(params=["self", "nobody"])
def scene(request) -> Iterator[Scene]:
    trouble = sandbox.problem()
    if trouble is not None:
        pytest.skip(f"no sandbox here: {trouble.text}")
    # Not tmp_path: its parents are closed to other users.
    with tempfile.TemporaryDirectory(prefix="sandbox-") as top:
        Path(top).chmod(0o755)
        made = Scene(Path(top))
        if request.param == "nobody":
            _another_user(made)
        yield made


def test_a_commit_is_made_and_is_there_outside(scene):
    done = scene("echo x > x && git add x && git commit -qm x && git status --porcelain")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    owner = ["-c", "safe.directory=*"]
    assert scene.repo.git(*owner, "log", "-1", "--format=%s", "fleet/a") == "x"
    assert scene.repo.git(*owner, "fsck", "--no-dangling") == ""
    assert scene.repo.git(*owner, "worktree", "list").count("\n") == 2


@pytest.mark.parametrize(
    "reach",
    [
        "cat {top}/b/README.md",
        "cat {top}/repo/README.md",
        "cat {home}/.ssh/key",
        "touch /usr/x",
        "touch /x",
        "touch {top}/repo/.git/hooks/pre-commit",
        "git config a.b c",
        "git branch -f main",
        "git pack-refs --all",
        "mv .git x",
        "rm -rf {top}/repo/.git/objects/pack",
        "echo /x > {top}/repo/.git/objects/info/alternates",
        "grep . /etc/shadow",
        "mount -t tmpfs tmpfs /usr",
        "unshare -Urm sh -c 'mount -o remount,rw,bind /usr && touch /usr/x'",
        "unshare -Urm umount {top}/repo/.fleet/attempts",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo core > /proc/sys/kernel/core_pattern",
        "unshare -Urmpf --mount-proc sh -c 'echo 1 > /proc/sys/vm/drop_caches'",
        "[ -e /proc/sysrq-trigger ] && : > /proc/sysrq-trigger",
        "kill -0 {pid}",
    ],
)
def test_what_is_not_its_own_is_out_of_reach(scene, reach):
    words = {"top": scene.top, "home": scene.home, "pid": os.getpid()}
    done = scene(f"({reach.format(**words)}) 2>&1 && echo got it")
    assert "got it" not in done.stdout, done.stdout
    assert done.returncode != 0


def test_what_is_shown_is_the_worktree_and_little_else(scene):
    shown = scene(f"ls {scene.top} {scene.top}/repo {scene.top}/repo/.git/worktrees").stdout
    assert "b\n" not in shown
    assert "home" in shown
    assert "README.md" not in shown


def test_what_is_made_beside_the_worktree_is_not_there_outside(scene):
    """Where the tests lie in memory, the folders around the worktree are the sandbox's own."""
    scene(f"touch {scene.top}/x {scene.top}/repo/x {scene.top}/repo/.fleet/x")
    assert not list(scene.top.rglob("x"))


def test_home_is_empty_and_what_is_written_there_is_gone(scene):
    assert scene("ls -A ~; touch ~/x && ls -A ~").stdout == "x\n"
    assert not (scene.home / "x").exists()


def test_the_wrapper_s_records_cannot_be_written(scene):
    folder = scene.place["folder"]
    write = 'for name in claim exit spec env; do echo "{}" > $name; done; echo x > done.json'
    scene(f"cd {folder} && {write}")
    assert {path.name for path in folder.iterdir()} == {"done.json", "session"}
    assert (folder / "done.json").read_text() == "x\n"


def test_a_pack_of_all_refs_outside_leaves_the_branch_writable(scene):
    """git removes folders of refs that it has emptied; a mount of one would be gone with it."""
    owner = ["-c", "safe.directory=*"]
    script = "until [ -e packed ]; do sleep 0.05; done; echo x > x && git add x && git commit -qm x"
    running: list[subprocess.CompletedProcess[str]] = []
    inside = threading.Thread(target=lambda: running.append(scene(script)))
    inside.start()
    while not (scene.place["common"] / "refs/heads/fleet/fleet-sandbox.lock").exists():
        assert inside.is_alive()
    scene.repo.git(*owner, "pack-refs", "--all", "--prune")
    scene.repo.git(*owner, "gc", "--quiet")
    scene.hand_over()
    (scene.top / "a/packed").touch()
    inside.join()
    assert running[0].returncode == 0, running[0].stderr
    assert scene.repo.git(*owner, "log", "-1", "--format=%s", "fleet/a") == "x"


def test_links_and_files_that_are_declared_are_seen_where_they_were_named(scene):
    real = scene.top / "elsewhere/settings"
    real.parent.mkdir()
    real.write_text("mine\n")
    (scene.home / ".tool").symlink_to(real.parent)
    done = scene("cat ~/.tool/settings", read=(scene.home / ".tool",))
    assert done.stdout == "mine\n", done.stderr
    assert scene("cat ~/.tool/settings").returncode != 0


def test_processes_are_counted_for_an_ordinary_user(scene):
    """A bomb inside ends in refusals; the count is the sandbox's own, not all of the user's."""
    if scene.user is None and os.geteuid() == 0:
        with pytest.raises(Rejected, match="would not bind root"):
            scene("true", processes=20)
        return
    script = "n=0; while [ $n -lt 60 ]; do sleep 5 & n=$((n + 1)); done; wait"
    done = scene(script, processes=20)
    assert "fork" in done.stderr.lower()
    assert done.returncode != 0
    assert scene("sleep 0 & sleep 0 & wait && echo fine", processes=20).stdout == "fine\n"


def test_memory_bounds_a_process_and_its_files_in_memory(scene):
    eat = f"{PLAIN_PYTHON} -c 'bytearray(200 << 20)'"
    fill = "head -c 200M /dev/zero > /tmp/x"
    assert scene(eat).returncode == 0
    assert "MemoryError" in scene(eat, memory_bytes=128 << 20).stderr
    assert scene(fill, memory_bytes=128 << 20).returncode != 0


def test_the_exit_code_is_the_command_s_own(scene):
    assert scene("exit 7").returncode == 7
    assert scene("exec no-such-program").returncode == 127
    assert scene("kill -9 $$").returncode == 137


def test_nothing_outlives_what_was_run(scene):
    """Without its environment, its session and its parent: only the namespace still holds it."""
    argv = ["/bin/sleep", f"97{os.getpid()}7"]
    detach = f"env -i /bin/sh -c 'setsid {' '.join(argv)} </dev/null >/dev/null 2>&1 & exit'"
    done = scene(f"{detach}; until pgrep -f '^{' '.join(argv)}' >ran; do sleep 0.05; done; cat ran")
    assert done.stdout.strip().isdecimal()
    until(
        lambda: argv not in [one.info["cmdline"] for one in psutil.process_iter(["cmdline"])], "end"
    )


# --- without a sandbox ----------------------------------------------------------------------------


def test_a_folder_is_mounted_before_what_lies_in_it(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    mounts = Mounts()
    mounts.write(tmp_path / "a/b")
    mounts.read(tmp_path / "a")
    words = mounts.words()
    assert words.index("--ro-bind") < words.index("--bind")
    mounts.read(tmp_path / "a/b")
    assert "--bind" not in mounts.words()


def test_a_program_is_followed_over_links_and_interpreters(tmp_path):
    """As npm installs one: a link in bin, a script in node_modules, its node beside it."""
    home = tmp_path / "home"
    tool = home / "node/lib/node_modules/tool/cli.js"
    node = home / "node/bin/node"
    for path in (tool, node):
        path.parent.mkdir(parents=True)
    tool.write_text("#!/usr/bin/env node\n")
    node.write_bytes(b"\x7fELF")
    for path in (tool, node):
        path.chmod(0o755)
    (home / ".local/bin").mkdir(parents=True)
    (home / ".local/bin/tool").symlink_to(tool)
    search = f"{home}/.local/bin:{home}/node/bin"
    found = places_of("tool", search, tmp_path, [home, home / ".local"])
    assert found == {home / ".local/bin", home / "node/lib/node_modules", home / "node"}


def test_a_program_in_the_home_folder_shows_nothing_else_of_it(tmp_path):
    program = tmp_path / "run"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert places_of(str(program), "/bin", tmp_path, [tmp_path]) == {program}
    (tmp_path / "bin").mkdir()
    program.rename(tmp_path / "bin/run")
    assert places_of(f"{tmp_path}/bin/run", "/bin", tmp_path, [tmp_path]) == {tmp_path / "bin"}


def test_without_bubblewrap_the_cure_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = sandbox.problem()
    assert found is not None
    assert "apt-get install bubblewrap" in found.cure


def test_what_is_mended_counts_at_once(monkeypatch, tmp_path):
    if sandbox.problem() is not None:
        pytest.skip("no sandbox here")
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: nothing here' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = sandbox.problem()
    assert found is not None
    assert "nothing here" in found.text
    program.unlink()
    assert sandbox.problem() is None
