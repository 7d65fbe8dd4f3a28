"""Harnesses: how each agent program is started, and what its end means. One module each; they do
not know each other.

A harness gives an argv, variables and files, and reads exit record and output; it starts nothing,
and knows nothing of steps. An exit code alone never proves success: a harness looks at the
program's last words too, and what was committed is judged elsewhere. How a program is started is
data, its module's PROFILE; a new one is a profile that people write, or a module and a line in
HARNESSES, or an entry point of the group `fleet.harnesses`. Nothing is imported until it is used.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.core.plan import Failure
from fleet.errors import NotFound

HARNESSES: Final = {
    "aider": "fleet.harnesses.aider",
    "claude": "fleet.harnesses.claude",
    "codex": "fleet.harnesses.codex",
    "copilot": "fleet.harnesses.copilot",
    "gemini": "fleet.harnesses.gemini",
    "mcp": "fleet.harnesses.mcp",
    "mini": "fleet.harnesses.mini",
    "opencode": "fleet.harnesses.opencode",
    "script": "fleet.harnesses.script",
    "shell": "fleet.harnesses.shell",
}
TESTED: Final[Mapping[str, str]] = {
    "claude": "2.1.329",
    "codex": "0.169.0",
    "gemini": "0.61.0",
    "opencode": "1.18.33",
    "copilot": "1.0.102",
    "aider": "0.86.2",
    "mini": "2.4.6",
}
"""The versions of programs with which the harnesses were tried; the tests install these."""

CUSTOM: Final = "fleet.harnesses.custom"
NOTHING: Final = Path("/dev/null")
PAID_TOKENS: Final = ("input_tokens", "output_tokens")
"""What counts as tokens spent; those read from a cache are told apart, as `cached_tokens`."""
EXPLAINED: Final = 400  # characters of output that explain a failure
OPENING_CHARS: Final = 30_000  # at most four times as many bytes, which is what an argument holds
COMMITS: Final = ("git add", "git commit", "fleet")
"""The commands that `edits` allows besides edits: without them nothing could be committed where
nobody is asked, and every commit would be asked about where somebody is."""

LIMIT_WORDS: Final = r"\b(?:usage|rate) limit|too many requests|\b(?:429|529)\b|overloaded"
"""How every program says that an account is used up; each adds its own."""

_WAIT = re.compile(
    r"(?:try again|retry|resets?)(?: again)? (?:in|after) "
    r"((?:\d+(?:\.\d+)? ?[a-z]+(?:, | and |, and | )?)+)",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|(?:second|sec|minute|min|hour|day)s?)(?![a-z])")
_LIMITED = re.compile(
    rf"{LIMIT_WORDS}|quota|rate.?limit|resource.exhausted|insufficient credits", re.IGNORECASE
)
_SPAN_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """What a harness may know of an agent; `harness` is a name or a command as an argv list;
    `sandboxed` tells that fleet shuts it in, whatever its program does itself, and `moved` where
    folders that it sees lie outside then.
    """

    id: str
    name: str = ""
    harness: str | Sequence[str] = "shell"
    model: str = ""
    mode: Literal["headless", "interactive"] = "headless"
    args: str | Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    permissions: str = "edits"
    guards: tuple[str, ...] = ()  # events that are hooked besides, to deny by pattern
    prompt: str = ""
    limits: Mapping[str, object] = field(default_factory=dict)
    sandboxed: bool = False
    moved: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The arguments that the user adds to the program's own; a text is one."""
        if isinstance(self.args, str):
            return [self.args] if self.args else []
        return list(self.args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How to start an agent: `files` (path to text) are written first, and `links` (path to what it
    leads to) made; `stdin` None is the terminal.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: Path | None = None
    stdout: Literal["pane", "file"] = "file"
    files: Mapping[Path, str] = field(default_factory=dict)
    links: Mapping[Path, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent's end means: `ok` is "reported", no more; `resume_at_ms` is when its account
    opens again.
    """

    ok: bool
    text: str = ""
    failure: Failure | None = None
    output: str | None = None
    session: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    resume_at_ms: int | None = None

    @property
    def spent(self) -> dict[str, float]:
        """What it used, with all that was paid for in full under `tokens`, where that was told;
        what is no amount is left out, for budgets are held by it.
        """
        told = {n: count for n, count in self.usage.items() if isfinite(count) and count >= 0}
        paid = [told[name] for name in PAID_TOKENS if name in told]
        return {**told, **({"tokens": sum(paid)} if paid else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a program said of itself while it ran.

    `done` is its own word that its turn is over and went well; `worked`, that its model answered
    at all; `complaint` and `status` (HTTP) are its last words on what went wrong.
    """

    done: bool
    worked: bool
    complaint: str = ""
    status: int | None = None
    output: str | None = None
    session: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """An agent program that is there."""

    version: str
    path: str


class Harness(Protocol):
    """What each harness module offers, as functions of the module."""

    def prepare(
        self, agent: AgentFacts, brief: Path, folder: Path, worktree: Path, resume: str | None
    ) -> Preparation:
        """Returns how the agent is started in `worktree`; `resume` is a session to go on with."""
        ...

    def outcome(self, ended: ExitRecord | None, folder: AttemptFolder) -> Report:
        """Returns what its end means; None is an attempt that was lost."""
        ...

    def check(self, environ: Mapping[str, str]) -> Found | str:
        """Returns the program, or the problem as a sentence with its cure."""
        ...


def find_harness(name: str | Sequence[str], profile: Mapping[str, Any] | None = None) -> Harness:
    """Returns the harness of that name: of a `profile` that a person wrote, or one that is known
    (an argv list is a custom one); raises NotFound with what there is.
    """
    if not isinstance(name, str):
        return cast("Harness", importlib.import_module(CUSTOM))
    if profile is not None:
        from fleet.harnesses.profile import Profiled, profile_of

        return Profiled(name, profile_of(profile))
    if name in HARNESSES:
        return _driven(name, importlib.import_module(HARNESSES[name]))
    from importlib.metadata import entry_points

    points = entry_points(group="fleet.harnesses")
    if name in points.names:
        return _driven(name, points[name].load())
    raise NotFound("harness", name, sorted({*HARNESSES, *points.names}))


def _driven(name: str, module: Any) -> Harness:
    """Returns the harness of a module: what its PROFILE says, where it has one."""
    if not hasattr(module, "PROFILE"):
        return cast("Harness", module)
    from fleet.harnesses.profile import Profiled

    return Profiled(name, module.PROFILE)


def ending(ended: ExitRecord | None, folder: AttemptFolder) -> Report | None:
    """Returns the report of an end that means the same for every program; None where its own words
    decide.
    """
    if ended is None:
        return Report(ok=False, failure=Failure.INFRA, text="it was lost: it left no exit record")
    shown = last_words(folder.output_tail(EXPLAINED * 4))
    if ended.reason == "wrong-place":
        return Report(ok=False, failure=Failure.INFRA, text=f"its worktree is not there{shown}")
    if ended.reason == "not-found":
        return Report(
            ok=False, failure=Failure.AGENT, text=f"its program could not be started{shown}"
        )
    if ended.reason == "timeout":
        return Report(ok=False, failure=Failure.TASK, text=f"it ran out of time{shown}")
    return None


def exit_report(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns the report of a program whose exit code is all that it says; its output is what it
    printed.
    """
    report = ending(ended, folder)
    if report is not None:
        return report
    assert ended is not None
    output = folder.stdout_tail().rstrip("\n")
    if ended.code == 0:
        return Report(ok=True, output=output, text="it exited with 0")
    shown = last_words(folder.output_tail(EXPLAINED * 4))
    if ended.signal is not None:
        return Report(
            ok=False,
            failure=Failure.AGENT,
            output=output,
            text=f"it was ended by {_signal(ended.signal)}{shown}",
        )
    return Report(
        ok=False, failure=Failure.TASK, output=output, text=f"it exited with {ended.code}{shown}"
    )


def judge(ended: ExitRecord | None, folder: AttemptFolder, heard: Heard) -> Report:
    """Returns the report of a program that tells its end itself; in its terminal it tells nothing,
    and its exit code is all.

    What it complains of is its account's when it names a limit, its own when it complains of
    anything else or its model never answered, and the task's otherwise.
    """
    report = ending(ended, folder)
    if report is not None:
        return replace(report, session=heard.session, usage=heard.usage)
    assert ended is not None
    if ended.code == 0 and (heard.done or not folder.stdout.exists()):
        return Report(
            ok=True,
            text="it reported success" if heard.done else "it exited with 0",
            output=heard.output,
            session=heard.session,
            usage=heard.usage,
        )
    said = heard.complaint or last_words(folder.output_tail()).removeprefix(": ")
    if heard.status in {429, 529} or _LIMITED.search(said):
        failure = Failure.ACCOUNT
    elif heard.complaint or not heard.worked:
        failure = Failure.AGENT
    else:
        failure = Failure.TASK
    wait = wait_ms(said) if failure is Failure.ACCOUNT else None
    return Report(
        ok=False,
        text=f"it ended with {ended.code} and no success{last_words(said)}",
        failure=failure,
        output=heard.output,
        session=heard.session,
        usage=heard.usage,
        resume_at_ms=None if wait is None else ended.ended_at_ms + wait,
    )


def wait_ms(text: str) -> int | None:
    """Returns how long `text` asks to wait ("try again in 2 hours", "resets after 1h5m"), in ms;
    None where it names no time.
    """
    found = _WAIT.search(text)
    return span_ms(found[1]) if found else None


def span_ms(text: str) -> int | None:
    """Returns the time that `text` names ("1 day 2 hours", "1h5m"), in ms; None for no time."""
    spans = _SPAN.findall(text.lower())
    if not spans:
        return None
    return int(
        sum(float(count) * _SPAN_MS["ms" if unit == "ms" else unit[0]] for count, unit in spans)
    )


def chosen_session(folder: Path) -> str:
    """Returns the id (a UUID) of the session of the attempt in `folder`, for a program that takes
    one: so it is known before the program's first word.
    """
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_URL, folder.absolute().as_uri()))


def opening(brief: Path) -> str:
    """Returns the first prompt of a session in a terminal: the brief itself, which lies where the
    program may not read; or where to find it, when it is too long for an argument.
    """
    text = brief.read_text(encoding="utf-8")
    if text.startswith("-") or len(text) > OPENING_CHARS:
        return f"Read {brief} and do what it asks."
    return text


def last_words(text: str) -> str:
    """Returns `: ` and the end of `text` in one line, or nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " | ".join(lines[-3:])[-EXPLAINED:]
    return f": {said}" if said else ""


def on_path(name: str, environ: Mapping[str, str], cure: str) -> Found | str:
    """Returns the program without its version, or the problem with its cure."""
    import shutil

    path = shutil.which(name, path=environ.get("PATH"))
    return f"{name} is not on PATH: {cure}" if path is None else Found("", path)


def find_program(
    name: str, environ: Mapping[str, str], cure: str, asked: Sequence[str] = ("--version",)
) -> Found | str:
    """Returns the program with the first line of its `--version` (or what else it is `asked`), or
    the problem with its cure.
    """
    import subprocess

    there = on_path(name, environ, cure)
    if isinstance(there, str):
        return there
    path, words = there.path, " ".join(asked)
    try:
        done = subprocess.run(
            [path, *asked],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=20,
            check=False,
            env=dict(environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"{path} {words} gave no answer: {cure}"
    said = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode or not said:
        return f"{path} {words} failed with {done.returncode}: {cure}"
    return Found(said[0], path)


def json_lines(text: str) -> list[dict[str, Any]]:
    """Returns the JSON objects among the lines of `text`; everything else is skipped."""
    import json

    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def _signal(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
