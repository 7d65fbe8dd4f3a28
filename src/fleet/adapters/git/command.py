"""The one door through which git is run.

Every call is an argv list without a shell, has a time limit, a closed stdin, a session of its own
and a cleaned environment, and says where it works by explicit paths: nothing is discovered in a
folder that an agent could write. Programs that a repository's configuration could start (hooks,
fsmonitor, gc) are off unless the caller asks for the user's hooks. Bytes go in and come out as
`surrogateescape` text, so any name survives.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from fleet.errors import FleetError, ToolFailed
from fleet.records import record

OLDEST_GIT: Final = (2, 38)
TIMEOUT_S: Final = 120.0
GRACE_S: Final = 2.0
"""How long a git that is told to end may take to do so."""

# What the user says about himself or his configuration stays; what steers git elsewhere goes.
_KEPT: Final = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
    }
)
_NEUTRAL: Final = (
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.bareRepository=explicit",
    "core.filesRefLockTimeout=3000",
    "core.packedRefsTimeout=5000",
)
_NO_HOOKS: Final = "core.hooksPath=/dev/null"
_DURABLE: Final = "core.fsync=committed,loose-object,reference"


@record(kw_only=False)
class Identity:
    """Who makes a commit and when: `when_s` are seconds since 1970 (UTC)."""

    name: str
    email: str
    when_s: int


@record(kw_only=False)
class Finished:
    """A git that has ended: its argv, exit code, raw output and what it said on stderr."""

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: str

    @property
    def line(self) -> str:
        """The output without its last newline."""
        return decode(self.out).removesuffix("\n")

    @property
    def lines(self) -> list[str]:
        """The output's lines; only for output that cannot hold a newline inside a name."""
        return decode(self.out).split("\n")[:-1]

    @property
    def fields(self) -> list[str]:
        """The NUL-terminated fields of `-z` output."""
        return decode(self.out).split("\0")[:-1]


@record(kw_only=False)
class Site:
    """Where a git works: its git directory, the common one, and the work tree, if it has one.

    `GIT_COMMON_DIR` is set explicitly, so a rewritten `commondir` file leads nowhere.
    """

    git_dir: Path
    common: Path
    work_tree: Path | None = None

    def git(
        self,
        *args: str,
        stdin: bytes = b"",
        accept: Sequence[int] = (0,),
        timeout_s: float = TIMEOUT_S,
        index: Path | None = None,
        identity: Identity | None = None,
        author: Identity | None = None,
        hooks: bool = False,
        writes: bool = False,
        config: Sequence[str] = (),
        keep: Sequence[int] = (),
        objects: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Finished:
        """Runs git here; see `run`. `index` is another index file, `identity` author and
        committer, `author` the author alone, `objects` a folder that new objects go to instead of
        the repository, `environ` what the environment holds besides.
        """
        places = [f"--git-dir={self.git_dir}"]
        extra = dict(environ or {})
        if self.git_dir != self.common:
            extra["GIT_COMMON_DIR"] = str(self.common)
        if self.work_tree is not None:
            places.append(f"--work-tree={self.work_tree}")
        if index is not None:
            extra["GIT_INDEX_FILE"] = str(index)
        if identity is not None:
            extra |= _identity(identity, "AUTHOR", "COMMITTER")
        if author is not None:
            extra |= _identity(author, "AUTHOR")
        if objects is not None:
            extra["GIT_OBJECT_DIRECTORY"] = str(objects)
            extra["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(self.common / "objects")
        if not writes:
            extra["GIT_OPTIONAL_LOCKS"] = "0"
        return run(
            [*neutral(hooks=hooks, durable=writes, config=config), *places, *args],
            cwd=self.work_tree or self.common,
            stdin=stdin,
            accept=accept,
            timeout_s=timeout_s,
            extra=extra,
            keep=keep,
        )


def decode(raw: bytes) -> str:
    """Returns bytes of git as text that `encode` turns back into the very same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Returns the bytes that `decode` took."""
    return text.encode("utf-8", "surrogateescape")


def neutral(*, hooks: bool = False, durable: bool = False, config: Sequence[str] = ()) -> list[str]:
    """Returns git's first arguments: configuration under which it starts no program of the
    repository's choice.
    """
    settings = [*_NEUTRAL, *config]
    if not hooks:
        settings.append(_NO_HOOKS)
    if durable:
        settings.append(_DURABLE)
    return ["--no-pager", "--literal-pathspecs", *(part for s in settings for part in ("-c", s))]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of a git: GIT_* gone but for the user's own identity and
    configuration files.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    return kept | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": "C"} | dict(extra or {})


def run(
    args: Sequence[str],
    *,
    cwd: Path,
    stdin: bytes = b"",
    accept: Sequence[int] = (0,),
    timeout_s: float = TIMEOUT_S,
    extra: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> Finished:
    """Runs `git args` and returns how it ended.

    `accept` are the exit codes that are answers; any other raises ToolFailed, as a time-out does
    (after the whole process group was killed). `keep` are descriptors that the child holds too: a
    file lock passed here stays locked until git itself has ended, even when this process is
    killed.
    """
    argv = ("git", *args)
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment(extra),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(keep),
        )
    except FileNotFoundError as lost:
        raise _not_started(cwd, lost) from None
    try:
        out, err = process.communicate(stdin or None, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(process)
        raise ToolFailed(shown(argv), None, f"no answer within {timeout_s:g} s") from None
    except BaseException:
        kill_group(process)
        raise
    said = err.decode("utf-8", "backslashreplace")
    if process.returncode not in accept:
        raise ToolFailed(shown(argv), process.returncode, said)
    return Finished(argv, process.returncode, out, said)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a git that was started in a session of its own, with all of its group, and waits for it.

    It is asked to first, for only then does git take its lock files away. What has left the group
    and holds the pipes open is not waited for.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    with suppress(subprocess.TimeoutExpired, ValueError):
        process.communicate(timeout=GRACE_S)


def shown(argv: Sequence[str]) -> tuple[str, ...]:
    """Returns argv as it is worth showing: without the neutral configuration before the verb."""
    rest, kept = list(argv[1:]), [argv[0]]
    while rest and rest[0].startswith("-"):
        flag = rest.pop(0)
        if flag == "-c":
            rest.pop(0)
    return (*kept, *rest)


def in_one_line(said: str) -> str:
    """Returns what a git said on several lines as one."""
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())[:500]


@lru_cache(maxsize=1)
def version() -> tuple[int, ...]:
    """Returns git's version as numbers, such as (2, 39, 5)."""
    said = run(["--version"], cwd=Path("/")).line
    found = re.search(r"(\d+(?:\.\d+)+)", said)
    return tuple(int(part) for part in found[1].split(".")) if found else (0,)


def require_version() -> None:
    """Raises FleetError when git is older than fleet needs."""
    if version()[:2] < OLDEST_GIT:
        needed, have = ".".join(map(str, OLDEST_GIT)), ".".join(map(str, version()))
        raise FleetError(
            f"git {have} is too old: merging without a checkout needs {needed} or later",
            hint="install a newer git (apt install git, or https://git-scm.com/downloads)",
        )


def _identity(identity: Identity, *whose: str) -> dict[str, str]:
    when = f"@{identity.when_s} +0000"
    return {
        f"GIT_{who}_{what}": value
        for who in whose
        for what, value in (("NAME", identity.name), ("EMAIL", identity.email), ("DATE", when))
    }


def _quoted(path: Path) -> str:
    """Returns a path as one of a list that colons separate."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _not_started(cwd: Path, lost: FileNotFoundError) -> FleetError:
    if not cwd.is_dir():
        return FleetError(f"the folder {cwd} is gone", hint="was it moved or deleted?")
    return FleetError(f"git is not installed ({lost.strerror})", hint="apt install git")
