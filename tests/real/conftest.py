"""Real agent programs, of pinned versions, in an empty home, against a scripted model on loopback.

The programs come from their registries once for each machine, into PYTEST_REAL_CACHE or `.real/` of
this checkout; only their platform packages, and nothing of them is run while they are installed.
Where npm or a registry is not to be had, or nothing there runs on this machine, these tests are
skipped and say so.
"""

from __future__ import annotations

import fcntl
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.harnesses import TESTED
from support.agent_programs import BINARIES, KEY, KEYS, point, working
from support.model_server import ModelServer, Script, Turn
from support.scripted_fleet import TIMED_OUT, Ended, ScriptedFleet, until

CACHE = Path(
    os.environ.get("PYTEST_REAL_CACHE") or Path(__file__).resolve().parents[2] / ".real"
).absolute()
HOMES = "/var/tmp"
REACH_S = 20
PATIENCE_S = 240
INSTALL_S = 240
INSPECTOR = "2.12.0"  # no agent program, but a real client of the protocol
WORDS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Program:
    """An agent program and its packages for this platform."""

    name: str
    version: str
    package: str
    asked: str = "--version"

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-{self.version}"

    def find(self) -> Path | None:
        """Returns the binary that is installed."""
        return next(iter(self.folder.glob(BINARIES[self.name])), None)


def _programs() -> Mapping[str, Program]:
    words = WORDS.get(platform.machine(), platform.machine())
    claude, codex, gemini, opencode, copilot, aider, mini = TESTED.values()
    mini_needs = "litellm==1.106.2 mcp==2.3.0"
    found = [
        Program("claude", claude, f"@anthropic-ai/claude-code-linux-{words}@{claude}"),
        Program("codex", codex, f"@openai/codex@{codex}-linux-{words}"),
        Program("opencode", opencode, f"opencode-linux-{words}@{opencode}"),
        Program("gemini", gemini, f"@google/gemini-cli@{gemini}"),
        Program("copilot", copilot, f"@github/copilot-linux-{words}@{copilot}"),
        Program("aider", aider, f"aider-chat=={aider}"),
        Program("mini", mini, f"mini-swe-agent=={mini} {mini_needs}", "--help"),
        Program("inspector", INSPECTOR, f"@modelcontextprotocol/inspector@{INSPECTOR}"),
    ]
    return {program.name: program for program in found}


PROGRAMS = _programs()


@functools.cache
def install(name: str) -> Path | str:
    """Returns the binary, installed if it was not; or why there is none."""
    program = PROGRAMS[name]
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    with (CACHE / f"{program.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side install once
        found = program.find() or (_build if "==" in program.package else _fetch)(program)
    if isinstance(found, str):
        return found
    # A home of its own, for some leave files there even then.
    with tempfile.TemporaryDirectory(dir=HOMES, ignore_cleanup_errors=True) as home:
        told = {"HOME": home, "PATH": os.environ["PATH"], "DISABLE_AUTOUPDATER": "1"}
        try:
            done = subprocess.run(
                [found, program.asked],
                env=told,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as lost:
            return f"{program.package} does not run here: {lost}"
    if program.version not in done.stdout:
        return f"{program.package} does not run here: {(done.stdout + done.stderr)[-200:]!r}"
    return found


def _fetch(program: Program) -> Path | str:
    """Installs from npm."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    kept = CACHE / f"{program.folder.name}.npm"  # one each: two are installed side by side
    told = {
        "HOME": str(CACHE),
        "npm_config_cache": str(kept),
        "npm_config_userconfig": str(Path(os.environ["PYTEST_REAL_HOME"]) / ".npmrc"),
        "npm_config_update_notifier": "false",
    }
    fresh = CACHE / f"{program.folder.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    quiet = ["--no-audit", "--no-fund", "--fetch-retries=0", f"--fetch-timeout={REACH_S * 1000}"]
    get = ["--ignore-scripts", "--no-save", "--prefix", str(fresh), program.package]
    trouble = _run([npm, "view", *quiet, program.package, "version"], told, REACH_S) or _run(
        [npm, "install", *quiet, *get], told, INSTALL_S
    )
    if trouble:
        return trouble
    shutil.rmtree(program.folder, ignore_errors=True)
    fresh.rename(program.folder)
    shutil.rmtree(kept, ignore_errors=True)
    return program.find() or f"{program.package} holds no {BINARIES[program.name]}"


def _build(program: Program) -> Path | str:
    """Installs from PyPI, into an environment of its own that stays where it was made."""
    if sys.version_info < (3, 13):
        python = sys.executable
    else:
        names = ("python3.12", "python3.11")
        python = next((found for name in names if (found := shutil.which(name))), "")
    if not python:
        return "no Python older than 3.13 is installed"
    # What pip and uv are told of their index is the user's own.
    told = {"HOME": os.environ["PYTEST_REAL_HOME"]}
    trouble = _build_by_uv(program, python, told)
    trouble = trouble and _build_by_pip(program, python, told)
    found = program.find()
    if trouble or found is None:
        shutil.rmtree(program.folder, ignore_errors=True)
        return trouble or f"{program.package} holds no {BINARIES[program.name]}"
    return found


def _build_by_uv(program: Program, python: str, told: Mapping[str, str]) -> str:
    """Builds the environment in a fifth of the time that pip takes, where uv reaches its index."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        return "uv is not installed"
    told = {**told, "UV_NO_CACHE": "1", "UV_HTTP_TIMEOUT": str(REACH_S), "UV_HTTP_RETRIES": "0"}
    into = ["--python", str(program.folder / "bin/python"), "--only-binary=:all:"]
    return _run(
        [str(uv), "venv", "-q", "--clear", "--python", python, str(program.folder)], told, INSTALL_S
    ) or _run([str(uv), "pip", "install", "-q", *into, *program.package.split()], told, INSTALL_S)


def _build_by_pip(program: Program, python: str, told: Mapping[str, str]) -> str:
    told = {**told, "PIP_NO_CACHE_DIR": "1"}
    pip = [str(program.folder / "bin/python"), "-m", "pip", "install", "-q", "--retries=0"]
    wheels = ["--only-binary=:all:", f"--timeout={REACH_S}", *program.package.split()]
    reach = ["--dry-run", "--no-deps", *wheels]
    return (
        _run([python, "-m", "venv", "--clear", str(program.folder)], told, INSTALL_S)
        or _run([*pip, *reach], told, INSTALL_S)
        or _run([*pip, "--no-compile", *wheels], told, INSTALL_S)
    )


def _run(argv: Sequence[str], told: Mapping[str, str], limit_s: int) -> str:
    """Runs a step of an installation; returns what went wrong, or nothing."""
    poisoned = ("XDG_", "PIP_NO_INDEX")
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(poisoned) and not name.lower().endswith("_proxy")
    }
    try:
        done = subprocess.run(
            argv,
            env=outside | told,
            cwd=CACHE,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as lost:
        return f"{argv[-1]}: {Path(argv[0]).name}: {type(lost).__name__}"
    return f"{argv[-1]}: {done.stderr.strip()[:160]!r}" if done.returncode else ""


class RealFleet(ScriptedFleet):
    """A fleet whose agents are a real program in a home of its own, its model scripted."""

    def __init__(
        self, top: Path, cli: Callable[..., object], name: str, binary: Path, home: Path
    ) -> None:
        super().__init__(top, cli)  # type: ignore[arg-type]
        self.name, self.home, self.bin = name, home, top / "bin"
        self.bin.mkdir()
        (self.bin / name).symlink_to(binary)
        self.env = {
            **{name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")},
        }

    def declare(self, server: ModelServer, turns: Sequence[Turn], **told: object) -> Script:
        """Writes a fleet of one agent, `ada`, of whom more is `told`; returns its model."""
        toolless = self.name == "aider"
        model = server.play("ada", turns, cwd=self.worktree("ada"), toolless=toolless)
        self.agent("ada", self.points_at(model), **told)
        self.write()
        return model

    def points_at(self, model: Script) -> dict[str, str]:
        """Returns what makes the program ask this model, after its files are in its home."""
        return point(self.name, self.home, self.root, model.url)

    def plays(
        self, server: ModelServer, name: str, program: str, turns: Sequence[Turn], **told: object
    ) -> Script:
        """Declares a task of another program, which is found beside this fleet's own."""
        self.name = program
        binary = install(program)
        if isinstance(binary, str):
            pytest.skip(f"{program} is not to be had: {binary}")
        if not (self.bin / program).is_symlink():
            (self.bin / program).symlink_to(binary)
        model = server.play(name, turns, cwd=self.worktree(name))
        self.agent(name, self.points_at(model), **told)
        return model

    def wait(self, *tasks: str, state: str = "verified", timeout_s: int = PATIENCE_S) -> Ended:
        """Runs `fleet wait`, with the patience that programs need which start in seconds."""
        done = self(
            "wait", *tasks, "--for", state, f"--timeout={timeout_s}", timeout_s=timeout_s + 60
        )
        if done.code == TIMED_OUT:
            print(self("inbox").stdout, self("status").stdout, self("gate").stdout)
        return done

    def work(self, name: str) -> list[Turn]:
        """Returns turns that write NAME.md, commit it and say so."""
        return working(self.name, name)

    def ended(self, step: str) -> dict[str, Any]:
        """Returns the outcome of a step's first attempt."""

        def look() -> dict[str, Any] | None:
            found = [one for one in self.history() if one.get("step") == step]
            return next((one["outcome"] for one in found if one["event"] == "attempt-ended"), None)

        return until(look, f"the end of {step}", PATIENCE_S)

    def agent(self, name: str, env: Mapping[str, str], *, phase: str = "", **told: object) -> None:
        """Declares a task `name` for an agent of its own; it must leave a good NAME.md."""
        key = KEYS[self.name]
        kept = f"file:{self.put('../key', KEY).resolve()}"
        self.settings.setdefault("secrets", {})[key] = kept
        self.task(
            name,
            "",
            agent={
                "harness": self.name,
                "args": told.pop("args", []),
                "permissions": "yolo" if self.name == "mini" else "edits",
                **told,
                "env": {**self.env, **env},
                "secrets": [key],
            },
            body=f"Write {name}.md, dear {name}.",
            **({"phase": phase} if phase else {}),
            deliverables=[f"{name}.md"],
            checks=[f"grep good {name}.md"],
            backoff="1s",
        )

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
def real(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    fleet_cli: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RealFleet]:
    """A fleet of the program that the test is parametrised with."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    name = request.param
    binary = install(name)
    if isinstance(binary, str):
        pytest.skip(f"{name} is not to be had: {binary}")
    # Not below /dev, where tests work: codex keeps there what its sandbox, which has a /dev of its
    # own, runs.
    with tempfile.TemporaryDirectory(dir=HOMES, ignore_cleanup_errors=True) as home:
        made = RealFleet(tmp_path, fleet_cli, name, binary, Path(home))
        monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
        yield made


@pytest.fixture
def inspector() -> Path:
    """The command line of the inspector of the Model Context Protocol."""
    binary = install("inspector")
    if isinstance(binary, str):
        pytest.skip(f"the inspector is not to be had: {binary}")
    return binary
