"""What the verdict of a verifier lowers to: the patch that sends judged tasks back and has every
verifier of theirs judge again.

    V red on T    T/work.n -> T/check.n -> V/worktree.r -> V/work.r -> V/check.r, in V's place
    T has moved   T/check.n -> V/worktree.r -> ...; nobody is sent back
    T has landed  a new task mends it (`mending`), and is judged in its place

What depends on T and has not begun waits for T/check.n besides, so that it begins at the new
commit. A verifier that has passed T before judges again before what waits for it. Pure: the run is
only asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from fleet.core.plan import FAILED, SETTLED, SUCCEEDED, Need, NeedsChange, Patch, Step
from fleet.core.state import Standing, StepState
from fleet.files.changes.mending import heirs_of, landed_in, mend, succeed
from fleet.files.changes.rework import STEMS, Course, fewer_tries, next_round, recheck


@dataclass(slots=True)
class Rejudging:
    """The patch in the making: steps to put, and steps that come to need others."""

    course: Course
    put: list[Step] = field(default_factory=list)
    needs: dict[str, NeedsChange] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)
    """The check that each task will have been verified by last, by task."""
    heirs: dict[str, str] = field(default_factory=dict)
    """The task that mends one which has landed, by that."""

    def move_need(self, name: str, task: str) -> None:
        """Has a step that stays need the check that a task is to be verified by last, in the place
        of its earlier ones.
        """
        known, one = self.needs.get(name, NeedsChange()), self.course.look(name)
        gone = [need.step for need in one.step.needs if self.is_check(need, task)] if one else []
        self.needs[name] = NeedsChange(
            add=(*known.add, Need(step=self.fresh[task])), remove=(*known.remove, *gone)
        )

    def is_check(self, need: Need, task: str) -> bool:
        """Whether a need is on the success of a check of a task."""
        one = self.course.look(need.step)
        mine = one is not None and (one.step.kind, one.step.whole) == ("check", task)
        return mine and need.on == SUCCEEDED

    def patch(self, reason: str) -> Patch:
        """Returns what has come together; a step that is put has its needs changed in itself."""
        put = [_changed(step, self.needs.pop(step.id, None)) for step in self.put]
        return Patch(put=tuple(put), needs=self.needs, reason=reason[:500])


def _changed(step: Step, change: NeedsChange | None) -> Step:
    if change is None:
        return step
    kept = [need for need in step.needs if need.step not in change.remove]
    return replace(step, needs=(*dict.fromkeys((*kept, *change.add)),))


def send_back(
    course: Course,
    check: Step,
    tries: Mapping[str, int],
    *,
    moved: Sequence[str] = (),
    spent: int = 0,
    tree: Step | None = None,
    gate: Step | None = None,
    reason: str,
) -> Patch:
    """Returns the patch that follows a verdict of `check`, a verifier's that settles as failed.

    `tries` are the tasks that are sent back, with the tries that each has used up; those that have
    `moved` are only checked again. Without either, the verifier alone judges again. `spent` are the
    verifier's own tries. Where what it judges could not even be put together, `tree` is the
    worktree that settles as failed, and `check` still waits. At the `gate` of a checkpoint `check`
    has passed, or was skipped, and the gate is to wait for all that follows.
    """
    draft, landed = Rejudging(course), landed_in(check)
    draft.heirs = heirs_of(course, check)
    put: dict[str, Step] = {}
    for task in (name for name in tries if name in landed and name not in draft.heirs):
        draft.heirs[task] = mend(course, check, task, put)
    draft.put += put.values()
    judged: Any = check.params["verifies"]
    beside = {
        str(other): None
        for one in judged
        if one["id"] in tries or one["id"] in moved
        for other in one["beside"]
        if _has_passed(course, str(other))
    }
    own = str(check.params["task"])
    waived = gate is not None and _is_waived(course, own)
    verifiers = [*([] if waived else [own]), *beside]
    tries = {task: used for task, used in tries.items() if task not in landed}
    rounds = {name: rounds_of(course, name) for name in (*verifiers, *tries, *moved)}
    names = {name: f"{name}/worktree.{_last(rounds[name]) + 1}" for name in verifiers}
    for task in (*tries, *(name for name in moved if name not in tries)):
        waiting = [names[one] for one in verifiers if task in _judged_by(rounds[one])]
        waiting += _waiting_for(course, task, rounds[task])
        last = tree or check
        _one_more(draft, check, task, rounds[task], tries=tries.get(task), before=waiting, by=last)
        for name in waiting:
            if name not in names.values():
                draft.move_need(name, task)
    for one in verifiers:
        mine = one == own
        if mine and tree is not None:
            _put_together_again(draft, tree, check, rounds[one])
            continue
        red = mine and gate is None
        judge_again(draft, one, rounds[one], spent=spent if mine else None, red=red)
    if gate is not None:
        listed: Any = gate.params["tasks"]
        for name in (str(one["id"]) for one in listed):
            if name in draft.fresh:
                draft.move_need(gate.id, name)
    return draft.patch(reason)


def _is_waived(course: Course, verifier: str) -> bool:
    """Whether a person does without the word of a verifier."""
    last = last_check(course, verifier)
    return last is not None and last.standing is Standing.SKIPPED


def tries_of(course: Course, task: str) -> int:
    """Returns how many tries a task has used up when it was verified last."""
    last = last_check(course, task)
    output: Any = last.output if last is not None else None
    return int(output.get("tries") or 0) if isinstance(output, Mapping) else 0


def may_again(course: Course, task: str) -> bool:
    """Whether a task may be sent back: its tries are not used up, and it has an agent."""
    rounds = rounds_of(course, task)
    check = latest(rounds, "check")
    most: Any = check.params.get("attempts") if check is not None else None
    return tries_of(course, task) < int(most or 1) and latest(rounds, "agent") is not None


def by_hand(
    course: Course, check: StepState, *, reason: str, back: Sequence[str] | None = None
) -> Patch | None:
    """Returns the patch by which a person has the tasks that a verifier did not pass sent back (or
    only those in `back`) and judged again, with all tries anew; None where it failed by itself.
    """
    told: Any = check.evidence.get("verdict")
    if check.step.kind != "check" or told is None or check.evidence.get("branch"):
        return None
    able = [name for name in told["back"] if latest(rounds_of(course, name), "agent") is not None]
    tries = dict.fromkeys(able if back is None else back, 0)
    moved = [name for name in told["moved"] if name not in tries]
    return send_back(course, check.step, tries, moved=moved, reason=reason)


def asked_rework(course: Course, step: str, note: str, *, by: str = "A person") -> Patch | None:
    """Returns the patch that the answer `rework` stands for: one more round of the task whose check
    asked, or, where a verifier asked, of those that it does not pass; None for any other step.
    """
    one = course.look(step)
    if one is None or one.step.kind != "check":
        return None
    reason = note or "rework was asked for"
    patch = by_hand(course, one, reason=reason) or next_round(
        one.step,
        rounds_of(course, one.step.whole),
        reason=reason,
        on=FAILED,
        before=course.waiting_for(step),
    )
    put = [
        replace(step, params={**step.params, "note": note, "note_from": by})
        if step.kind == "agent" and "verifies" not in step.params
        else step
        for step in patch.put
    ]
    return replace(patch, put=tuple(put))


def judge_again(
    draft: Rejudging,
    verifier: str,
    rounds: Mapping[str, Step],
    *,
    spent: int | None = None,
    red: bool = False,
    before: Iterable[str] | None = None,
) -> str:
    """Adds one more round of a verifier behind its last one, before what waits for that or the
    steps that are named; returns its check. `red` says that the last one settles as failed now.
    """
    number = _last(rounds) + 1
    tree, check = latest(rounds, "worktree"), latest(rounds, "check")
    assert tree is not None and check is not None, "a verifier has a worktree and a check"  # noqa: PT018
    tree, check = succeed(tree, draft.heirs), succeed(check, draft.heirs)
    place = replace(
        tree,
        id=f"{verifier}/worktree.{number}",
        params={**tree.params, "round": number, "renews": tree.id},
        needs=_needs_of_tree(draft, tree, Need(step=check.id, on=FAILED if red else SETTLED)),
        released=True,
    )
    behind, put = place.id, [place]
    tries: Any = check.params.get("spent", 0) if spent is None else spent
    work = latest(rounds, "agent")
    if work is not None:
        work = succeed(work, draft.heirs)
        attempts: Any = check.params.get("attempts", 1)
        left = max(int(attempts) - int(tries) - 1, 0)
        again = replace(
            work,
            id=f"{verifier}/work.{number}",
            params={**work.params, "round": number, "verdicts": [check.id]},
            needs=(Need(step=place.id),),
            ladder=fewer_tries(work.ladder, left),
            released=True,
        )
        behind = again.id
        put.append(again)
    waiting = tuple(before) if before is not None else _waiting_for(draft.course, verifier, rounds)
    judged = recheck(
        check,
        rounds,
        needs=(Need(step=behind),),
        number=number,
        spent=int(tries),
        before=waiting,
    )
    draft.put += [*put, judged]
    draft.fresh[verifier] = judged.id
    signed = _signed_again(draft, verifier, judged)
    for name in waiting:
        draft.move_need(name, verifier)
        if signed is not None:
            known = draft.needs[name]
            draft.needs[name] = replace(known, add=(*known.add, Need(step=signed)))
    return judged.id


def _signed_again(draft: Rejudging, checkpoint: str, judged: Step) -> str | None:
    """Adds one more gate of a checkpoint that has passed, behind what is judged again, and returns
    it; None for another verifier, and while the gate that is there has yet to open.
    """
    last, number = draft.course.look(f"{checkpoint}/gate"), 2
    while (later := draft.course.look(f"{checkpoint}/gate.{number}")) is not None:
        last, number = later, number + 1
    if last is None or last.standing is not Standing.SUCCEEDED:
        return None
    needs = [need for need in last.step.needs if not draft.is_check(need, checkpoint)]
    again = replace(
        last.step,
        id=f"{checkpoint}/gate.{number}",
        params={**last.step.params, "round": judged.params["round"]},
        needs=(*needs, Need(step=judged.id), Need(step=last.step.id)),
    )
    draft.put.append(again)
    return again.id


def rounds_of(course: Course, task: str) -> dict[str, Step]:
    """Returns the worktrees, works and checks of all rounds of a task, as they stand in the
    plan.
    """
    found: dict[str, Step] = {}
    for number in count(1):
        suffix = "" if number == 1 else f".{number}"
        seen = [course.look(f"{task}/{stem}{suffix}") for stem in STEMS]
        found |= {one.step.id: one.step for one in seen if one is not None}
        if not any(seen):
            break
    return found


def latest(rounds: Mapping[str, Step], kind: str) -> Step | None:
    """Returns the step of a kind in the last round that has one."""
    found = [step for step in rounds.values() if step.kind == kind]
    return max(found, key=_round, default=None)


def last_check(course: Course, task: str) -> StepState | None:
    """Returns the check of a task that is to have the last word on it, however it stands."""
    step = latest(rounds_of(course, task), "check")
    return None if step is None else course.look(step.id)


def _one_more(
    draft: Rejudging,
    verifier: Step,
    task: str,
    rounds: Mapping[str, Step],
    *,
    tries: int | None,
    before: Sequence[str],
    by: Step,
) -> None:
    """Adds one more round of a judged task: work and check, or the check alone without `tries`."""
    check = latest(rounds, "check")
    assert check is not None, "a judged task has a check"
    limit = {str(verifier.params["limit"]): 1}
    if tries is None:
        behind = (Need(step=check.id, on=SETTLED),)
        known = draft.course.look(check.id)
        output: Any = known.output if known is not None else None
        used = output.get("tries") if isinstance(output, Mapping) else None
        put = [recheck(check, rounds, needs=behind, spent=int(used or 0), before=tuple(before))]
    else:
        patch = next_round(check, rounds, reason="", spent=tries, on=SETTLED, before=before)
        put = [_told(step, by) for step in patch.put]
    put[-1] = replace(put[-1], uses={**put[-1].uses, **limit})
    draft.put += put
    draft.fresh[task] = put[-1].id


def _told(step: Step, by: Step) -> Step:
    """Returns a work that is told what a verifier's step found."""
    if step.kind != "agent":
        return step
    return replace(step, params={**step.params, "verdicts": [by.id]})


def _put_together_again(
    draft: Rejudging, tree: Step, check: Step, rounds: Mapping[str, Step]
) -> None:
    """Adds one more worktree of a verifier behind one that settles as failed now, for the steps
    that were to work and judge in that.
    """
    number, work = _last(rounds) + 1, latest(rounds, "agent")
    place = replace(
        tree,
        id=f"{tree.whole}/worktree.{number}",
        params={**tree.params, "round": number, "renews": tree.params.get("renews", tree.id)},
        needs=_needs_of_tree(draft, tree, Need(step=tree.id, on=FAILED)),
        released=True,
    )
    waiting = [step for step in (work, check) if step is not None]
    first = replace(waiting[0], needs=(Need(step=place.id),))
    draft.put.append(place)
    for step in (first, *waiting[1:]):
        draft.put.append(replace(step, params={**step.params, "round": number}))


def _needs_of_tree(draft: Rejudging, tree: Step, behind: Need) -> tuple[Need, ...]:
    """Returns what a further worktree of a verifier waits for: what the one before did, the newest
    check of all that comes into it, and the step that it follows.
    """
    listed: Any = tree.params["after"]
    kept = [
        need
        for need in tree.needs
        if need.on == SUCCEEDED and not any(draft.is_check(need, task) for task in listed)
    ]
    for task in listed:
        found = draft.fresh.get(task)
        if found is None:
            known = last_check(draft.course, str(task))
            found = known.step.id if known is not None and _round(known.step) > 1 else None
        if all(need.step != task for need in tree.needs):
            kept.append(Need(step=task))  # it mends another that was needed
        if found is not None:
            kept.append(Need(step=found))
    return (*dict.fromkeys(kept), behind)


def _waiting_for(course: Course, task: str, rounds: Mapping[str, Step]) -> tuple[str, ...]:
    """Returns the steps that have not started and wait for a check of a task, or for its join where
    that has settled: until then, the join waits for them.
    """
    ends = [step.id for step in rounds.values() if step.kind == "check"]
    join = course.look(task)
    ends += [task] if join is not None and join.settled else []
    return tuple(dict.fromkeys(name for end in ends for name in course.waiting_for(end)))


def _judged_by(rounds: Mapping[str, Step]) -> list[str]:
    check = latest(rounds, "check")
    told: Any = check.params.get("verifies", ()) if check is not None else ()
    return [str(one["id"]) for one in told]


def _has_passed(course: Course, verifier: str) -> bool:
    """Whether a verifier has concluded; one that judges now finds by itself what has moved."""
    ends = (course.look(verifier), last_check(course, verifier))
    return all(one is not None and one.standing is Standing.SUCCEEDED for one in ends)


def _last(rounds: Mapping[str, Step]) -> int:
    return max(map(_round, rounds.values()), default=0)


def _round(step: Step) -> int:
    return int(str(step.params.get("round", 1)))
