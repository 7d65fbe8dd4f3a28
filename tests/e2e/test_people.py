"""What people and agents say to a fleet: approvals, questions, holds, notes, edits of its files."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

from support.scripted_fleet import ScriptedFleet, until

FLEET = f"{sys.executable} -m fleet"


def test_a_gate_that_wants_an_approval_is_rejected_reworked_and_approved(
    fleet: ScriptedFleet,
) -> None:
    keep = f'cp "$FLEET_BRIEF" "{fleet.top}/brief-$FLEET_ATTEMPT"\n'
    more = 'echo "$FLEET_ATTEMPT" >> a.md\ngit add .\ngit commit -qm "try $FLEET_ATTEMPT"\n'
    fleet.phases({"id": "p", "approve": True}, {"id": "q", "approve": ["grace"]})
    fleet.task("a", keep + more, phase="p", deliverables=["a.md"])
    fleet.task("b", phase="q", deliverables=["b.md"])
    fleet.write()
    fleet.must("launch", "--all")
    asked = until(lambda: fleet.status()["questions"], "the question of the gate")[0]
    assert asked["kind"] == "approve"
    assert asked["choices"] == ["approve", "reject"]
    refused = fleet("merge", "p")
    assert refused.code == 1
    assert "approval" in refused.stderr
    assert "approv" in str(fleet("gate", "p", "--json").json()["missing"])
    assert fleet("reject", asked["id"]).code == 2  # a reason is asked for
    fleet.must("reject", asked["id"], "--reason", "a is too short")
    brief = fleet.top / "brief-2"
    until(lambda: brief.exists() and "a is too short" in brief.read_text(), "the rework's brief")
    again = until(
        lambda: [q for q in fleet.status()["questions"] if q["id"] != asked["id"]], "a new question"
    )[0]
    fleet.must("approve", again["id"], "--note", "now it is")
    until(lambda: fleet("gate", "p").code == 0, "an open gate")
    fleet.must("merge", "p")
    named = until(lambda: fleet.status()["questions"], "the question to grace")[0]
    assert named["whom"] == "grace"
    fleet.must("approve", named["id"], env={"USER": "grace"})
    until(lambda: fleet("gate", "q").code == 0, "an open gate")
    fleet.must("merge", "q")
    fleet.nothing_runs()


def test_an_agent_checks_in_asks_and_says_what_it_puts_out(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    script = (
        f'{FLEET} checkin --done "half" --next "the rest" --blocker "no key"\n'
        f'{FLEET} ask "Which way?" --topic route --choice left --choice right --wait 60 > a.md\n'
        f"git add . && git commit -qm a\necho 'the result' > out\n"
        f"{FLEET} done --output out && rm out && echo 'not this'\n"
    )
    fleet.task("a", script, deliverables=["a.md"])
    show = f'cp "$FLEET_BRIEF" "{fleet.top}/brief-b"\n{FLEET} brief > b.md\n'
    show += "git add . && git commit -qm b\n"
    fleet.task("b", show, deliverables=["b.md"], dependencies=["a"])
    fleet.write()
    untouched()
    fleet.must("launch", "--all")
    asked = until(lambda: fleet.status()["questions"], "the agent's question")[0]
    row = fleet.row("a")
    assert row["state"] == "needs-you"
    assert asked["topic"] == "route"
    assert asked["task"] == "a"
    said = row["last_checkin"]
    assert (said["done"], said["next"], said["blockers"]) == ("half", "the rest", ["no key"])
    wrong = fleet("answer", asked["id"], "up")
    assert wrong.code == 1
    assert "left" in wrong.stderr
    fleet.must("answer", asked["id"], "left")
    assert fleet.wait("a", "b").code == 0
    assert fleet.git("show", "fleet/a:a.md") == "left"
    brief = (fleet.top / "brief-b").read_text()
    assert "the result" in brief
    assert "not this" not in brief
    assert fleet.git("show", "fleet/b:b.md") == brief.strip()
    assert fleet.git("show", "fleet/b:a.md") == "left"  # the dependency's commit is in it
    outside = fleet("ask", "anybody?")
    assert outside.code == 1
    assert "FLEET_" in outside.stderr
    fleet.must("checkin", "--task", "a", "--done", "by hand")
    assert fleet.row("a")["last_checkin"]["done"] == "by hand"


def test_holding_and_going_on(fleet: ScriptedFleet, untouched: Callable[[], None]) -> None:
    note = '(while [ ! -e "${FLEET_BRIEF%/*}/notes" ]; do sleep 0.05; done)\n'
    fleet.settings["limits"] = {"agents": 2}
    fleet.task("a", note + fleet.delivers("a"), deliverables=["a.md"], days=5)
    fleet.task("b", fleet.waits("b") + fleet.delivers("b"), deliverables=["b.md"], days=5)
    fleet.task("c", deliverables=["c.md"])
    fleet.task("d", deliverables=["d.md"], dependencies=["c"])
    fleet.write()
    untouched()
    early = fleet("send", "a", "hello")
    assert early.code == 1
    assert "nothing was launched yet" in early.stderr
    assert fleet("logs", "a").code == 1
    fleet.must("launch", "--all")
    until(lambda: len(fleet.sessions()) == 2, "two sessions")
    rows = {row["id"]: row["state"] for row in fleet.status()["tasks"]}
    assert rows == {"a": "working", "b": "working", "c": "ready", "d": "waiting"}
    assert fleet.row("c")["waiting_for"], "a full limit is named"
    fleet.must("pause")
    fleet.must("send", "a", "go on, please")
    until(lambda: fleet.row("a")["facts"]["reported"], "a's end")
    assert fleet.row("a")["waiting_for"] == fleet.row("c")["waiting_for"] == ["resume"]
    assert "c 1" not in fleet.ran()
    assert "paused" in fleet.must("status").stdout.lower()
    fleet.must("stop", "b")
    assert fleet.row("b")["state"] == "stopped"
    fleet.must("resume")
    assert fleet.wait("a", "c", "d").code == 0
    until(lambda: fleet.ran()["b 2"] == 1, "b again")
    late = fleet("stop", "d")
    assert late.code == 1
    assert "d has ended already" in late.stderr
    fleet.must("skip", "b", "--reason", "not needed")
    fleet.nothing_runs()
    assert fleet.row("b")["state"] == "skipped"
    nothing = fleet("retry", "a")
    assert nothing.code == 1
    assert "nothing to try again" in nothing.stderr
    gone = fleet("attach", "a")
    assert gone.code == 1
    assert "no live session" in gone.stderr
    dead = fleet("send", "b", "too late")
    assert dead.code == 1
    assert "no running agent" in dead.stderr


def test_attach_and_logs_show_the_session(fleet: ScriptedFleet) -> None:
    fleet.task(
        "a", "echo 'I am here'\n" + fleet.waits("a") + fleet.delivers("a"), deliverables=["a.md"]
    )
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: "I am here" in fleet.must("logs", "a").stdout, "the log")
    terminal, inner = pty.openpty()
    attached = subprocess.Popen(
        [sys.executable, "-m", "fleet", "attach", "a"],
        cwd=fleet.root,
        env={**os.environ, "TERM": "xterm"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    os.close(inner)
    try:
        seen, deadline = b"", time.monotonic() + 20
        while attached.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # the terminal's other end has been closed
                if select.select([terminal], [], [], 0.2)[0]:
                    seen += os.read(terminal, 65536)
            if b"I am here" in seen and attached.poll() is None:
                os.write(terminal, b"\x02d")
        assert b"I am here" in seen, seen
        assert attached.poll() == 0
    finally:
        attached.kill()
        attached.wait()
        os.close(terminal)
    assert fleet.row("a")["state"] == "working"
    following = subprocess.Popen(
        [sys.executable, "-m", "fleet", "logs", "-f", "a"],
        cwd=fleet.root, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    fleet.go("a")
    said, _ = following.communicate(timeout=30)
    assert following.returncode == 0
    assert "I am here" in said
    lines = fleet.must("logs", "a", "--json").stdout.splitlines()
    assert all(line.startswith('{"schema": "fleet.log/1"') for line in lines)
    assert fleet("logs", "a", "--attempt", "7").code == 1


def test_files_edited_while_a_fleet_runs(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    fleet.task("a", fleet.waits("a") + fleet.delivers("a"), deliverables=["a.md"])
    fleet.task("b", deliverables=["b.md"], dependencies=["a"])
    fleet.write()
    fleet.must("launch", "--all")
    good = (fleet.root / "tasks/b.md").read_text()
    fleet.put("tasks/b.md", good.replace("b.md", "bb.md"))
    fleet.put("agents/b.yaml", (fleet.root / "agents/b.yaml").read_text().replace("b.md", "bb.md"))
    until(lambda: any(e["event"] == "plan-revised" for e in fleet.history()), "the edit", 15)
    assert fleet.row("b")["deliverables"][0]["text"] == "bb.md"

    valid = (fleet.root / "tasks/b.md").read_text()
    fleet.put("tasks/b.md", valid.replace("days: 1", "days: 1\nagentt: nobody"))
    told = until(lambda: fleet.status()["warnings"], "a warning")
    assert any("last good plan" in text for text in told), told
    assert any(re.search(r"tasks/b\.md:\d+:\d+", text) for text in told), told
    assert "tasks/b.md:" in fleet.must("status").stdout
    checked = fleet("check")
    assert checked.code == 2
    assert re.search(r"tasks/b\.md:\d+:\d+: .*agentt", checked.stderr)
    assert fleet("launch", "b", "--when-ready").code == 2
    fleet.put("tasks/b.md", valid)
    until(lambda: not fleet.status()["warnings"], "the end of the warning")

    running = (fleet.root / "tasks/a.md").read_text()
    fleet.put("tasks/a.md", running.replace("Do it.", "Do something else."))
    until(
        lambda: [
            one
            for one in fleet.history()
            if one["event"] == "plan-revised"
            and "a/work has started and keeps" in one["patch"]["reason"]
        ],
        "word of the edit",
        15,
    )
    fleet.put("tasks/a.md", running)
    untouched()
    fleet.go("a")
    assert fleet.wait("a", "b").code == 0
    assert fleet.git("show", "fleet/b:bb.md") == "done"
    assert fleet.ran() == {"a 1": 1, "b 1": 1}


def test_a_wait_says_what_only_a_person_can_move(fleet: ScriptedFleet) -> None:
    fleet.task("a", deliverables=["a.md"])
    fleet.task("b", fleet.waits("b"), deliverables=["b.md"], attempts=1)
    fleet.write()
    fleet.must("launch", "b")

    def told(task: str, state: str) -> str:
        done = fleet("wait", task, "--for", state, "--timeout", "0")
        assert done.code == 124
        return done.stderr

    assert told("a", "verified") == "a is ready and not launched: fleet launch a\n"
    assert told("b", "verified") == ""
    fleet.must("stop", "b")
    assert told("b", "verified") == "b is stopped: fleet resume b\n"
    fleet.must("resume", "b")
    fleet.go("b")
    until(lambda: fleet.row("b")["state"] == "needs-you", "a question about b")
    assert told("b", "verified") == "b needs you: fleet inbox\n"
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    assert fleet.wait("a", "b", timeout_s=0).stderr == "b needs you: fleet inbox\n"
    fleet.must("skip", "b")
    until(lambda: told("a", "merged"), "the gate")
    assert told("a", "merged") == "a is accepted and its phase not merged: fleet merge last\n"


def test_a_question_of_an_agent_expires_with_the_answer_that_it_named(fleet: ScriptedFleet) -> None:
    script = (
        f'{FLEET} ask "Which way?" --choice left --choice right --expires 0.5 --default left'
        " --wait 60 > a.md\n"
        f'{FLEET} ask "And then?" --expires 0.5 --wait 60; echo $? >> a.md\n'
        f'{FLEET} ask "Up?" --choice left --expires 9 --default up 2>> a.md\n'
        "git add . && git commit -qm a\n"
    )
    fleet.task("a", script, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    left, code, refused = fleet.git("show", "fleet/a:a.md").splitlines()[:3]
    assert (left, code) == ("left", "124")
    assert "'up' answers nothing" in refused
    assert fleet.must("inbox", "--json").json()["questions"] == []
