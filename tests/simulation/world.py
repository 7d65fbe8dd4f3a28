"""A seeded world: one coordinator with several runs, their attempts, and everything that goes
wrong.

Hostile for a number of turns: reports are lost, doubled, delayed, reordered and forged, the
coordinator dies between any two writes and replays its journal, the clock is set back, people do
what they like. Then fair, and then every run must end by itself. Each seed picks its own mix of
faults (swarm testing: Groce et al., 2012). Same seed, same trace.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random

from fleet import codec
from fleet.core import decide as kernel
from fleet.core import evolve as folding
from fleet.core import ledger as fleet_ledger
from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.plan import MINUTE_MS, NEVER, PER_MINUTE, Failure, Revise
from fleet.core.state import State
from fleet.errors import Rejected
from fleet.files.changes.waiting import CIRCLE
from fleet.runtimes.loops import Loops, is_forged
from simulation import people
from simulation.checkers import Observer, limits_hold, loops_are_left, promise, same_questions

FAULTS = (
    "lose",
    "double",
    "delay",
    "stale",
    "crash",
    "skew",
    "wish",
    "hostile",
    "torn",
    "rush",
    "revise",
    "account",
    "loop",
    "usage",
    "nap",
    "ask",
)
PATIENCE = 600

Key = tuple[str, str, int]


@dataclass
class Mail:
    id: str
    run: str
    line: str
    due: int = 0


@dataclass
class Attempt:
    """A try that the world knows of: it lives until it has an outcome, and then for ever has it."""

    outcome: m.Outcome | None = None
    notes: set[int] = field(default_factory=set)


@dataclass
class Tally:
    events: int = 0
    commands: int = 0
    rejected: int = 0
    crashes: int = 0
    turns: int = 0
    tags: Counter[str] = field(default_factory=Counter)


class Crash(Exception):
    """The coordinator dies here."""


class World:
    def __init__(self, seed: int, hostile_turns: int = 60) -> None:
        self.dice = Random(seed)
        self.mix = {
            fault: self.dice.choice([0.05, 0.2, 0.5]) if self.dice.random() < 0.65 else 0.0
            for fault in FAULTS
        }
        self.hostile_turns = self.dice.randint(0, hostile_turns)
        self.pace = self.dice.choice([0.1, 0.2, 0.5])
        self.fair = False
        self.clock = 1_000_000
        self.turn = 0
        self.mailbox: list[Mail] = []
        self.mails = 0
        self.old: list[Mail] = []
        self.attempts: dict[Key, Attempt] = {}
        self.journal: list[tuple[str, str]] = []
        self.decided: dict[str, list[m.Event]] = {}
        self.results: dict[str, str] = {}
        self.snapshots: dict[str, tuple[int, str]] = {}
        self.states: dict[str, State] = {}
        self.seen: dict[str, Observer] = {}
        self.ledger = fleet_ledger.ledger_of([], people.LIMITS)
        self.loops = Loops(self.events_of)
        self.starts: dict[str, list[int]] = {}
        self.rests: dict[str, int] = {}
        self.tally = Tally()
        self.trace = sha256()

    # --- the story ------------------------------------------------------------------------------

    def play(self) -> Tally:
        """Plays the whole story; raises Violation (or whatever the kernel raises) when it is
        bad.
        """
        crowded = self.dice.random() < 0.15
        if crowded:
            self.mix |= {"loop": 0.5, "nap": self.dice.choice([0.0, 0.2])}
        for number in range(self.dice.choice([1, 2, 3] if crowded else [1, 1, 2, 3])):
            parent = ("r0", "s0", 1) if number else None
            plan = (people.crowd if crowded else people.some_plan)(self.dice)
            self.post(f"r{number}", m.StartRun(run=f"r{number}", plan=plan, parent=parent))
        for _ in range(self.hostile_turns):
            self.one_turn()
        self.mix = dict.fromkeys(FAULTS, 0.0)
        self.fair = True
        for _ in range(PATIENCE):
            if self.over():
                break
            self.one_turn()
            self.jump()
        stuck = {name: state for name, state in self.states.items() if not state.ended}
        shown = {
            name: {n: str(one.standing) for n, one in state.steps.items()}
            for name, state in stuck.items()
        }
        promise(not stuck, f"stuck: {shown}")
        self.recover()
        return self.tally

    def over(self) -> bool:
        return bool(self.states) and not self.mailbox and all(s.ended for s in self.states.values())

    def one_turn(self) -> None:
        self.turn += 1
        self.tally.turns += 1
        self.clock += self.dice.choice([0, 1, 10, 200])
        if self.chance("nap"):
            self.clock += 400_000
        if self.chance("skew"):
            self.clock -= self.dice.randint(0, 3000)
        self.wish()
        self.live()
        try:
            self.coordinate()
        except Crash:
            self.tally.crashes += 1
            self.recover()

    def jump(self) -> None:
        """Sleeps until the kernel says that time alone changes something, when nothing else
        will.
        """
        if self.mailbox or any(one.outcome is None for one in self.attempts.values()):
            return
        wakeups = [states.next_wakeup(state, self.now) for state in self.states.values()]
        wakeups.append(fleet_ledger.next_opening(self.ledger, self.now))
        known = [at for at in wakeups if at is not None]
        if known:
            promise(min(known) > self.now, "a wakeup is strictly later")
            self.clock = min(known)

    def chance(self, fault: str) -> bool:
        return self.mix[fault] > 0 and self.dice.random() < self.mix[fault]

    @property
    def now(self) -> int:
        return max(self.clock, *[s.at_ms for s in self.states.values()], 0)

    # --- people and attempts --------------------------------------------------------------------

    def post(self, run: str, command: m.Command) -> None:
        self.mails += 1
        mail = Mail(f"m{self.mails}", run, codec.dumps(command), self.turn)
        if self.chance("delay"):
            mail.due += self.dice.randint(1, 12)
        self.mailbox.append(mail)
        if self.chance("double"):
            self.mailbox.append(replace(mail, due=mail.due + self.dice.randint(0, 5)))

    def wish(self) -> None:
        for run, state in self.states.items():
            if self.fair:
                for command in people.fair_wishes(self.dice, state):
                    self.post(run, command)
            elif self.chance("wish"):
                self.post(run, people.hostile_wish(self.dice, state))
            elif self.chance("revise"):
                patch = people.small_patch(self.dice, state)
                self.post(run, m.RevisePlan(patch=patch))
            elif self.chance("ask"):
                self.post(run, people.asking(self.dice, state))
        if self.old and self.chance("stale"):
            mail = self.dice.choice(self.old)
            self.mails += 1
            fresh = self.dice.random() < 0.5
            self.mailbox.append(replace(mail, id=f"m{self.mails}" if fresh else mail.id))

    def live(self) -> None:
        """Attempts come to their ends; a report may be lost on its way."""
        for key, attempt in list(self.attempts.items()):
            run, step, _ = key
            state = self.states[run]
            if attempt.outcome is not None or step not in state.steps:
                continue
            if self.chance("usage"):
                self.post(run, people.used_so_far(self.dice, step, key[2]))
            if self.dice.random() < (0.7 if self.fair else self.pace):
                self.end(key, state)

    def end(self, key: Key, state: State) -> None:
        one = state.steps[key[1]]
        mark = f"{key[1]}#{key[2]}"
        if self.chance("account"):
            outcome = people.account_closed(self.dice, state, one)
        elif self.chance("loop"):
            outcome = people.crashed(self.dice, one)
        elif self.fair or not self.chance("hostile"):
            outcome = people.fair_outcome(self.dice, state, one, mark)
        else:
            outcome = people.hostile_outcome(self.dice, state, one, mark)
        if self.dice.random() < 0.5:
            outcome = people.spent(self.dice, outcome)
        self.attempts[key].outcome = outcome
        if one.step.kind == "answer" and "question" in one.step.params:
            for command in people.words_of(self.dice, state, one):
                if not self.chance("lose"):
                    self.post(key[0], command)
        if not self.chance("lose"):
            self.report(key)

    def report(self, key: Key) -> None:
        outcome = self.attempts[key].outcome
        assert outcome is not None
        self.post(key[0], m.ReportOutcome(step=key[1], attempt=key[2], outcome=outcome))
        self.old.append(self.mailbox[-1])

    # --- the coordinator ------------------------------------------------------------------------

    def coordinate(self) -> None:
        if self.dice.random() < 0.5 and not self.fair:
            self.dice.shuffle(self.mailbox)
        for mail in [mail for mail in self.mailbox if mail.due <= self.turn]:
            if mail.id not in self.results:
                self.take(mail)
            self.crash_point()
            self.mailbox.remove(mail)
        self.grant()
        for run, state in self.states.items():
            self.reconcile(run, state)
            if self.dice.random() < 0.05:
                self.snapshots[run] = (len(self.journal), codec.dump_state(state))
        self.crash_point()

    def crash_point(self) -> None:
        if self.chance("crash") and self.dice.random() < 0.3:
            raise Crash

    def take(self, mail: Mail) -> None:
        command = codec.loads_command(mail.line)
        promise(codec.dumps(command) == mail.line, "a command survives its codec")
        result = self.tell(mail.run, replace(command, at_ms=self.clock), mail.id)
        self.results[mail.id] = result

    def tell(self, run: str, command: m.Command, mail: str = "") -> str:
        state = self.states.get(run)
        self.tally.commands += 1
        look = self.dice.random() < 0.3
        before = _shown(state) if look else ""
        if isinstance(command, m.RaiseQuestion) and state and not is_forged(command):
            command = self.loops.fill(state, command)
            known = same_questions(self.events_of(run), state, command)
            told = command.question.about.get("loop", "")
            promise((command.like, told) == known, f"{command} is like {known}")
        try:
            events = kernel.decide(state, command)
        except Rejected as rejected:
            promise(not look or _shown(state) == before, "a rejected command changes nothing")
            self.tally.rejected += 1
            self.trace.update(f"{run} {rejected.text}".encode())
            return f"rejected: {rejected.text}"
        promise(not look or _shown(state) == before, "decide changes nothing")
        self.crash_point()
        if isinstance(command, m.RaiseQuestion):
            loops_are_left(self.events_of(run), command, events, state.loops)
        lines = [codec.dumps(event) for event in events]
        self.journal += [(run, line) for line in lines]
        if mail:
            self.results[mail] = "done"
        for event, line in zip(events, lines, strict=True):
            self.see(run, event, line)
        kinds = [type(event) for event in events]
        mine = command.step if isinstance(command, m.ReportOutcome) else None
        own = [mine == event.by and isinstance(event, m.PlanRevised) for event in events[:-1]]
        if True in own:
            changed, ended = own.index(True), kinds.index(m.AttemptEnded)
            rungs = state.steps[command.step].step.ladder
            climbed = any(isinstance(rung, Revise) for rung in rungs)
            promise(changed < ended or climbed, "an outcome's patch comes before its consequences")
        if run in self.states:
            ticked = isinstance(command, m.Tick)
            self.seen[run].at_rest(self.states[run], ticked=ticked)
        if run in self.states:
            for question in self.loops.circles(self.states[run], events):
                ring = question.question.about[CIRCLE]
                told = [one.question.about for one in self.states[run].questions.values()]
                known = [set(about[CIRCLE]) for about in told if CIRCLE in about]
                promise(set(ring) not in known, "a circle is asked about once")
                self.tell(run, replace(question, at_ms=self.clock))
        if self.chance("torn") and self.dice.random() < 0.2:
            raise Crash
        return "done"

    def see(self, run: str, event: m.Event, line: str) -> None:
        decoded = codec.loads_event(line)
        promise(decoded == event, "decode(encode(event)) is the event")
        self.trace.update(f"{run} {line}".encode())
        self.tally.events += 1
        self.tally.tags[json.loads(line)["is"]] += 1
        observer = self.seen.setdefault(run, Observer())
        state = self.states.get(run)
        observer.before(state, event)
        if isinstance(event, m.AttemptEnded):
            units = tuple(sorted(observer.held_units[event.step].items()))
            self.ledger.give_back(units)
            outcome = event.outcome
            if outcome.failure is Failure.ACCOUNT and outcome.account and outcome.until_ms:
                self.ledger.pause(outcome.account, outcome.until_ms)
                self.rests[outcome.account] = max(
                    outcome.until_ms, self.rests.get(outcome.account, 0)
                )
        if isinstance(event, m.RetryScheduled) and event.rung < 0 and self.is_now(event):
            self.ledger.reopen(state.steps[event.step].step.uses)
            for name in state.steps[event.step].step.uses:
                self.rests.pop(name, None)
        state = self.states[run] = folding.evolve(state, decoded)
        self.decided.setdefault(run, []).append(decoded)
        self.loops.hear(run, decoded)
        if isinstance(event, m.AttemptEnded):
            for name in observer.closed & set(event.outcome.blames):
                self.ledger.pause(name, NEVER)
        if isinstance(event, m.QuestionAnswered) and event.value == "retry":
            about = state.answers[event.id].question.about.get("quarantine", "")
            self.ledger.reopen([about])
            self.rests.pop(about, None)  # who says `retry` waits for nothing
        if isinstance(event, m.AttemptStarted):
            self.ledger.take(states.uses_of(state.steps[event.step].step), event.at_ms)
            for name in state.steps[event.step].step.uses:
                promise(
                    self.rests.get(name, 0) <= event.at_ms, "nothing starts on a resting account"
                )
                if name.endswith(PER_MINUTE):
                    starts = self.starts.setdefault(name, [])
                    starts.append(event.at_ms)
                    minute = [at for at in starts if at > event.at_ms - MINUTE_MS]
                    promise(len(minute) <= people.LIMITS[name], "a launch rate is kept")
        observer.after(state, event)
        limits_hold(list(self.seen.values()), people.LIMITS)

    def events_of(self, run: str) -> list[m.Event]:
        """What a run has decided so far."""
        return self.decided.get(run, [])

    @staticmethod
    def is_now(event: m.RetryScheduled) -> bool:
        return event.retry_at_ms <= event.at_ms

    def grant(self) -> None:
        """Lets start what the fleet's limits allow; one Tick a run, with the same time."""
        now = self.now
        wanted = {run: states.wants(state, now) for run, state in self.states.items()}
        granted = fleet_ledger.grant(self.ledger, wanted, now)
        for run in list(self.states):
            due = any(states.due_alarms(self.states[run], now))
            if due or run in granted:
                grants = tuple(granted.get(run, ()))
                if self.chance("rush"):
                    grants *= 2
                self.tell(run, m.Tick(grants=grants, at_ms=now))

    def reconcile(self, run: str, state: State) -> None:
        """Adopts or starts what should run, and stops what should not."""
        for effect in states.outstanding(state):
            key = (run, effect.step, effect.attempt)
            match effect:
                case states.RunAttempt():
                    if key not in self.attempts:
                        self.attempts[key] = Attempt()
                    elif self.attempts[key].outcome is not None and not self.on_its_way(key):
                        self.report(key)
                case states.StopAttempt():
                    self.stop(key)
                case states.DeliverNote():
                    self.deliver(key, effect)

    def deliver(self, key: Key, effect: states.DeliverNote) -> None:
        attempt = self.attempts[key]
        if effect.note not in attempt.notes:
            attempt.notes.add(effect.note)
        if not self.chance("lose"):
            told = m.ReportProgress(step=key[1], attempt=key[2], delivered=(effect.note,))
            self.post(key[0], told)

    def stop(self, key: Key) -> None:
        attempt = self.attempts.setdefault(key, Attempt())
        if attempt.outcome is None:
            endings = [m.Ending.STOPPED, m.Ending.STOPPED, m.Ending.FAILED, m.Ending.SUCCEEDED]
            ending = self.dice.choice(endings)
            failure = Failure.TASK if ending is m.Ending.FAILED else None
            output = {"by": f"{key[1]}#{key[2]}"} if ending is m.Ending.SUCCEEDED else None
            attempt.outcome = m.Outcome(ending=ending, failure=failure, output=output)
        if not self.on_its_way(key) and not self.chance("lose"):
            self.report(key)

    def on_its_way(self, key: Key) -> bool:
        return any(
            mail.run == key[0]
            and mail.id not in self.results
            and '"is":"report-outcome"' in mail.line
            and f'"step":"{key[1]}","attempt":{key[2]},' in mail.line
            for mail in self.mailbox
        )

    # --- death and recovery ---------------------------------------------------------------------

    def recover(self) -> None:
        """Forgets everything in memory, folds the journal (or snapshot and tail), and compares."""
        lived, self.states = self.states, {}
        self.loops = Loops(self.events_of)
        for run, line in self.journal:
            self.states[run] = folding.evolve(self.states.get(run), codec.loads_event(line))
        for run, state in lived.items():
            promise(
                self.states[run] == state,
                f"the journal folds to the state: {_diff(self.states[run], state)}",
            )
        self.ledger = fleet_ledger.ledger_of(self.states.values(), people.LIMITS)
        for run, (place, text) in self.snapshots.items():
            loaded = codec.load_state(text)
            for other, line in self.journal[place:]:
                if other == run:
                    loaded = folding.evolve(loaded, codec.loads_event(line))
            state = self.states[run]
            promise(loaded == state, f"snapshot and tail fold to the state: {_diff(loaded, state)}")
            probe = m.Tick(at_ms=self.now + 10_000, grants=tuple(state.steps))
            promise(_decided(loaded, probe) == _decided(state, probe), "a snapshot decides alike")
            if self.dice.random() < 0.5:
                self.states[run] = loaded


def _decided(state: State, command: m.Command) -> tuple[m.Event, ...]:
    try:
        return kernel.decide(state, command)
    except Rejected:
        return ()


def _shown(state: State | None) -> str:
    if state is None:
        return ""
    return f"{codec.dump_state(state)} {state.ready} {state.dependents} {state.failures}"


def _diff(one: State, other: State) -> str:
    names = [name for name in State.__slots__ if name != "agenda"]
    odd = [name for name in names if getattr(one, name) != getattr(other, name)]
    return "; ".join(f"{n}: {getattr(one, n)!r} != {getattr(other, n)!r}" for n in odd)[:2000]
