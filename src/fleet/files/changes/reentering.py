"""What a change of the plan means for tasks that have begun: the patch that takes them back behind
what was put before them.

    T works          T's work is stopped; X -> T/worktree.n -> T/work -> T/check
    T is checked     the check is stopped; X -> T/worktree.n -> T/work.n -> T/check
    T has failed     X -> T/worktree.n -> T/work.n -> T/check.n, in the place of what failed
    T is dropped     T/dropped, and what is open of T needs its failure: it is out of reach

A task keeps its branch and its own commits; the further worktree step merges in what has come
before it. `revise` says what has not begun; here stands only the rest. Nothing is applied here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleet.core.plan import FAILED, JOIN, Need, NeedsChange, Plan, Step, basis_of
from fleet.core.state import CLOSED, UNSTARTED, Standing, State, StepState
from fleet.errors import InvalidPlan, Problem
from fleet.files.changes.joining import launched, tasks_in
from fleet.files.changes.proposals import LEAVE, STOP, Change, Path
from fleet.files.changes.rejudging import last_check, latest, rounds_of
from fleet.files.changes.revise import OF_A_ROUND, Revision, revision_of
from fleet.files.changes.rework import Course, course_of, instead, recheck

STAGES = ("worktree", "agent", "check")


def adapted(state: State, before: Plan, after: Plan, change: Change) -> Revision:
    """Returns what a change means for a run; `before` and `after` are what the documents lower to
    without it and with it.

    Raises InvalidPlan with every reason why it cannot be.
    """
    found = revision_of(state, before, after)
    put = {step.id: step for step in found.patch.put}
    draft = _Draft(state, after, change, course_of(state), put, frozenset(found.patch.drop))
    for name in tasks_in(before):
        if not _has_begun(state, name):
            continue
        if name not in after.steps:
            draft.withdraw(name)
        else:
            tree = f"{name}/worktree"
            gained = [n for n in after.steps[tree].needs if n not in before.steps[tree].needs]
            if gained:
                draft.take_back(name, gained)
    draft.keep(found.kept)
    if draft.problems:
        raise InvalidPlan(list(dict.fromkeys(draft.problems)))
    patch = replace(
        found.patch,
        put=launched(state, before, after, draft.put.values()),
        needs={name: told for name, told in draft.needs.items() if name not in draft.put},
        stop=tuple(draft.stop),
        reason=str(change.told.get("reason") or "the plan was changed"),
        basis=basis_of(state.about),
    )
    return Revision(patch, (*found.lines, *draft.lines), ())


def begun_tasks(state: State) -> frozenset[str]:
    """Returns the tasks of a run that have begun."""
    return frozenset(
        name
        for name, one in state.steps.items()
        if one.step.kind == JOIN and "task" in one.step.params and _has_begun(state, name)
    )


def _has_begun(state: State, task: str) -> bool:
    one = state.known(f"{task}/worktree")
    return one is not None and one.standing not in UNSTARTED


@dataclass(slots=True)
class _Draft:
    """The patch in the making; of the tasks in `accounted` it is said what becomes of them."""

    state: State
    after: Plan
    change: Change
    course: Course
    put: dict[str, Step]
    dropped: frozenset[str]
    needs: dict[str, NeedsChange] = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    accounted: set[str] = field(default_factory=set)

    # --- a task gains a need ----------------------------------------------------------------------

    def take_back(self, task: str, gained: list[Need]) -> None:
        """Has a task that has begun go behind what it has come to need."""
        said = self.said(task)
        if said == LEAVE:
            self.accounted.add(task)
            return
        rounds = rounds_of(self.course, task)
        steps = sorted(rounds.values(), key=_place)
        found = [self.state.steps[step.id] for step in steps]
        front = next((one for one in found if one.standing not in CLOSED), None)
        join = self.state.steps[task]
        if front is None and not join.settled:
            front = next((one for one in reversed(found) if one.standing is Standing.FAILED), None)
        if front is None:
            self.say(task, f"task {task!r} has ended; nothing comes before it any more")
            return
        if not self.may_stop(task, front):
            return
        self.accounted.add(task)
        words = ", ".join(need.step for need in gained)
        self.lines.append(f"~ {task}: goes on behind {words}")
        _Return(self, task, rounds, front, gained).put()

    def said(self, task: str) -> str:
        """Returns what the change says of a task that has begun."""
        told: Mapping[str, str] = self.change.told.get("running") or {}
        return told.get(task, "")

    def may_stop(self, task: str, front: StepState) -> bool:
        """Returns whether a task may be taken back; names the key where it runs and nothing is
        said.
        """
        facts: Any = self.state.steps[task].step.params["task"]
        made = facts.get("kind", "task") != "task"  # a proof, a checkpoint: no change can name it
        if front.standing is not Standing.RUNNING or self.said(task) == STOP or made:
            return True
        hint = f"running: {{{task}: stop}}"
        if task in self.after.steps:
            hint += f", or running: {{{task}: leave}} to let it go on"
        self.say(task, f"task {task!r} is running, and nothing is said of that", hint)
        return False

    def say(self, task: str, text: str, hint: str = "") -> None:
        """Adds a problem where the change speaks of a task, which is enough to say of it."""
        self.accounted.add(task)
        self.problems.append(Problem(text, self.change.at(_path_to(self.change, task)), hint))

    def end(self, one: StepState, step: Step | None = None) -> None:
        """Has a step that runs or asks end; `step` is what it will be then."""
        if one.standing in (Standing.RUNNING, Standing.ASKING):
            self.stop.append(one.step.id)
            self.lines.append(f"! {one.step.id}: stopped")
        if step is not None:
            self.put[step.id] = replace(step, uses=one.step.uses)

    def move(self, name: str, told: NeedsChange) -> None:
        """Changes the needs of a step that stays, put by the same patch or not."""
        step = self.put.get(name)
        if step is None:
            known = self.needs.get(name, NeedsChange())
            add, remove = (*known.add, *told.add), (*known.remove, *told.remove)
            self.needs[name] = NeedsChange(add=add, remove=tuple(dict.fromkeys(remove)))
            return
        kept = [need for need in step.needs if need.step not in told.remove]
        added = [need for need in told.add if need not in kept]
        self.put[name] = replace(step, needs=(*kept, *added))

    # --- a task is dropped ------------------------------------------------------------------------

    def withdraw(self, task: str) -> None:
        """Puts what is open of a task that is dropped out of reach."""
        inner = [self.state.steps[name] for name in self.inner(task)]
        opened = [one for one in inner if one.standing not in CLOSED]
        busy = next((one for one in opened if one.standing is Standing.RUNNING), None)
        if self.state.steps[task].settled and not opened:
            if task in (self.change.told.get("drop") or ()):
                self.say(task, f"task {task!r} has ended; what is done is not dropped")
            self.accounted.add(task)  # else it goes with a task that it served
            return
        if busy is not None and not self.may_stop(task, busy):
            return
        self.accounted.add(task)
        # What has failed of it, or asks and fails by this, is taken up: the run goes on without it.
        lost = [one for one in inner if one.standing in (Standing.FAILED, Standing.ASKING)]
        needs = tuple(Need(step=one.step.id, on=FAILED) for one in lost)
        dropped = Step(id=f"{task}/dropped", kind=JOIN, needs=needs, whole=task)
        self.put[dropped.id] = dropped
        never = (Need(step=dropped.id, on=FAILED),)
        for one in opened:
            asks = one.standing is Standing.ASKING
            self.end(one, None if asks else replace(one.step, needs=never))
        for name in inner:
            self.let_go(task, name.step.id)
        self.let_go(task, task)
        self.lines.append(f"- {task}: stopped, and out of reach")

    def inner(self, task: str) -> list[str]:
        """Returns the steps of a task but its join, in all rounds, and those that serve them."""
        found: dict[str, None] = dict.fromkeys(rounds_of(self.course, task))
        todo = list(found)
        while todo:
            for name in self.course.behind(todo.pop()):
                one = self.state.steps[name]
                if one.step.whole == task and one.step.kind in STAGES and name not in found:
                    found[name] = None
                    todo.append(name)
        return list(found)

    def let_go(self, task: str, step: str) -> None:
        """Has what waits for a step of a dropped task wait for it no more."""
        for name in dict.fromkeys(self.course.behind(step)):
            one = self.state.steps[name]
            needs = self.put[name].needs if name in self.put else one.step.needs
            stays = name not in self.dropped and (one.standing in UNSTARTED or name in self.put)
            if stays and one.step.whole != task and any(need.step == step for need in needs):
                self.move(name, NeedsChange(remove=(step,)))

    # --- the rest ---------------------------------------------------------------------------------

    def keep(self, kept: tuple[str, ...]) -> None:
        """Says which steps have started and cannot take the change."""
        left = {
            name for name, what in (self.change.told.get("running") or {}).items() if what == LEAVE
        }
        for name in kept:
            one = self.state.known(name)
            task = one.step.whole if one is not None else name
            if task not in self.accounted | left:
                self.say(task, f"{name} has started and keeps what it was started with")


@dataclass(slots=True)
class _Return:
    """One task on its way back: its rounds, the step that is open first, and what it waits for."""

    draft: _Draft
    task: str
    rounds: dict[str, Step]
    front: StepState
    gained: list[Need]

    def put(self) -> None:
        """Adds what has the task go on from its branch, behind what it has gained."""
        kind, standing = self.front.step.kind, self.front.standing
        if standing in (Standing.ASKING, Standing.FAILED):
            self.begin_again()
        elif kind == "worktree":
            step = self.as_told(self.front.step)
            needs = (*step.needs, *(n for n in self.gained if n not in step.needs))
            self.draft.end(self.front, replace(step, needs=needs))
        elif kind == "agent":
            tree = self.tree()
            step = self.worked_on(self.front.step)
            self.draft.end(self.front, replace(step, needs=self.behind(step, tree)))
            # Work that ends well all the same is judged with what has come before it.
            for name in self.draft.course.waiting_for(self.front.step.id):
                self.draft.move(name, NeedsChange(add=(Need(step=tree.id),)))
        else:
            tree = self.tree()
            last = self.again((Need(step=tree.id),)) or tree
            step = self.as_told(self.front.step)
            judges = [need for need in step.needs if need.step not in self.rounds]
            self.draft.end(self.front, replace(step, needs=(Need(step=last.id), *judges)))

    @property
    def number(self) -> int:
        """The number of the task's next round."""
        return 1 + max(_place(step)[0] for step in self.rounds.values())

    def begin_again(self) -> None:
        """Puts a further round in the place of one that has failed for good, with all its tries."""
        self.draft.end(self.front)
        failed = Need(step=self.front.step.id, on=FAILED)
        tree = self.tree(*((failed,) if self.front.step.kind == "worktree" else ()))
        needs = (Need(step=tree.id), failed) if failed not in tree.needs else (Need(step=tree.id),)
        work = self.again(needs)
        check = latest(self.rounds, "check")
        assert check is not None, "a task has a check"
        waiting = self.draft.course.waiting_for(check.id)
        judged = recheck(
            self.as_told(check),
            self.rounds,
            needs=(Need(step=work.id),) if work is not None else needs,
            number=self.number,
            spent=0,
            before=waiting,
        )
        self.draft.put[judged.id] = judged
        for name, told in instead(replace(check, params={"before": waiting}), judged.id).items():
            self.draft.move(name, told)

    def tree(self, *more: Need) -> Step:
        """Puts a further worktree step: the same worktree, with what comes into it now."""
        told, name = self.draft.after.steps[f"{self.task}/worktree"], f"{self.task}/worktree"
        before, check = latest(self.rounds, "worktree"), latest(self.rounds, "check")
        params: dict[str, Any] = {**told.params, "round": self.number}
        if check is not None and "verifies" in check.params and before is not None:
            params["renews"] = before.id
        newest = [last_check(self.draft.course, str(one)) for one in told.params["after"]]  # type: ignore[attr-defined]
        checks = [Need(step=o.step.id) for o in newest if o is not None and _place(o.step)[0] > 1]
        step = replace(
            told,
            id=f"{name}.{self.number}",
            params=params,
            needs=tuple(dict.fromkeys((*told.needs, *checks, *more))),
            released=True,
        )
        self.draft.put[step.id] = step
        return step

    def again(self, needs: tuple[Need, ...]) -> Step | None:
        """Puts the task's work once more, as the documents tell it now; None without an agent."""
        told = self.draft.after.steps.get(f"{self.task}/work")
        if told is None:
            return None
        step = self.worked_on(
            replace(
                told,
                id=f"{self.task}/work.{self.number}",
                params={**told.params, "round": self.number},
                needs=needs,
                released=True,
            )
        )
        self.draft.put[step.id] = step
        return step

    def worked_on(self, step: Step) -> Step:
        """Returns a work whose brief says why it goes on from where it was."""
        names = ", ".join(f"`{need.step}`" for need in self.gained)
        reason = str(self.draft.change.told.get("reason") or "").strip()
        text = f"The plan was changed{f' ({reason})' if reason else ''}: {names} came before this "
        text += "task, and what that left is in your worktree now, beside your own commits."
        step = self.as_told(step)
        return replace(step, params={**step.params, "replanned": text})

    def as_told(self, now: Step) -> Step:
        """Returns a step of any round with what the documents say now, its own params kept."""
        stem = {"worktree": "worktree", "agent": "work", "check": "check"}[now.kind]
        told = self.draft.after.steps[f"{self.task}/{stem}"]
        own = {name: now.params[name] for name in OF_A_ROUND if name in now.params}
        return replace(now, params={**told.params, **own}, span_ms=told.span_ms)

    def behind(self, step: Step, tree: Step) -> tuple[Need, ...]:
        """Returns a work's needs with the further worktree in the place of an earlier one."""
        kept = [
            need
            for need in step.needs
            if need.step not in self.rounds or self.rounds[need.step].kind != "worktree"
        ]
        return (*kept, Need(step=tree.id))


def _place(step: Step) -> tuple[int, int]:
    return int(str(step.params.get("round", 1))), STAGES.index(step.kind)


def _path_to(change: Change, task: str) -> Path:
    """Returns where a change speaks of a task."""
    told = change.told
    if task in (told.get("running") or {}):
        return ("running", task)
    if task in (told.get("drop") or ()):
        return ("drop", list(told["drop"]).index(task))
    for number, one in enumerate(told.get("insert") or ()):
        if task in (one.get("before") or ()):
            return ("insert", number, "before", list(one["before"]).index(task))
    if task in (told.get("needs") or {}):
        return ("needs", task)
    return ()
