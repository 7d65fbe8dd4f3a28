"""How a front door tells a run something: mail, a coordinator to read it, the wait for what comes.

Whoever waits sees to it that there is somebody to wait for: a coordinator that was killed is
started again, one that has left of its own accord had nothing to do and is left alone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

from fleet import codec
from fleet.app.place import PLAN_RUN, FleetPlace, fold
from fleet.errors import FleetError, Rejected

if TYPE_CHECKING:
    from fleet.core.messages import Command
    from fleet.core.state import State

ANSWER_TIMEOUT_S = 60.0
"""How long a front door waits for the coordinator to say what became of a command."""

LOOK_S = 0.25
"""How long results are waited for before it is looked whether a coordinator still lives."""

POLL_S = 0.004

CHANGE_POLL_S = 0.05
"""How often somebody who may wait for days looks for a change."""


def actor() -> str:
    """Returns who tells: the agent inside a session, else the person's login name."""
    agent = os.environ.get("FLEET_AGENT")
    if agent:
        return f"agent:{agent}"
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid:{os.getuid()}"


def post(
    place: FleetPlace, commands: Iterable[Command], run: str = PLAN_RUN, by: str = ""
) -> list[str]:
    """Puts commands into the mailbox, in order; returns the ids under which results are kept."""
    from fleet.adapters.mailbox import MAIL_BYTES, PLAN_BYTES, Mailbox
    from fleet.core.messages import AnswerQuestion, RevisePlan, StartRun

    plans = StartRun | RevisePlan | AnswerQuestion
    place.state.mkdir(mode=0o700, exist_ok=True)
    mailbox = Mailbox(place.state)
    who = by or actor()
    ids = [
        mailbox.post(
            {"run": run, **codec.encode(command), "by": who},
            actor=who,
            most=PLAN_BYTES if isinstance(command, plans) else MAIL_BYTES,
        )
        for command in commands
    ]
    mailbox.wake()
    return ids


def tell(
    place: FleetPlace, commands: Iterable[Command], run: str = PLAN_RUN, by: str = ""
) -> list[Mapping[str, object]]:
    """Tells a run commands and returns what became of each; raises what `wait_for_results` does."""
    ids = post(place, commands, run, by)
    return wait_for_results(place, ids)


def wait_for_results(place: FleetPlace, ids: list[str]) -> list[Mapping[str, object]]:
    """Returns the results of posted commands; starts a coordinator whenever none is there.

    Raises Rejected for the first refusal, and FleetError when no coordinator could start or none
    answered in time; the commands are kept then.
    """
    results: dict[str, Mapping[str, object]] = {}
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    child = ensure_coordinator(place)
    while not _gather(place, ids, results, min(deadline, time.monotonic() + LOOK_S)):
        if time.monotonic() >= deadline:
            raise FleetError(
                f"the coordinator did not answer in {ANSWER_TIMEOUT_S:.0f} s; the command is kept",
                hint=_log_hint(place),
            )
        code = None if child is None else _exit_code(child)
        if code is not None and code > 0:
            raise FleetError(
                f"the coordinator could not start: {_last_words(place)}", hint=_log_hint(place)
            )
        if child is None or code is not None:
            child = ensure_coordinator(place)
    told = [results[name] for name in ids]
    for result in told:
        if "rejected" in result:
            raise Rejected(str(result["rejected"]), hint=str(result.get("hint", "")))
    return told


def _gather(
    place: FleetPlace,
    ids: list[str],
    results: dict[str, Mapping[str, object]],
    until_s: float,
) -> bool:
    """Adds the results that come until a moment (monotonic); returns whether all are there."""
    with ExitStack() as stack:
        reader = None
        while len(results) < len(ids):
            if reader is None and (reader := place.reader()) is not None:
                stack.enter_context(closing(reader))
            if reader is not None:
                for name in [one for one in ids if one not in results]:
                    found = reader.handled(name)
                    if found is not None:
                        results[name] = json.loads(found)
            if time.monotonic() >= until_s:
                break
            if len(results) < len(ids):
                time.sleep(POLL_S)
    return len(results) == len(ids)


def changes(
    place: FleetPlace,
    deadline: float | None = None,
    run: str = PLAN_RUN,
    *,
    poll_s: float = CHANGE_POLL_S,
) -> Iterator[State]:
    """Yields a run's state now and after each change, until the deadline (monotonic seconds).

    Raises FleetError when nothing was ever launched.
    """
    seen, look_at, child = -1, time.monotonic(), None
    while True:
        reader = place.reader()
        if reader is None:
            raise FleetError("nothing was launched yet")
        with closing(reader):
            seq = reader.last_seq(run)
            state = fold(reader, run) if seq != seen else None
        if state is not None:
            seen = seq
            yield state
        now = time.monotonic()
        if deadline is not None and now > deadline:
            return
        if now >= look_at:
            look_at = now + LOOK_S
            child = bring_back(place, child)
        time.sleep(poll_s)


def _log_hint(place: FleetPlace) -> str:
    return f"see {place.state / 'logs' / 'coordinator.jsonl'}"


def _last_words(place: FleetPlace) -> str:
    """Returns the last line that a coordinator which could not start has left."""
    said: list[str] = []
    with suppress(OSError):
        said = (place.state / "logs" / "coordinator.err").read_text(errors="replace").split("\n")
    return next((line for line in reversed(said) if line.strip()), "it said nothing")


_waiting: dict[str, tuple[int, int]] = {}
"""Coordinators that this process has prepared: root -> pid, and the pipe that lets it begin."""


_preparing = threading.Lock()
_started: set[int] = set()
"""Coordinators that this process has started and that were not seen to end."""


def prepare_coordinator(place: FleetPlace) -> None:
    """Starts a coordinator that only loads its program meanwhile, unless one holds the lease.

    It touches nothing before `ensure_coordinator` lets it begin, and goes when this process does.
    """
    from fleet.adapters.lease import holder

    root = os.fspath(place.root)
    with _preparing:
        if root not in _waiting and not confined() and holder(place.state) is None:
            gate, begin = os.pipe()
            _waiting[root] = (_spawn(place, gate), begin)
            os.close(gate)


def ensure_coordinator(place: FleetPlace) -> int | None:
    """Starts a coordinator, detached, unless one holds the lease; returns its pid at once."""
    from fleet.adapters.lease import holder

    if confined():
        return None
    held = holder(place.state) is not None
    pid, begin = _waiting.pop(os.fspath(place.root), (None, -1))
    if pid is not None:
        with suppress(OSError):
            if not held:
                os.write(begin, b"\n")
        os.close(begin)
        return None if held else pid
    return None if held else _spawn(place)


def confined() -> bool:
    """Returns whether this is an agent's sandbox, where no coordinator could be seen or live."""
    return "FLEET_SANDBOX" in os.environ


def _spawn(place: FleetPlace, gate: int | None = None) -> int:
    argv = [sys.executable, "-m", "fleet.runtimes.embedded", os.fspath(place.root)]
    begin: tuple[object, ...] = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    if gate is not None:
        argv.append("--gate")
        begin = (os.POSIX_SPAWN_DUP2, gate, 0)
    for ended in [one for one in _started if _exit_code(one) is not None]:
        _started.discard(ended)  # who serves for days leaves no zombies
    # Not subprocess.Popen: nobody waits for this child, and it is to outlive us without a word.
    pid = os.posix_spawn(
        sys.executable,
        argv,
        coordinator_environ(os.environ),
        setsid=True,
        file_actions=[begin, (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _started.add(pid)
    return pid


def keep_going(place: FleetPlace) -> None:
    """Starts a coordinator in the place of one that was killed; for who looks now and then."""
    from fleet.adapters.lease import was_killed

    if was_killed(place.state):
        ensure_coordinator(place)


def bring_back(place: FleetPlace, child: int | None) -> int | None:
    """Starts a coordinator in the place of one that was killed and returns its pid.

    `child` is what this returned the last time: one that is still on its way is not doubled.
    """
    from fleet.adapters.lease import was_killed

    if (child is None or _exit_code(child) is not None) and was_killed(place.state):
        return ensure_coordinator(place)
    return child


def _exit_code(pid: int) -> int | None:
    """Returns how a coordinator that this process started has ended; None while it lives."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if found == pid else None


def coordinator_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns a coordinator's environment: this one without what leads git or tmux astray."""
    astray = ("GIT_", "TMUX", "FLEET_")
    kept = {
        "FLEET_CRASH_AT",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "TMUX_TMPDIR",
    }
    return {
        name: value
        for name, value in environ.items()
        if name in kept or not name.startswith(astray)
    }
