"""The embedded runtime: one process a fleet that keeps the world as the runs want it.

Crash-only: it may be killed at any moment and loses nothing that was accepted; starting is
recovering. It holds the lease of the state folder, takes mail in order, commits what the kernel
decides, only then acts, and is gone when no attempt, mail or wakeup is left. Run as
`python -m fleet.runtimes.embedded ROOT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from fleet import codec
from fleet.adapters.crash import crash_point
from fleet.adapters.journal import DiskFull, Journal, Reader
from fleet.adapters.lease import Held, Lease
from fleet.adapters.log import Bridge, Log
from fleet.adapters.mailbox import Mail, Mailbox, Waker
from fleet.core import messages as m
from fleet.core.plan import Plan
from fleet.core.state import State
from fleet.runtimes.attempts import Attempts
from fleet.runtimes.documents import PLAN_RUN, Documents
from fleet.runtimes.loops import is_forged
from fleet.runtimes.runs import Runs, Told, now_ms
from fleet.runtimes.world import Sessions, make_world
from fleet.views.findings import FINDING

Note = Callable[..., None]
"""Writes a line of the log: level, text, fields."""

BATCH_COMMANDS = 1_000
"""So many commands share a commit at most, so that nobody waits long for its own."""

LINGER_S = 3.0
"""How long an idle coordinator waits for more before it ends."""

SETTLE_S = 0.05
"""How long one turn may follow steps that end at once; then it commits, and looks for mail."""

GARBAGE = 20_000
"""So many new objects before the youngest are looked through for cycles."""

OWN_COMMANDS = (m.Tick, m.ReportOutcome)
"""What only the coordinator itself may tell: grants and the ends of attempts that it runs."""

INSIDE_COMMANDS = (m.CheckIn, m.RaiseQuestion)
"""What a sandboxed agent may say: by any other will it could have things run outside for it."""

RESULTS_KEPT_MS = 7 * 86_400_000
"""How long the result of a command is kept for who told it; its mail is long deleted then."""

FULL_S = 1.0
"""How long a coordinator waits before it tries a full disk again."""

SWEEP_S = 5.0
"""How often the whole of what is wanted is compared with what is there, whatever was heard."""


class Coordinator:
    """One fleet's coordinator; `serve` returns when there is nothing left to do."""

    def __init__(self, root: Path, state: Path, log: Note, *, stay: bool = False) -> None:
        self.root, self.folder, self.note, self.stay = root, state, log, stay
        self.journal = Journal.open(state)
        self.mailbox = Mailbox(state)
        self.inside = Mailbox(state, inside=True)
        self.waker = Waker(state)
        self.sessions = Sessions(root, state)
        self.reader = Reader(state)
        self.runs = Runs(self.journal, self.reader, log)
        self.world = make_world(root, state, self.sessions, log, self)
        self.documents = Documents(
            root, state, self.sessions.in_thread, self._plan_state, self.post, log
        )
        self.world.change = self.documents.change
        self.attempts = Attempts(self.world, self.post)
        self.inner: deque[Told] = deque()
        self.children: dict[str, asyncio.Future[str]] = {}
        self.awake = asyncio.Event()
        self.leaving = False
        self.rung_ms = 0

    def _plan_state(self) -> State | None:
        return self.runs.states.get(PLAN_RUN)

    def post(self, run: str, command: m.Command) -> None:
        """Takes a command of this process's own: the outcome of an attempt, its progress."""
        self.inner.append(Told(run, command))
        self.awake.set()

    async def run_child(self, run: str, plan: Plan, parent: tuple[str, str, int]) -> str:
        """Returns how a child run ended; starts it when there is none, finds it again otherwise."""
        state = self.runs.state(run)
        if state is None:
            self.post(run, m.StartRun(run=run, plan=plan, parent=parent))
        elif state.ended:
            return state.ended
        return await self.children.setdefault(run, asyncio.get_running_loop().create_future())

    def cancel_run(self, run: str) -> None:
        """Has a run of this process cancelled."""
        self.post(run, m.CancelRun(reason="its step was stopped"))

    def thread(self, name: str, run: str) -> Mapping[str, object]:
        """Returns what the runs of a thread that began before a run have put out."""
        return self.runs.thread(name, run)

    async def serve(self) -> None:
        """Recovers, then takes commands until nothing is left to do or `leaving` is set."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.waker.fileno(), self._woken)
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(name, self._leave)
        self.runs.recover()
        # What has been loaded stays, and runs of a thousand steps are no garbage: look more rarely.
        gc.freeze()
        gc.set_threshold(GARBAGE, 20, 50)
        self._sweep()
        watchers = [
            asyncio.create_task(self._sweep_often()),
            asyncio.create_task(self.documents.follow()),
        ]
        try:
            while not self.leaving:
                self.awake.clear()
                busy = await self._turn()
                if not busy and not await self._rest():
                    break
        finally:
            for watcher in watchers:
                watcher.cancel()
            await self.attempts.detach()
            await self.world.servers.close()
            with contextlib.suppress(DiskFull):  # a start without snapshots reads more, no less
                self.runs.snapshot_all()
                self._tidy()
            loop.remove_reader(self.waker.fileno())
            await self.sessions.close()
            self.reader.close()
            self.journal.close()

    def _tidy(self) -> None:
        """Lets go of what nobody will ask for any more, and of what the log has copied."""
        self.mailbox.sweep()
        self.journal.forget_handled(now_ms() - RESULTS_KEPT_MS)
        self.journal.checkpoint()

    def _woken(self) -> None:
        self.waker.drain()
        self.sessions.look()
        self.awake.set()

    def _leave(self) -> None:
        self.leaving = True
        self.awake.set()

    # --- one turn ---------------------------------------------------------------------------------

    async def _turn(self) -> bool:
        """Takes what has come, commits, acts; returns whether there was anything."""
        self._settle()
        mails = self.mailbox.take(BATCH_COMMANDS) + self.inside.take(BATCH_COMMANDS)
        for box in (self.mailbox, self.inside):
            while box.garbage:
                refused = box.garbage.pop()
                facts = {"path": str(refused.path), "why": refused.why}
                self.note("error", "a file that is no mail", **facts)
        known = self.reader.handled_among([mail.id for mail in mails])
        for mail in mails:
            if mail.id not in known:  # one handled before a crash is only deleted
                self._read(mail)
        taken = [self.inner.popleft() for _ in range(min(len(self.inner), BATCH_COMMANDS))]
        for told in taken:
            self.runs.tell(told)
        self.rung_ms = now_ms()
        self.runs.ring(self.rung_ms)
        self.runs.give_grants()
        try:
            done = self.runs.commit()
        except DiskFull as full:
            # Mail is still in its folder; what this process told itself is nowhere else.
            self.inner.extendleft(reversed(taken))
            self.world.found.clear()  # what was found may never have been
            self.note("error", "disk full", why=full.text)
            await asyncio.sleep(FULL_S)
            return True
        crash_point("coordinator.after_commit")
        if mails:
            self.mailbox.delete([mail.id for mail in mails if not mail.inside])
            self.inside.delete([mail.id for mail in mails if mail.inside])
        self._reconcile(done.touched)
        for run, standing in done.ended.items():
            self.note("info", "run ended", run=run, standing=standing)
            self.world.found.pop(run, None)
            waiting = self.children.pop(run, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(standing)
        await asyncio.sleep(0)
        return bool(mails or done.events or self.runs.begun)

    def _reconcile(self, touched: Iterable[tuple[str, str]]) -> None:
        """Makes the world have what runs want for some of their steps; a step that is yet to be
        settled waits for its turn.
        """
        begun = set(self.runs.begun)
        for run, step in touched:
            state = self.runs.states.get(run)
            if state is not None and (run, step) not in begun:
                self.attempts.reconcile(state, step)

    def _settle(self) -> None:
        """Has steps that neither wait nor touch the world end, and what follows from them start:
        they share a commit. What a crash takes with it is done again then.
        """
        until = time.monotonic() + SETTLE_S
        while self.runs.begun and time.monotonic() < until:
            run, step = self.runs.begun.popleft()
            state = self.runs.states.get(run)
            if state is None:
                continue
            outcome = self.attempts.settle(state, step)
            if outcome is None:
                self.runs.open.touched[run, step] = None
                continue
            self.runs.open.touched.pop((run, step), None)
            self.runs.tell(Told(run, outcome))
            if not self.runs.begun:
                self.runs.give_grants()

    def _read(self, mail: Mail) -> None:
        """Tells the run what a mail says."""
        try:
            plain = cast("dict[str, object]", mail.body["command"])
            command = codec.load_command(plain)
            if isinstance(command, OWN_COMMANDS):
                raise ValueError(f"{type(command).__name__} is not taken by mail")  # noqa: TRY004
            if isinstance(command, m.ReportProgress) and command.usage:
                raise ValueError("what was used is not taken by mail")
            if isinstance(command, m.RaiseQuestion) and is_forged(command):
                raise ValueError("what is a loop or a circle is not taken by mail")
            actor = str(mail.body.get("actor", ""))
            if mail.inside and not (isinstance(command, INSIDE_COMMANDS) or _finds(command)):
                raise ValueError(f"{type(command).__name__} is not taken from a sandbox")
            if mail.inside and not actor.startswith("agent:"):
                actor = "agent:"
            told = Told(str(plain.get("run", PLAN_RUN)), command, mail.id, actor)
        except (KeyError, TypeError, ValueError, AttributeError) as garbled:
            self.note("error", "unreadable mail", mail=mail.id, why=repr(garbled))
            why = "inside a sandbox only check-ins, questions and findings are taken"
            why = why if mail.inside else "the command cannot be read"
            self.runs.open.handled.append((mail.id, now_ms(), json.dumps({"rejected": why})))
            return
        self.runs.tell(told)

    # --- rest -------------------------------------------------------------------------------------

    async def _rest(self) -> bool:
        """Waits for something to happen; returns False when it is time to go."""
        wakeup_ms = self.runs.next_wakeup(self.rung_ms)
        waiting = bool(self.attempts.live) or self.stay
        if wakeup_ms is None and not waiting:
            if await self._awoken(LINGER_S):
                return True
            return bool(self.mailbox.take(1) or self.inside.take(1))
        pause_s = SWEEP_S if wakeup_ms is None else min((wakeup_ms - now_ms()) / 1000, SWEEP_S)
        await self._awoken(max(pause_s, 0.001))
        return True

    async def _awoken(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.awake.wait(), timeout_s)
            return True
        return False

    async def _sweep_often(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sessions.look()
            self._sweep()
            if not self.journal.intact():
                self.note("error", "the journal was moved or deleted; leaving")
                self._leave()

    def _sweep(self) -> None:
        states = self.runs.states.values()
        self._reconcile([(state.run, step) for state in states for step in state.running])
        self.awake.set()


def _finds(command: m.Command) -> bool:
    """Returns whether a command keeps findings and says nothing else."""
    if not isinstance(command, m.ReportProgress) or command.delivered:
        return False
    return bool(command.facts) and all(name.startswith(FINDING) for name in command.facts)


def coordinate(root: Path, *, stay: bool = False, echo: bool = False, level: str = "info") -> int:
    """Runs a coordinator in this process; returns 0, also when another one holds the lease."""
    state = root / ".fleet"
    state.mkdir(mode=0o700, exist_ok=True)
    try:
        lease = Lease.acquire(state)
    except Held as held:
        if echo:
            print(held.text, file=sys.stderr)  # noqa: T201 - the foreground command's own voice
        return 0 if not echo else 1
    log = Log(state / "logs" / "coordinator.jsonl", level=level)
    bridge = Bridge(log)  # what asyncio or a library has to say is said in the same place
    logging.getLogger().addHandler(bridge)

    def note(level: str, text: str, **fields: object) -> None:
        getattr(log, level)(text, **fields)
        if echo:
            told = " ".join(f"{name}={value}" for name, value in fields.items())
            print(f"{level:<8} {text} {told}".rstrip(), file=sys.stderr)  # noqa: T201

    try:
        note("info", "coordinator started", root=str(root))
        asyncio.run(_serve(partial(Coordinator, root, state, note, stay=stay)))
        note("info", "coordinator left")
    except Exception as bug:
        note("error", "coordinator died", why=repr(bug), trace=traceback.format_exc())
        raise
    finally:
        logging.getLogger().removeHandler(bridge)
        lease.release()
        log.close()
    return 0


async def _serve(make: Callable[[], Coordinator]) -> None:
    await make().serve()


def main(argv: Sequence[str]) -> int:
    """Coordinates the fleet at argv[0]; with `--gate` only once a line has come, and not at all
    when whoever prepared it has gone without a word. Until then it touches nothing.
    """
    root = Path(argv[0])
    if "--gate" in argv[1:]:
        if not os.read(0, 1):
            return 0
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
    logs = root / ".fleet/logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (logs / "coordinator.err").open("ab") as said:  # the terminal is of whoever started it
        os.dup2(said.fileno(), 2)
    return coordinate(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
