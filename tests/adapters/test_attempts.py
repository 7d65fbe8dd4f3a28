from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.adapters import process
from fleet.adapters.attempts import AttemptFolder, Launch, plain, session_name, tail
from fleet.adapters.tmux import WRAPPER
from fleet.errors import Rejected


@pytest.fixture
def folder(tmp_path):
    return AttemptFolder(tmp_path / "attempt")


@pytest.fixture
def launch(folder, tmp_path):
    def make(*argv, **more):
        told = Launch(
            key=("r", "s", 1),
            session="s",
            folder=folder.path,
            **{"worktree": tmp_path, "argv": argv, **more},
        )
        folder.write_spec(told)
        return told

    return make


def wrapper(folder, **more):
    return subprocess.Popen(["/bin/sh", str(WRAPPER), str(folder.path)], **more)


def run(folder, **more):
    return wrapper(folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more).wait()


def test_one_of_many_wrappers_runs_the_agent(folder, launch, tmp_path):
    launch("sh", "-c", "echo x >>ran; sleep 0.3")
    racers = [wrapper(folder) for _ in range(12)]
    codes = sorted(racer.wait() for racer in racers)
    assert codes == [0] + [96] * 11
    assert (tmp_path / "ran").read_text() == "x\n"
    assert {path.name for path in folder.path.iterdir()} == {
        "claim",
        "env",
        "exit",
        "output.log",
        "spec",
        "stdout.fifo",
        "stdout.log",
        "stdout.log.end",
    }
    before = (folder.claim(), folder.exit_record())
    assert run(folder) == 96
    assert (folder.claim(), folder.exit_record()) == before


def test_the_claim_names_who_holds_it(folder, launch, tmp_path):
    launch("sh", "-c", "touch up; exec sleep 600")
    running = wrapper(folder, start_new_session=True)
    while not (tmp_path / "up").exists():
        assert running.poll() is None
    assert folder.claim().pid == running.pid
    assert process.alive(folder.claim())
    known = process.Members(roots=(folder.claim(),), marker=f"FLEET_ATTEMPT_KEY={folder.key}")
    assert process.reap(known, 5) == set()
    assert not process.alive(folder.claim())
    running.wait()
    assert folder.exit_record().signal == 15


def test_a_wrong_place_runs_nothing(folder, launch, tmp_path):
    tree = tmp_path / "tree"
    launch("touch", "boom", worktree=tree)
    assert run(folder) == 97
    assert folder.exit_record().reason == "wrong-place"
    assert not list(tmp_path.rglob("boom"))


@pytest.fixture
def worktree(tmp_path):
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    for argv in (
        ["git", "init", "-q", str(repo)],
        ["git", "-C", str(repo), "commit", "-q", "--allow-empty", "-m", "x"],
        ["git", "-C", str(repo), "worktree", "add", "-q", "--detach", str(tree)],
    ):
        subprocess.run(argv, check=True)
    return tree, repo / ".git" / "worktrees" / "tree"


@pytest.mark.parametrize("spoil", ["nothing", "pointer", "gone", "moved", "relative", "swapped"])
def test_the_worktree_is_proven(folder, launch, tmp_path, worktree, spoil):
    tree, admin = worktree
    launch("touch", "ran", worktree=tree, admin_dir=admin)
    if spoil == "pointer":
        (tree / ".git").write_text(f"gitdir: {tmp_path}/repo/.git\n")
    elif spoil == "gone":
        (tree / ".git").unlink()
    elif spoil == "moved":
        tree.rename(tmp_path / "elsewhere")
    elif spoil == "relative":
        (tree / ".git").write_text("gitdir: ../repo/.git/worktrees/tree\n")
    elif spoil == "swapped":
        tree.rename(tmp_path / "elsewhere")
        tree.symlink_to(tmp_path / "elsewhere")
    fine = spoil in {"nothing", "relative"}
    assert run(folder) == (0 if fine else 97)
    assert bool(list(tmp_path.glob("*/ran"))) == fine


def test_a_missing_program_and_a_time_out_are_told_apart(folder, launch):
    launch("no-such-program")
    assert run(folder) == 127
    assert folder.exit_record().reason == "not-found"


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("exec sleep 600", 124, "timeout"),
        ("trap '' TERM; sleep 600", 137, "timeout"),
        ("exit 124", 124, "exited"),
    ],
)
def test_a_time_out_is_one_only_if_the_time_is_over(folder, launch, script, code, reason):
    launch("sh", "-c", script, timeout_s=1, grace_s=1)
    assert run(folder, start_new_session=True) == code
    assert folder.exit_record().reason == reason
    process.reap(process.Members(marker=f"FLEET_ATTEMPT_KEY={folder.key}"), 0)


def test_no_variable_of_the_agent_steers_the_wrapper(folder, launch):
    env = {
        "PATH": "/nowhere",
        "IFS": "0123456789",
        "ENV": "/x",
        "_folder": "/tmp",
        "_code": "3",
        "fleet_keep": "x",
    }
    launch("/bin/sh", "-c", 'test "$_code$PATH" = 3/nowhere', env=env)
    assert run(folder) == 0
    assert folder.exit_record().code == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"code": "0"}',
        '{"code": 0, "signal": null, "reason": "odd", "ended_at_ms": 1}',
        "\x00",
        '{"pid": true, "start_ticks": 1, "boot_id": "x"}',
    ],
)
def test_garbage_is_no_record(folder, text):
    folder.path.mkdir()
    for name in ("exit", "claim"):
        (folder.path / name).write_text(text)
    assert folder.exit_record() is None
    assert folder.claim() is None


def test_neither_a_link_nor_a_fifo_is_read(folder, tmp_path):
    folder.path.mkdir()
    (tmp_path / "secret").write_text("hush")
    folder.log.symlink_to(tmp_path / "secret")
    os.mkfifo(folder.stdout)
    assert folder.output_tail() == ""
    assert folder.stdout_tail() == ""


@pytest.mark.parametrize(
    "more",
    [
        {"argv": []},
        {"argv": [""]},
        {"argv": ["-x"]},
        {"argv": ["a\0b"]},
        {"argv": ["a", "x" * 200_000]},
        {"env": {"A-B": "x"}},
        {"env": {"A": "\0"}},
        {"env": {"A\n": "x"}},
        {"secrets": {"1": "x"}},
    ],
)
def test_what_no_process_can_be_given_is_refused(launch, folder, more):
    with pytest.raises(Rejected):
        launch(**{"argv": ["true"], **more})
    assert not folder.path.exists()


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(WORD, max_size=4), value=WORD)
def test_any_text_arrives_as_it_is(tmp_path, words, value):
    folder = AttemptFolder(Path(os.path.realpath(tmp_path)) / os.urandom(6).hex())
    argv = ["sh", "-c", 'printf "%s\\0" "$X" "$@"', "sh", *words]
    folder.write_spec(
        Launch(
            key=("r", "s", 1),
            session="s",
            folder=folder.path,
            worktree=tmp_path,
            argv=argv,
            env={"X": value},
        )
    )
    assert run(folder, stdout=subprocess.DEVNULL) == 0
    assert folder.stdout.read_bytes().decode().split("\0")[:-1] == [value, *words]


def test_names_of_sessions_are_stable_and_harmless():
    assert session_name("a.b:c", "r", "s", 2).startswith("a_b_c-2-")
    assert session_name("a", "r", "s", 1) != session_name("a", "r", "s2", 1)
    assert (
        session_name("a", "r", "s", 1)
        == "a-1-" + __import__("hashlib").sha256(b"r/s/1").hexdigest()[:6]
    )
    assert shlex.quote(session_name("-#{pid} $(x)\n", "r", "s", 1)) == session_name(
        "-#{pid} $(x)\n", "r", "s", 1
    )


def test_what_is_shown_holds_no_escapes(tmp_path):
    hostile = (
        "a\x1b[31mred\x1b[0m\x1b]52;c;aGk=\x07b\x1b]0;title\x1b\\c\rd\r\n"
        "e\x08\x9b1mf\u202eg\tz\x1bM\x1b(B"
    )
    assert plain(hostile) == "aredbc\nd\nefg\tz"
    (tmp_path / "log").write_text("é" * 100)
    assert len(tail(tmp_path / "log", 11).encode()) <= 13
    assert tail(tmp_path / "absent", 10) == ""
