"""The proof of one agent program: it is run as its harness prepares it, and what its hooks leave is
looked at.

It works in a home, a repository and a linked worktree that are made for it and thrown away, under
an environment of its own, with a key that opens nothing, against a model on loopback. Where the
machine allows it, it has a network of its own, in which nothing else can be reached; elsewhere it
is told to send everything through a proxy that refuses. Whatever it leaves running is ended.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters import hooks, process
from fleet.adapters.attempts import KEY_VARIABLE, AttemptFolder, ExitRecord, Launch
from fleet.adapters.git.command import run as run_git
from fleet.adapters.model import LoopbackModel, enclosure
from fleet.adapters.terminal import Terminal
from fleet.errors import FleetError
from fleet.harnesses import AgentFacts, Found, Harness, Report
from fleet.harnesses.pointing import Pointing

PREFIX: Final = "fleet-doctor-"
POLL_S: Final = 0.02
START_S: Final = 20.0
GRACE_S: Final = 0.5
SHOWN_BYTES: Final = 4_096
SHOWN_LINES: Final = 3
SHOWN_CHARS: Final = 240
PERMITTED: Final = "PERMITTED.md"
CHARGE: Final = "One sentence more is asked for"
"""What sends the program back to work once: its model hears it only if the hook was answered."""

KEPT: Final = (
    *("PATH", "LANG", "TZ"),
    # By these a version manager finds the program that its shim stands for; they are no settings
    # of the program.
    *("ASDF_DATA_DIR", "ASDF_DIR", "FNM_DIR", "MISE_DATA_DIR", "NODENV_ROOT", "NVM_DIR"),
    *("PYENV_ROOT", "VOLTA_HOME"),
)
BRIEF: Final = "Say one sentence. This is a trial; there is nothing to be done.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was seen of a program in its trial.

    `wanted` are the signs that its hooks should have given, `seen` those that they gave: turn,
    session, stop, permission. `ended` is None where it had to be ended; `changed` is the version
    that it made of itself meanwhile; `said` is the last that it showed. `bound` says that in a home
    of its own it does not even tell its version.
    """

    wanted: frozenset[str]
    seen: frozenset[str]
    ended: ExitRecord | None
    report: Report
    turns: int
    seconds: float
    limit_s: float
    said: str
    changed: str
    bound: bool
    refused: tuple[str, ...]
    enclosed: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """The folders of one trial, below `top`."""

    top: Path

    @property
    def home(self) -> Path:
        """The program's home."""
        return self.top / "home"

    @property
    def root(self) -> Path:
        """The main checkout."""
        return self.top / "project"

    @property
    def worktree(self) -> Path:
        """The linked worktree in which it runs."""
        return self.top / "trees/trial"

    @property
    def state(self) -> Path:
        """What stands for a fleet's state folder."""
        return self.top / "state"

    @property
    def attempt(self) -> AttemptFolder:
        """The folder of the one attempt."""
        return AttemptFolder(self.state / "attempts/doctor/trial/1")

    def build(self, files: Mapping[str, str]) -> None:
        """Makes the repository, what a hook expects of a fleet, and the files of the home."""
        for folder in (self.root, self.home / "tmp", self.attempt.path):
            folder.mkdir(parents=True)
        for name in ("tmp", "new"):
            (self.state / "mailbox" / name).mkdir(parents=True)
        (self.state / "coordinator.json").write_text(json.dumps({"pid": os.getpid()}))
        for below, text in files.items():
            path = self.home / below
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self._git("init", "-q", "-b", "main")
        self._git("config", "user.name", "Fleet Doctor")
        self._git("config", "user.email", "doctor@fleet.invalid")
        self._git("commit", "-q", "--allow-empty", "-m", "first")
        self._git("worktree", "add", "-q", "-b", "fleet/trial", str(self.worktree))

    def environment(self, url: str) -> dict[str, str]:
        """Returns all that the program is to know: nothing of the person but PATH and language."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return {
            "LANG": "C.UTF-8",
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            **dict.fromkeys((*proxies, *(name.lower() for name in proxies)), url),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def _git(self, *words: str) -> None:
        own = {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        run_git(words, cwd=self.root, extra=own)


def prove(
    harness: Harness, pointing: Pointing, found: Found, *, limit_s: float, stop: threading.Event
) -> Evidence:
    """Returns what was seen of the program in at most `limit_s`, less when `stop` is set.

    Raises FleetError or OSError where no trial could be made at all.
    """
    before = _print_of(found.path)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as top:
        stage = Stage(Path(top).resolve())
        trial = Trial(stage, harness, pointing)
        with trial.underway(limit_s) as model:
            began = time.monotonic()
            trial.attend(model, began + limit_s, stop)
            seconds = time.monotonic() - began
        attempt = stage.attempt
        ended = attempt.exit_record()
        if ended is not None and ended.reason == "timeout":
            ended = None
        changed = "" if _print_of(found.path) == before else _version(harness)
        return Evidence(
            wanted=frozenset(trial.wanted),
            seen=frozenset(trial.seen),
            ended=ended,
            report=harness.outcome(ended, attempt),
            turns=model.turns,
            seconds=seconds,
            limit_s=limit_s,
            said=_last_lines(attempt.output_tail(SHOWN_BYTES)),
            changed=changed,
            bound=not model.turns and isinstance(harness.check(trial.environ), str),
            refused=tuple(model.refused),
            enclosed=trial.enclosed,
        )


class Trial:
    """One program on its stage: it is started, its hooks are answered, it is ended."""

    def __init__(self, stage: Stage, harness: Harness, pointing: Pointing) -> None:
        self.stage, self.harness, self.pointing = stage, harness, pointing
        self.enclosed = enclosure.possible()
        self.environ: dict[str, str] = {}
        self.wanted: set[str] = set()
        self.seen: set[str] = set()
        self._answered: set[str] = set()

    @contextmanager
    def underway(self, limit_s: float) -> Iterator[LoopbackModel]:
        """Runs the program while the `with` lasts; ends all that is left of it after that."""
        command = self.pointing.command
        with ExitStack() as stack:
            if self.enclosed:
                waiting = stack.enter_context(enclosure.gate(self.stage.top / "gate"))
                self._start(stack, enclosure.URL, limit_s)
                listener = enclosure.receive(waiting, START_S)
                if listener is None:
                    raise FleetError("it was given a network of its own, and never came up in it")
                model = stack.enter_context(LoopbackModel(command=command, listener=listener))
            else:
                model = stack.enter_context(LoopbackModel(command=command))
                self._start(stack, model.url, limit_s)
            yield model

    def attend(self, model: LoopbackModel, until: float, stop: threading.Event) -> None:
        """Answers the hooks until the program has ended, its time is over or `stop` is set."""
        attempt = self.stage.attempt
        while attempt.exit_record() is None and time.monotonic() < until and not stop.is_set():
            self._look(attempt.path)
            stop.wait(POLL_S)
        self._look(attempt.path)
        if model.heard(CHARGE):
            self.seen.add("stop")
        if "asked" in self.seen and (self.stage.worktree / PERMITTED).exists():
            self.seen.add("permission")

    def _look(self, folder: Path) -> None:
        told = hooks.turn_of(folder)
        if hooks.SESSION_ID.fullmatch(str(told.get("session") or "")):
            self.seen.add("session")
        if told.get("turn") == "ended":
            self.seen.add("turn")
        for name in hooks.waiting(folder, "stops"):
            self.seen.add("turn")
            back = not any(one.startswith("stop ") for one in self._answered)
            self._answer(f"stop {name}", {"block": back, "reason": CHARGE if back else ""})
        for name in hooks.waiting(folder, "asked"):
            self.seen.add("asked")
            self._answer(f"asked {name}", {"value": "allow", "note": ""})

    def _answer(self, what: str, told: Mapping[str, object]) -> None:
        if what in self._answered:
            return
        self._answered.add(what)
        path = self.stage.attempt.path / "answers" / f"{what.partition(' ')[2]}.json"
        path.parent.mkdir(exist_ok=True)
        draft = path.with_name(f".{path.name}")
        draft.write_text(json.dumps(told))
        draft.replace(path)

    def _start(self, stack: ExitStack, url: str, limit_s: float) -> None:
        stage, attempt = self.stage, self.stage.attempt
        places = {"URL": url, "ROOT": str(stage.root), "HOME": str(stage.home)}
        env, files = self.pointing.settle(**places)
        stage.build(files)
        brief = attempt.path / "brief.md"
        brief.write_text(BRIEF)
        permissions = self.pointing.permissions
        # What a harness looks up of the person's is found here, and nothing else of it.
        self.environ = stage.environment(url)
        facts = AgentFacts(id="doctor", env={**self.environ, **env}, permissions=permissions)
        prepared = self.harness.prepare(facts, brief, attempt.path, stage.worktree, None)
        for path, text in prepared.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for path, target in prepared.links.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        self._expect(attempt.path)
        argv = list(prepared.argv)
        if self.enclosed:
            argv = enclosure.argv(stage.top / "gate", argv)
        own = {"FLEET_AGENT": facts.id, "FLEET_BRIEF": str(brief)}
        attempt.write_spec(
            Launch(
                key=("doctor", "trial", 1),
                session="trial",
                folder=attempt.path,
                worktree=stage.worktree,
                argv=argv,
                admin_dir=stage.root / ".git/worktrees/trial",
                env={**prepared.env, **own},
                stdin=prepared.stdin,
                stdout=prepared.stdout,
                timeout_s=limit_s,
                grace_s=1,
            )
        )
        terminal = stack.enter_context(Terminal(attempt.path, self.environ))
        stack.callback(self._end, process.identify(terminal.pid), terminal.path)

    def _expect(self, folder: Path) -> None:
        """Notes the signs that the program's hooks are to give, as its harness has set them up."""
        wishes = hooks.read(folder / hooks.WISHES)
        if wishes:
            self.wanted |= {"turn", "session"}
            self.wanted |= {"stop"} if wishes.get("stop") else set()
            self.wanted |= {"permission"} if self.pointing.asks else set()

    def _end(self, wrapper: process.Identity | None, terminal: Path) -> None:
        """Ends what is left, by its mark, its session, its output or its terminal."""
        attempt = self.stage.attempt
        roots = tuple(one for one in (wrapper, attempt.claim()) if one is not None)
        marker = f"{KEY_VARIABLE}={attempt.key}"
        for held in (attempt.pipe, terminal):
            process.reap(process.Members(roots=roots, marker=marker, pipe=held), GRACE_S)


def _print_of(path: str) -> tuple[str, int, int] | None:
    """Returns what changes when a program is replaced: where it really lies, its size and age."""
    with suppress(OSError):
        real = os.path.realpath(shutil.which(path) or path)
        found = os.stat(real)  # noqa: PTH116 - a path of the system's own
        return real, found.st_size, found.st_mtime_ns
    return None


def _version(harness: Harness) -> str:
    found = harness.check(os.environ)
    return found if isinstance(found, str) else found.version


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-SHOWN_LINES:])[-SHOWN_CHARS:]
