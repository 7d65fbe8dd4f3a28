"""An attempt's folder: what the wrapper in the pane is told, and what it leaves behind.

    spec env      written here, before the wrapper starts; `env` is 0600, and empties itself if it
                  holds secrets
    claim         the wrapper's: who runs this attempt (pid, start time, boot)
    exit          the wrapper's: how the agent ended; appears whole or not at all
    output.log    all that the pane showed
    stdout.log    the agent's standard output alone

Of the two logs, head and tail are kept (`keep.sh` says where), and what was cut out is known.

Every word of `spec` and `env` is quoted for the shell; what cannot be quoted is refused. A file
that is absent or not what it should be reads as None: only a whole record is a fact. Nothing here
starts or ends a process.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeGuard, cast

from fleet.errors import Rejected
from fleet.records import record

KEY_VARIABLE: Final = "FLEET_ATTEMPT_KEY"
"""Every process of an attempt carries this in its environment, unless it clears it; the value is
the folder."""

LOG_LIMIT_BYTES: Final = 64 << 20
LOG_PARTS: Final = 4  # two for the head of a log, two for its tail
KEEPING_S: Final = 5  # how long after an attempt's end the rest of its log is waited for
GRACE_S: Final = 10
NAME_LIMIT: Final = 60
VALUE_LIMIT_BYTES: Final = 131_071  # the kernel's limit for one argument or variable

# Compiled where they are used: a status needs none of them, and would pay for them at its start.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_ESCAPES: Final = (
    r"(?s:\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\Z)"  # OSC, DCS, SOS, PM, APC: title, clipboard, links
    r"|\x1b[ -/]*[0-~]"  # two-character escapes
    r"|\x9b[0-?]*[ -/]*[@-~])"
)
_CONTROLS: Final = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"

Reason = Literal["exited", "timeout", "wrong-place", "not-found"]
_REASONS: Final = frozenset({"exited", "timeout", "wrong-place", "not-found"})


@record()
class Launch:
    """What the wrapper needs to run one attempt.

    `key` is (run, step, attempt). `worktree` is where the agent runs, `admin_dir` git's own folder
    for it. `stdin` None is the terminal. `stdout` is `pane` (the agent has the terminal) or `file`
    (its standard output is also kept apart from what it says on stderr).
    """

    key: tuple[str, str, int]
    session: str
    folder: Path
    worktree: Path
    argv: Sequence[str]
    admin_dir: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: Path | None = None
    stdout: Literal["pane", "file"] = "file"
    timeout_s: float | None = None
    grace_s: int = GRACE_S
    log_limit_bytes: int = LOG_LIMIT_BYTES
    keep: bool = False


@record(kw_only=False)
class Claim:
    """Who runs an attempt; `start_ticks` are clock ticks since that boot."""

    pid: int
    start_ticks: int
    boot_id: str


@record(kw_only=False)
class ExitRecord:
    """How an agent ended;
    `signal` is what its code says (128 + n), `ended_at_ms` are ms since 1970 (UTC).
    """

    code: int
    signal: int | None
    reason: Reason
    ended_at_ms: int


def session_name(task: str, run: str, step: str, attempt: int) -> str:
    """Returns the tmux session's name:
    `<task>-<attempt>-<6 hex digits of run, step and attempt>`.
    """
    import hashlib  # it loads OpenSSL, and a status names no session

    digest = hashlib.sha256(f"{run}/{step}/{attempt}".encode()).hexdigest()[:6]
    plain_task = re.sub(r"[^A-Za-z0-9_-]", "_", task)[:NAME_LIMIT].lstrip("-") or "_"
    return f"{plain_task}-{attempt}-{digest}"


def plain(text: str) -> str:
    """Returns `text` without escape sequences, control and bidirectional characters;
    lines and tabs stay.
    """
    text = re.sub(_ESCAPES, "", text).replace("\r\n", "\n")
    return re.sub(_CONTROLS, "", text.replace("\r", "\n"))


@record(kw_only=False)
class AttemptFolder:
    """One attempt's folder."""

    path: Path

    @property
    def key(self) -> str:
        """The value of KEY_VARIABLE in every process of this attempt."""
        return os.path.abspath(self.path)  # noqa: PTH100 - the wrapper's own spelling, links not followed

    @property
    def log(self) -> Path:
        """All that the pane showed."""
        return self.path / "output.log"

    @property
    def stdout(self) -> Path:
        """The agent's standard output alone, when it was asked for as a file."""
        return self.path / "stdout.log"

    @property
    def pipe(self) -> Path:
        """The FIFO that the agent's standard output goes through;
        only its processes hold it open.
        """
        return self.path / "stdout.fifo"

    def write_spec(self, launch: Launch) -> None:
        """Writes what the wrapper reads, `spec` last;
        raises Rejected for what no process can be given.
        """
        _check(launch)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.touch(mode=0o600)
        if launch.stdout == "file":
            self.stdout.touch(mode=0o600)
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self.pipe, 0o600)
        env = {**launch.env, **launch.secrets, KEY_VARIABLE: self.key}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
        _write(self.path / "env", "\n".join(lines) + "\n")
        worktree = Path(os.path.realpath(launch.worktree))
        words = {
            "worktree": str(worktree),
            "admin": os.path.realpath(launch.admin_dir) if launch.admin_dir else "",
            "stdin": str(launch.stdin or ""),
            "stdout": launch.stdout,
            "timeout_s": ""
            if launch.timeout_s is None
            else str(max(1, math.ceil(launch.timeout_s))),
            "grace_s": str(launch.grace_s),
            "part_bytes": str(max(1, launch.log_limit_bytes // LOG_PARTS)),
            "keep": str(Path(__file__).with_name("keep.sh")),
            "secrets": "yes" if launch.secrets else "no",
        }
        spec = [f"fleet_{name}={shlex.quote(word)}" for name, word in words.items()]
        spec.append("set -- " + " ".join(map(shlex.quote, launch.argv)))
        _write(self.path / "spec", "\n".join(spec) + "\n")

    def claim(self) -> Claim | None:
        """Returns who runs or ran this attempt; None while nobody has claimed it."""
        found = _read_json(self.path, "claim")
        pid, ticks, boot = (found.get(name) for name in ("pid", "start_ticks", "boot_id"))
        if not (_is_count(pid) and _is_count(ticks) and isinstance(boot, str) and boot):
            return None
        return Claim(pid, ticks, boot)

    def exit_record(self) -> ExitRecord | None:
        """Returns how the agent ended; None while there is no whole record."""
        found = _read_json(self.path, "exit")
        code, number, reason, ended = (
            found.get(name) for name in ("code", "signal", "reason", "ended_at_ms")
        )
        if not (_is_count(code) and _is_count(ended) and reason in _REASONS):
            return None
        return ExitRecord(
            code, number if _is_count(number) else None, cast("Reason", reason), ended
        )

    def stdout_head(self, limit_bytes: int = 65_536) -> str:
        """Returns the beginning of the agent's standard output, safe to print."""
        return plain(_bytes(self.stdout, 0, limit_bytes).decode("utf-8", "replace"))

    def output_tail(self, limit_bytes: int = 4096) -> str:
        """Returns the end of what the pane showed, safe to print."""
        return tail(self.log, limit_bytes)

    def stdout_tail(self, limit_bytes: int = 65_536) -> str:
        """Returns the end of the agent's standard output, safe to print."""
        return tail(self.stdout, limit_bytes)


def tail(path: Path, limit_bytes: int) -> str:
    """Returns at most the last `limit_bytes` of a regular file, or of a log in its parts, through
    `plain`; empty when there is none.
    """
    pieces, left = [], limit_bytes
    for file in reversed(tail_parts(path)):
        pieces.append(_bytes(file, -left, left))
        left -= len(pieces[-1])
        if left <= 0:
            break
    return plain(b"".join(reversed(pieces)).decode("utf-8", "replace"))


def tail_parts(path: Path) -> list[Path]:
    """Returns the files that the end of a log is in, in order, as far back as nothing is cut."""
    number = last_part(path)
    parts = [path.with_name(f"{path.name}.{n % 2}") for n in range(max(2, number - 1), number + 1)]
    return [path, *parts] if number < LOG_PARTS else parts


def last_part(path: Path) -> int:
    """Returns the number of the part of a log that was written last; 0 while it is one file."""
    told = _bytes(path.with_name(f"{path.name}.part"), 0, 16).strip()
    return int(told) if told.isdigit() else 0


def is_on_its_way(path: Path) -> bool:
    """Whether more of a log may still come although its attempt has ended: whoever keeps it has not
    said that it is whole, and the end is so fresh that it may yet do so.
    """
    if path.with_name(f"{path.name}.end").exists():
        return False
    try:
        ended_at_s = path.with_name("exit").stat().st_mtime
    except OSError:
        return False
    return 0 <= time.time() - ended_at_s < KEEPING_S


@dataclass(slots=True)
class Follower:
    """Reads a log from its beginning as it grows: `lost_bytes` counts what was cut out before it
    could be read. A file that is no log of parts is read alike.
    """

    path: Path
    part: int = 1  # which of its parts is read; the first two are one file
    place: int = 0
    lost_bytes: int = 0

    def read(self, limit_bytes: int) -> bytes:
        """Returns what is new, so much at most; nothing when nothing is."""
        while True:
            newest = last_part(self.path)
            if 1 < self.part < newest - 1:
                part_bytes = self.path.lstat().st_size // 2  # both are whole by now
                self.lost_bytes += (newest - 1 - self.part) * part_bytes - self.place
                self.part, self.place = newest - 1, 0
            name = self.path.name if self.part == 1 else f"{self.path.name}.{self.part % 2}"
            found = _bytes(self.path.with_name(name), self.place, limit_bytes)
            self.place += len(found)
            if found or self.part >= newest:
                return found
            self.part, self.place = self.part + 1, 0


def _bytes(path: Path, place: int, limit_bytes: int) -> bytes:
    """Returns a stretch of a regular file, from its end where `place` is negative."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size + place) if place < 0 else place)
            return file.read(limit_bytes)
    except OSError:
        return b""


def _open_regular(path: str, flags: int) -> int:
    """Opens without following a link and without waiting
    on a FIFO that an agent may have put there.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _check(launch: Launch) -> None:
    env = {**launch.env, **launch.secrets}
    if not launch.argv or not launch.argv[0] or launch.argv[0].startswith("-"):
        raise Rejected("an agent needs a program to run", hint="see its harness and args")
    paths = [launch.folder, launch.worktree, launch.admin_dir, launch.stdin]
    for word in (*launch.argv, *env.values(), *(str(path) for path in paths if path)):
        if "\0" in word:
            raise Rejected(
                "an argument or variable holds a NUL character, which no program can be given"
            )
        if len(os.fsencode(word)) > VALUE_LIMIT_BYTES:
            raise Rejected(
                f"an argument or variable is longer than {VALUE_LIMIT_BYTES} bytes",
                hint="hand it over as a file",
            )
    for name in env:
        if not re.fullmatch(_NAME, name):
            raise Rejected(f"{name!r} is no name of an environment variable")


def _write(path: Path, text: str) -> None:
    """Puts a 0600 file in place whole."""
    fresh = path.with_name(f"{path.name}.tmp")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(os.fsencode(text))
    fresh.replace(path)


def _read_json(folder: Path, name: str) -> dict[str, object]:
    # A status reads two of these for each task, so no more is done than opening and reading.
    try:
        handle = _open_regular(f"{folder}/{name}", os.O_RDONLY)
        try:
            found = json.loads(os.read(handle, 4096))
        finally:
            os.close(handle)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
