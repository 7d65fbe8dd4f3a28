"""The front door: hostile text, plain terminals, dry runs, places, mistakes, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.scripted_fleet import ScriptedFleet, until

HEARS_C_C = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from fleet.__main__ import main; main()"
)
"""Fleet as its own door starts it; else a shell's background job has it ignore C-c."""

ESCAPES = r"printf '\033[2J\033]0;owned\007\033[31mred\r\b\010 \xff\xfe end\n'"


def test_hostile_names_and_outputs_reach_no_shell_and_no_terminal(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    bad = "$(touch PWNED)'\"; `touch PWNED` #{pane_id} ünï"
    script = (
        f"{ESCAPES}\n"
        "head -c 5000000 /dev/zero | tr '\\0' 'x' | fold -w 100\n"
        'n="with \'quote\' and \\"double\\"\n and newline \\$(x).md"\n'
        'echo x > "$n"\necho y > "a space.md"\n'
        "git add -A\ngit commit -qm \"$(printf '\\033[2J') hostile\"\n"
        f"{ESCAPES}\n"
    )
    fleet.task(
        "evil_name-1",
        script,
        name=bad,
        phase="p_1",
        deliverables=["a space.md", "with 'quote' and *newline $(x).md"],
        checks=[["test", "$(touch PWNED)", "!=", ""], ESCAPES],
        agent={"name": bad, "role": bad, "env": {"HOSTILE": bad}},
        risks=[bad],
    )
    fleet.phases({"id": "p_1", "name": bad})
    fleet.write(rules=f"{bad}\x1b[2J")
    control = fleet("check")
    assert control.code == 2
    assert "control character U+001B" in control.stderr
    fleet.put("coordination.md", (fleet.root / "coordination.md").read_text().replace("\x1b", ""))
    untouched()
    fleet.must("launch", "--all")
    assert fleet.wait("evil_name-1").code == 0
    said = []
    for words in (
        ("status",), ("logs", "evil_name-1"), ("gate",), ("history",), ("plan",), ("inbox",),
        ("metrics",), (), ("check",),
    ):  # fmt: skip
        done = fleet(*words)
        assert done.code in (0, 1), done
        said.append(done.stdout + done.stderr)
    for text in said:
        assert not {"\x1b", "\x07", "\x08", "\r", "\x00"} & set(text), repr(text[:400])
    log = fleet.must("logs", "evil_name-1", "-n", "1").stdout
    assert "end" in log
    assert "owned" not in "".join(c for c in log if not c.isprintable())
    folders = (fleet.root, fleet.top, fleet.worktree("evil_name-1"))
    assert not any((folder / "PWNED").exists() for folder in folders)
    assert all(one["met"] for one in fleet.row("evil_name-1")["deliverables"])


@pytest.mark.parametrize(
    "name", ["../up", "-x", "a b", ".git", "a/b", "a:b", "$(x)", "é" * 3, "a" * 300]
)
def test_ids_that_cannot_be_are_refused_with_their_place(fleet: ScriptedFleet, name: str) -> None:
    fleet.put("agents/w.yaml", "harness: shell\nargs: 'true'\n")
    front = json.dumps({"id": name, "agent": "w", "days": 1})
    fleet.put("tasks/one.yaml", front)
    fleet.put("coordination.md", "---\nbase: main\n---\n")
    done = fleet("check")
    assert done.code == 2, done
    assert "tasks/one.yaml:1:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_places_plain_terminals_and_dry_runs(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    fleet.phases("p")
    fleet.task("alpha", fleet.waits("alpha") + fleet.delivers("alpha"), phase="p",
               deliverables=["alpha.md"])  # fmt: skip
    fleet.task("beta", phase="p", deliverables=["beta.md"], dependencies=["alpha"])
    fleet.write()
    untouched()
    # before anything: nothing is written by looking, nor by saying what would be done
    for words in (
        ("status",), ("plan",), ("check",), ("gate",), ("inbox",), ("metrics",),
        ("launch", "alpha", "--dry-run"), ("launch", "--all", "--dry-run"), ("down", "--dry-run"),
    ):  # fmt: skip
        done = fleet(*words)
        assert done.code in (0, 1), done
        assert "Traceback" not in done.stderr, done
    fleet("merge", "--dry-run")
    assert not (fleet.state / "journal.db").exists(), "a dry run has started the fleet's run"

    fleet.must("launch", "alpha")
    events, refs = len(fleet.history()), fleet.git("for-each-ref")
    for words in (
        ("launch", "beta", "--when-ready"), ("stop", "alpha"), ("pause",), ("resume",),
        ("skip", "alpha"), ("retry", "alpha"), ("down",), ("down", "--all"),
    ):  # fmt: skip
        done = fleet(*words, "--dry-run")
        assert done.code in (0, 1), done
        if done.code == 0:
            assert "would" in done.stdout or "no coordinator" in done.stdout, (words, done)
    assert (len(fleet.history()), fleet.git("for-each-ref")) == (events, refs)
    assert len(fleet.sessions()) == 1
    assert fleet.coordinator()

    place = fleet.worktree("alpha")
    inside = fleet("status", "--json", cwd=place).json()
    assert [row["state"] for row in inside["tasks"]] == ["working", "waiting"]
    named = fleet("-C", fleet.root, "status", "--json", cwd=fleet.top)
    assert named.json()["fleet"] == "trial"
    told = fleet("status", "--json", cwd=fleet.top, env={"FLEET_ROOT": str(fleet.root)})
    assert told.json()["fleet"] == "trial"
    nowhere = fleet("status", cwd=fleet.top)
    assert nowhere.code == 2
    assert "fleet init" in nowhere.stderr
    plain = {"LC_ALL": "C", "LANG": "C", "NO_COLOR": "1", "COLUMNS": "80", "PYTHONUTF8": "0"}
    for words in (("status",), ("plan",), ("gate",), ()):
        text = fleet(*words, env=plain).stdout
        assert text.isascii(), text
        assert "\x1b" not in text, text
        if words and words[0] in ("status", "plan"):
            assert max(map(len, text.splitlines())) <= 80, text
    fleet.go("alpha")
    assert fleet.wait("alpha").code == 0


def test_mistakes_and_exit_codes(fleet: ScriptedFleet) -> None:
    fleet.task("alpha", fleet.waits("alpha") + fleet.delivers("alpha"), deliverables=["alpha.md"])
    fleet.write()
    unknown = fleet("stauts")
    assert unknown.code == 2
    assert "status" in unknown.stderr
    assert fleet("launch", "alpha", "--nope").code == 2
    assert fleet("--help").code == 0
    assert "launch" in fleet("--help").stdout
    typo = fleet("launch", "alpah")
    assert typo.code == 1
    assert "alpha" in typo.stderr
    assert "nothing was launched yet" in fleet("wait", "alpha").stderr
    fleet.must("launch", "alp")  # a unique prefix will do
    for words in (("wait", "alpha", "--for", "verifed"), ("gate", "lst"), ("merge", "zzz"),
                  ("answer", "plan.q9", "x"), ("history", "plam"), ("logs", "betta")):  # fmt: skip
        done = fleet(*words)
        assert done.code == 1, (words, done)
        assert done.stderr.startswith("error: "), (words, done)
        assert not done.stdout
    assert "verified" in fleet("wait", "alpha", "--for", "verifed").stderr
    for words in (("status",), ("plan",), ("gate",), ("inbox",), ("metrics",), ("check",)):
        done = fleet(*words, "--json")
        assert str(json.loads(done.stdout)["schema"]).startswith("fleet."), words
    waiting = subprocess.Popen(
        [sys.executable, "-c", HEARS_C_C, "wait", "alpha"],
        cwd=fleet.root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: _reads_the_journal(waiting.pid), "the journal is read")
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate()[1]
        assert waiting.returncode == 130, said
        assert "Traceback" not in said
    finally:
        waiting.kill()
        waiting.wait()
    fleet.go("alpha")
    assert fleet.wait("alpha").code == 0
    fleet.put("tasks/alpha.md", "---\nagent: [\n---\n")
    broken = fleet("launch", "alpha")
    assert broken.code == 2
    assert "tasks/alpha.md:" in broken.stderr
    assert fleet("status").code == 0


def _reads_the_journal(pid: int) -> bool:
    """Returns whether a process has come so far that SQLite is loaded, by /proc.

    Before that C-c may meet Python itself, on its way to fleet's first line.
    """
    return "_sqlite3" in Path(f"/proc/{pid}/maps").read_text()
