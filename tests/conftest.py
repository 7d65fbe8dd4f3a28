"""Poisoned defaults: a test that forgets to say where it works, works where all is thrown away.

HOME, XDG, git's and tmux's configuration point into one folder of this test process; FLEET_* and
TMUX are gone; no connection leaves the machine. What a test starts it ends: coordinators under its
`tmp_path` and tmux servers that appeared while it ran are stopped after it, those and no others.
At the end the real HOME must be as it was.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import hypothesis
import pytest

from support.forge import OF_THE_INTERPRETER, Forge

SOURCE = Path(__file__).resolve().parent.parent / "src"
REAL_HOME = "PYTEST_REAL_HOME"  # handed to the workers of xdist, whose HOME is poisoned already
LEAST_FREE_BYTES = 1 << 30
STOP_TIMEOUT_S = 10

# No property is held to a time, neither for what it does nor for what it is given.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

WATCHED = (
    ".gitconfig",
    ".config/git",
    ".config/fleet",
    ".config/tmux",
    ".tmux.conf",
    ".fleet",
    ".cache/fleet",
    ".local/share/fleet",
    ".local/state/fleet",
)

GIT_CONFIG = """\
[user]
    name = Fleet Test
    email = test@fleet.invalid
[init]
    defaultBranch = main
[commit]
    gpgSign = false
[gc]
    auto = 0
[advice]
    detachedHead = false
"""


# ------------------------------------------------------------------------------ where tests work


def _scratch_root() -> str:
    """Returns memory where there is room for it: creating files there is many times faster."""
    shm = "/dev/shm"
    if os.access(shm, os.W_OK | os.X_OK) and shutil.disk_usage(shm).free > LEAST_FREE_BYTES:
        return shm
    return tempfile.gettempdir()


def _footprint(home: Path) -> dict[str, tuple[int, int]]:
    """Returns (mtime_ns, size) of everything in `home` that git, tmux or fleet would write to."""
    seen = {}
    for name in WATCHED:
        top = home / name
        for path in (top, *(top.rglob("*") if top.is_dir() else ())):
            with contextlib.suppress(OSError):
                stat = path.lstat()
                seen[str(path)] = (stat.st_mtime_ns, stat.st_size)
    return seen


def _poison(home: Path) -> None:
    """Changes this process's environment, and so that of every child, to point into `home`."""
    environ = os.environ
    for name in list(environ):
        if name.startswith(
            ("FLEET_", "GIT_", "TMUX", "XDG_", "LC_", "CLAUDE", "CODEX", "ANTHROPIC", "OPENAI")
        ):
            del environ[name]
    for name in (
        "PYTHONDONTWRITEBYTECODE",
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
        "LINES",
        "LANGUAGE",
        "EDITOR",
    ):
        environ.pop(name, None)
    config, system = home / "gitconfig", home / "gitconfig.system"
    config.write_text(GIT_CONFIG)
    system.touch()
    sockets = home / "tmux"
    sockets.mkdir(mode=0o700)
    nowhere = "http://127.0.0.1:9"  # the discard port: a child that goes out is refused at once
    environ.update(
        HOME=str(home),
        XDG_CONFIG_HOME=str(home / "config"),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_DATA_HOME=str(home / "data"),
        XDG_STATE_HOME=str(home / "state"),
        GIT_CONFIG_GLOBAL=str(config),
        GIT_CONFIG_SYSTEM=str(system),
        GIT_TERMINAL_PROMPT="0",
        TMUX_TMPDIR=str(sockets),
        LC_ALL="C.UTF-8",
        LANG="C.UTF-8",
        TERM="dumb",
        TZ="UTC",
        PYTHONPATH=os.pathsep.join(filter(None, [str(SOURCE), environ.get("PYTHONPATH")])),
        PIP_NO_INDEX="1",
        http_proxy=nowhere,
        https_proxy=nowhere,
        HTTP_PROXY=nowhere,
        HTTPS_PROXY=nowhere,
        ALL_PROXY=nowhere,
        no_proxy="127.0.0.1,localhost,::1",
        NO_PROXY="127.0.0.1,localhost,::1",
    )


class NetworkTouched(AssertionError):
    """A test tried to leave the machine."""


def _is_loopback(host: object) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    if text in {"", "localhost"} or host is None:
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Is told of every audited act of this process; refuses those that would leave the machine."""
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if isinstance(address, tuple) and address and not _is_loopback(address[0]):
            raise NetworkTouched(f"no network in tests: {event} to {address!r}")
    elif event == "socket.getaddrinfo" and not _is_loopback(arguments[0]):
        raise NetworkTouched(f"no network in tests: look-up of {arguments[0]!r}")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    real_home = Path(os.environ.setdefault(REAL_HOME, os.path.expanduser("~")))  # noqa: PTH111
    root = _scratch_root()
    os.environ["PYTEST_DEBUG_TEMPROOT"] = root  # where tmp_path is made
    os.environ["TMPDIR"] = tempfile.tempdir = root
    home = Path(tempfile.mkdtemp(prefix="home-", dir=root))
    config.stash[HOME_KEY] = home
    config.stash[FOOTPRINT_KEY] = {} if _is_worker(config) else _footprint(real_home)
    _poison(home)
    sys.addaudithook(_refuse_network)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of real programs between the other modules, evenly: they wait a lot, and would
    be waited for at the end.
    """
    waiting = [one for one in items if "/tests/real/" in one.path.as_posix()]
    modules = [
        list(found)
        for _, found in itertools.groupby(
            (one for one in items if one not in set(waiting)), key=lambda one: one.path
        )
    ]
    if not modules:
        return
    items.clear()
    for number, module in enumerate(modules, 1):
        items += module
        due = round(len(waiting) * number / len(modules))
        placed = round(len(waiting) * (number - 1) / len(modules))
        items += waiting[placed:due]


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    made = config._tmp_path_factory._basetemp  # None when no test asked for a folder
    if made is not None:
        stop_coordinators(made)  # those of fixtures that outlive a test
    if _is_worker(config):
        return
    before, after = config.stash[FOOTPRINT_KEY], _footprint(Path(os.environ[REAL_HOME]))
    changed = sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
    if changed:
        print(f"\nthe real home was touched: {', '.join(changed)}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    home = config.stash[HOME_KEY]
    for socket in _tmux_sockets():
        _kill_tmux(socket)
    shutil.rmtree(home, ignore_errors=True)


HOME_KEY = pytest.StashKey[Path]()
FOOTPRINT_KEY = pytest.StashKey[dict[str, tuple[int, int]]]()


# ------------------------------------------------------------------------- ending what was started


def _tmux_sockets() -> set[Path]:
    """Returns the sockets of all tmux servers that this test process or its children made."""
    return {path for path in Path(os.environ["TMUX_TMPDIR"]).rglob("*") if path.is_socket()}


def _kill_tmux(socket: Path) -> None:
    if shutil.which("tmux"):
        command = ["tmux", "-S", str(socket), "kill-server"]
        subprocess.run(command, capture_output=True, check=False, timeout=STOP_TIMEOUT_S)
    socket.unlink(missing_ok=True)


def _state_folders(top: Path) -> Iterator[Path]:
    """Yields the state folders of the fleets under `top`; looks into none, nor into git's."""
    for folder, names, _ in os.walk(top):
        if ".fleet" in names:
            yield Path(folder, ".fleet")
        names[:] = [name for name in names if name not in {".fleet", ".git"}]


def _belongs_to(pid: int, state: Path) -> bool:
    """Returns whether the process names this state folder or its root, or works there."""
    proc = Path("/proc", str(pid))
    try:
        told = proc.joinpath("cmdline").read_bytes() + b"\0" + proc.joinpath("environ").read_bytes()
        where = proc.joinpath("cwd").readlink()
    except OSError:
        return False
    names = {os.fsencode(path) for path in (state, state.parent)}
    values = {value for word in told.split(b"\0") for value in (word, word.partition(b"=")[2])}
    return bool(names & values) or where in {state, state.parent}


def _stop_process(pid: int, is_ours: Callable[[], bool]) -> None:
    """Ends the process by TERM, then KILL, if `is_ours` still says so once the process is held."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not is_ours():
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(held, number)
            if select.select([held], [], [], STOP_TIMEOUT_S)[0]:
                return
    finally:
        os.close(held)


def stop_coordinators(top: Path) -> list[int]:
    """Stops the coordinators of the fleets under `top` and nothing else; returns the pids named."""
    looked_at = []
    for state in _state_folders(top.resolve()):
        try:
            identity = json.loads(state.joinpath("coordinator.json").read_bytes())
        except (OSError, ValueError):
            continue
        pid = identity.get("pid") if isinstance(identity, dict) else None
        if isinstance(pid, int) and pid > 1 and pid != os.getpid():
            looked_at.append(pid)
            _stop_process(pid, lambda pid=pid, state=state: _belongs_to(pid, state))
    return looked_at


@pytest.fixture(autouse=True)
def _end_what_was_started(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _tmux_sockets()
    # Asked for here so that it outlives every other fixture of the test, and only where it is used.
    top = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if top is not None:
        stop_coordinators(top)
    for socket in _tmux_sockets() - before:
        _kill_tmux(socket)


# ---------------------------------------------------------------------------------------- fixtures


@pytest.fixture
def tmux_socket() -> Iterator[str]:
    """The name (for `tmux -L`) of a server of the test's own, which is ended after it."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    subprocess.run(
        ["tmux", "-L", name, "kill-server"],
        capture_output=True,
        check=False,
        timeout=STOP_TIMEOUT_S,
    )


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: its exit code and all that it said."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Returns what standard output holds as one JSON document."""
        return json.loads(self.stdout)


class FleetCommand:
    """Runs `fleet` as a person would: another process, no terminal, a time limit."""

    def __init__(self, cwd: Path, forge: Forge) -> None:
        self.cwd, self.forge = cwd, forge

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout_s: float = 60,
    ) -> Finished:
        """Returns how the command ended; fails the test when it does not end within `timeout_s`."""
        words = [str(word) for word in arguments]
        # Files, not pipes: a coordinator that the command leaves behind may hold them open.
        with contextlib.ExitStack() as files:
            into, out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            into.write((stdin or "").encode())
            into.seek(0)
            if stdin is None:
                into = files.enter_context(Path(os.devnull).open("rb"))
            code = self._run(words, cwd or self.cwd, env or {}, (into, out, err), timeout_s)
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        if code is None:
            said = f"{texts[0]}\n{texts[1]}"
            pytest.fail(f"fleet {' '.join(words)} did not end in {timeout_s} s\n{said}")
        return Finished(code, texts[0], texts[1])

    def _run(
        self,
        words: list[str],
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[IO[bytes]],
        timeout_s: float,
    ) -> int | None:
        """Returns the exit code, None when its time is over."""
        environ = {**os.environ, **env}
        if not any(name.startswith(OF_THE_INTERPRETER) for name in env):
            handles = [stream.fileno() for stream in streams]
            return self.forge.run(words, cwd, environ, handles, timeout_s)
        argv = [sys.executable, "-m", "fleet", *words]
        into, out, err = streams
        try:
            done = subprocess.run(
                argv, cwd=cwd, env=environ, stdin=into, stdout=out, stderr=err,
                timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        return done.returncode


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """What `fleet` commands are forked from."""
    made = Forge()
    yield made
    made.close()


@pytest.fixture
def fleet_cli(tmp_path: Path, forge: Forge) -> FleetCommand:
    """Runs `fleet` with its arguments in `tmp_path` (or `cwd=`); returns code, stdout, stderr."""
    return FleetCommand(tmp_path, forge)
