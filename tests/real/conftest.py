"""Real agent programs, of pinned versions, in an empty home, against a scripted model on loopback.

The programs come from their registry once for each machine, into PYTEST_REAL_CACHE or `.real/` of
this checkout; only their platform packages, and nothing of them is run while they are installed.
Where npm or the registry is not to be had, or nothing there runs on this machine, these tests are
skipped and say so.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.model_server import ModelServer, Script, Turn
from support.scripted_fleet import ScriptedFleet, until

CACHE = Path(
    os.environ.get("PYTEST_REAL_CACHE") or Path(__file__).resolve().parents[2] / ".real"
).absolute()
REACH_S = 20
INSTALL_S = 240
WORDS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
KEY = "dummy-key-000000000000000000000000"
CODEX_CONFIG = """\
model = "scripted"
check_for_update_on_startup = false
model_provider = "scripted"
[analytics]
enabled = false
[feedback]
enabled = false
[features]
plugins = false
apps = false
remote_plugin = false
[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
[projects."{root}"]
trust_level = "trusted"
"""


@dataclass(frozen=True)
class Program:
    """An agent program: its package for this platform, and where in it the binary lies."""

    name: str
    version: str
    package: str
    binary: str

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-{self.version}"

    def find(self) -> Path | None:
        """Returns the binary that is installed."""
        return next(iter(self.folder.glob(f"node_modules/{self.binary}")), None)


def _programs() -> Mapping[str, Program]:
    words = WORDS.get(platform.machine(), platform.machine())
    claude, codex = "2.1.329", "0.169.0"
    return {
        "claude": Program(
            "claude",
            claude,
            f"@anthropic-ai/claude-code-linux-{words}@{claude}",
            "@anthropic-ai/claude-code-linux-*/claude",
        ),
        "codex": Program(
            "codex",
            codex,
            f"@openai/codex@{codex}-linux-{words}",
            "@openai/codex/vendor/*/bin/codex",
        ),
    }


PROGRAMS = _programs()


@functools.cache
def install(name: str) -> Path | str:
    """Returns the binary, installed if it was not; or why there is none."""
    program = PROGRAMS[name]
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    with (CACHE / f"{program.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side install once
        found = program.find() or _fetch(program)
    if isinstance(found, str):
        return found
    home = os.environ["HOME"]  # the poisoned one
    told = {"HOME": home, "PATH": os.defpath, "DISABLE_AUTOUPDATER": "1"}
    try:
        done = subprocess.run(
            [found, "--version"],
            env=told,
            capture_output=True,
            text=True,
            timeout=REACH_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as lost:
        return f"{program.package} does not run here: {lost}"
    if program.version not in done.stdout:
        return f"{program.package} does not run here: {(done.stdout + done.stderr)[-200:]!r}"
    return found


def _fetch(program: Program) -> Path | str:
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    kept = CACHE / f"{program.folder.name}.npm"  # one each: two are installed side by side
    outside = {n: v for n, v in os.environ.items() if not n.lower().endswith("_proxy")}
    real = Path(os.environ["PYTEST_REAL_HOME"]) / ".npmrc"
    outside |= {
        "HOME": str(CACHE),
        "npm_config_cache": str(kept),
        "npm_config_userconfig": str(real),
        "npm_config_update_notifier": "false",
    }
    fresh = CACHE / f"{program.folder.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    quiet = ["--no-audit", "--no-fund", "--fetch-retries=0", f"--fetch-timeout={REACH_S * 1000}"]
    ask = [npm, "view", *quiet, program.package, "version"]
    get = [
        npm,
        "install",
        *quiet,
        "--ignore-scripts",
        "--no-save",
        "--prefix",
        str(fresh),
        program.package,
    ]
    for argv, limit_s in ((ask, REACH_S), (get, INSTALL_S)):
        try:
            done = subprocess.run(
                argv,
                env=outside,
                cwd=CACHE,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as lost:
            return f"{program.package}: npm {argv[1]}: {type(lost).__name__}"
        if done.returncode:
            return f"{program.package}: npm {argv[1]}: {done.stderr.strip()[:160]!r}"
    shutil.rmtree(program.folder, ignore_errors=True)
    fresh.rename(program.folder)
    shutil.rmtree(kept, ignore_errors=True)
    return program.find() or f"{program.package} holds no {program.binary}"


class RealFleet(ScriptedFleet):
    """A fleet whose agents are a real program in a home of its own, its model scripted."""

    def __init__(self, top: Path, cli: Callable[..., object], name: str, binary: Path) -> None:
        super().__init__(top, cli)  # type: ignore[arg-type]
        self.name, self.home, self.bin = name, top / "home", top / "bin"
        for folder in (self.home, self.bin):
            folder.mkdir()
        (self.bin / name).symlink_to(binary)
        self.env = {
            "HOME": str(self.home),
            **{name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")},
        }

    def declare(self, server: ModelServer, turns: Sequence[Turn], **told: object) -> Script:
        """Writes a fleet of one agent, `ada`, of whom more is `told`; returns its model."""
        model = server.play("ada", turns, cwd=self.worktree("ada"))
        if self.name == "claude":
            self.key = "ANTHROPIC_API_KEY"
            accepted = {"approved": [KEY[-20:]], "rejected": []}
            trusted = {str(self.root): {"hasTrustDialogAccepted": True}}
            told_once = {"hasCompletedOnboarding": True, "hasSeenAutoDefaultNudge": True}
            home = {**told_once, "customApiKeyResponses": accepted, "projects": trusted}
            self.put(".claude.json", json.dumps(home), self.home)
            self.agent(
                "ada", {"ANTHROPIC_BASE_URL": model.url, "CLAUDE_CODE_MAX_RETRIES": "1"}, **told
            )
        else:
            self.key = "SCRIPTED_KEY"
            self.put(
                ".codex/config.toml", CODEX_CONFIG.format(url=model.url, root=self.root), self.home
            )
            self.agent("ada", {}, **told)
        self.write()
        return model

    def work(self, name: str) -> list[Turn]:
        """Returns turns that write NAME.md, commit it and say so."""
        return [
            Turn.write(f"{{cwd}}/{name}.md", "good"),
            Turn.run(f"git add {name}.md && git commit -qm {name}"),
            Turn("It is written."),
        ]

    def ended(self, step: str) -> dict[str, Any]:
        """Returns the outcome of a step's first attempt."""

        def look() -> dict[str, Any] | None:
            found = [one for one in self.history() if one.get("step") == step]
            return next((one["outcome"] for one in found if one["event"] == "attempt-ended"), None)

        return until(look, f"the end of {step}")

    def agent(self, name: str, env: Mapping[str, str], **told: object) -> None:
        """Declares a task `name` for an agent of its own; it must leave a good NAME.md."""
        self.settings["secrets"] = {self.key: f"file:{self.put('../key', KEY).resolve()}"}
        self.task(
            name,
            "",
            agent={
                "harness": self.name,
                "args": told.pop("args", []),
                **told,
                "env": {**self.env, **env},
                "secrets": [self.key],
            },
            body=f"Write {name}.md, dear {name}.",
            deliverables=[f"{name}.md"],
            checks=[f"grep good {name}.md"],
            backoff="1s",
        )

    key = "MODEL_KEY"

    def attempts(self) -> list[Path]:
        """Returns the folders of all attempts of agents, in their order."""
        found = (self.state / "attempts").rglob("claim")
        return sorted(
            (one.parent for one in found), key=lambda one: (one / "claim").stat().st_mtime_ns
        )


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """The scripted model."""
    with ModelServer() as made:
        yield made


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """A folder outside of /dev: programs that shut themselves in have a /dev of their own."""
    if not tmp_path.is_relative_to("/dev"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="fleet-real-", dir="/var/tmp") as made:
        yield Path(made)


@pytest.fixture
def real(
    request: pytest.FixtureRequest,
    top: Path,
    fleet_cli: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> RealFleet:
    """A fleet of the program that the test is parametrised with."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    name = request.param
    binary = install(name)
    if isinstance(binary, str):
        pytest.skip(f"{name} is not to be had: {binary}")
    made = RealFleet(top, fleet_cli, name, binary)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made
