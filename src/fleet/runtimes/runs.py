"""The live runs of a coordinator: their states, the fleet's ledger, and what is not yet committed.

Here commands become events and events become journal rows; nothing here touches the world beyond
the journal. Commands may share a commit. What `commit` returns may be acted on; nothing else may.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleet import codec
from fleet.adapters.journal import Batch
from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve
from fleet.core.ledger import Ledger, grant, ledger_of, next_opening
from fleet.core.plan import Failure
from fleet.core.state import State, Uses, next_wakeup, uses_of, wants
from fleet.errors import Rejected
from fleet.runtimes.loops import TELLING, Loops
from fleet.views.runs import outputs_of

if TYPE_CHECKING:
    from fleet.adapters.journal import Journal, Reader

SNAPSHOT_EVENTS = 200
"""A run is snapshot when so many events, and as many as it has steps, have come since the last."""


@dataclass(frozen=True, slots=True)
class Told:
    """A command for a run; `mail` is the id under which its result is kept."""

    run: str
    command: m.Command
    mail: str = ""
    actor: str = ""


@dataclass(slots=True)
class Uncommitted:
    """What one commit will hold, and what it will let happen."""

    events: list[tuple[str, int, int, str]] = field(default_factory=list)
    handled: list[tuple[str, int, str]] = field(default_factory=list)
    runs: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    touched: dict[tuple[str, str], None] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)


def now_ms() -> int:
    """Returns the wall clock in milliseconds of the epoch."""
    return time.time_ns() // 1_000_000


class Runs:
    """All live runs; `journal` is written here and nowhere else."""

    def __init__(self, journal: Journal, reader: Reader, log: Callable[..., None]) -> None:
        self.journal = journal
        self.reader = reader
        self.log = log
        self.states: dict[str, State] = {}
        self.seqs: dict[str, int] = {}
        self.snapshots: dict[str, int] = {}
        self.ledger = Ledger()
        self.loops = Loops(self._asked)
        self.taken: dict[tuple[str, str], Uses] = {}
        self.open = Uncommitted()
        self.begun: deque[tuple[str, str]] = deque()
        """Steps, by run, that an attempt was started of and that nobody has looked at since."""
        self.wanting: set[str] = set()
        self.rung_ms = 0
        self.ended: dict[str, dict[str, object]] = {}
        """What ended runs of threads have put out, as far as somebody asked."""

    # --- recovery ---------------------------------------------------------------------------------

    def recover(self) -> None:
        """Folds every run that has not ended from its snapshot and the events after it."""
        for row in self.reader.runs():
            if row.state == "running":
                self._load(row.run)
        self._rebuild_ledger()

    def _read(self, run: str) -> tuple[State | None, int, int]:
        """Returns a run's state from the journal, its last event, and that of its snapshot."""
        snapshot = self.reader.snapshot(run)
        state, seq = (codec.load_state(snapshot[1]), snapshot[0]) if snapshot else (None, 0)
        kept = seq
        for row in self.reader.events(run, after=seq):
            state, seq = evolve(state, codec.loads_event(row.body)), row.seq
            state.agenda.clear()
        return state, seq, kept

    def _load(self, run: str) -> State | None:
        state, seq, self.snapshots[run] = self._read(run)
        if state is not None:
            self.states[run], self.seqs[run] = state, seq
            self.wanting.add(run)
        return state

    def _rebuild_ledger(self) -> None:
        limits: dict[str, int] = {}
        for state in self.states.values():
            limits.update(state.limits)
        self.ledger = ledger_of(self.states.values(), limits)
        self.taken = {
            (run, step): uses_of(state.steps[step].step)
            for run, state in self.states.items()
            for step in state.running
        }

    def state(self, run: str) -> State | None:
        """Returns a run's state; an ended run is read back from the journal."""
        if run not in self.states and self.reader.last_seq(run):
            return self._load(run)
        return self.states.get(run)

    def thread(self, name: str, before: str) -> dict[str, object]:
        """Returns what the runs of a thread that began before a run have put out, by step, the
        oldest first.
        """
        found = []
        for row in self.reader.runs():
            told = json.loads(row.summary)
            if told.get("thread") == name and row.run != before:
                found.append((told["started_ms"], row.run))
        own = self.states[before].started_ms
        outputs: dict[str, object] = {}
        for started_ms, run in sorted(found):
            if started_ms <= own:
                outputs |= self._put_out(run)
        return outputs

    def _put_out(self, run: str) -> dict[str, object]:
        if run in self.ended:
            return self.ended[run]
        state = self.states.get(run) or self._read(run)[0]
        found = outputs_of(state) if state is not None else {}
        if state is not None and state.ended:
            self.ended[run] = found
        return found

    # --- commands ---------------------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        """Lets a run decide on a command; its events and its result wait for the next commit."""
        state = self.state(told.run)
        at_ms = max(now_ms(), state.at_ms if state else 0)
        self.open.told.append(told)
        command = replace(told.command, at_ms=at_ms)
        if isinstance(command, m.RaiseQuestion) and state is not None:
            command = self.loops.fill(state, command)
        try:
            events = decide(state, command)
        except Rejected as refusal:
            self._handled(told, at_ms, {"rejected": refusal.text, "hint": refusal.hint})
            self.log(
                "info" if told.mail else "warning",
                "rejected",
                run=told.run,
                correlation=told.mail,
                why=refusal.text,
            )
            return
        for event in events:
            state = self._take(told.run, state, event)
        self._handled(told, at_ms, {"events": len(events)})
        if told.mail:
            kind = type(told.command).__name__
            self.log(
                "info", "told", run=told.run, correlation=told.mail, command=kind, by=told.actor
            )
        if state is not None:
            for question in self.loops.circles(state, events):
                self.tell(Told(told.run, question))

    def _handled(self, told: Told, at_ms: int, result: dict[str, object]) -> None:
        if told.mail:
            self.open.handled.append((told.mail, at_ms, json.dumps(result)))

    def _take(self, run: str, state: State | None, event: m.Event) -> State:
        state = evolve(state, event)
        state.agenda.clear()
        self.loops.hear(run, event)
        self.states[run] = state
        self.seqs[run] = seq = self.seqs.get(run, 0) + 1
        self.open.events.append((run, seq, event.at_ms, codec.dumps(event)))
        self.wanting.add(run)
        match event:
            case m.AttemptStarted():
                uses = uses_of(state.steps[event.step].step)
                self.ledger.take(uses, event.at_ms)
                self.taken[run, event.step] = uses
                self.open.touched[run, event.step] = None
                self.begun.append((run, event.step))
            case m.AttemptEnded():
                given_back = self.taken.pop((run, event.step), ())
                self.ledger.give_back(given_back)
                self._rest_accounts(state, event.outcome)
                if given_back:  # what nobody else waited for lets nobody else start
                    self.wanting.update(self.states)
            case m.RetryScheduled(rung=-1) if event.retry_at_ms <= event.at_ms:
                self.ledger.reopen(state.steps[event.step].step.uses)
                self.wanting.update(self.states)
            case m.QuestionAnswered():
                lifted = state.answers[event.id].question.about.get("quarantine", "")
                if lifted and str(lifted) not in state.quarantined:
                    self.ledger.reopen([str(lifted)])
                    self.wanting.update(self.states)
            case m.StopRequested() | m.NoteSent():
                self.open.touched[run, event.step] = None
            case m.CancelRequested():
                self.open.touched.update(dict.fromkeys((run, step) for step in state.running))
            case m.RunStarted() | m.PlanRevised():
                self.ledger.allow(state.limits)
                self._enter(state)
            case m.RunEnded():
                self._enter(state)
                self.open.ended[run] = event.standing
            case _:
                pass
        return state

    def _asked(self, run: str) -> Iterator[m.Event]:
        """Yields what a run has decided about questions and its plan, oldest first."""
        rows = [row.body for row in self.reader.events(run)]
        for body in (*rows, *(one[3] for one in self.open.events if one[0] == run)):
            if any(word in body for word in TELLING):
                yield codec.loads_event(body)

    def _rest_accounts(self, state: State, outcome: m.Outcome) -> None:
        """Books the rest of an account that turned an attempt away, or crashed too often."""
        if outcome.failure is Failure.ACCOUNT and outcome.account and outcome.until_ms:
            self.ledger.pause(outcome.account, outcome.until_ms)
        for name in outcome.blames:
            if name in state.quarantined:
                self.ledger.pause(name, state.accounts[name])

    def _enter(self, state: State) -> None:
        summary = {
            "name": state.name,
            "started_ms": state.started_ms,
            "ended_ms": state.ended_ms,
            "parent": state.parent,
        }
        summary |= {
            name: state.about[name] for name in ("workflow", "thread") if name in state.about
        }
        self.open.runs[state.run] = (state.run, state.ended or "running", json.dumps(summary))

    def give_grants(self) -> None:
        """Tells the runs which of their wanted steps may start now."""
        if not self.wanting:
            return
        at_ms = now_ms()
        wanted = {}
        for run in sorted(self.wanting):
            groups = wants(self.states[run], at_ms) if run in self.states else {}
            if groups:
                wanted[run] = groups
        self.wanting.clear()
        if wanted:
            for run, steps in grant(self.ledger, wanted, at_ms).items():
                self.tell(Told(run, m.Tick(grants=tuple(steps))))
            self.wanting.clear()

    def ring(self, at_ms: int) -> None:
        """Tells time to the runs of which something has become due; all of them may start more
        when a pause or a launch rate has let go since the last time.
        """
        opened_ms = next_opening(self.ledger, self.rung_ms)
        if opened_ms is not None and opened_ms <= at_ms:
            self.wanting.update(self.states)
        self.rung_ms = at_ms
        for run, state in list(self.states.items()):
            if state.alarms and any(due <= at_ms for due in state.alarms.values()):
                self.tell(Told(run, m.Tick()))
                self.wanting.add(run)

    def next_wakeup(self, at_ms: int) -> int | None:
        """Returns when time next changes something, in milliseconds of the epoch."""
        times = [next_wakeup(state, at_ms) for state in self.states.values() if state.alarms]
        times.append(next_opening(self.ledger, at_ms))
        return min((one for one in times if one is not None), default=None)

    # --- commits ----------------------------------------------------------------------------------

    def commit(self) -> Uncommitted:
        """Journals all that was decided since the last commit and returns it.

        When the disk is full the journal holds none of it: the states are read back as they were,
        DiskFull is raised, and the commands stay with whoever told them.
        """
        done, self.open = self.open, Uncommitted()
        if not (done.events or done.handled):
            return done
        try:
            self.journal.append(
                Batch(
                    events=done.events,
                    handled=done.handled,
                    snapshots=list(self._snapshots(done)),
                    runs=list(done.runs.values()),
                )
            )
        except Exception:
            self._restore({run for run, *_ in done.events})
            raise
        self._let_go({told.run for told in done.told})
        return done

    def _let_go(self, runs: set[str]) -> None:
        """Forgets runs that have ended; they are read back should anybody tell them more."""
        for run in runs:
            state = self.states.get(run)
            if state is not None and state.ended:
                del self.states[run]
                del self.seqs[run]
                self.snapshots.pop(run, None)
                self.loops.forget(run)
                self.journal.let_go(run)

    def _snapshots(self, done: Uncommitted) -> Iterator[tuple[str, int, str]]:
        for run in dict.fromkeys(run for run, *_ in done.events):
            state, seq = self.states[run], self.seqs[run]
            if seq - self.snapshots.get(run, 0) >= max(SNAPSHOT_EVENTS, len(state.steps)):
                self.snapshots[run] = seq
                yield run, seq, codec.dump_state(state)

    def snapshot_all(self) -> None:
        """Snapshots every live run that has moved since its last one."""
        rows = [
            (run, self.seqs[run], codec.dump_state(state))
            for run, state in self.states.items()
            if self.seqs[run] > self.snapshots.get(run, 0)
        ]
        if rows:
            self.journal.append(Batch(snapshots=rows))
            self.snapshots.update({run: seq for run, seq, _ in rows})

    def _restore(self, runs: set[str]) -> None:
        for run in runs:
            self.states.pop(run, None)
            self.seqs.pop(run, None)
            self.loops.forget(run)
            self._load(run)
        # What was found out about their attempts is gone with the commit: they are looked at again.
        self.begun = deque(one for one in self.begun if one[0] not in runs)
        read = [state for run, state in self.states.items() if run in runs]
        self.begun.extend((state.run, step) for state in read for step in state.running)
        self._rebuild_ledger()
