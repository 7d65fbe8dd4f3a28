"""Real agent programs, of pinned versions, in an empty home, against a scripted model on loopback.

The programs come from their registries once for each machine, into PYTEST_REAL_CACHE or `.real/` of
this checkout; only their platform packages, and nothing of them is run while they are installed.
Where npm or a registry is not to be had, or nothing there runs on this machine, these tests are
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
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.harnesses import TESTED
from support.model_server import CODEX_CONFIG, ModelServer, Script, Turn
from support.scripted_fleet import ScriptedFleet, until

CACHE = Path(
    os.environ.get("PYTEST_REAL_CACHE") or Path(__file__).resolve().parents[2] / ".real"
).absolute()
HOMES = "/var/tmp"
REACH_S = 20
INSTALL_S = 240
WORDS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
SAID = "It is written."
KEY = "dummy-key-000000000000000000000000"


OPENCODE_CONFIG = {
    "share": "disabled",
    "model": "scripted/model",
    "small_model": "scripted/model",
    "enabled_providers": ["scripted"],
    "provider": {
        "scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"apiKey": "{env:MODEL_KEY}"},
            "models": {"model": {"limit": {"context": 200_000, "output": 8_000}}},
        }
    },
}
GEMINI_CONFIG = {
    "general": {"maxAttempts": 1, "enableAutoUpdate": False},
    "privacy": {"usageStatisticsEnabled": False},
    "security": {"auth": {"selectedType": "gemini-api-key"}},
}


@dataclass(frozen=True)
class Program:
    """An agent program: its packages for this platform, and where in their folder the binary is."""

    name: str
    version: str
    package: str
    binary: str
    key: str = "MODEL_KEY"
    asked: str = "--version"

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name}-{self.version}"

    def find(self) -> Path | None:
        """Returns the binary that is installed."""
        return next(iter(self.folder.glob(self.binary)), None)


def _programs() -> Mapping[str, Program]:
    words = WORDS.get(platform.machine(), platform.machine())
    claude, codex, gemini, opencode, copilot, aider, mini = TESTED.values()
    found = [
        Program(
            "claude",
            claude,
            f"@anthropic-ai/claude-code-linux-{words}@{claude}",
            "node_modules/@anthropic-ai/claude-code-linux-*/claude",
            "ANTHROPIC_API_KEY",
        ),
        Program(
            "codex",
            codex,
            f"@openai/codex@{codex}-linux-{words}",
            "node_modules/@openai/codex/vendor/*/bin/codex",
            "SCRIPTED_KEY",
        ),
        Program(
            "opencode",
            opencode,
            f"opencode-linux-{words}@{opencode}",
            "node_modules/opencode-linux-*/bin/opencode",
        ),
        Program(
            "gemini",
            gemini,
            f"@google/gemini-cli@{gemini}",
            "node_modules/@google/gemini-cli/bundle/gemini.js",
            "GEMINI_API_KEY",
        ),
        Program(
            "copilot",
            copilot,
            f"@github/copilot-linux-{words}@{copilot}",
            "node_modules/@github/copilot-linux-*/copilot",
            "COPILOT_PROVIDER_API_KEY",
        ),
        Program("aider", aider, f"aider-chat=={aider}", "bin/aider", "OPENAI_API_KEY"),
        Program(
            "mini",
            mini,
            f"mini-swe-agent=={mini} litellm==1.106.2 mcp==2.3.0",
            "bin/mini",
            "OPENAI_API_KEY",
            "--help",
        ),
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
    # HOME is the poisoned one.
    told = {name: os.environ[name] for name in ("HOME", "PATH")} | {"DISABLE_AUTOUPDATER": "1"}
    try:
        done = subprocess.run(
            [found, program.asked],
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
    return program.find() or f"{program.package} holds no {program.binary}"


def _build(program: Program) -> Path | str:
    """Installs from PyPI, into an environment of its own that stays where it was made."""
    if sys.version_info < (3, 13):
        python = sys.executable
    else:
        names = ("python3.12", "python3.11")
        python = next((found for name in names if (found := shutil.which(name))), "")
    if not python:
        return "no Python older than 3.13 is installed"
    # What pip is told of its index is the user's own.
    told = {"HOME": os.environ["PYTEST_REAL_HOME"], "PIP_NO_CACHE_DIR": "1"}
    pip = [str(program.folder / "bin/python"), "-m", "pip", "install", "-q", "--retries=0"]
    wheels = ["--only-binary=:all:", f"--timeout={REACH_S}", *program.package.split()]
    reach = ["--dry-run", "--no-deps", *wheels]
    trouble = (
        _run([python, "-m", "venv", "--clear", str(program.folder)], told, INSTALL_S)
        or _run([*pip, *reach], told, INSTALL_S)
        or _run([*pip, *wheels], told, INSTALL_S)
    )
    found = program.find()
    if trouble or found is None:
        shutil.rmtree(program.folder, ignore_errors=True)
        return trouble or f"{program.package} holds no {program.binary}"
    return found


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
            "HOME": str(self.home),
            **{name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")},
        }

    def declare(self, server: ModelServer, turns: Sequence[Turn], **told: object) -> Script:
        """Writes a fleet of one agent, `ada`, of whom more is `told`; returns its model."""
        toolless = self.name == "aider"
        model = server.play("ada", turns, cwd=self.worktree("ada"), toolless=toolless)
        self.agent("ada", SETTINGS[self.name](self, model.url), **told)
        self.write()
        return model

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
        self.agent(name, SETTINGS[program](self, model.url), **told)
        return model

    def work(self, name: str) -> list[Turn]:
        """Returns turns that write NAME.md, commit it and say so."""
        if self.name == "aider":  # it asks for no tools, and for the message of its commit apart
            return [Turn(f"{name}.md\n```\ngood\n```\n\nIt is written."), Turn(f"feat: {name}")]
        done = f"echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo {SAID}"
        return [
            Turn.write(f"{{cwd}}/{name}.md", "good"),
            Turn.run(f"git add {name}.md && git commit -qm {name}"),
            Turn.run(done) if self.name == "mini" else Turn(SAID),
        ]

    def ended(self, step: str) -> dict[str, Any]:
        """Returns the outcome of a step's first attempt."""

        def look() -> dict[str, Any] | None:
            found = [one for one in self.history() if one.get("step") == step]
            return next((one["outcome"] for one in found if one["event"] == "attempt-ended"), None)

        return until(look, f"the end of {step}")

    def agent(self, name: str, env: Mapping[str, str], *, phase: str = "", **told: object) -> None:
        """Declares a task `name` for an agent of its own; it must leave a good NAME.md."""
        key = PROGRAMS[self.name].key
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


def _claude(fleet: RealFleet, url: str) -> dict[str, str]:
    accepted = {"approved": [KEY[-20:]], "rejected": []}
    trusted = {str(fleet.root): {"hasTrustDialogAccepted": True}}
    told_once = {"hasCompletedOnboarding": True, "hasSeenAutoDefaultNudge": True}
    home = {**told_once, "customApiKeyResponses": accepted, "projects": trusted}
    fleet.put(".claude.json", json.dumps(home), fleet.home)
    return {"ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_MAX_RETRIES": "1"}


def _codex(fleet: RealFleet, url: str) -> dict[str, str]:
    fleet.put(".codex/config.toml", CODEX_CONFIG.format(url=url, root=fleet.root), fleet.home)
    return {}


def _opencode(fleet: RealFleet, url: str) -> dict[str, str]:
    told = json.loads(json.dumps(OPENCODE_CONFIG))
    told["provider"]["scripted"]["options"]["baseURL"] = f"{url}/v1"
    fleet.put(".config/opencode/opencode.json", json.dumps(told), fleet.home)
    config = {"XDG_CONFIG_HOME": str(fleet.home / ".config")}
    return {**config, "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1"}


def _gemini(fleet: RealFleet, url: str) -> dict[str, str]:
    fleet.put(".gemini/settings.json", json.dumps(GEMINI_CONFIG), fleet.home)
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_MODEL": "gemini-2.5-pro"}


def _copilot(fleet: RealFleet, url: str) -> dict[str, str]:
    model = {"COPILOT_PROVIDER_BASE_URL": f"{url}/v1", "COPILOT_MODEL": "scripted"}
    return {**model, "COPILOT_OFFLINE": "true"}


def _aider(fleet: RealFleet, url: str) -> dict[str, str]:
    return {
        "OPENAI_API_BASE": f"{url}/v1",
        "AIDER_MODEL": "openai/scripted",
        "AIDER_EDIT_FORMAT": "whole",
    }


def _mini(fleet: RealFleet, url: str) -> dict[str, str]:
    return {
        "OPENAI_API_BASE": f"{url}/v1",
        "MSWEA_MODEL_NAME": "openai/scripted",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1",
        "MSWEA_GLOBAL_CONFIG_DIR": str(fleet.home / "mini"),
    }


SETTINGS: Mapping[str, Callable[[RealFleet, str], dict[str, str]]] = {
    "claude": _claude,
    "codex": _codex,
    "opencode": _opencode,
    "gemini": _gemini,
    "copilot": _copilot,
    "aider": _aider,
    "mini": _mini,
}
"""What makes each program ask the model at a URL: variables, after its files are in its home."""


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
