"""Tasks and phases as a run's steps show them: which state, which facts, what they wait for.

A task is read from the steps of its composite (`T/worktree`, `T/work`, `T/check`, later rounds, and
the join `T`); a phase from its gates and its merge. Four facts stay apart: reported, verified,
accepted, merged. What the world shows (heads, ports, processes) is handed in; nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from fleet.core.plan import JOIN, NEVER, PER_MINUTE, Step
from fleet.core.spending import add_usage
from fleet.core.state import CLOSED, Standing, State, StepState

STATES = (
    "waiting", "ready", "held", "starting", "working", "needs-you", "checking", "verified",
    "accepted", "merged", "failed", "stopped", "skipped", "unreached", "lost",
)  # fmt: skip
"""Every state that a task can be in."""

LAST = 1 << 30
REMEDIES = ("adapt", "consult")
"""Kinds of steps that follow a task's failure, or a proof's: while one is open, it is not over."""

JUDGES = ("check", "gate", *REMEDIES)
"""Kinds of a task's steps that come when its work is done."""

_ORDER = ("worktree", "agent", *JUDGES)

LINE = ("waiting", "ready", "starting", "working", "checking", "verified", "accepted", "merged")
"""States in the order in which a task that fares well comes by them."""


@dataclass(slots=True)
class TaskSteps:
    """The steps of one task; rounds in their order."""

    join: StepState
    worktree: StepState | None = None
    renewals: list[StepState] = field(default_factory=list)
    """The worktree once more, in later rounds of a verifier."""
    works: list[StepState] = field(default_factory=list)
    checks: list[StepState] = field(default_factory=list)
    judges: list[StepState] = field(default_factory=list)
    """The agents among its checks, at work."""
    remedies: list[StepState] = field(default_factory=list)
    """What follows its failure, or what a proof disproves: a changed plan, a word of somebody."""
    gates: list[StepState] = field(default_factory=list)
    """Of a checkpoint: who signs for what its checks have found; the last one counts."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the plan says of the task."""
        facts: Any = self.join.step.params["task"]
        return facts  # type: ignore[no-any-return]

    @property
    def is_checkpoint(self) -> bool:
        """Whether nobody works on it: it judges what others did, and is signed for."""
        return self.facts.get("kind") == "checkpoint"

    @property
    def is_waived(self) -> bool:
        """Whether a person does without it, or without the last word of its checks or gates."""
        last = (self.join, *self.checks[-1:], *self.gates[-1:])
        return any(one.standing is Standing.SKIPPED for one in last)

    @property
    def inner(self) -> list[StepState]:
        """All steps but the join, first to last."""
        first = [self.worktree] if self.worktree else []
        rounds = [*self.renewals, *self.works, *self.judges, *self.checks]
        rounds += [*self.gates, *self.remedies]
        return sorted([*first, *rounds], key=_place)

    @property
    def last_work(self) -> StepState | None:
        """The work step of the latest round that has been started, else the first."""
        started = [one for one in self.works if one.attempt]
        return started[-1] if started else (self.works[0] if self.works else None)

    @property
    def verified(self) -> Mapping[str, Any] | None:
        """The output of the latest check, when that check is the latest word and green."""
        begun = [one for one in self.checks if one.standing is not Standing.WAITING]
        last = begun[-1] if begun else None
        if last is None or last.standing is not Standing.SUCCEEDED or not last.output:
            return None
        return last.output  # type: ignore[return-value]

    @property
    def reported(self) -> bool:
        """Whether the latest attempt of the agent ended by saying that it is done."""
        work = self.last_work
        return work is not None and work.standing is Standing.SUCCEEDED

    @property
    def attempts(self) -> int:
        """How often an agent was started for the task, over all rounds."""
        return sum(one.attempt for one in self.works)

    @property
    def usage(self) -> dict[str, float]:
        """What all attempts at the task used, failed ones too, as far as their programs told."""
        total: dict[str, float] = {}
        for one in (*self.works, *self.judges):
            total = add_usage(total, one.usage)
        return total


def _place(one: StepState) -> tuple[int, int]:
    """Returns where a step stands among those of its task: its round, then what it does there; what
    follows from them all comes last.
    """
    last = one.step.kind in REMEDIES
    number = LAST if last else int(str(one.step.params.get("round", 1)))
    return number, _ORDER.index(one.step.kind)


@dataclass(slots=True)
class PhaseSteps:
    """The steps of one phase; the last gate is the one that counts."""

    name: str
    gates: list[StepState] = field(default_factory=list)
    merge: StepState | None = None

    @property
    def pinned(self) -> Mapping[str, str]:
        """The commits that an open gate has pinned, by task; nothing when it is closed."""
        gate = self.gates[-1] if self.gates else None
        if gate is None or gate.standing is not Standing.SUCCEEDED:
            return {}
        output: Any = gate.output or {}
        return output.get("commits", {})  # type: ignore[no-any-return]

    @property
    def landed(self) -> Mapping[str, Any] | None:
        """What the merge put out, once it has landed."""
        if self.merge is None or self.merge.standing is not Standing.SUCCEEDED:
            return None
        return self.merge.output or {}  # type: ignore[return-value]

    def published(self, what: str) -> Mapping[str, Any] | None:
        """Returns where the phase went: `pushed`, {remote, ref, commit, tag}, or `pull_request`,
        {remote, ref, commit, number, url}; None for nowhere.
        """
        told: Any = self.merge.facts.get(what) if self.merge is not None else None
        return told or None

    @property
    def partly(self) -> Mapping[str, str]:
        """The commits that landed ahead of the phase, without those that broke it, by task."""
        told: Any = self.merge.facts.get("landed") if self.merge is not None else None
        return told or {}

    @property
    def overtaken(self) -> bool:
        """Whether what kept the last merge from landing was found of other commits than those that
        the gate has let through since.
        """
        ended = self.merge.ended_ms if self.merge is not None else None
        told: list[Any] = [
            one.output
            for one in self.gates
            if one.standing is Standing.SUCCEEDED and ended and (one.ended_ms or ended) < ended
        ]
        return bool(told and self.pinned) and dict(told[-1]["commits"]) != dict(self.pinned)

    @property
    def undone(self) -> Mapping[str, Any] | None:
        """What was taken back: {commit, before, reverted, text}; none once it has landed again."""
        if self.merge is None or self.landed is not None:
            return None
        found: Any = self.merge.step.params.get("undone")
        return found or None


def tasks_of(state: State) -> dict[str, TaskSteps]:
    """Returns every task's steps by task id, in plan order."""
    tasks = {
        name: TaskSteps(one)
        for name, one in state.steps.items()
        if one.step.kind == JOIN and "task" in one.step.params
    }
    for one in state.steps.values():
        task = tasks.get(one.step.whole)
        if task is None or one is task.join:
            continue
        if one.step.kind == "worktree" and task.worktree is not None:
            task.renewals.append(one)
        elif one.step.kind == "worktree":
            task.worktree = one
        elif one.step.kind == "agent" and "judged" in one.step.params:
            task.judges.append(one)
        elif one.step.kind == "agent":
            task.works.append(one)
        elif one.step.kind == "check":
            task.checks.append(one)
        elif one.step.kind == "gate":
            task.gates.append(one)
        elif one.step.kind in REMEDIES:
            task.remedies.append(one)
    return tasks


def phases_of(state: State) -> dict[str, PhaseSteps]:
    """Returns every phase's steps by phase id, in plan order."""
    phases: dict[str, PhaseSteps] = {}
    for one in state.steps.values():
        is_phase = one.step.whole and not one.step.params.get("checkpoint")
        if one.step.kind in ("gate", "merge") and is_phase:
            phase = phases.setdefault(one.step.whole, PhaseSteps(one.step.whole))
            if one.step.kind == "gate":
                phase.gates.append(one)
            else:
                phase.merge = one
    return phases


def phases_before(state: State, phase: PhaseSteps) -> list[str]:
    """Returns the phases that have to land before a phase, as far as they have not."""
    ends = [*phase.gates[-1:], *([phase.merge] if phase.merge else [])]
    needs = dict.fromkeys(need for one in ends for need in one.step.needs)
    found = [one for need in needs if (one := state.known(need.step)) is not None]
    return [
        one.step.whole
        for one in found
        if one.step.kind == "merge" and one.standing is not Standing.SUCCEEDED
    ]


def needing_people(state: State) -> frozenset[str]:
    """Returns the steps with an open question at whose answer no agent works."""
    return frozenset(asked.step for asked in state.questions.values() if not asked.steps)


def answering(state: State) -> dict[str, StepState]:
    """Returns the steps of agents at work, or about to be, at the answers to questions, by
    question.
    """
    found = [
        (name, state.known(step)) for name, asked in state.questions.items() for step in asked.steps
    ]
    return {name: one for name, one in found if one is not None and one.step.kind == "agent"}


def state_of(task: TaskSteps, phase: PhaseSteps | None, asked: AbstractSet[str]) -> str:
    """Returns the one word for a task; `asked` are steps with a question that needs a person."""
    join = task.join
    if join.standing is Standing.SKIPPED:
        return "skipped"
    name = join.step.id
    landed: Mapping[str, Any] = (phase.landed or {}).get("tasks", {}) if phase else {}
    if name in landed or (landed and task.is_checkpoint and phase and name in phase.pinned):
        return "merged"
    current = next((one for one in task.inner if one.standing not in CLOSED), None)
    if join.standing is Standing.SUCCEEDED and current is None:
        if task.verified is None:
            return "failed" if task.checks[-1].standing is Standing.FAILED else "skipped"
        if phase is not None and phase.partly.get(name) == task.verified["commit"]:
            return "merged"
        return "accepted" if phase is not None and name in phase.pinned else "verified"
    if current is None:
        failed = any(one.standing is Standing.FAILED for one in task.inner)
        return "failed" if failed else "unreached"
    return _unsettled(current, asked)


def _unsettled(one: StepState, asked: AbstractSet[str]) -> str:
    if one.step.id in asked:
        return "needs-you"
    if one.standing is Standing.ASKING:
        return "waiting"  # somebody is at work at the answer
    if one.held:
        return "stopped" if one.attempt else "held"
    kind = "check" if "judged" in one.step.params else one.step.kind
    if one.standing is Standing.RUNNING:
        if kind in JUDGES:
            return "checking"
        known = one.facts.get("session") and seen_of(one).get("turn") != "unknown"
        return "working" if kind == "agent" and known else "starting"
    if kind in JUDGES:
        return "checking"
    if one.standing is Standing.WAITING and kind == "worktree":
        return "waiting"
    if one.standing is Standing.BACKOFF or one.attempt:
        return "starting"
    return "ready"


def seen_of(work: StepState) -> Mapping[str, Any]:
    """Returns what was seen of the running attempt where its hooks tell nothing: {turn, source,
    at_ms, hint}; nothing when that is nothing.
    """
    told: Any = work.facts.get("seen") or {}
    running = work.standing is Standing.RUNNING and told.get("attempt") == work.attempt
    return told if running and told.get("turn") else {}


def waiting_for(
    state: State, task: TaskSteps, now_ms: int, hour_of: Callable[[int], str] = str
) -> list[str]:
    """Returns what a task that does not run waits for, each in words."""
    first = next((one for one in task.inner if one.standing not in CLOSED), None)
    if first is None or first.standing is Standing.RUNNING:
        return []
    waits = [
        name_of(state, need.step)
        for need in first.step.needs
        if (one := state.known(need.step)) is not None and one.standing not in CLOSED
    ]
    waits += [
        f"{asked.question.whom} to answer {asked.id}"
        for asked in state.questions.values()
        if asked.step == first.step.id and asked.steps
    ]
    if waits:
        return waits
    if first.held or state.paused:
        return ["resume"]
    if not first.released:
        return ["launch"]
    kept = kept_back(state, first, now_ms, hour_of)
    if kept:
        return kept
    if first.standing is Standing.BACKOFF:
        left_s = max(0, state.alarms.get(first.step.id, now_ms) - now_ms) // 1000
        return [f"retry in {left_s} s"]
    if first.standing is Standing.READY:
        return [_limit_in_words(name) for name in full_limits(state, first.step)]
    return []


def kept_back(
    state: State, one: StepState, now_ms: int, hour_of: Callable[[int], str] = str
) -> list[str]:
    """Returns the spent budgets, quarantines and resting accounts that keep a step from starting,
    in words.
    """
    if one.standing not in (Standing.BACKOFF, Standing.READY):
        return []
    uses = one.step.uses
    shut = [f"budget of {name.replace(':', ' ')}" for name in sorted(state.shut & uses.keys())]
    shut += [
        f"{n.replace(':', ' ')}, which crashes" for n in sorted(state.quarantined.keys() & uses)
    ]
    rests = {n: at for n in uses if NEVER > (at := state.accounts.get(n, 0)) > now_ms}
    return shut + [f"{n.replace(':', ' ')} until {hour_of(at)}" for n, at in rests.items()]


def full_limits(state: State, step: Step) -> list[str]:
    """Returns the limits of which a run leaves too little for a step; if none, those on starts,
    else all that it uses.

    None is full in the run when other runs hold the units, for limits are the fleet's.
    """
    rates = sorted(n for n in step.uses if n in state.limits and n.endswith(PER_MINUTE))
    limited = sorted(name for name in step.uses if name in state.limits and name not in rates)
    used = dict.fromkeys(limited, 0)
    for running in state.running:
        for name, units in state.steps[running].step.uses.items():
            if name in used:
                used[name] += units
    full = [name for name in limited if used[name] + step.uses[name] > state.limits[name]]
    return full or rates or limited


def _limit_in_words(name: str) -> str:
    if name.endswith(PER_MINUTE):
        return f"launch rate of {name.removesuffix(PER_MINUTE).replace(':', ' ')}"
    return f"limit {name}"


def name_of(state: State, step: str) -> str:
    """Returns what a step is called before people: its task, or its phase's gate or merge."""
    one = state.known(step)
    if one is None:
        return step
    is_own = one.step.whole and not one.step.params.get("checkpoint")
    if one.step.kind in ("gate", "merge", "undo") and is_own:
        return f"{one.step.whole} {one.step.kind}"
    return one.step.whole or step
