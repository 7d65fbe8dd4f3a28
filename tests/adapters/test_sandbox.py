"""The sandbox with the real bubblewrap, as whoever runs the tests and, from root, as `nobody`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleet.adapters import sandbox
from fleet.adapters.sandbox import homes
from fleet.adapters.sandbox.mounts import Mounts
from fleet.adapters.sandbox.probe import CONTAINER, USERS
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
paths = {k: list(map(Path, v)) for k, v in told["rules"].items() if k in ("read", "write", "copy")}
rules = told["rules"] | paths
inside = sandbox.Confined(argv=told["argv"], env=told["env"], kept=told["kept"])
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
            "home": folder.parent / "home",
        }
        self.user: int | None = None

    def hand_over(self) -> None:
        """Gives all of it to the user that works there."""
        if self.user is not None:
            for folder, _, files in os.walk(self.top):
                for name in (".", *files):
                    os.chown(Path(folder, name), self.user, self.user, follow_symlinks=False)

    @property
    def env(self) -> dict[str, str]:
        """What differs in the environment of what runs inside."""
        return {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIT_CONFIG_GLOBAL": "",
            "GIT_CONFIG_SYSTEM": "",
        }

    def argv(self, script: str, *, kept: bool = False, **rules) -> list[str]:
        """Returns what runs a shell script inside."""
        inside = sandbox.Confined(argv=["/bin/sh", "-c", script], env=self.env, kept=kept)
        return sandbox.confine(inside, sandbox.Rules(**rules), sandbox.Place(**self.place))

    def __call__(
        self, script: str, *, kept: bool = False, **rules
    ) -> subprocess.CompletedProcess[str]:
        """Runs a shell script inside."""
        if self.user is None:
            made = self.argv(script, kept=kept, **rules)
            return subprocess.run(
                made, env=self.env, capture_output=True, text=True, check=False, timeout=60
            )
        told = {
            "place": self.place,
            "argv": ["/bin/sh", "-c", script],
            "env": self.env,
            "rules": rules,
            "kept": kept,
        }
        who = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return subprocess.run(
            [*who, PLAIN_PYTHON, "-c", AS_ANOTHER],
            input=json.dumps(told, default=str),
            env={
                "PATH": self.env["PATH"],
                "PYTHONPATH": str(SOURCE),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
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
        "git update-ref refs/heads/other/b HEAD",
        "git update-ref refs/tags/x HEAD",
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


def test_home_is_a_folder_of_its_own(scene):
    assert scene("ls -A ~; touch ~/x && ls -A ~").stdout == "x\n"
    assert not (scene.home / "x").exists()
    assert scene("echo $XDG_DATA_HOME").stdout == "\n", "it lies elsewhere, which is not there"
    assert scene("touch ~/x; ls -A ~").stdout == "x\n"
    assert scene("ls -A ~", kept=True).stdout == "x\n"
    assert scene("mkdir ~/d; chmod 0 ~/d; ls -A ~", kept=False).stdout == "d\n"
    assert scene("ls -A ~").stdout == ""


def test_what_is_copied_may_be_changed_and_nobody_else_s_is(scene):
    tool = scene.home / ".tool"
    tool.mkdir()
    (tool / "settings").write_text("mine\n")
    (tool / "linked").symlink_to("settings")
    os.mkfifo(tool / "pipe")
    (scene.home / ".toolrc").symlink_to(".tool/settings")
    scene.hand_over()
    script = (
        "cat ~/.tool/settings ~/.tool/linked ~/.toolrc; echo its > ~/.tool/settings; ls ~/.tool"
    )
    done = scene(script, copy=(tool, scene.home / ".toolrc"))
    assert done.stdout.split() == ["mine", "mine", "mine", "linked", "settings"], done.stderr
    assert (tool / "settings").read_text() == "mine\n"
    assert scene("cat ~/.tool/settings", copy=(tool,), kept=True).stdout == "its\n"
    assert scene("cat ~/.tool/settings", copy=(tool,)).stdout == "mine\n"


def test_what_cannot_be_copied_is_refused(scene, monkeypatch):
    if scene.user is not None:
        return  # it is the same for everybody
    for named in (scene.home / "nothing", scene.top / "a", scene.home):
        with pytest.raises(Rejected):
            scene("true", copy=(named,))
    monkeypatch.setattr(homes, "COPIED_BYTES", 3)
    with pytest.raises(Rejected, match="too much"):
        scene("true", copy=(scene.home / ".ssh",))


def test_links_left_in_a_home_lead_nobody_out_of_it(scene):
    """By a link in the way, what is mounted there next would be put where it leads."""
    (scene.home / ".gitconfig").write_text("[user]\n")
    (scene.home / ".tool").mkdir()
    (scene.home / ".tool/settings").write_text("mine\n")
    scene.hand_over()
    outside = scene.top / "outside"
    scene(f"rm -rf ~/.gitconfig; ln -s {outside} ~/.tool", read=())
    home = scene.place["home"]
    (home / ".gitconfig").unlink(missing_ok=True)
    (home / ".gitconfig").symlink_to(outside)
    done = scene("cat ~/.tool/settings", read=(scene.home / ".tool/settings",), kept=True)
    assert done.stdout == "mine\n", done.stderr
    assert not os.path.lexists(outside)


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


ASK = f"{PLAIN_PYTHON} -c 'import urllib.request as u; print(u.urlopen(\"{{}}\").read().decode())'"

LOOK_UP = f"{PLAIN_PYTHON} -c 'import socket; socket.gethostbyname(\"example.org\")'"


def test_declared_places_are_reached_and_no_others(scene):
    """One over loopback at its own address, one by the proxy, which connects for it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.2", 0)) as two,
    ):
        ports = []
        for server in (one, two):
            ports.append(server.getsockname()[1])
            threading.Thread(target=answer, args=(server,), daemon=True).start()
        near, far = f"127.0.0.1:{ports[0]}", f"127.0.0.2:{ports[1]}"
        asked = [
            f"env -i {ASK.format(f'http://{near}/')}",
            ASK.format(f"http://{far}/"),
            f"{ASK.format(f'http://127.0.0.2:{ports[0]}/')} 2>&1 | grep -o 'HTTP Error 403'",
            f"env -i {ASK.format(f'http://{far}/')} 2>&1 | grep -om1 'Connection refused'",
            f"{ASK.format('http://example.org/')} 2>&1 | grep -o 'HTTP Error 403'",
            f"{LOOK_UP} 2>&1 | grep -o gaierror",
            "ls /proc/self/fd | wc -l",
            "set -- /proc/[0-9]*; echo $#",  # by the shell itself, not by what it forks
            "exit 7",
        ]
        done = scene("; ".join(asked), declared=(near, far))
        plain = scene("; ".join(asked[-3:]))
    told = done.stdout.split("\n")
    assert told[:6] == [
        *("hello", "hello", "HTTP Error 403", "Connection refused", "HTTP Error 403", "gaierror"),
    ], (told, done.stderr)
    assert (done.returncode, told[6:]) == (7, plain.stdout.split("\n")), "nothing is left inside"
    refused = map(json.loads, (scene.place["folder"] / "refused.jsonl").read_text().splitlines())
    assert [(one["host"], one["port"]) for one in refused] == [
        ("127.0.0.2", ports[0]),
        ("example.org", 80),
    ]


def answer(server: socket.socket) -> None:
    """Answers each that calls over HTTP."""
    with contextlib.suppress(OSError):
        while True:
            with server.accept()[0] as caller:
                caller.recv(65_536)
                caller.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")


def test_who_is_let_out_keeps_its_codes_and_signals_and_ends_with_its_warden(scene):
    told = {"declared": ("example.org:443",)}
    assert scene("kill -9 $$", **told).returncode == 137
    assert scene("exec no-such-program", **told).returncode == 127
    if scene.user is not None:
        return  # what follows is started in this process
    script = "trap 'echo heard; exit 5' TERM; touch up; while :; do sleep 0.05; done"
    argv = scene.argv(script, **told)
    for number, wanted in ((signal.SIGTERM, 5), (signal.SIGKILL, -9)):
        with subprocess.Popen(argv, env=scene.env, stdout=subprocess.PIPE) as warden:
            until((scene.top / "a/up").exists, "the agent")
            (scene.top / "a/up").unlink()
            inside = psutil.Process(warden.pid).children(recursive=True)
            if number == signal.SIGTERM:
                warden.send_signal(number)  # it is deaf: the agent is told, not it
                inside[-1 if inside[-1].name() == "sh" else -2].send_signal(number)
            else:
                warden.send_signal(number)
            assert warden.wait(20) == wanted
        assert psutil.wait_procs(inside, 20)[1] == []


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


def test_who_is_deaf_to_its_time_being_over_ends_all_the_same(scene):
    deaf = ["/bin/sh", "-c", "trap '' TERM; setsid sleep 600 & touch up; while :; do sleep 1; done"]
    if scene.user is not None:
        return  # how it ends is the same for everybody
    inside = sandbox.Confined(argv=deaf, env=scene.env, timeout_s=1, grace_s=1)
    made = sandbox.confine(inside, sandbox.Rules(), sandbox.Place(**scene.place))
    assert subprocess.run(made, env=scene.env, check=False, timeout=60).returncode == 137
    assert (scene.top / "a/up").exists()


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


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces", USERS),
        ("No permissions to create new namespace", USERS),
        ("Can't mount proc on /newroot/proc: Operation not permitted", CONTAINER),
        ("Unknown option --perms", "bubblewrap 0.5 or later is needed"),
    ],
)
def test_each_way_to_refuse_has_its_cure(monkeypatch, tmp_path, said, cure):
    program = tmp_path / "bwrap"
    program.write_text(f'#!/bin/sh\necho "bwrap: {said}" >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    found = sandbox.problem()
    assert found is not None
    assert said in found.text
    assert found.cure == cure


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
