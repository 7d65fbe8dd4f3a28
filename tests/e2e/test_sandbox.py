"""Agents in a sandbox, through the `fleet` command: what they reach, and what is left of them."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from fleet import hook as fleet_hook
from fleet.adapters import sandbox
from support.scripted_fleet import until

BWRAP = {"sandbox": {"kind": "bwrap"}}


@pytest.fixture
def bwrap():
    trouble = sandbox.problem()
    if trouble is not None:
        pytest.skip(f"no sandbox here: {trouble.text}")


def test_a_sandboxed_agent_commits_checks_in_and_is_done(fleet, untouched, bwrap):
    script = (
        "fleet brief > brief.txt && grep -q 'Do it' brief.txt || exit 3\n"
        "fleet checkin --done half --next rest >out 2>&1 || { cat out >&2; exit 4; }\n"
        "echo finished > out; fleet done --output out || exit 5; rm out brief.txt\n"
    )
    fleet.task("a", script + fleet.delivers("a"), agent=BWRAP, deliverables=["a.md"])
    fleet.write()
    untouched()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    told = fleet.history()
    assert any("half" in str(one) for one in told)
    assert any("finished" in str(one) for one in told)
    assert fleet.git("log", "-1", "--format=%s", "fleet/a") == "a"
    fleet.nothing_runs()


FORGED = (
    "import os; from pathlib import Path; from fleet.app.place import FleetPlace;"
    "from fleet.app.telling import tell; from fleet.core.messages import ReportProgress as Told;"
    "told = Told(step='b/work', attempt=0, facts={'finding:1': {}, 'session': 'x'});"
    "tell(FleetPlace(Path(os.environ['FLEET_ROOT'])), [told])"
)
INSIDE = """\
import asyncio, sys
sys.path.insert(0, {tests!r})
from support.mcp_clients import over_stdio
async def work():
    async with over_stdio({root!r}) as client:
        await client("checkin", done="half", next="rest")
        await client("finding", text="a leak", severity="high")
        for tool, told in (
            ("get_next_step", {{}}),
            ("start_workflow", {{"workflow": "w"}}),
            ("propose_plan_change", {{"reason": "x", "drop": ["a"]}}),
            ("memory_save", {{"key": "k", "value": 1}}),
            ("finding", {{"task": "other", "text": "x"}}),
        ):
            print(tool, await client.refused(tool, **told), flush=True)
        await client("done", output="finished")
asyncio.run(work())
"""


def test_the_tools_of_mcp_keep_the_limits_of_the_sandbox(fleet, bwrap):
    tests = str(Path(__file__).resolve().parents[1])
    text = INSIDE.format(tests=tests, root=str(fleet.root))
    script = fleet.put("inside.py", text, fleet.top / "told")
    told = {"sandbox": {"kind": "bwrap", "read": [tests, str(script)]}}
    run = f"{sys.executable} {script} || exit 4\n"
    fleet.task("a", run + fleet.delivers("a"), agent=told)
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    (found,) = fleet.must("findings", "--json").json()["findings"]
    assert (found["text"], found["by"], found["task"]) == ("a leak", "agent:a", "a")
    said = fleet.must("logs", "a").stdout
    assert "no steps are taken" in said
    assert said.count("documents are not read inside a sandbox") == 2
    assert "memory.db cannot be used" in said
    assert "speaks for it only" in said
    assert any("finished" in str(one) for one in fleet.history())
    assert "half" in str(fleet.row("a")["last_checkin"])


def test_a_question_is_asked_and_answered_from_inside(fleet, bwrap):
    script = 'fleet ask "which?" --wait 30 > answer.txt && git add . && git commit -qm answer\n'
    fleet.task("a", script, agent=BWRAP, deliverables=["answer.txt"])
    fleet.write()
    fleet.must("launch", "a")
    asked = until(lambda: fleet.must("inbox", "--json").json()["questions"], "the question")
    fleet.must("answer", asked[0]["id"], "this one")
    assert fleet.wait("a").code == 0
    assert fleet.git("show", "fleet/a:answer.txt") == "this one"


def test_a_permission_asked_by_a_hook_inside_is_answered(fleet, bwrap):
    event = '{"hook_event_name": "PermissionRequest", "tool_name": "Bash"}'
    hook = f'"{sys.executable}" -I -S "{fleet_hook.__file__}"'
    script = f"echo '{event}' | {hook} > said.json; git add said.json; git commit -qm said\n"
    fleet.task("a", script, agent=BWRAP, deliverables=["said.json"])
    fleet.write()
    fleet.must("launch", "a")
    (asked,) = until(lambda: fleet.must("inbox", "--json").json()["questions"], "the question")
    assert "Bash" in asked["message"]
    fleet.must("approve", asked["id"])
    assert fleet.wait("a").code == 0
    assert '"allow"' in fleet.git("show", "fleet/a:said.json")


def test_nothing_else_is_reached(fleet, untouched, bwrap):
    """Every line is an attempt to get out; `got` names those that succeeded."""
    fleet.put("secret.txt", "main\n")
    key = Path(os.environ["HOME"], ".ssh/id_rsa")
    key.parent.mkdir(exist_ok=True)
    key.write_text("key\n")
    outside = fleet.top / "outside"
    outside.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    common, other = fleet.root / ".git", fleet.worktree("b")
    hook = "printf '#!/bin/sh\\n' >"
    attempts = {
        "other": f"cat {other}/README.md",
        "main": f"cat {fleet.root}/secret.txt {fleet.root}/README.md",
        "key": "cat ~/.ssh/id_rsa",
        "outside": f"touch {outside}/x",
        "hook": f"{hook} {common}/hooks/post-commit",
        "config": "git config core.hooksPath /tmp",
        "own-config": f"echo x > {common}/worktrees/a/config.worktree",
        "pointer": f"echo 'gitdir: {outside}' > .git",
        "pointer-moved": "mv .git x",
        "admin": f"ls {common}/worktrees/b",
        "main-branch": "git update-ref refs/heads/main HEAD",
        "stash": "touch y && git add y && git stash",
        "pack": f"touch {common}/objects/pack/x",
        "journal": f"echo x >> {fleet.state}/journal.db",
        "exit": 'echo "{}" > "${FLEET_BRIEF%/*}/exit"',
        "others": f'ls {fleet.state}/attempts/plan | grep -v "^a%2Fwork$"',
        "texts": f"ls {fleet.state}/texts | grep .",
        "mail": f"ls {fleet.state}/mailbox/new | grep .",
        "network": f"bash -c ': < /dev/tcp/127.0.0.1/{port}'",
        "tmux": f"tmux -L {fleet.socket} ls",
        "processes": f"kill -0 {os.getpid()}",
        "shadow": "cat /etc/shadow | grep .",
        "remount": "mount -o remount,rw /usr",
        "launch": "fleet launch b",
        "pause": "fleet pause b",
        "facts": f'{sys.executable} -c "{FORGED}"',
    }
    # In memory beside the worktree, where the test lies in memory too: seen by nobody outside.
    script = "touch ../beside\n" + "".join(
        f"({line}) >/dev/null 2>&1 && echo {name} >> got\n" for name, line in attempts.items()
    )
    told = "only check-ins, questions and findings"
    script += f"fleet pause b 2>&1 | grep -q '{told}' || echo unsaid >> got\n"
    deliver = "touch got; git add got; git commit -qm got\n"
    fleet.task("a", script + deliver, agent=BWRAP, deliverables=["got"])
    fleet.task("b", fleet.waits("b") + fleet.delivers("b"))
    fleet.write()
    untouched()
    fleet.must("launch", "b")
    fleet.must("launch", "a")
    assert fleet.wait("a", timeout_s=60).code == 0
    assert fleet.git("show", "fleet/a:got").split() == []
    assert list(outside.iterdir()) == []
    assert not fleet.worktree("beside").exists()
    assert fleet.row("b")["state"] == "working"
    listener.close()
    fleet.go("b")
    assert fleet.wait("b").code == 0


def test_what_is_declared_is_reached_and_no_secret_is_in_an_argv(fleet, bwrap, monkeypatch):
    """A path to read, one to write, the network; the secret comes by the environment."""
    value = "s3cret-value-of-the-test"
    monkeypatch.setenv("TOKEN_OF_TEST", value)
    fleet.put("notes/plan.txt", "the plan\n")
    outside = fleet.top / "outside"
    outside.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    heard: list[bytes] = []

    def hear() -> None:
        with listener.accept()[0] as caller:
            heard.append(caller.recv(100))

    ear = threading.Thread(target=hear, daemon=True)
    ear.start()
    script = (
        f"cat {fleet.root}/notes/plan.txt > a.md || exit 3\n"
        f"touch {fleet.root}/notes/x && exit 4\n"
        f"bash -c 'echo hello > /dev/tcp/127.0.0.1/{port}' || exit 5\n"
        f"[ ${{#TOKEN_OF_TEST}} = {len(value)} ] || exit 6\n"
        f"touch {outside}/up\n" + fleet.waits("a") + "git add a.md; git commit -qm a\n"
    )
    kept = {"kind": "bwrap", "read": ["notes"], "write": [str(outside)], "network": True}
    kept["read"] = [*kept["read"], str(fleet.gates)]
    told = {"sandbox": kept, "secrets": ["TOKEN_OF_TEST"]}
    fleet.settings["secrets"] = {"TOKEN_OF_TEST": "env:TOKEN_OF_TEST"}
    fleet.task("a", script, agent=told, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    until((outside / "up").exists, "the agent")
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    mine = [line for line in lines if "bwrap" in line and str(fleet.root) in line]
    assert mine
    assert not any(value in line for line in lines)
    fleet.go("a")
    assert fleet.wait("a").code == 0
    ear.join(10)
    assert heard == [b"hello\n"]
    listener.close()


def test_what_was_not_let_out_is_told_where_a_person_looks(fleet, bwrap):
    script = "printf 'CONNECT example.org:443 HTTP/1.1\\r\\n\\r\\n' | nc_ | head -1\nexit 3\n"
    ask = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/64001; cat >&3; cat <&3'"
    told = {"sandbox": {"kind": "bwrap", "network": ["api.example.org"]}}
    fleet.task("a", script.replace("nc_", ask), agent=told, attempts=1)
    fleet.write()
    fleet.must("launch", "a")
    ended = until(
        lambda: [one["outcome"] for one in fleet.history() if one["event"] == "attempt-ended"][1:],
        "the end",
    )
    assert "its sandbox refused it example.org:443" in ended[0]["text"]
    assert ended[0]["evidence"]["sandbox"]["refused"] == ["example.org:443: not declared"]
    said = fleet.must("logs", "a").stdout
    assert "HTTP/1.1 403 Forbidden" in said
    assert "fleet: its sandbox refused example.org:443: not declared" in said


def test_who_takes_more_memory_than_it_may_is_told_so(fleet, bwrap):
    if (why := sandbox.uncaged(memory_bytes=1)) is not None:
        pytest.skip(f"no control group can be made here: {why}")
    eat = f"exec {sys.executable} -c 'b = bytearray(b\"x\") * (400 << 20)'"
    told = {"sandbox": {"kind": "bwrap", "memory": "128M"}}
    fleet.task("a", eat, agent=told, attempts=1)
    fleet.write()
    fleet.must("launch", "a")
    ended = until(
        lambda: [one["outcome"] for one in fleet.history() if one["event"] == "attempt-ended"][1:],
        "the end",
    )
    assert "it ran out of memory: its sandbox holds 128 MiB" in ended[0]["text"]
    assert ended[0]["failure"] == "task"


ORPHAN = (
    'env -i /bin/sh -c \'setsid /bin/sh -c "/bin/sleep 98{}7 </dev/null >/dev/null 2>&1 & exit" &'
    " exit'\n"
    "until pgrep -f 'sleep 98{}7' >/dev/null; do sleep 0.05; done\n"
)


def sleepers(number: int) -> list[psutil.Process]:
    argv = ["/bin/sleep", f"98{number}7"]
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == argv]


def test_what_detaches_itself_ends_with_the_agent(fleet, bwrap):
    """Without its environment, its session and its parent nothing else would find it."""
    number = os.getpid()
    script = ORPHAN.format(number, number) + fleet.delivers("a")
    fleet.task("a", script, agent=BWRAP, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    until(lambda: not sleepers(number), "the end of the orphan", 10)


def test_a_stop_is_heard_inside_and_ends_all(fleet, bwrap):
    number = os.getpid() + 1_000_000
    script = (
        "trap 'echo heard > heard; exit 1' TERM\n"
        + ORPHAN.format(number, number)
        + "touch up\nwhile :; do sleep 0.1; done\n"
    )
    fleet.task("a", script, agent=BWRAP)
    fleet.write()
    fleet.must("launch", "a")
    tree = fleet.worktree("a")
    until((tree / "up").exists, "the agent")
    assert sleepers(number)
    fleet.must("stop", "a")
    until((tree / "heard").exists, "the word that it was to stop")
    fleet.nothing_runs()
    until(lambda: not sleepers(number), "the end of the orphan", 10)


def test_time_runs_out_inside_and_is_heard_there(fleet, bwrap):
    script = "trap 'echo late > late; exit 1' TERM\nwhile :; do sleep 0.1; done\n"
    fleet.task("a", script, agent=BWRAP, timeout="1s", attempts=1)
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: any("ran out of time" in str(one) for one in fleet.history()), "the time-out")
    assert (fleet.worktree("a") / "late").exists()
    fleet.nothing_runs()


def test_memory_is_held_in_each_process(fleet, bwrap):
    eat = f"{sys.executable} -c 'b = bytearray(400 << 20); print(len(b))'"
    script = f"{eat} && exit 3\n" + fleet.delivers("a")
    told = {"sandbox": {"kind": "bwrap", "memory": "256M"}}
    fleet.task("a", script, agent=told, deliverables=["a.md"])
    fleet.task("b", f"{eat} || exit 3\n" + fleet.delivers("b"), agent=BWRAP, deliverables=["b.md"])
    fleet.write()
    fleet.must("launch", "a", "b")
    assert fleet.wait("a", "b").code == 0


def without_bwrap(fleet) -> dict[str, str]:
    folder = fleet.top / "programs"
    folder.mkdir(exist_ok=True)
    for name in ("git", "tmux", "sh", "env", "timeout", "prlimit", "date", "sleep"):
        link, there = folder / name, shutil.which(name)
        if there and not link.exists():
            link.symlink_to(there)
    return {"PATH": str(folder)}


def broken_bwrap(fleet) -> dict[str, str]:
    environ = without_bwrap(fleet)
    path = fleet.top / "programs/bwrap"
    path.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    path.chmod(0o755)
    return environ


@pytest.mark.parametrize(
    ("made", "why", "cure"),
    [
        (without_bwrap, "bwrap is not on PATH", "apt-get install bubblewrap"),
        (broken_bwrap, "setting up uid map: Permission denied", "take `sandbox` out"),
    ],
)
def test_where_it_cannot_work_nothing_is_launched(fleet, made, why, cure):
    fleet.task("a", agent=BWRAP)
    fleet.task("b", fleet.delivers("b"))
    fleet.write()
    environ = made(fleet)
    refused = fleet("launch", "a", env=environ)
    assert refused.code != 0
    assert why in refused.stderr
    assert cure in refused.stderr
    assert not fleet.ran()
    checks = {one["name"]: one for one in fleet("doctor", "--json", env=environ).json()["checks"]}
    assert checks["sandbox"]["level"] == "error"
    assert why in checks["sandbox"]["text"]
    assert cure in checks["sandbox"]["cure"]


def test_a_limit_of_processes_is_refused_for_root(fleet, bwrap):
    if os.geteuid() != 0:
        pytest.skip("only root is not bound")
    if sandbox.uncaged(processes=50) is None:
        pytest.skip("a control group binds root here")
    fleet.task("a", agent={"sandbox": {"kind": "bwrap", "processes": 50}})
    fleet.write()
    refused = fleet("launch", "a")
    assert refused.code != 0
    assert "would not bind root" in refused.stderr


def test_an_interactive_agent_keeps_its_terminal(fleet, bwrap):
    script = "[ -t 0 ] && [ -t 1 ] || exit 3\n: > /dev/tty || exit 4\n" + fleet.delivers("a")
    told = {**BWRAP, "mode": "interactive"}
    fleet.task("a", script, agent=told, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
