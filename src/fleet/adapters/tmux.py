"""tmux: one private server a fleet, and the sessions in it.

The user's tmux and its configuration are never touched: own socket, no configuration file, a
cleaned environment. Every call has a time limit, since a server without descriptors lets its
clients wait for ever. Targets are exact (`=name:`), names hold nothing that tmux would expand. What
a session runs is the wrapper, which knows by its folder alone what to do: nothing long, secret or
hostile is ever in a tmux command. That a session exists says nothing of the agent in it; the
wrapper's records do.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from fleet.errors import FleetError, Rejected, ToolFailed

if TYPE_CHECKING:
    from libtmux import Session

OLDEST_TMUX: Final = (3, 0)
TIMEOUT_S: Final = 5.0
COLUMNS: Final = 200
ROWS: Final = 50
HISTORY_LINES: Final = 500
WRAPPER: Final = Path(__file__).with_name("pane.sh")
KEEP: Final = Path(__file__).with_name("keep.sh")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}\Z")
_PANE = re.compile(r"(?P<pid>\d+) (?P<dead>[01]?) (?P<attached>\d*) (?P<name>.+)")
_VERSION = re.compile(r"(\d+)\.(\d+)")
_GONE = (
    "no server running",
    "error connecting to",
    "can't find",
    "no sessions",
    "session not found",
    "no current target",
)
_PASSING = ("server exited unexpectedly", "lost server")
_TRIES: Final = 6
_PAUSE_S: Final = 0.03
_KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TMUX_TMPDIR"),
    # Where the user's programs find their settings: git's identity may be nowhere else.
    *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)
_OPTIONS: Final = f"""\
set-option -s exit-empty off
set-option -s set-clipboard off
set-option -s escape-time 20
set-option -g history-limit {HISTORY_LINES}
set-option -g default-size {COLUMNS}x{ROWS}
set-option -g update-environment ""
set-option -g default-terminal screen-256color
set-option -g remain-on-exit off
set-option -g destroy-unattached off
set-option -g automatic-rename off
set-option -g allow-rename off
set-option -g status-interval 0
set-option -g mouse on
"""
_pastes = itertools.count()


class Startable(Protocol):
    """What a session needs: its name, the attempt's folder,
    how much output is kept, whether it stays open.
    """

    @property
    def session(self) -> str:
        """The session's name."""

    @property
    def folder(self) -> Path:
        """Where the wrapper finds what to do and leaves what it did."""

    @property
    def log_limit_bytes(self) -> int:
        """How much of the output is kept."""

    @property
    def keep(self) -> bool:
        """Whether the pane stays when the program has ended."""


@dataclass(frozen=True, slots=True)
class Pane:
    """A session's pane: the wrapper's pid, whether it has ended, how many people look at it."""

    pid: int
    dead: bool
    attached: int


@dataclass(frozen=True, slots=True)
class Started:
    """What became of one start: the wrapper's pid, or the failure."""

    pid: int | None
    failure: ToolFailed | None = None


@dataclass(frozen=True, slots=True)
class Tmux:
    """A private tmux server, known by the name of its socket;
    it is started by the first session.
    """

    socket: str
    program: str = "tmux"
    timeout_s: float = TIMEOUT_S
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    def __post_init__(self) -> None:
        _check_name(self.socket)

    def version(self) -> str:
        """Returns tmux's version; raises FleetError with the cure when it is missing or too old."""
        cure = "apt-get install tmux"
        try:
            _, said, _ = self._call(["-V"], server=False)
        except FileNotFoundError:
            raise FleetError("tmux is not installed", hint=cure) from None
        found = _VERSION.search(said)
        if found and (int(found[1]), int(found[2])) < OLDEST_TMUX:
            wanted = ".".join(map(str, OLDEST_TMUX))
            raise FleetError(f"{said.strip()} is too old: {wanted} or later is needed", hint=cure)
        return said.strip().removeprefix("tmux ")

    def start(self, launches: Sequence[Startable]) -> dict[str, Started]:
        """Starts a session for each launch through one client; returns what became of each, by its
        name.

        Its wrapper's end is what tells that it has ended; the session then ends by itself unless
        it is kept.
        """
        if not launches:
            return {}
        lines = [_OPTIONS, *map(_lines, launches)]
        argv = ["start-server", ";", "source-file", "-"]
        code, said, complaints = self._call(
            argv, "".join(lines), limit_s=self.timeout_s + len(launches) / 10
        )
        pids = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
        made: dict[str, Started] = {}
        for launch in launches:
            name = launch.session
            if name in pids:
                made[name] = Started(int(pids[name]))
                continue
            about = [line for line in complaints.splitlines() if line.endswith(f": {name}")]
            why = "\n".join(about) or complaints
            made[name] = Started(
                None, ToolFailed(["tmux", "new-session", "-s", name], code or 1, why)
            )
        return made

    def sessions(self) -> dict[str, Pane]:
        """Returns every session's pane by the session's name; empty when no server runs."""
        form = "#{pane_pid} #{pane_dead} #{session_attached} #{session_name}"
        code, said, complaints = self._call(["list-panes", "-a", "-F", form])
        if code and not _is_gone(complaints):
            raise ToolFailed(["tmux", "list-panes"], code, complaints)
        panes: dict[str, Pane] = {}
        for line in said.splitlines():
            found = _PANE.fullmatch(line)
            if found is None:
                raise ToolFailed(["tmux", "list-panes"], code, f"unexpected answer: {line[:200]}")
            pane = Pane(int(found["pid"]), found["dead"] == "1", int(found["attached"] or 0))
            panes.setdefault(found["name"], pane)
        return panes

    def kill(self, *names: str) -> None:
        """Closes sessions; those that are not there are closed already. What runs in one may live
        on: reap it.
        """
        lines = "".join(f"kill-session -t ={_check_name(name)}\n" for name in names)
        if lines:
            code, _, complaints = self._call(["source-file", "-"], lines)
            if code and not all(map(_is_gone, complaints.splitlines())):
                raise ToolFailed(["tmux", "kill-session"], code, complaints)

    def send(self, name: str, text: str) -> bool:
        """Types `text` and Enter into a session as one paste, no key names read; returns whether
        it is there.

        A terminal in line mode takes 4,095 bytes a line at most: longer texts go by file.
        """
        target, paste = f"={_check_name(name)}:", f"fleet-{os.getpid()}-{next(_pastes)}"
        # A text that ended the paste itself could press keys.
        clean = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text.replace("\r\n", "\n"))
        if clean:
            self._must(["load-buffer", "-b", paste, "-"], clean)
            if not self._must(["paste-buffer", "-d", "-p", "-b", paste, "-t", target]):
                self._call(["delete-buffer", "-b", paste])
                return False
        return self._must(["send-keys", "-t", target, "Enter"])

    def capture(self, name: str, lines: int = ROWS) -> str:
        """Returns the last `lines` that a session shows or has scrolled away;
        empty when it is not there.
        """
        argv = ["capture-pane", "-p", "-J", "-S", f"-{lines}", "-t", f"={_check_name(name)}:"]
        code, said, complaints = self._call(argv)
        if code and not _is_gone(complaints):
            raise ToolFailed(["tmux", "capture-pane"], code, complaints)
        return "\n".join(said.rstrip().splitlines()[-lines:])

    def screen(self, name: str) -> str:
        """Returns what a session shows now, without what has scrolled away; empty when it is not
        there.
        """
        code, said, complaints = self._call(
            ["capture-pane", "-p", "-J", "-t", f"={_check_name(name)}:"]
        )
        if code and not _is_gone(complaints):
            raise ToolFailed(["tmux", "capture-pane"], code, complaints)
        return said.rstrip()

    def session(self, name: str) -> Session | None:
        """Returns libtmux's object of a session, for what a person asks of one;
        None when it is not there.
        """
        if not self._must(
            ["has-session", "-t", f"={_check_name(name)}"]
        ):  # answers in time, or raises
            return None
        from libtmux import Server

        return Server(socket_name=self.socket).sessions.get(session_name=name, default=None)

    def attach_argv(self, name: str) -> list[str]:
        """Returns the command that puts a person's terminal onto a session,
        from inside another tmux too.
        """
        attach = [self.program, "-L", self.socket, "attach-session", "-t", f"={_check_name(name)}"]
        return ["env", "-u", "TMUX", *attach]

    def server_pid(self) -> int | None:
        """Returns the server's pid; None when none runs."""
        code, said, _ = self._call(["display-message", "-p", "#{pid}"])
        return int(said) if code == 0 and said.strip().isdigit() else None

    def kill_server(self) -> None:
        """Ends the server and every session; nothing when none runs."""
        self._must(["kill-server"])

    def _must(self, argv: Sequence[str], said: str = "") -> bool:
        """Returns False when what it speaks of is not there;
        raises ToolFailed for any other failure.
        """
        code, _, complaints = self._call(argv, said)
        if code and not _is_gone(complaints):
            raise ToolFailed(["tmux", *argv[:1]], code, complaints)
        return code == 0

    def _call(
        self,
        argv: Sequence[str],
        said: str = "",
        *,
        limit_s: float | None = None,
        server: bool = True,
    ) -> tuple[int, str, str]:
        """Runs one client; returns code, output, complaints. Raises ToolFailed when it gives no
        answer in time.
        """
        command = [self.program, *argv]
        if server:
            command = [self.program, "-L", self.socket, "-f", "/dev/null", *argv]
        if (
            "start-server" in argv
        ):  # the server takes its limit of open files from whoever starts it
            command = ["/bin/sh", "-c", 'ulimit -Sn 8192 2>/dev/null; exec "$@"', "sh", *command]
        code, answer, complaints = 1, "", ""
        for attempt in range(_TRIES):
            try:
                done = subprocess.run(
                    command,
                    input=os.fsencode(said),
                    capture_output=True,
                    env=_clean(self.environ),
                    cwd="/",
                    timeout=limit_s or self.timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                hint = "the tmux server does not answer: see its open files, or `fleet down --all`"
                raise ToolFailed(command[:6], None, "no answer in time", hint=hint) from None
            code = done.returncode
            answer, complaints = os.fsdecode(done.stdout), os.fsdecode(done.stderr)
            if not any(text in complaints for text in _PASSING):
                break
            time.sleep(_PAUSE_S * (attempt + 1))  # a server that ends while a client comes
        return code, answer, complaints


def _lines(launch: Startable) -> str:
    """Returns the tmux commands that start one session and keep what it shows."""
    name = _check_name(launch.session)
    folder = os.path.abspath(launch.folder)  # noqa: PTH100 - links are not followed
    words = ["/bin/sh", str(WRAPPER), folder]
    made = (
        "new-session -d -P -F '#{session_name} #{pane_pid}' -c / "
        f"-s {name} -x {COLUMNS} -y {ROWS} -- {_words(words)}\n"
    )
    part_bytes = max(1, launch.log_limit_bytes // 4)
    keep = ["/bin/sh", str(KEEP), folder, "output.log", str(part_bytes)]
    copy = f"exec {shlex.join(keep)}"
    unexpanded = copy.replace("#", "##").replace("%", "%%")
    stay = f"set-option -w -t ={name}: remain-on-exit on\n" if launch.keep else ""
    return f"{made}{stay}pipe-pane -t ={name}: {_words([unexpanded])}\n"


def _words(words: Iterable[str]) -> str:
    """Returns words quoted for tmux's own command language: nothing in double quotes but octal
    escapes is special.
    """
    return " ".join(
        '"' + re.sub(r"[^A-Za-z0-9_/.,:;=+@ #%{}()<>*?!&|'^-]", _octal, word) + '"'
        for word in words
    )


def _octal(found: re.Match[str]) -> str:
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(found[0]))


def _check_name(name: str) -> str:
    if not _NAME.match(name):
        raise Rejected(f"{name!r} cannot name a tmux session", hint="letters, digits, - and _ only")
    return name


def _is_gone(complaints: str) -> bool:
    return any(text in complaints for text in _GONE)


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns what every later session may see of the environment of the first client."""
    kept = {name: environ[name] for name in _KEPT if name in environ}
    kept.update((name, value) for name, value in environ.items() if name.startswith("LC_"))
    if not {"LANG", "LC_ALL", "LC_CTYPE"} & kept.keys():
        kept["LC_CTYPE"] = "C.UTF-8"
    return kept
