"""What must hold after every event, computed apart from the kernel's own counters.

An Observer follows one run by its events alone and compares the state with what it has seen. It
raises Violation (an AssertionError), whose text names the promise that was broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fleet.core import messages as m
from fleet.core.plan import (
    FAILED,
    JOIN,
    PER_MINUTE,
    SETTLED,
    SUCCEEDED,
    Ask,
    Failure,
    Loops,
    Patch,
    Retry,
    Route,
    Swap,
    basis_of,
)
from fleet.core.state import (
    Standing,
    State,
    due_alarms,
    next_wakeup,
    outstanding,
    wants,
)
from fleet.files.changes.likeness import is_round

DONE = {Standing.SUCCEEDED, Standing.FAILED, Standing.SKIPPED, Standing.CANCELLED}
CLOSED = DONE | {Standing.UNREACHED}
FREE = {Standing.WAITING, Standing.READY, Standing.UNREACHED}


class Violation(AssertionError):
    """A promise of the kernel does not hold."""


def promise(held: object, text: str) -> None:
    """Raises Violation with `text` unless it `held`."""
    if not held:
        raise Violation(text)


def met(state: State, need: object) -> bool | None:
    """Whether a need is met (True), can never be (False) or is open (None)."""
    one = state.steps[need.step]
    if one.standing not in CLOSED:
        return None
    passed = one.standing in (Standing.SUCCEEDED, Standing.SKIPPED)
    if need.on == SUCCEEDED:
        return passed
    if need.on == FAILED:
        return one.standing is Standing.FAILED
    return need.on == SETTLED or (one.standing is Standing.SUCCEEDED and one.label == need.on)


class Observer:
    """Follows one run; `saw` is called before and after each event."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.live: dict[str, int] = {}
        self.held_units: dict[str, dict[str, int]] = {}
        self.started: set[tuple[str, int]] = set()
        self.last: dict[str, int] = {}
        self.released: dict[str, bool] = {}
        self.declared: dict[str, bool] = {}
        self.not_before: dict[str, int] = {}
        self.stopping: dict[str, str] = {}
        self.spent: Counter[tuple[str, int]] = Counter()
        self.failed: dict[str, m.Outcome | None] = {}
        self.asked: dict[str, m.QuestionRaised] = {}
        self.ids: set[str] = set()
        self.routes: tuple[Route, ...] = ()
        self.ways: dict[str, list[m.QuestionRouted]] = {}
        """How each question has gone, from one whom to the next."""
        self.dismissed: set[str] = set()
        """Steps that were told that nobody waits for them; a person may have them go on."""
        self.closing: set[str] = set()
        """Questions that came into a loop which somebody has given an answer."""
        self.due = ""
        """The question that is to be sent on its way next."""
        self.notes: set[int] = set()
        self.granted: dict[str, dict[str, float]] = {}
        self.amounts: dict[str, dict[str, float]] = {}
        self.used: dict[str, Counter[str]] = {}
        self.parts: dict[str, dict[str, float]] = {}
        self.before_it: dict[str, Counter[str]] = {}
        """What lived attempts had used of a limit before it had a budget."""
        self.crashes: list[tuple[int, str, tuple[str, ...]]] = []
        self.closed: set[str] = set()
        self.given_up: set[str] = set()
        """Steps that asked how to go on when a patch stopped them."""
        self.paused = self.cancelling = False
        self.ended = ""
        self.at_ms = 0

    # --- before ---------------------------------------------------------------------------------

    def before(self, state: State | None, event: m.Event) -> None:
        """Checks that an event may follow on `state`."""
        promise(event.at_ms >= self.at_ms, "time never runs backwards in a journal")
        due, self.due = self.due, ""
        promise(not due or (isinstance(event, m.QuestionRouted) and event.id == due), "it is sent")
        self.at_ms = event.at_ms
        if isinstance(event, m.AttemptStarted):
            self._before_start(state, event)
        elif isinstance(event, m.AttemptEnded):
            live = self.live.get(event.step)
            promise(live == event.attempt, "a stale report is never believed")
            after = int(state.steps[event.step].step.params.get("round", 0)) + 1
            again = f"{state.steps[event.step].step.whole}/work.{after}"
            looped = "loop" in event.outcome.evidence or _is_as_before(state, event)
            promise(not (looped and again in state.steps), "no rework follows a loop of rounds")
        elif isinstance(event, m.StepSettled):
            standing = state.steps[event.step].standing
            promise(standing not in DONE, "a settled step stays settled")
            promise(event.step not in self.live, "no step settles while its attempt lives")
        elif isinstance(event, m.PlanRevised):
            touched = (*event.patch.drop, *(p.id for p in event.patch.put), *event.patch.needs)
            settled = [n for n in touched if self.standings.get(n) in DONE]
            promise(not settled, f"{settled} has settled and is not revised")
            asking = {n for n in event.patch.stop if self.standings.get(n) is Standing.ASKING}
            deaf = {n for n in event.patch.stop if self.stopping.get(n) != "revise"} - asking
            promise(not deaf, f"{deaf} are to be stopped by a patch and were not told")
            self.given_up |= asking
            late = event.patch.basis not in ("", basis_of(state.about))
            promise(not late, "a patch that was overtaken is not applied")
        elif isinstance(event, m.RetryScheduled):
            self._before_retry(state, event)
        elif isinstance(event, m.QuestionRouted):
            self._before_way(state, event)
        elif isinstance(event, m.RunEnded):
            self._before_end(state, event)
        elif isinstance(event, m.QuestionAnswered):
            promise(event.id in self.asked, "only an open question is answered")
            if event.by == "timeout":
                expires_at_ms = self.asked[event.id].question.expires_at_ms
                promise(expires_at_ms is not None and expires_at_ms <= event.at_ms, "too early")

    def _before_start(self, state: State, event: m.AttemptStarted) -> None:
        name, one = event.step, state.steps[event.step]
        promise(one.step.kind != JOIN, "a join has no attempt")
        promise(name not in self.live, "one live attempt per step")
        promise((name, event.attempt) not in self.started, "an attempt starts once")
        promise(event.attempt == self.last.get(name, 0) + 1, "attempts count by one")
        promise(all(met(state, n) for n in one.step.needs), f"{name} started before its needs")
        promise(one.standing not in DONE, "a settled step does not start")
        promise(self.released[name], "a held or unreleased step does not start")
        promise(event.at_ms >= self.not_before.get(name, 0), "a backoff is honoured")
        promise(not self.paused, "nothing starts in a paused run")
        promise(not self.cancelling, "nothing starts in a cancelled run")
        promise(not self.ended, "an ended run starts nothing")
        promise(self.failed.get(name) is None, "a failed step starts again only by its ladder")
        for limit in one.step.uses:
            promise(not self.gone(limit), f"{name} started though {limit} has spent its budget")
            promise(limit not in self.closed, f"{name} started though {limit} crashes and crashes")

    def spent_of(self, limit: str) -> Counter[str]:
        """What the users of a limit have used: those that ended, and those that live so far."""
        found = Counter(self.used.get(limit, {}))
        found.subtract(self.before_it.get(limit, {}))
        for name, part in self.parts.items():
            if limit in self.held_units[name]:
                found.update({n: amount for n, amount in part.items() if n != "context_share"})
        return found

    def gone(self, limit: str) -> bool:
        """Whether the users of a limit have used all that they were granted."""
        used = self.spent_of(limit)
        return any(used[kind] >= most for kind, most in self.granted.get(limit, {}).items())

    def _before_retry(self, state: State, event: m.RetryScheduled) -> None:
        one, outcome = state.steps[event.step], self.failed.get(event.step)
        if event.rung < 0:
            rests = one.standing is Standing.READY and state.accounts.keys() & one.step.uses.keys()
            excused = (
                one.standing is Standing.BACKOFF
                or rests
                or (outcome is not None and outcome.failure is Failure.ACCOUNT)
            )
            promise(excused, "a retry that spends no rung is a person's or an account's")
            return
        rung = one.step.ladder[event.rung]
        promise(outcome is not None, "only a failed attempt spends a rung")
        promise(outcome.failure in rung.on, "a rung is for its failures")
        promise(outcome.failure is not Failure.ACCOUNT, "an account's limit spends no retry")
        self.spent[event.step, event.rung] += 1
        spent = self.spent[event.step, event.rung]
        promise(isinstance(rung, Retry | Swap), "only Retry and Swap schedule")
        if isinstance(rung, Retry):
            promise(spent <= rung.times, "retries are bounded")
            wait = min(rung.backoff_ms * 2 ** (spent - 1), rung.cap_ms)
            waited = event.retry_at_ms - event.at_ms
            promise(wait * 3 // 4 <= waited <= wait * 5 // 4, "the backoff doubles up to its cap")
        else:
            promise(spent == 1, "a swap is tried once")

    def _before_end(self, state: State, event: m.RunEnded) -> None:
        promise(not self.live, "a run ends when nothing lives")
        promise(not self.ended, "a run that has ended does not end again")
        if self.cancelling:
            promise(event.standing == "cancelled", "a cancelled run ends as cancelled")
            return
        still = [n for n, one in state.steps.items() if one.standing not in CLOSED]
        promise(not still, f"a run ends when all has closed, but {still} has not")
        promise(not self.asked, "a run does not end while a question is open")
        taken = {n.step for one in state.steps.values() for n in one.step.needs if n.on == FAILED}
        bad = [n for n, one in state.steps.items() if one.standing is Standing.FAILED]
        failed = any(name not in taken and not self._answers(name) for name in bad)
        promise(event.standing == ("failed" if failed else "succeeded"), "the run's result is true")

    def _answers(self, name: str) -> bool:
        """Whether a step was put to answer a question."""
        return any(name in event.steps for way in self.ways.values() for event in way)

    def _able(self, state: State, asked: m.QuestionRaised) -> list[Route]:
        """The routes that a question may go to next, those that could not start now left out."""
        question, been = asked.question, [one.whom for one in self.ways.get(asked.id, [])]
        told = (question.topic, question.kind, str(question.about.get("severity", "")))
        signed = question.kind in ("approval", "approve", "budget", "quarantine")
        signed = signed or question.then is m.Then.REPLY
        able = []
        for route in self.routes:
            wanted = (route.topic, route.kind, route.severity)
            fits = all(one in ("", other) for one, other in zip(wanted, told, strict=True))
            whole = all(need.step != "nobody" for step in route.steps for need in step.needs)
            units = [one for step in route.steps for one in step.uses.items()]
            whole = whole and all(
                most <= state.limits[name] and not self.gone(name) and name not in self.closed
                for name, most in units
            )
            named = question.whom == route.whom
            if been or (question.whom == "person" and any(wanted)):
                named = any(wanted)
            if fits and whole and named and route.whom not in been and (route.kind or not signed):
                able.append(route)
        return able

    def _before_way(self, state: State, event: m.QuestionRouted) -> None:
        promise(event.id in self.asked, "only an open question is sent on")
        way = self.ways.get(event.id, [])
        promise(
            event.whom == "person" or event.whom not in [one.whom for one in way],
            "nobody is asked twice",
        )
        able = self._able(state, self.asked[event.id])
        whom = able[0].whom if able else "person"
        promise(event.whom == whom, f"{event.id} goes to {event.whom}, not to {whom}")

    # --- after ----------------------------------------------------------------------------------

    def after(self, state: State, event: m.Event) -> None:
        """Checks what `state` has become by an event."""
        self._note(state, event)
        self._standings(state, event)
        self._counts(state)
        self._open(state)

    def _note(self, state: State, event: m.Event) -> None:  # noqa: C901  a case an event
        match event:
            case m.RunStarted():
                self.routes = event.plan.routes
                self.granted = {n: dict(told) for n, told in event.plan.budgets.items()}
                self.amounts = {n: dict(told) for n, told in event.plan.budgets.items()}
                self.released = {n: s.released for n, s in event.plan.steps.items()}
                self.declared = dict(self.released)
            case m.PlanRevised():
                self._note_rework(state, event.patch)
                self._whole(state, event.patch)
                for name in event.patch.drop:
                    self.released.pop(name, None)
                    self.declared.pop(name, None)
                    promise(name not in self.last, "a step that was tried is not dropped")
                for put in event.patch.put:
                    if self.declared.get(put.id) != put.released:
                        held = name_held(state, put.id)
                        self.released[put.id] = put.released and not held
                    self.declared[put.id] = put.released
                for limit, told in event.patch.budgets.items():
                    self._regrant(limit, told)
                if event.patch.routes is not None:
                    self.routes = event.patch.routes
                promise(event.patch.loops in (None, state.loops), "what is a loop is taken up")
                if state.unsettled:
                    self.ended = ""
            case m.StepReleased():
                self.released[event.step] = True
            case m.StepHeld():
                self.released[event.step] = False
            case m.RunPaused() | m.RunResumed():
                self.paused = isinstance(event, m.RunPaused)
            case m.CancelRequested():
                self.cancelling = True
            case m.RunEnded():
                self.ended = event.standing
            case m.StopRequested():
                promise(self.live.get(event.step) == event.attempt, "only what lives is stopped")
                self.stopping[event.step] = event.why
                self.dismissed |= {event.step} if event.why == "skip" else set()
            case m.AttemptStarted():
                self._note_start(state, event)
            case m.AttemptEnded():
                self._note_end(state, event)
            case m.ParamsSwapped():
                rung, one = state.steps[event.step].step.ladder[event.rung], state.steps[event.step]
                told = rung.uses is None or one.step.uses == rung.uses
                promise(told, "who takes a step over uses what is its own")
            case m.RetryScheduled():
                self.not_before[event.step] = event.retry_at_ms
                self.failed[event.step] = None
                if event.rung < 0 and event.retry_at_ms <= event.at_ms:
                    self._open_again(state.steps[event.step].step.uses)
            case m.QuestionRaised():
                promise(event.id not in self.ids, "a question's id is used once")
                waits = event.question.then is m.Then.REPLY
                promise(not waits or event.step in self.live, "who waits for a reply lives")
                self.ids.add(event.id)
                ring = event.question.about.get("circle")
                known = [one.question.about.get("circle") for one in self.asked.values()]
                promise(not ring or ring not in known, "a circle is asked about once")
                self.asked[event.id] = event
                self.due = event.id if self._able(state, event) else ""
            case m.QuestionRouted():
                self.ways.setdefault(event.id, []).append(event)
                promise(state.questions[event.id].question.whom == event.whom, "it is theirs now")
            case m.QuestionAnswered():
                question = self.asked.pop(event.id)
                refused = event.by == "timeout" or event.value in question.question.refusals
                if question.question.kind == "loop" and not refused:
                    self.closing |= {*question.question.about.get("rounds", ())} | {
                        i for i, q in self.asked.items()
                        if q.question.about.get("loop") == event.id
                    }  # fmt: skip
                limit = question.question.about.get("budget", "")
                if limit in self.granted and event.value == "raise":
                    for kind, amount in self.amounts[limit].items():
                        known = max(self.granted[limit][kind], self.spent_of(limit)[kind])
                        self.granted[limit][kind] = known + amount
                self.failed[question.step] = None
                if event.value == "retry":
                    self._open_again([question.question.about.get("quarantine", "")])
            case m.StepSettled():
                self.asked = {i: q for i, q in self.asked.items() if q.step != event.step}
                if state.unsettled:
                    self.ended = ""
            case m.NoteSent():
                promise(event.note not in self.notes, "a note's number is used once")
                self.notes.add(event.note)
            case m.AttemptProgressed():
                self.notes -= set(event.delivered)
                self._note_part(event)
            case _:
                pass

    def _note_rework(self, state: State, patch: Patch) -> None:
        for put in patch.put:
            task, _, number = put.id.partition("/work.")
            check = state.steps.get(f"{task}/check")
            if put.kind == "agent" and number.isdecimal() and check is not None:
                most = check.step.params["attempts"]
                promise(int(number) <= most, f"{put.id} is more rework than {most} attempts")

    @staticmethod
    def _whole(state: State, patch: Patch) -> None:
        """Checks that a patch has come to be as it is, all of it."""
        half = [one.id for one in patch.put if state.steps[one.id].step != one]
        again = {one.id for one in patch.put}
        half += [name for name in patch.drop if name in state.steps and name not in again]
        for name, told in patch.needs.items():
            needs = state.steps[name].step.needs
            gone = any(need.step in told.remove and need not in told.add for need in needs)
            half += [name] if gone or not set(told.add) <= set(needs) else []
        promise(not half, f"a revision is applied whole: {half}")
        promise({**state.limits, **patch.limits} == state.limits, "limits are revised")
        promise({**state.about, **patch.about} == state.about, "what a plan is about is revised")

    def _note_part(self, event: m.AttemptProgressed) -> None:
        if event.usage:
            promise(self.live.get(event.step) == event.attempt, "only what lives uses more")
            known = self.parts.get(event.step, {})
            fell = [n for n, amount in event.usage.items()
                    if n != "context_share" and amount < known.get(n, 0)]  # fmt: skip
            promise(not fell, f"what a running attempt used of {fell} never falls")
            self.parts[event.step] = {**known, **event.usage}

    def _open_again(self, limits: Iterable[str]) -> None:
        """A person has a limit tried again: its crashes are forgotten, its question is closed."""
        opened = set(limits) - {""}
        self.closed -= opened
        self.crashes = [
            (at, step, tuple(n for n in blamed if n not in opened))
            for at, step, blamed in self.crashes
        ]
        about = {i: q.question.about.get("quarantine", "") for i, q in self.asked.items()}
        self.asked = {i: q for i, q in self.asked.items() if about[i] not in opened}

    def _note_crash(self, step: str, uses: dict[str, int], outcome: m.Outcome) -> None:
        if outcome.ending is m.Ending.SUCCEEDED or outcome.failure is Failure.TASK:
            self.crashes = [
                (at, other, tuple(n for n in blamed if n not in uses))
                for at, other, blamed in self.crashes
            ]
        if outcome.failure is not Failure.AGENT:
            return
        blames = tuple(n for n in outcome.blames if n in uses)
        self.crashes.append((self.at_ms, step, blames))
        for name in blames:
            recent = {other: at for at, other, blamed in self.crashes if name in blamed}
            steps = [other for other, at in recent.items() if at > self.at_ms - 600_000]
            if len(steps) >= 3 and name not in self.closed:
                self.closed.add(name)
                self.crashes = [
                    (at, other, tuple(n for n in blamed if n not in blames))
                    for at, other, blamed in self.crashes
                ]
                return

    def _regrant(self, limit: str, told: dict[str, float]) -> None:
        if limit not in self.granted:
            self.before_it[limit] = self.spent_of(limit)
        extra = Counter(self.granted.get(limit, {}))
        extra.subtract(self.amounts.get(limit, {}))
        self.granted[limit] = {kind: amount + extra[kind] for kind, amount in told.items()}
        self.amounts[limit] = dict(told)
        if not self.gone(limit):
            about = {i: q.question.about.get("budget") for i, q in self.asked.items()}
            self.asked = {i: q for i, q in self.asked.items() if about[i] != limit}

    def _note_start(self, state: State, event: m.AttemptStarted) -> None:
        self.live[event.step] = self.last[event.step] = event.attempt
        self.started.add((event.step, event.attempt))
        self.held_units[event.step] = dict(state.steps[event.step].step.uses)
        self.stopping.pop(event.step, None)
        self.not_before.pop(event.step, None)

    def _note_end(self, state: State, event: m.AttemptEnded) -> None:
        name, outcome = event.step, event.outcome
        taken = {**self.parts.pop(name, {}), **outcome.usage}
        taken.pop("context_share", None)
        for limit in self.held_units[name]:
            if limit in self.granted:
                self.used.setdefault(limit, Counter()).update(taken)
        if name not in self.stopping:
            self._note_crash(name, self.held_units[name], outcome)
        del self.live[name], self.held_units[name]
        stopped = self.stopping.get(name)
        self.asked = {
            i: q
            for i, q in self.asked.items()
            if q.step != name or q.question.then is not m.Then.REPLY
        }
        if outcome.ending is m.Ending.SUCCEEDED:
            self.asked = {i: q for i, q in self.asked.items() if q.step != name}
            promise(state.steps[name].standing is Standing.SUCCEEDED, "success is success")
            promise(state.steps[name].output == outcome.output, "an output is kept")
        elif outcome.ending is m.Ending.FAILED and not stopped:
            self.failed[name] = outcome
        elif outcome.ending is m.Ending.DEFERRED:
            if outcome.until_ms and state.steps[name].standing is Standing.BACKOFF:
                self.not_before[name] = outcome.until_ms
            if outcome.hold:
                self.released[name] = False
        one = state.steps[name]
        allowed = one.step.ladder
        tries = 1 + sum(r.times for r in allowed if isinstance(r, Retry)) + len(allowed)
        asks = any(isinstance(rung, Ask) for rung in allowed)
        promise(asks or one.tries <= tries, "task failures are bounded by the ladder")

    def _standings(self, state: State, event: m.Event) -> None:
        for name, one in state.steps.items():
            old = self.standings.get(name, Standing.WAITING)
            if old in DONE:
                promise(one.standing is old, f"{name} was {old} and is {one.standing}")
            if one.step.kind == JOIN and one.standing is Standing.SUCCEEDED and old not in DONE:
                closed = all(met(state, need) for need in one.step.needs)
                promise(closed, f"join {name} settled before its needs")
            if one.standing in (Standing.WAITING, Standing.READY, Standing.UNREACHED):
                verdicts = [met(state, need) for need in one.step.needs]
                open_join = one.step.kind == JOIN and None in verdicts
                if False in verdicts and not open_join:
                    due = Standing.UNREACHED
                elif None in verdicts:
                    due = Standing.WAITING
                else:
                    due = Standing.READY
                promise(one.standing is due, f"{name} is {one.standing}, its needs say {due}")
                promise(
                    one.step.kind != JOIN or due is not Standing.READY,
                    f"join {name} did not settle",
                )
            if old is Standing.BACKOFF and one.standing in (Standing.WAITING, Standing.UNREACHED):
                self.not_before.pop(name, None)  # a patch gave it needs to wait for instead
        self.standings = {name: one.standing for name, one in state.steps.items()}

    def _counts(self, state: State) -> None:
        ready: dict[object, list[tuple[int, str]]] = {}
        edges: dict[str, list[tuple[str, str]]] = {}
        for name, one in state.steps.items():
            verdicts = [met(state, need) for need in one.step.needs]
            promise(one.unmet == verdicts.count(None), f"unmet of {name} is a recount")
            promise(one.barred == verdicts.count(False), f"barred of {name} is a recount")
            promise((one.released and not one.held) == self.released[name], f"release of {name}")
            promise(
                (name in state.running) == (one.standing is Standing.RUNNING), "running is true"
            )
            for need in one.step.needs:
                edges.setdefault(need.step, []).append((name, need.on))
            if one.standing is Standing.READY and one.may_start:
                uses = tuple(sorted(one.step.uses.items()))
                ready.setdefault(uses, []).append((-one.tail_ms, name))
            if one.standing is Standing.BACKOFF:
                promise(name in state.alarms, f"{name} backs off without an alarm")
        for steps in (*ready.values(), *edges.values()):
            steps.sort()
        promise(state.ready == ready, f"the ready lists equal a scan: {state.ready} {ready}")
        promise(state.dependents == edges, "the edges equal a scan")
        promise(state.running == self.live, "what runs is what was started and has not ended")
        unsettled = sum(one.standing not in CLOSED for one in state.steps.values())
        promise(state.unsettled == unsettled, "unsettled is a recount")
        bad = {n for n, one in state.steps.items() if one.standing is Standing.FAILED}
        promise(state.failures == bad, "failures are a scan")
        for name, one in state.steps.items():
            if one.standing in DONE:
                continue
            behind = max((state.steps[n].tail_ms for n, _ in edges.get(name, ())), default=0)
            promise(one.tail_ms >= behind + one.step.span_ms, f"the tail of {name} is too short")

    def _open(self, state: State) -> None:
        promise(
            state.questions.keys() == self.asked.keys(), "open questions are those not answered"
        )
        promise(state.notes.keys() == self.notes, "notes are kept until they are delivered")
        for name in state.alarms:
            if name[0] == "?":
                promise(name[1:] in state.questions, "an alarm's question is open")
            else:
                promise(state.steps[name].standing is Standing.BACKOFF, "an alarm's step backs off")
        if state.ended:
            promise(not outstanding(state), "an ended run wants nothing of the world")
            promise(not wants(state, self.at_ms), "an ended run wants no grant")
            promise(next_wakeup(state, self.at_ms) is None, "an ended run wants no wakeup")
        wakeup = next_wakeup(state, self.at_ms)
        promise(wakeup is None or wakeup > self.at_ms, "a wakeup is strictly later")

    # --- at rest --------------------------------------------------------------------------------

    def at_rest(self, state: State, *, ticked: bool = False) -> None:
        """Checks that all consequences of a command were drawn."""
        promise(not self.closing & self.asked.keys(), "the answer of a loop is that of its rounds")
        self.closing.clear()
        if ticked:
            late = [name for name in due_alarms(state, state.at_ms) if name[0] == "?"]
            promise(not late, f"{late} expired and were not answered")
        promise(state.ended == self.ended, "an end is an event")
        left = [n for n in self.given_up if state.steps[n].standing is not Standing.FAILED]
        promise(not left, f"{left} asked how to go on, a patch said it, and they have not failed")
        for name in self.live if not (state.cancelling or state.ended) else ():
            for limit in self.held_units[name]:
                told = not self.gone(limit) or name in self.stopping
                promise(told, f"{name} goes on though {limit} has spent its budget")
        promise(self.closed == state.quarantined.keys(), "which crash loops are closed")
        promise(
            all(state.accounts.get(name, 0) > self.at_ms for name in self.closed),
            "what crashed too often rests",
        )
        if state.paused or state.cancelling or state.ended:
            promise(not (state.cancelling and not state.running and not state.ended), "it ends")
            return
        idle = [name for _, name in state.ready.get((), ())]
        promise(not idle, f"{idle} may start and need no grant")
        promise(
            state.unsettled or state.questions or state.ended, "a run with nothing to do has ended"
        )
        self._ways_go_on(state)
        open_ = [q.question.about.get("budget") for q in self.asked.values()]
        for limit in self.granted:
            promise((limit in state.shut) == self.gone(limit), f"whether {limit} is spent")
            promise(open_.count(limit) <= 1, f"the budget of {limit} is asked about once")
        told = Counter(q.question.about.get("quarantine", "") for q in self.asked.values())
        promise(all(told[n] <= 1 for n in self.closed), "a crash loop is asked about once")
        for name, one in state.steps.items():
            would = one.standing in (Standing.READY, Standing.BACKOFF) and one.may_start
            for limit in one.step.uses if would else ():
                budget = state.budgets.get(limit)
                quiet = budget is None or not self.gone(limit) or budget.asked not in self.ids
                promise(
                    not self.gone(limit) or not quiet, f"{name} waits for {limit}, nobody is asked"
                )
                asked = state.quarantined.get(limit)
                promise(asked != "", f"{name} waits for {limit}, which crashes; nobody is asked")
            promise(one.standing is not Standing.FAILING, f"{name} is left failing")
            if one.failure is Failure.ACCOUNT and name not in self.stopping:
                going_on = one.standing not in (Standing.FAILED, Standing.ASKING)
                promise(going_on, f"{name} waits for its account and asks nobody")
            if one.standing is Standing.ASKING:
                own = [q for q in state.questions.values() if q.step == name]
                promise(
                    any(q.question.then is not m.Then.NOTE for q in own),
                    f"{name} waits for an answer that nobody was asked for",
                )

    def _ways_go_on(self, state: State) -> None:
        """Checks that whoever was asked last is at work, and nobody else is."""
        for name, way in self.ways.items():
            standings = {s: state.steps[s].standing for s in way[-1].steps if s in state.steps}
            if name in self.asked and way[-1].steps:
                busy = any(standing not in CLOSED for standing in standings.values())
                promise(busy, f"{name} waits for {way[-1].whom}, for whom nobody works")
            steps = [s for event in way for s in event.steps]
            if name in self.asked:
                steps = [s for s in steps if s not in way[-1].steps]
            for step in steps:
                one = state.steps.get(step)
                if one is None or not one.step.uses or one.standing in CLOSED:
                    continue
                if one.step.params.get("question") != name:
                    continue  # somebody has put another step in its place
                promise(step in self.dismissed, f"{step} works for nobody")


def name_held(state: State, name: str) -> bool:
    """Whether a step is held by a person."""
    return name in state.steps and state.steps[name].held


def same_questions(
    events: list[m.Event], state: State, command: m.RaiseQuestion
) -> tuple[tuple[str, ...], str]:
    """Which earlier questions are the same as a new one and led to nothing, and what a loop of them
    has led to that is still open: found by looking at all, again and again.
    """
    asked = [one for one in events if isinstance(one, m.QuestionRaised)]
    rounds = {one.id: one.question for one in asked if is_round(one.question, one.step)}
    if not is_round(command.question, command.step) or command.step not in state.steps:
        return (), ""
    led = {name: one.about["loop"] for name, one in rounds.items() if one.about.get("loop")}
    for event in events:
        found = []
        if isinstance(event, m.QuestionRaised) and event.id not in rounds:
            found = [(event.id, event.question.about.get("rounds", ()))]
        elif isinstance(event, m.PlanRevised):
            found = [(put.id, put.params.get("rounds", ())) for put in event.patch.put]
        led |= {name: follow for follow, names in found for name in names}
    like, todo = set(), [command.question]
    while todo:
        one = todo.pop()
        near = [n for n, other in rounds.items() if n not in like and _is_same(one, other)]
        like |= set(near)
        todo += [rounds[name] for name in near]
    follows = {led[name] for name in like if name in led}
    still = [name for name in follows if name in state.questions or (
        name in state.steps and state.steps[name].standing not in CLOSED)]  # fmt: skip
    fresh = tuple(name for name in rounds if name in like and name not in led)
    return ((), command.question.about["loop"]) if still else (fresh, "")


def _is_same(one: m.Question, other: m.Question) -> bool:
    words = [frozenset(question.message.lower().strip("?").split()) for question in (one, other)]
    said = words[0] == words[1] or all("colour" in told for told in words)
    return said or (one.topic != "" and one.topic == other.topic)


def _is_as_before(state: State, event: m.AttemptEnded) -> bool:
    """Whether a check found in the work of a round just what it had found in that of the round
    before, at the same commit: the plainest loop. Where a gate had a task checked again between
    the two, nothing is said.
    """
    step, found = state.steps[event.step].step, event.outcome.evidence
    if not step.params.get("spent") or f"{step.whole}/check.11" in state.steps:
        return False
    number = int(step.params["round"]) - 1
    last = state.known(f"{step.whole}/check" + (f".{number}" if number > 1 else ""))
    told = [(one.get("commit"), one.get("deliverables")) for one in (found, last.evidence)]
    red = [(sha, [(i["text"], i["why"]) for i in rows or () if not i["met"]]) for sha, rows in told]
    return red[0] == red[1] and bool(red[0][1]) and last.settled


def loops_are_left(
    known: list[m.Event], command: m.RaiseQuestion, events: tuple[m.Event, ...], loops: Loops
) -> None:
    """Checks that a question is followed by what leads out of its loop, when there are enough
    rounds, and by nothing else.
    """
    raised = [one for one in events if isinstance(one, m.QuestionRaised)]
    revised = [one for one in events if isinstance(one, m.PlanRevised) and one.by == raised[0].id]
    own = [one for one in revised if any("rounds" in put.params for put in one.patch.put)]
    due = len(command.like) + 1 >= loops.after and command.question.then is m.Then.NOTE
    asked = [one for one in raised[1:] if one.question.kind == "loop"]
    promise(len(asked) + len(own) == due, "a loop is left once, and only a loop")
    rounds = [*command.like, raised[0].id]
    told = [one.question.about["rounds"] for one in asked]
    told += [put.params["rounds"] for one in own for put in one.patch.put]
    promise(all(one == rounds for one in told), "what leads out of a loop names its rounds")


def limits_hold(observers: list[Observer], limits: dict[str, int]) -> None:
    """Checks the limits over all runs, by the units that attempts took when they started; a rate
    bounds starts, and what was started in one minute may run beside what is in the next.
    """
    used: Counter[str] = Counter()
    for one in observers:
        for units in one.held_units.values():
            used.update(units)
    for name, most in limits.items():
        if name.endswith(PER_MINUTE):
            continue
        promise(used[name] <= most, f"{used[name]} of {name!r} are used, {most} are there")
