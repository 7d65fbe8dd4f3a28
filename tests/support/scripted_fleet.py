"""A small fleet on disk: a git repository, documents, and shell agents whose scripts a test writes.

Everything is driven through the `fleet` command. Each agent notes its start in one file outside the
repository, so that a test can count what really ran; agents that are to be held wait for a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil
import yaml


class Ended(Protocol):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Returns standard output as JSON."""


Cli = Callable[..., Ended]
PATIENCE_S = 40.0
TIMED_OUT = 124


def until(met: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Returns the first true value of `met`; fails naming `what` when it never comes."""
    deadline = time.monotonic() + patience_s
    while True:
        found = met()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.05)


class ScriptedFleet:
    """A fleet at `top/repo`; declare phases and tasks, then `write`, then call it like `fleet`."""

    def __init__(self, top: Path, cli: Cli, *, root: Path | None = None) -> None:
        self.top, self.cli = top, cli
        self.root = root or top / "repo"
        self.ran_path = top / "ran"
        self.gates = top / "go"
        self.gates.mkdir(parents=True, exist_ok=True)
        self.settings: dict[str, Any] = {"fleet": "trial", "base": "main", "calendar": "everyday"}
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ada")
        self.git("config", "user.email", "ada@example.org")
        self.put("README.md", "hello\n")
        self.git("add", "README.md")
        self.git("commit", "-q", "-m", "first")

    # --- declaring --------------------------------------------------------------------------------

    def put(self, name: str, text: str, folder: Path | None = None) -> Path:
        """Writes a file into the root (or `folder`) and returns its path."""
        path = (folder or self.root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def phases(self, *phases: Mapping[str, Any] | str) -> None:
        """Declares the phases in their order."""
        self.settings["phases"] = [{"id": p} if isinstance(p, str) else dict(p) for p in phases]

    def task(
        self,
        name: str,
        script: str | None = None,
        /,
        *,
        agent: Mapping[str, Any] | None = None,
        body: str = "Do it.",
        **keys: Any,
    ) -> None:
        """Declares a task and its own shell agent, which notes its start and runs `script`."""
        script = self.delivers(name) if script is None else script
        note = f'echo "$FLEET_TASK $FLEET_ATTEMPT" >> "{self.ran_path}"\n'
        told = {"harness": "shell", "args": note + script, **(agent or {})}
        self.put(f"agents/{name}.yaml", yaml.safe_dump(told))
        front = {"agent": name, "days": 1, **keys}
        self.put(f"tasks/{name}.md", f"---\n{yaml.safe_dump(front)}---\n\n{body}\n")

    def delivers(self, name: str, text: str = "done") -> str:
        """Returns a script that commits NAME.md."""
        return f'echo "{text}" > {name}.md\ngit add {name}.md\ngit commit -q -m "{name}"\n'

    def waits(self, name: str) -> str:
        """Returns a script line that waits until the test lets NAME `go`."""
        return f'while [ ! -e "{self.gates}/{name}" ]; do sleep 0.05; done\n'

    def go(self, name: str) -> None:
        """Lets what waits for NAME go on."""
        (self.gates / name).touch()

    def write(self, rules: str = "Keep to the rules.") -> ScriptedFleet:
        """Writes coordination.md, commits all documents and returns this fleet."""
        self.put("coordination.md", f"---\n{yaml.safe_dump(self.settings)}---\n\n{rules}\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "the fleet")
        return self

    # --- asking -----------------------------------------------------------------------------------

    def __call__(self, *words: str | Path, **options: Any) -> Ended:
        """Runs `fleet` in the root."""
        return self.cli(*words, **{"cwd": self.root, **options})

    def must(self, *words: str | Path, **options: Any) -> Ended:
        """Runs `fleet` in the root and insists on exit 0."""
        done = self(*words, **options)
        assert done.code == 0, f"fleet {' '.join(map(str, words))}: {done}"
        return done

    def status(self) -> dict[str, Any]:
        """Returns `fleet status --json`."""
        found: dict[str, Any] = self.must("status", "--json").json()
        return found

    def row(self, task: str) -> dict[str, Any]:
        """Returns a task's row of the status."""
        return next(row for row in self.status()["tasks"] if row["id"] == task)

    def asked(self, *words: str, other_than: str = "", **keys: Any) -> dict[str, Any]:
        """Returns the open question with these words in its message, of these keys and of another
        id than `other_than`, once there is one.
        """

        def look() -> dict[str, Any] | None:
            for one in self.must("inbox", "--json").json()["questions"]:
                told = {key: one[key] for key in keys}
                said = all(word in one["message"] for word in words)
                if told == keys and said and one["id"] != other_than:
                    return one
            return None

        found: dict[str, Any] = until(look, f"a question with {words} of {keys}")
        return found

    def history(self) -> list[dict[str, Any]]:
        """Returns every journaled event."""
        lines = self.must("history", "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def wait(self, *tasks: str, state: str = "verified", timeout_s: int = 30) -> Ended:
        """Runs `fleet wait` for tasks."""
        done = self("wait", *tasks, "--for", state, "--timeout", str(timeout_s), timeout_s=90)
        if done.code == TIMED_OUT:
            print(self("inbox").stdout, self("status").stdout, self("gate").stdout)
        return done

    def ran(self) -> Counter[str]:
        """Returns how often each `task attempt` noted its start."""
        if not self.ran_path.exists():
            return Counter()
        return Counter(self.ran_path.read_text(encoding="utf-8").splitlines())

    # --- the repository ---------------------------------------------------------------------------

    def git(self, *words: str, cwd: Path | None = None, check: bool = True) -> str:
        """Returns git's output, stripped."""
        done = subprocess.run(
            ["git", *words],
            cwd=cwd or self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"git {words}: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def rev(self, name: str = "main") -> str:
        """Returns the commit of a name, or an empty text."""
        return self.git("rev-parse", "--verify", "-q", f"{name}^{{commit}}", check=False)

    def worktree(self, task: str) -> Path:
        """Returns a task's default worktree."""
        return self.top / f"{self.root.name}.worktrees" / task

    def until_committed(self, *tasks: str) -> None:
        """Waits until each of the tasks has committed its NAME.md."""
        for task in tasks:
            found = f"refs/heads/fleet/{task}:{task}.md"
            until(lambda found=found: self.git("cat-file", "-t", found, check=False), found)

    def fingerprint(self) -> str:
        """Returns a hash of what is the user's: HEAD, base, tags, index, files, stash, hooks."""
        seen = hashlib.sha256()
        for ref in ("refs/heads/main", "refs/tags", "refs/remotes"):
            seen.update(self.git("for-each-ref", ref).encode())
        for words in (("ls-files", "-s"), ("stash", "list"), ("status", "--porcelain")):
            seen.update(self.git(*words).encode("utf-8", "surrogateescape"))
        for name in ("HEAD", "config"):
            seen.update((self.root / ".git" / name).read_bytes())
        for hook in sorted((self.root / ".git/hooks").iterdir()):
            seen.update(hook.name.encode() + hook.read_bytes())
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and not {".git", ".fleet"} & set(path.parts):
                seen.update(os.fsencode(path) + path.read_bytes())
        return seen.hexdigest()

    # --- what lives -------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.root / ".fleet"

    @property
    def socket(self) -> str:
        """The name of the private tmux server."""
        return f"fleet-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]}"

    def tmux(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs tmux on the fleet's own server."""
        return subprocess.run(
            ["tmux", "-L", self.socket, *words], capture_output=True, text=True, check=False
        )

    def sessions(self) -> list[str]:
        """Returns the names of the sessions that live."""
        return self.tmux("list-sessions", "-F", "#{session_name}").stdout.split()

    def coordinator(self) -> int | None:
        """Returns the pid of the coordinator that is alive by its own word."""
        found = self.status()["coordinator"]
        return found["pid"] if found["alive"] else None

    def agents(self) -> list[psutil.Process]:
        """Returns the processes of this fleet's attempts, found by their environment."""
        return [
            one
            for one in psutil.process_iter()
            if _environ(one).get("FLEET_ROOT") == str(self.root)
        ]

    def reboot(self) -> None:
        """Ends the coordinator, tmux and all agents at once, as a reboot does; what they left of
        themselves names another boot, and processes that live now under the same number.
        """
        coordinator = self.coordinator()
        if coordinator is not None:
            os.kill(coordinator, signal.SIGKILL)
        found = (self.state / "attempts").rglob("claim")
        claims = [one for one in found if not (one.parent / "exit").exists()]
        for claim in claims:  # first, so that none lives to tell how its agent ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(claim.read_text())["pid"], signal.SIGKILL)
        self.tmux("kill-server")
        for one in self.agents():
            with contextlib.suppress(psutil.Error):
                one.kill()
        until(lambda: not self.agents(), "the end of all agents")
        me = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        for claim in claims:
            told = {"pid": os.getpid(), "start_ticks": int(me[19]), "boot_id": "another"}
            claim.write_text(json.dumps(told))
        identity = self.state / "coordinator.json"
        identity.write_text(json.dumps({**json.loads(identity.read_text()), "boot": "another"}))

    def nothing_runs(self) -> None:
        """Insists that no agent's process and no session is left."""
        until(lambda: not self.agents(), "the end of all agents", 15)
        until(lambda: not self.sessions(), "the end of all sessions", 15)


def _environ(one: psutil.Process) -> Mapping[str, str]:
    with contextlib.suppress(psutil.Error, OSError):
        return one.environ()
    return {}
