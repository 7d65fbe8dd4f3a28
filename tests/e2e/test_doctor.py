"""`fleet doctor` proves agent programs by running them: programs that misbehave, each in its own
way, are told apart, with their cures; and nothing of a trial is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters.model import enclosure
from fleet.harnesses import TESTED
from support.git_repo import GitRepo
from support.scripted_fleet import until

TESTED_CLAUDE = TESTED["claude"]
ASK = """
import json, os, sys, urllib.request
body = json.dumps({"model": "m", "messages": [], "tools": []}).encode()
asked = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body)
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked).read()
"""
DONE = "print(json.dumps({'type': 'result', 'subtype': 'success', 'result': 'Hello.'}))\n"
CALL = """
import shlex, subprocess
settings = json.load(open(sys.argv[sys.argv.index("--settings") + 1]))
command = settings["hooks"]["Stop"][0]["hooks"][0]["command"]
event = {"hook_event_name": "Stop", "session_id": "s-1", "last_assistant_message": "Hello."}
told = json.dumps(event).encode()
subprocess.run(shlex.split(command), input=told, stdout=subprocess.DEVNULL, check=True)
"""


class Doctor:
    """A place to run `fleet doctor` in: programs of its own on PATH, a temp folder of its own."""

    def __init__(self, top: Path, cli) -> None:
        self.bin, self.temp, self.cli = top / "bin", top / "temp", cli
        for folder in (self.bin, self.temp):
            folder.mkdir()
        self.env = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self.temp),
            "OUTSIDE": "something of the person",
        }
        self.repo = GitRepo(top / "shop")

    def program(self, body: str, *, version: str = TESTED_CLAUDE, name: str = "claude") -> Path:
        """Puts a program on PATH that answers to --version and `auth`, and else does what is told:
        a shell's words, or Python's if they begin with a newline.
        """
        path = self.bin / name
        run = f'exec {sys.executable} "$0.py" "$@"' if body.startswith("\n") else body
        path.with_name(f"{name}.py").write_text(body)
        known = f'case "$1" in --version) echo {version}; exit;; auth) exit 0;; esac'
        path.write_text(f"#!/bin/sh\n{known}\n{run}\n")
        path.chmod(0o755)
        return path

    def __call__(self, *words: str, **env: str):
        return self.cli("doctor", *words, cwd=self.repo.root, env=self.env | env)

    def found(self, *words: str, **env: str) -> dict[str, dict[str, str]]:
        """Returns the checks of a run by their names; nothing may be left of it."""
        told = self("--json", *words, **env)
        self.nothing_is_left()
        return {one["name"]: one for one in told.json()["checks"]}

    def nothing_is_left(self) -> None:
        assert list(self.temp.iterdir()) == []
        assert until(lambda: not self.alive(), "the end of all that the trial started")

    def alive(self) -> list[str]:
        """Returns the command lines of processes that know of the temp folder."""
        mark, found = os.fsencode(self.temp), []
        for folder in Path("/proc").iterdir():
            try:
                told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if folder.name.isdigit() and mark in told and int(folder.name) != os.getpid():
                found.append((folder / "cmdline").read_bytes().decode())
        return found


@pytest.fixture
def doctor(tmp_path: Path, fleet_cli) -> Doctor:
    return Doctor(tmp_path, fleet_cli)


CASES = {
    "hangs": (
        "exec sleep 600",
        "it did not end within 3 s and never asked its model; it showed nothing",
        "try it by hand, or give it longer",
    ),
    "prints garbage": (
        r"printf '\033]0;owned\007\033[31mgarb\302\205age\n'",
        "it ended with 0 without asking its model: garbage",
        "see whether `claude` on PATH is the program that is meant",
    ),
    "updates itself": (
        'printf "#!/bin/sh\\necho 9.9.9\\n" >"$0.new"; chmod +x "$0.new"; mv "$0.new" "$0"',
        "it replaced itself while it ran; it is 9.9.9 now",
        "turn its own updates off",
    ),
    "updates itself elsewhere": (
        "echo Updating to 9.9.9, please restart.",
        "it updated itself instead of working, and ended with 0",
        "turn its own updates off",
    ),
    "asks for trust": (
        "echo 'Do you trust the files in this folder? (y/N)' >/dev/tty; read -r answer </dev/tty",
        "it asks whether to trust the folder, and waits; it showed: Do you trust",
        "start `claude` once in the main checkout and say yes",
    ),
    "is not logged in": (
        "echo 'Invalid API key - Please run /login'; exit 1",
        "it says that it is not logged in, and ended with 1: Invalid API key",
        "start `claude` once and log in",
    ),
    "has its hooks skipped": (
        ASK + DONE,
        "its hooks were skipped: it ran a turn and called none of them",
        "disableAllHooks",
    ),
    "calls its hooks and does not listen": (
        ASK + CALL + DONE,
        "its hooks work only in part: the answer to its ended turn does not reach it, a permission",
        "install the version of claude that was tested",
    ),
    "fails in its turn": (
        ASK + "print(json.dumps({'type': 'result', 'subtype': 'error_during_execution'}))",
        "its turn failed: it reported error_during_execution",
        "see whether this version keeps its word",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_program_that_cannot_be_driven_is_told_with_its_own_cause_and_cure(doctor, case):
    body, text, cure = CASES[case]
    doctor.program(body)
    limit = ("--timeout", "3") if case in {"hangs", "asks for trust"} else ()
    told = doctor("claude", "--json", *limit)
    doctor.nothing_is_left()
    (found,) = [one for one in told.json()["checks"] if one["name"] == "claude hooks"]
    assert found["level"] == "error"
    assert text in found["text"]
    assert cure in found["cure"]
    assert told.code == 1
    (proof,) = told.json()["proofs"]
    assert (proof["program"], proof["level"]) == ("claude", "error")


def test_an_old_version_is_named_first_where_its_hooks_do_not_fire(doctor):
    doctor.program(ASK + DONE, version="2.0.1")
    found = doctor.found("claude")
    assert found["claude"]["level"] == "warning"
    assert f"older than {TESTED_CLAUDE}" in found["claude"]["text"]
    assert found["claude hooks"]["cure"].startswith("update claude first: it is older than")
    assert "claude login" not in found, "an older one may take the question for a prompt"


def test_a_newer_version_is_well_and_is_said_to_be_newer(doctor):
    doctor.program("exit 0", version="99.1")
    found = doctor.found("claude", "--quick")
    assert found["claude"]["level"] == "ok"
    assert f"newer than {TESTED_CLAUDE}, with which it was tested" in found["claude"]["text"]


def test_what_a_program_leaves_running_is_ended_however_it_detached(doctor):
    nap = f"600.{os.getpid()}"  # known by its length, where nothing else is known of it
    doctor.program(f"env -i setsid sleep {nap} >/dev/null & setsid sleep {nap} & sleep 0.2; exit 3")
    found = doctor.found("claude")
    assert "it ended with 3 without asking its model" in found["claude hooks"]["text"]

    def sleeping() -> list[bytes]:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(path.read_bytes())
            except OSError:
                continue
        return [line for line in lines if nap.encode() in line and line.startswith(b"sleep\0")]

    assert sleeping() == []


def test_a_shim_that_needs_its_persons_home_is_no_proof_against_the_program(doctor):
    path = doctor.program("exit 1")
    shim = '[ -n "$OUTSIDE" ] || { echo no version is set; exit 126; }\n'
    path.write_text(path.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{shim}"))
    found = doctor.found("claude")["claude hooks"]
    assert found["level"] == "warning"
    assert found["text"].endswith("so its hooks could not be tried: no version is set")
    assert "shim of a version manager" in found["cure"]


def test_a_trial_knows_nothing_of_the_person_and_reaches_nobody(doctor, tmp_path):
    outside = (
        "\nimport urllib.request, urllib.error, socket, os, json, sys\n"
        """
seen = {"home": os.environ["HOME"], "outside": os.environ.get("OUTSIDE"), "worktree": os.getcwd()}
try:
    urllib.request.urlopen("http://fleet.invalid/", timeout=5)
except urllib.error.HTTPError as refused:
    seen["status"] = refused.code
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as refused:
    seen["errno"] = refused.errno
open(__file__ + ".seen", "w").write(json.dumps(seen))
"""
    )
    doctor.program(outside)
    home = tmp_path / "person"
    home.mkdir()
    told = doctor("claude", "--json", HOME=str(home), ANTHROPIC_API_KEY="of the person")
    seen = json.loads((doctor.bin / "claude.py.seen").read_text())
    assert seen["outside"] is None
    assert str(doctor.temp) in seen["home"]
    assert str(doctor.temp) in seen["worktree"]
    assert seen["status"] == 403
    (proof,) = told.json()["proofs"]
    assert proof["hosts_refused"] == ["fleet.invalid"]
    assert proof["enclosed"] is enclosure.possible()
    if proof["enclosed"]:
        assert seen["errno"] == 101, "there is no way out of its network"
    assert list(home.iterdir()) == []


def test_quick_runs_no_program_and_an_unknown_name_is_refused(doctor):
    doctor.program('touch "$0.ran"')
    told = doctor("claude", "--quick", "--json").json()
    assert told["proofs"] == []
    assert not (doctor.bin / "claude.ran").exists()
    refused = doctor("clade")
    assert refused.code == 1
    assert "claude" in refused.stderr


def test_a_program_that_nobody_uses_is_no_error(doctor):
    doctor.program("exit 3")
    for name in ("codex", "gemini", "opencode", "copilot", "aider", "mini"):
        (doctor.bin / name).write_text("#!/bin/sh\nexit 1\n")
        (doctor.bin / name).chmod(0o755)
    found = doctor.found("--all-programs")
    assert found["claude hooks"]["level"] == "warning"
    assert found["codex"]["level"] == "absent"


@pytest.mark.parametrize("columns", [80, 120])
def test_the_text_fits_its_terminal_and_shows_nothing_raw(doctor, columns):
    doctor.program(CASES["prints garbage"][0])
    told = doctor("claude", COLUMNS=str(columns))
    assert max(len(line) for line in told.stdout.splitlines()) <= columns
    assert "claude hooks" in told.stdout
    assert not any(sign in told.stdout for sign in "\x1b\x07\x9b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_doctor_that_is_ended_leaves_nothing_behind(doctor, number):
    doctor.program('touch "$0.ran"; exec sleep 600')
    words = [sys.executable, "-m", "fleet", "doctor", "claude"]
    running = subprocess.Popen(
        words,
        cwd=doctor.repo.root,
        env=os.environ | doctor.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until((doctor.bin / "claude.ran").exists, "the trial to begin")
    running.send_signal(number)
    assert running.wait(30) != 0
    doctor.nothing_is_left()


# --- how a person has set a program up ------------------------------------------------------------


def of_a_fleet(doctor: Doctor, *lines: str) -> None:
    """Makes the repository a fleet of one agent, `ada`, of whom more is told."""
    told = "\n".join(("id: ada", "harness: claude", *lines))
    task = "---\nagent: ada\n---\nDo it.\n"
    head = "---\nfleet: shop\nbase: main\n---\n"
    doctor.repo.commit(
        {"coordination.md": head, "agents/ada.yaml": f"{told}\n", "tasks/one.md": task}
    )


def test_a_program_that_is_not_logged_in_is_told_with_the_command_that_does_it(doctor):
    doctor.program("exit 0").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo {TESTED_CLAUDE}\n[ "$1" != auth ]\n'
    )
    of_a_fleet(doctor)
    login = doctor.found("--quick")["claude login"]
    assert (login["level"], login["text"]) == ("warning", "not logged in")
    assert login["cure"] == "claude auth login"
    of_a_fleet(doctor, "env: {ANTHROPIC_API_KEY: x}")
    login = doctor.found("--quick")["claude login"]
    assert (login["level"], login["text"]) == (
        "ok",
        "by ANTHROPIC_API_KEY, which its agents are given",
    )


def test_a_session_in_its_terminal_needs_the_persons_trust(doctor, tmp_path):
    doctor.program("exit 0")
    of_a_fleet(doctor)
    assert "claude trust" not in doctor.found("--quick"), "headless, nothing is asked"
    of_a_fleet(doctor, "mode: interactive")
    trust = doctor.found("--quick")["claude trust"]
    assert trust["level"] == "warning"
    assert "so ada would first ask about it" in trust["text"]
    assert trust["cure"] == f"start `claude` once in {doctor.repo.root} and say yes"
    told = {"projects": {str(doctor.repo.root): {"hasTrustDialogAccepted": True}}}
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.claude.json").write_text(json.dumps(told))
    assert "claude trust" not in doctor.found("--quick", HOME=str(tmp_path / "home"))
