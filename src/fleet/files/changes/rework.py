"""What one more round of a task lowers to: the patch that appends it. A settled step stays settled.

Used where a check is red, where a head has moved away from the commit that was verified, and where
a person asks for more; the patch is the same, what stands in its way differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.core.plan import (
    FAILED,
    SUCCEEDED,
    Failure,
    Need,
    NeedsChange,
    Patch,
    Retry,
    Rung,
    Step,
)
from fleet.core.state import UNSTARTED, State, StepState

STEMS = ("worktree", "work", "check")
"""What the steps of a task are called, with a number behind that in later rounds; each round has
one of them at least.
"""


@dataclass(frozen=True, slots=True)
class Course:
    """A run as it stands, as far as rework asks: `look` finds a step, `behind` who needs it."""

    look: Callable[[str], StepState | None]
    behind: Callable[[str], Sequence[str]]

    def waiting_for(self, step: str) -> tuple[str, ...]:
        """Returns the steps that have not started and need the success of a step."""
        found = [(name, self.look(name)) for name in dict.fromkeys(self.behind(step))]
        return tuple(
            name
            for name, one in found
            if one is not None
            and one.standing in UNSTARTED
            and any(need.step == step and need.on == SUCCEEDED for need in one.step.needs)
        )


def course_of(state: State) -> Course:
    """Returns a run's course."""
    return Course(state.known, lambda name: [one for one, _ in state.dependents.get(name, ())])


def next_round(
    check: Step,
    siblings: Mapping[str, Step],
    *,
    reason: str,
    spent: int = 0,
    on: str = FAILED,
    before: Iterable[str] | None = None,
) -> Patch:
    """Returns the patch that puts another work and check behind a red check, before what needs it.

    `siblings` are the steps of the task; `spent` is how many tries of it have been used up; `on` is
    how the red check must have settled for the work to begin. `before` are the steps that need the
    check now, where that is known; else those that it was made for.
    """
    if before is not None:
        check = replace(check, params={**check.params, "before": list(before)})
    task = str(check.params["task"])
    number = _rounds(siblings) + 1
    work = _latest(siblings, "agent")
    attempts: Any = check.params.get("attempts", 1)
    left = max(int(attempts) - spent - 1, 0)
    again = replace(
        work,
        id=f"{task}/work.{number}",
        params={**work.params, "round": number},
        needs=(Need(step=check.id, on=on),),
        ladder=fewer_tries(work.ladder, left),
        released=True,
    )
    judged = recheck(check, siblings, needs=(Need(step=again.id),), number=number, spent=spent)
    return Patch(put=(again, judged), needs=instead(check, judged.id), reason=reason)


def handed_over(
    check: Step, siblings: Mapping[str, Step], *, reason: str, spent: int, before: Iterable[str]
) -> Patch | None:
    """Returns the same where the tries are used up, for the next of those who work at the task then
    (`others` of the check: {agent, uses}), who has one; None where nobody is left.
    """
    used, others = int(str(check.params.get("swapped") or 0)), check.params.get("others")
    assert isinstance(others, list | tuple), "a check's others are a list"
    if used >= len(others):
        return None
    check = replace(check, params={**check.params, "swapped": used + 1})
    patch = next_round(check, siblings, reason=reason, spent=spent, before=before)
    again, judged = patch.put
    params = {**again.params, "agent": others[used]["agent"]}
    return replace(patch, put=(replace(again, params=params, uses=others[used]["uses"]), judged))


def after_failure(
    work: Step,
    check: Step,
    siblings: Mapping[str, Step],
    *,
    reason: str,
    before: Iterable[str] | None = None,
) -> Patch:
    """Returns the patch that puts another round behind work that has failed for good.

    Its check was never reached, so the new work needs the worktree itself, and the failed work for
    what it tells.
    """
    patch = next_round(check, siblings, reason=reason, before=before)
    again, judged = patch.put
    needs = (Need(step=_latest(siblings, "worktree").id), Need(step=work.id, on=FAILED))
    return replace(patch, put=(replace(again, needs=needs), judged))


def recheck(
    check: Step,
    siblings: Mapping[str, Step],
    *,
    needs: tuple[Need, ...] = (),
    number: int | None = None,
    spent: int | None = None,
    before: tuple[str, ...] | None = None,
) -> Step:
    """Returns a further check of the same task, in a round of its own unless `number` names one."""
    params: dict[str, Any] = {**check.params, "round": number or _rounds(siblings) + 1}
    if spent is not None:
        params["spent"] = spent
    if before is not None:
        params["before"] = list(before)
    return replace(
        check,
        id=f"{check.params['task']}/check.{params['round']}",
        params=params,
        needs=needs,
        released=True,
    )


def instead(check: Step, successor: str) -> dict[str, NeedsChange]:
    """Returns the needs that move from a check to its successor."""
    before: Any = check.params["before"]
    return {
        str(name): NeedsChange(add=(Need(step=successor),), remove=(check.id,)) for name in before
    }


def _rounds(siblings: Mapping[str, Step]) -> int:
    rounds = [
        int(str(step.params.get("round", 1)))
        for step in siblings.values()
        if step.kind in ("agent", "check")
    ]
    return max(rounds, default=0)


def _latest(siblings: Mapping[str, Step], kind: str) -> Step:
    found = [
        step for step in siblings.values() if step.kind == kind and "judged" not in step.params
    ]
    assert found, f"a task has a step of kind {kind}"
    return max(found, key=lambda step: int(str(step.params.get("round", 1))))


def fewer_tries(ladder: Sequence[Rung], left: int) -> tuple[Rung, ...]:
    """Returns a ladder that tries a task so many times again."""
    return tuple(
        replace(rung, times=left) if isinstance(rung, Retry) and Failure.TASK in rung.on else rung
        for rung in ladder
    )
