from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fleet.adapters import attempts, process
from fleet.adapters.attempts import AttemptFolder, Follower, Launch, session_name, tail
from fleet.adapters.process import Members
from fleet.adapters.tmux import Started, Tmux
from fleet.errors import Rejected, ToolFailed


def until(true, limit_s=20):
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
    return found


@pytest.fixture
def tmux(tmux_socket):
    return Tmux(tmux_socket)


@pytest.fixture
def launch(tmp_path):
    count = iter(range(10_000))

    def make(*argv, **more):
        number = next(count)
        folder = more.pop("folder", tmp_path / "attempts" / str(number))
        name = session_name("task", "run", "step", number)
        told = Launch(
            key=("run", "step", number),
            session=more.pop("session", name),
            folder=folder,
            worktree=more.pop("worktree", tmp_path),
            argv=argv,
            **more,
        )
        AttemptFolder(folder).write_spec(told)
        return told

    return make


def end_of(told):
    return until(AttemptFolder(told.folder).exit_record)


def known(told):
    folder = AttemptFolder(told.folder)
    claim = folder.claim()
    marker = f"FLEET_ATTEMPT_KEY={folder.key}"
    return Members(roots=(claim,) if claim else (), marker=marker, pipe=folder.pipe)


def test_an_agent_runs_and_its_end_and_output_are_kept(tmux, launch):
    told = launch("sh", "-c", "echo out; echo err >&2; exit 7")
    assert tmux.start([told])[told.session].failure is None
    folder = AttemptFolder(told.folder)
    ended = end_of(told)
    assert (ended.code, ended.signal, ended.reason) == (7, None, "exited")
    assert folder.stdout_tail() == "out\n"
    until(lambda: set(folder.output_tail().split()) == {"out", "err"})
    until(lambda: not tmux.sessions())


def test_fifty_start_at_once_and_each_runs(tmux, launch):
    told = [launch("sh", "-c", f"echo n{i}; exit {i}") for i in range(50)]
    made = tmux.start(told)
    assert all(start.pid and not start.failure for start in made.values())
    for i, one in enumerate(told):
        assert end_of(one).code == i
        assert AttemptFolder(one.folder).stdout_tail() == f"n{i}\n"
        until(lambda one=one, i=i: f"n{i}" in AttemptFolder(one.folder).output_tail())


def test_a_failing_start_does_not_stop_the_others(tmux, launch):
    first = launch("sleep", "60")
    tmux.start([first])
    again, other = launch("true", session=first.session), launch("sleep", "60")
    made = tmux.start([again, other])
    assert "duplicate session" in str(made[first.session].failure)
    assert made[other.session].pid
    assert tmux.sessions().keys() == {first.session, other.session}


def test_twenty_rapid_starts_and_stops(tmux, launch):
    for _ in range(20):
        told = launch("sleep", "60")
        made = tmux.start([told])[told.session]
        assert made.failure is None
        who = process.identify(made.pid)
        tmux.kill_server()
        assert tmux.sessions() == {}
        if who:
            process.reap(Members(roots=(who,), marker=known(told).marker), 0.2)


def test_targets_are_exact(tmux, launch):
    told = launch("sleep", "60", session="task-10")
    tmux.start([told])
    tmux.kill("task-1")
    assert not tmux.send("task-1", "x")
    assert tmux.session("task-1") is None
    assert tmux.capture("task-1") == ""
    assert tmux.sessions().keys() == {"task-10"}
    tmux.kill("task-10", "task-10")
    assert tmux.sessions() == {}


@pytest.mark.parametrize("name", ["a#{pid}", "a.b", "a:b", "", "-x", "a b", "a\nb", "=a"])
def test_names_that_tmux_would_read_are_refused(tmux, launch, name):
    with pytest.raises(Rejected):
        tmux.start([launch("true", session=name)])


def test_hostile_folders_arguments_and_variables_arrive_as_they_are(tmux, launch, tmp_path):
    words = [
        "it's",
        '"q"',
        "$(touch boom)",
        "`id`",
        "a\nb",
        "#{pid}",
        "%H",
        "\\",
        ";",
        "~",
        "é\udcff",
        "",
        "\x81\x88",
    ]
    hostile = tmp_path / "a'b#{pid}%H $(touch boom)\"\\\n;é"
    told = launch(
        "sh",
        "-c",
        'printf "%s\\0" "$X" "$S" "$@" >got',
        "sh",
        *words,
        folder=hostile,
        env={"X": "\n".join(words)},
        secrets={"S": "'; touch boom"},
    )
    tmux.start([told])
    assert end_of(told).code == 0
    got = os.fsdecode((tmp_path / "got").read_bytes()).split("\0")[:-1]
    assert got == ["\n".join(words), "'; touch boom", *words]
    assert not list(tmp_path.rglob("boom"))
    assert not (hostile / "env").exists()


def test_secrets_and_the_first_environment_stay_out_of_the_server(tmux_socket, launch):
    tmux = Tmux(tmux_socket, environ={**os.environ, "CANARY": "tweet", "TMUX": "x,1,0"})
    told = launch(
        "sh", "-c", 'echo "${CANARY-none} ${TMUX-none} $S"; sleep 60', secrets={"S": "hush"}
    )
    tmux.start([told])
    folder = AttemptFolder(told.folder)
    until(lambda: folder.stdout_tail() == "none none hush\n")
    server = Path("/proc", str(tmux.server_pid()))
    assert b"hush" not in server.joinpath("cmdline").read_bytes()
    assert b"tweet" not in server.joinpath("environ").read_bytes()
    assert b"hush" not in (told.folder / "env").read_bytes()
    assert "hush" not in repr(told)


def test_a_killed_server_leaves_no_record_and_no_process(tmux, launch):
    told = launch(
        "sh", "-c", "trap '' HUP TERM; setsid sleep 600 & nohup sleep 600 & sleep 600; sleep 600"
    )
    tmux.start([told])
    until(lambda: known(told).roots and len(process.members(known(told))) >= 5)
    os.kill(tmux.server_pid(), signal.SIGKILL)
    until(lambda: not process.alive(AttemptFolder(told.folder).claim()))
    assert AttemptFolder(told.folder).exit_record() is None
    assert process.members(known(told))
    assert process.reap(known(told), 0.1) == set()
    assert process.members(known(told)) == set()


def test_a_killed_agent_is_told_by_its_record(tmux, launch):
    told = launch("sh", "-c", "kill -9 $$")
    tmux.start([told])
    ended = end_of(told)
    assert (ended.code, ended.signal) == (137, 9)


def test_a_hung_tmux_does_not_hang_us(tmp_path, launch):
    stub = tmp_path / "tmux"
    stub.write_text("#!/bin/sh\nexec sleep 600\n")
    stub.chmod(0o755)
    tmux = Tmux("stub", program=str(stub), timeout_s=0.2)
    for call in (
        tmux.sessions,
        tmux.version,
        tmux.kill_server,
        lambda: tmux.start([launch("true")]),
    ):
        with pytest.raises(ToolFailed) as failed:
            call()
        assert failed.value.code is None


@pytest.mark.parametrize("stdout", ["pane", "file"])
def test_of_a_flood_head_and_tail_are_kept_and_it_does_not_stop_the_agent(tmux, launch, stdout):
    words = "echo first; seq 400000; echo last; exit 5"
    told = launch("sh", "-c", words, stdout=stdout, log_limit_bytes=102_400)
    tmux.start([told])
    assert end_of(told).code == 5
    folder = AttemptFolder(told.folder)
    logs = [folder.log] if stdout == "pane" else [folder.log, folder.stdout]
    for log in logs:
        until(lambda log=log: tail(log, 40_000).endswith("400000\nlast\n"))
        kept = tail(log, 40_000).splitlines()
        assert [int(line) for line in kept[-2000:-1]] == list(range(398_002, 400_001))
        assert log.read_text().startswith("first")
        sizes = [path.stat().st_size for path in told.folder.glob(f"{log.name}*")]
        assert 76_800 < sum(sizes) <= 102_400 + 7
        follower, found = Follower(log), []
        while chunk := follower.read(9_999):
            found.append(chunk)
        whole = sum(map(len, found)) + follower.lost_bytes
        assert whole == (2_688_906 if log == folder.stdout else 2_688_906 + 400_002)


def test_of_a_billion_bytes_the_last_line_is_kept(tmp_path):
    keep = Path(attempts.__file__).with_name("keep.sh")
    words = f"(yes | head -c 1000000000; echo; echo last) | /bin/sh {keep} {tmp_path} log 16777216"
    subprocess.run(["/bin/sh", "-c", words], check=True)
    log = tmp_path / "log"
    assert tail(log, 100).endswith("y\ny\n\nlast\n")
    assert log.stat().st_size == 2 * 16_777_216
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= (64 << 20) + 7
    assert len(tail(log, 17 << 20)) == 17 << 20, "more than a part is read back"


def test_where_split_knows_no_filters_the_head_is_kept(tmp_path, monkeypatch):
    (tmp_path / "split").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "split").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    keep = Path(attempts.__file__).with_name("keep.sh")
    words = f"(echo first; yes | head -c 900000) | /bin/sh {keep} {tmp_path} log 1024"
    subprocess.run(["/bin/sh", "-c", words], check=True)
    assert (tmp_path / "log").read_bytes()[:6] == b"first\n"
    assert (tmp_path / "log").stat().st_size == 4096


def test_a_child_that_holds_the_output_does_not_hold_the_end(tmux, launch):
    told = launch("sh", "-c", "echo done; env -i setsid sleep 600 & exit 0")
    tmux.start([told])
    assert end_of(told).code == 0
    assert AttemptFolder(told.folder).stdout_tail() == "done\n"
    assert process.reap(known(told), 0.1) == set()


def test_text_is_pasted_and_no_key_is_read_from_it(tmux, launch, tmp_path):
    told = launch(
        "sh", "-c", 'read -r one; read -r two; printf "%s|%s" "$one" "$two" >got', stdout="pane"
    )
    tmux.start([told])
    until(AttemptFolder(told.folder).claim)
    assert tmux.send(told.session, "Enter C-c; #{pid} \x1b[201~\x03;\nsecond $(id);")
    assert end_of(told).code == 0
    assert (tmp_path / "got").read_text() == "Enter C-c; #{pid} [201~;|second $(id);"


def test_an_interrupt_in_the_terminal_ends_the_agent_and_is_recorded(tmux, launch):
    told = launch("sleep", "600", stdout="pane")
    tmux.start([told])
    until(lambda: len(process.members(known(told))) >= 2)
    pane = tmux.session(told.session).active_pane
    pane.send_keys("C-c", enter=False)
    assert end_of(told).signal == signal.SIGINT


def test_a_kept_session_shows_its_end_and_a_terminal_has_room(tmux, launch):
    told = launch("stty", "size", stdout="pane", keep=True)
    tmux.start([told])
    until(lambda: (pane := tmux.sessions().get(told.session)) and pane.dead)
    assert "50 200" in tmux.capture(told.session).replace("49 200", "50 200")
    assert tmux.attach_argv(told.session)[-1] == f"={told.session}"


def test_nothing_runs_where_no_server_is(tmux):
    assert tmux.sessions() == {}
    assert tmux.server_pid() is None
    assert tmux.start([]) == {}
    tmux.kill("x")
    tmux.kill_server()


def test_an_old_tmux_is_named_with_its_cure(tmp_path):
    stub = tmp_path / "tmux"
    stub.write_text("#!/bin/sh\necho tmux 2.9a\n")
    stub.chmod(0o755)
    with pytest.raises(Exception, match="too old") as failed:
        Tmux("stub", program=str(stub)).version()
    assert failed.value.hint == "apt-get install tmux"
    assert Tmux("x").version()
    assert Started(1).failure is None
    assert subprocess.run(["tmux", "-V"], check=False, capture_output=True).returncode == 0
