"""Planted bugs: each changes one line of the kernel, and the simulator must find it.

A mutant swaps the code of a function in place, so that every table and import sees the bug.
One that survives means that a checker is missing.
"""

# ruff: noqa: E501  a planted line stands as it does in the kernel
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import dedent

from fleet import codec
from fleet.core import decide, evolve, graph, ledger, patches, quarantine, state
from fleet.core.decide import attempts, budgets, draft, pace, routing, talk
from fleet.files.changes import likeness, rounds, waiting
from simulation.world import World


@dataclass(frozen=True)
class Mutant:
    name: str
    function: Callable[..., object]
    old: str
    new: str
    first: int = 0
    """The seed from which on it is looked for: not far from one that is known to find it."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The kernel with this bug in it."""
        source = dedent(inspect.getsource(self.function))
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} is not there once"
        room: dict[str, object] = {}
        head = "from __future__ import annotations\n"
        text = head + source.replace(self.old, self.new)
        exec(compile(text, self.name, "exec"), self.function.__globals__, room)
        kept = self.function.__code__
        self.function.__code__ = room[self.function.__name__].__code__
        try:
            yield
        finally:
            self.function.__code__ = kept


def caught_by(mutant: Mutant, seeds: int) -> tuple[int, str] | None:
    """Returns the first seed that finds a mutant, with what it says; None when none does."""
    with mutant.planted():
        for seed in range(mutant.first, mutant.first + seeds):
            try:
                World(seed).play()
            except Exception as error:  # noqa: BLE001  however it shows
                return seed, f"{type(error).__name__}: {error}"
    return None


MUTANTS = [
    Mutant(
        "a stale attempt's report is accepted",
        attempts.report_outcome,
        "or one.attempt != command.attempt",
        "",
    ),
    Mutant("one open need is ignored", graph.due, "if one.unmet:", "if one.unmet > 1:"),
    Mutant(
        "a join settles early",
        graph.due,
        "if one.unmet:",
        "if one.unmet and one.step.kind != JOIN:",
    ),
    Mutant("unreached is not carried on", graph.due, "if one.barred and", "if one.barred > 1 and"),
    Mutant(
        "a limit is off by one",
        ledger._fits,
        "> ledger.limits[name]:",
        "> ledger.limits[name] + 1:",
    ),
    Mutant(
        "a granted step's units are not counted",
        ledger.grant,
        "used[name] = used.get(name, 0) + units",
        "pass",
    ),
    Mutant("a resting account is used", ledger._fits, "> now_ms:\n", "> now_ms + 10**9:\n"),
    Mutant(
        "an account's rest is forgotten by a crash",
        ledger.ledger_of,
        "ledger.pause(account, until_ms)",
        "pass",
    ),
    Mutant(
        "an outcome's patch comes after it",
        attempts.report_outcome,
        "            apply(draft, patch, command.step)\n            outcome, revised = replace(outcome, patch=None), True\n    draft.emit(\n        m.AttemptEnded,\n        step=command.step,\n        attempt=command.attempt,\n        outcome=outcome,\n        by=command.by,\n    )\n",
        "            outcome, revised = replace(outcome, patch=None), True\n    draft.emit(m.AttemptEnded, step=command.step, attempt=command.attempt, outcome=outcome)\n    if revised:\n        apply(draft, patch, command.step)\n",
    ),
    Mutant(
        "a retry is not counted",
        evolve._retry_scheduled,
        "spent.get(event.rung, 0) + 1",
        "min(1, spent.get(event.rung, 0))",
    ),
    Mutant("a backoff does not double", attempts._climb, "<< min(spent, 30)", "<< 0"),
    Mutant("a backoff is not waited for", evolve._back_off, "until_ms > at_ms and", "False and"),
    Mutant(
        "what was skipped counts as failed",
        state.verdict,
        "(Standing.SUCCEEDED, Standing.SKIPPED)",
        "(Standing.SUCCEEDED,)",
    ),
    Mutant("a cancelled run starts steps", draft.start, "or state.cancelling ", "", first=382),
    Mutant("a paused run starts steps", draft.start, "state.paused or ", ""),
    Mutant(
        "a resumed run starts nothing",
        pace.resume_run,
        "start(draft, draft.step(name))",
        "pass",
    ),
    Mutant(
        "one grant starts a step twice",
        draft.start,
        "one.standing in (Standing.READY, Standing.BACKOFF) and one.may_start",
        "one.may_start",
    ),
    Mutant(
        "a run ends with work left",
        decide._draw_consequences,
        "not state.unsettled and not state.questions",
        "not state.questions",
    ),
    Mutant(
        "a run ends with a question open",
        decide._draw_consequences,
        "not state.unsettled and not state.questions",
        "not state.unsettled", first=116),
    Mutant(
        "a settled step's question stays open",
        evolve._close_questions,
        "del state.questions[question.id]",
        "pass",
    ),
    Mutant(
        "an answered question still expires",
        evolve._answered,
        'state.alarms.pop(f"?{event.id}", None)',
        "pass",
    ),
    Mutant("an expired question is not answered", attempts.ring, "asked is None", "True", first=71),
    Mutant(
        "decide changes the state",
        state.State.fork,
        "questions=dict(self.questions)",
        "questions=self.questions",
    ),
    Mutant("the twin forgets a counter", state.State.fork, "asked=self.asked", "asked=0"),
    Mutant("a revised step is not recounted", graph.revise, "_recount(state, one)", "pass"),
    Mutant("tails are not lengthened", graph.revise, "_lengthen(state, touched)", "pass"),
    Mutant(
        "a step that is put again counts its attempts anew",
        graph._put,
        "one.step = step",
        "one.step, one.attempt = step, 0",
    ),
    Mutant("a tried step may be dropped", patches._untouchable, "one.attempt and", "False and"),
    Mutant("a settled step may be revised", patches._untouchable, "one.standing not in UNSTARTED", "False"),
    Mutant("a hold is forgotten", evolve._held, "= True, event.reason", "= False, event.reason"),
    Mutant(
        "what was stopped counts as failed",
        evolve._ended,
        "m.Ending.FAILED and not one.stopping",
        "m.Ending.FAILED",
    ),
    Mutant("an account's limit spends a rung", attempts._climb, "failure is Failure.ACCOUNT", "False"),
    Mutant("time runs backwards", draft.Draft.__init__, "max(at_ms, state.at_ms)", "at_ms"),
    Mutant("a snapshot forgets the alarms", codec.dump_state, "name not in _DERIVED and", 'name not in (*_DERIVED, "alarms") and'),
    Mutant("a snapshot forgets a hold", codec.load_state, "found = cast(", 'one.pop("held", None); found = cast('),
    Mutant("an event is lost on its way to the journal", codec._encode_fields, "found is not default and", 'name != "rung" and'),
    Mutant("a patch's own stop is not asked for", draft.apply, "if attempt is not None:", "if False:"),
    Mutant("who asked how to go on asks on, though a patch has said it", draft.apply, "if draft.step(name).standing is Standing.ASKING:", "if False:", first=57),
    Mutant("a patch that was overtaken is applied", patches.patch_problems, "if patch.basis and patch.basis != basis_of(state.about):", "if False:"),
    Mutant("a revision forgets what it is about", graph.revise, "state.about = {**state.about, **patch.about}", "pass"),
    Mutant("a revision moves the needs of none but the first", graph.revise, "for name, change in patch.needs.items():", "for name, change in list(patch.needs.items())[:1]:"),
    Mutant("nobody is asked", attempts.report_outcome, "m.Ending.ASKED and not why and", "m.Ending.ASKED and why and"),
    Mutant("a question outlives the session that waits for its answer", evolve._close_questions, "if of_the_attempt and question.question.then is not m.Then.REPLY:", "if of_the_attempt:"),
    Mutant("a spent budget keeps nothing back", state.wants, "closed = state.shut | state.quarantined.keys()", "closed = state.quarantined.keys()"),
    Mutant("nobody is asked about a budget", decide._draw_consequences, "if state.shut:", "if False:"),
    Mutant("a budget is asked about again and again", budgets.keep_to_budgets, "not budget.asked and", ""),
    Mutant("failed attempts cost nothing", evolve._ended, "_use(state, one, outcome.usage)", "_use(state, one, {} if outcome.failure else outcome.usage)"),
    Mutant("a raised budget stays shut", evolve._answered, 'event.value == "raise"', "False"),
    Mutant("a snapshot forgets that a budget is spent", codec.load_state, "if budget.gone", "if False"),
    Mutant("the twin forgets that a budget is spent", state.State.fork, "shut=set(self.shut)", "shut=set()"),
    Mutant("a step that backs off is not asked about", budgets._holds_back, "(*origin.alarms, *state.alarms)", "()"),
    Mutant("an edit of a budget forgets what was spent", graph.revise, "state.budgets.get(name), amounts", "None, amounts", first=84),
    Mutant("an account's pause is forgotten by a retry of its own", evolve._retry_scheduled, "elif event.retry_at_ms <= event.at_ms:", "else:"),
    Mutant("a launch rate is off by one", ledger._fits, "begun[name] >= rate.starts", "begun[name] > rate.starts"),
    Mutant("steps granted together do not count to a rate", ledger.grant, "begun[name] += 1", "pass", first=785),
    Mutant("a crash forgets recent launches", ledger.ledger_of, "in state.starts.items()", "in ()"),
    Mutant("a launch is not booked", ledger.Ledger.take, "[*recent, at_ms]", "recent", first=60),
    Mutant("a rate lets nothing more start for ever", ledger.next_opening, "ledger.rates.items()", "()"),
    Mutant("what a running attempt used is counted twice", evolve._use, "still_untold(one.live, usage)", "usage", first=148),
    Mutant("an attempt goes on from what the one before it used", evolve._ended, "one.live = {}", "pass"),
    Mutant("what a running attempt uses may fall", attempts._new_usage, "amount > one.live.get(name, 0)", "amount != one.live.get(name)"),
    Mutant("what runs of a spent budget goes on", budgets.keep_to_budgets, 'request_stop(draft, step, "budget")', "pass"),
    Mutant("a crash loop is never closed", quarantine.note_ending, ">= CRASHED_STEPS", "> 10**6"),
    Mutant("one step alone is a crash loop", quarantine.note_ending, "len(state.crashes[name]) >= CRASHED_STEPS", "one.tries + one.attempt >= CRASHED_STEPS"),
    Mutant("an attempt that worked does not end the count of crashes", quarantine.note_ending, "state.crashes.pop(name, None)", "pass", first=225),
    Mutant("a crash counts for ever", quarantine.note_ending, "at > at_ms - WINDOW_MS", "True", first=250),
    Mutant("what is closed for its crashes starts", state.wants, "closed = state.shut | state.quarantined.keys()", "closed = state.shut", first=322),
    Mutant("nobody is asked about a crash loop", decide._draw_consequences, "if state.quarantined:", "if False:", first=52),
    Mutant("a crash loop is asked about again and again", budgets.ask_about_quarantines, "not state.quarantined[name] and", "", first=52),
    Mutant("a quarantine outlives its retry", quarantine.reopen, "state.accounts.pop(name, None)", "pass", first=1252),
    Mutant("a lifted quarantine's question stays open", quarantine.reopen, "state.questions.pop(asked, None)", "pass", first=1252),
    Mutant("a snapshot forgets a quarantine", codec.dump_state, "name not in _DERIVED and", 'name not in (*_DERIVED, "quarantined") and', first=1175),
    Mutant("who takes a step over uses what was used before", evolve._swapped, "event.uses is None", "True"),
    Mutant("a question whose time is up waits on", attempts.ring, 'climb(draft, asked, "its time was up")', "pass"),
    Mutant("a question is answered where it should climb", attempts.ring, "expires_at_ms is not None and expires_at_ms <= draft.at_ms", "True"),
    Mutant("a question waits for those who have given up", routing.attend, "climb(draft, asked, ", "str("),
    Mutant("an answer that nobody waits for is worked at", routing.attend, "_dismiss(draft, before[name])", "pass"),
    Mutant("who is passed over works on", routing.climb, "_dismiss(draft, asked)", "pass"),
    Mutant("a question goes round in circles", routing._fits, "route.whom in asked.passed or not fits", "not fits"),
    Mutant("a topic is passed over", routing._fits, "route.whom in asked.passed or not fits", "route.whom in asked.passed"),
    Mutant("an agent signs what is a person's", routing._fits, "not route.kind and", "False and"),
    Mutant("who is named is not asked", routing._fits, "return question.whom == route.whom or (any(wanted) and question.whom == PERSON)", "return any(wanted)"),
    Mutant("the second answer takes the steps of the first", routing._steps, "if asked.passed else", "if False else", first=89),
    Mutant("a failed answer fails the run", decide._result, "not answers and", ""),
    Mutant("the twin forgets the routes", state.State.fork, "routes=self.routes", "routes=()"),
    Mutant("a snapshot forgets the routes", codec.load_state, '_each(_of(Route))(plain.get("routes", ()))', "()"),
    Mutant("new routes are not taken up", graph.revise, "state.routes if patch.routes is None else patch.routes", "state.routes"),
    Mutant("a question that is sent on keeps its time", evolve._keep_alarm, 'state.alarms.pop(f"?{asked.id}", None)', "pass"),
    Mutant("a loop is seen a round too late", talk.raise_question, "len(command.like) + 1 >=", "len(command.like) >="),
    Mutant("a loop is left though it waits for its answer", talk.raise_question, "if then is m.Then.NOTE and", "if"),
    Mutant("the rounds of a loop are not told", talk._leave_loop, '{"rounds": list(rounds)}', '{"rounds": list(rounds[1:])}'),
    Mutant("a loop's change and its question come together", talk._leave_loop, "return apply(draft, patch, rounds[-1])", "apply(draft, patch, rounds[-1])"),
    Mutant("the answer of a loop is nobody else's", talk.answer, "_rounds_of(draft, asked) if ends else []", "[]"),
    Mutant("a loop that is left as it is answers its rounds", talk.answer, 'and by != "timeout" and value not in question.refusals', "", first=343),
    Mutant("another loop is not taken up", graph.revise, "patch.loops or state.loops", "state.loops"),
    Mutant("the twin forgets what a loop is", state.State.fork, "loops=self.loops", "loops=Loops()"),
    Mutant("a snapshot forgets what a loop is", codec.load_state, '_of(Loops)(plain.get("loops", {}))', "Loops()"),
    Mutant("a round leads out of two loops", likeness.Likeness.look, "if name not in self.led_to]", "]", first=247),
    Mutant("a loop is left while it is asked about", likeness.Likeness.look, "((), still) if still else", "", first=108),
    Mutant("questions of one topic are not the same", likeness.Likeness.add, "if topic:", "if False:"),
    Mutant("a circle is asked about again and again", waiting.about_circle, "not tasks or _is_known(state, tasks)", "not tasks", first=200),
    Mutant("rework goes on in a loop", rounds.loop_at, "loop_in(_comparable(rounds), after)", "None"),
    Mutant("a delivered note is sent again and again", evolve._progressed, "state.notes.pop(number, None)", "pass"),
]  # fmt: skip
