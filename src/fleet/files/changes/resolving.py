"""A conflict as work: the patch that has an agent resolve it, in a worktree with both sides merged.

The task is made here, of what both sides' documents ask; it lowers as any other and passes the same
gate. Nobody but its agent chooses a side. Nothing is applied here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Final

from fleet.core.plan import Need, Patch, Step
from fleet.files.documents import Check, TaskDocument
from fleet.files.tasks import Texts, branch_of, task_steps
from fleet.files.verifiers import order_of

if TYPE_CHECKING:
    from fleet.core.state import State
    from fleet.files.fleet import Fleet

# Both sides and what they come from stand in the files; nothing is taken from earlier resolutions.
MERGING: Final = (
    "git -c merge.conflictStyle=diff3 -c rerere.enabled=false merge --no-ff --no-commit "
    '"$1" || git ls-files -u | grep -q .'
)
MARKED: Final = "! git grep -nE '^(<<<<<<<|>>>>>>>) ' HEAD -- \"$@\""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A part of a phase that does not merge: its task and commit, with which tasks (those of other
    names are the base), in which paths, and what git says of it.
    """

    phase: str
    task: str
    commit: str
    others: Mapping[str, str]
    """The commits of the tasks that it conflicts with."""
    paths: Sequence[str]
    text: str


def resolve_patch(
    fleet: Fleet, state: State, clash: Clash, agent: str, gate: str
) -> tuple[str, Patch, Mapping[str, str]]:
    """Returns the task that resolves a conflict, the patch that puts it before a further gate of
    the phase (the last one is `gate`), and the texts that its params name by digest.
    """
    phase = next(one for one in fleet.phases if one.id == clash.phase)
    name = _free(state, f"{clash.phase}-resolve")
    task = _task(fleet, clash, agent, name)
    texts, whole = Texts(), replace(fleet, tasks={**fleet.tasks, name: task})
    steps = task_steps(whole, task, phase, before="", texts=texts, order=order_of(whole))
    steps = [replace(step, released=True) for step in steps]
    merges = [one.step for one in state.steps.values() if one.step.kind == "merge"]
    last = state.steps[gate].step
    merge = [step for step in merges if step.whole == clash.phase][
        -1
    ]  # after an undo there are two
    listed: object = last.params["tasks"]
    assert isinstance(listed, list | tuple)
    number = 1 + sum(step.startswith(f"{clash.phase}/gate") for step in state.steps)
    closed = replace(
        last,
        id=f"{clash.phase}/gate.{number}",
        params={**last.params, "tasks": [{"id": name, "branch": branch_of(task)}, *listed]},
        needs=(*last.needs, Need(step=last.id), Need(step=name)),
        released=True,
    )
    patch = Patch(
        put=(*steps, closed, _merging(merge, name, gate, closed.id)),
        reason=f"{agent} resolves the conflict of {clash.task} in {clash.phase}",
    )
    return name, patch, texts


def _merging(merge: Step, name: str, gate: str, closed: str) -> Step:
    """Returns the phase's merge behind the new gate; what was resolved lands first, for it holds
    both sides.
    """
    listed: object = merge.params["tasks"]
    assert isinstance(listed, list | tuple)
    needs = tuple(need for need in merge.needs if need.step != gate)
    tasks = [name, *listed]
    return replace(
        merge, params={**merge.params, "tasks": tasks}, needs=(*needs, Need(step=closed))
    )


def _task(fleet: Fleet, clash: Clash, agent: str, name: str) -> TaskDocument:
    sides = [fleet.tasks[one] for one in (clash.task, *clash.others) if one in fleet.tasks]
    wanted = {check.name or check.command: check for side in sides for check in side.checks}
    held = [
        Check(command=("git", "merge-base", "--is-ancestor", sha, "HEAD"), name=f"holds {one}")
        for one, sha in {clash.task: clash.commit, **clash.others}.items()
    ]
    marked = Check(command=("sh", "-c", MARKED, "sh", *clash.paths), name="no conflict is left")
    return TaskDocument(
        id=name,
        name=f"Resolve the conflict of {clash.task}",
        agent=agent,
        phase=clash.phase,
        dependencies=tuple(one for one in clash.others if one in fleet.tasks),
        setup=(("sh", "-c", MERGING, "sh", clash.commit),),
        checks=(*held, marked, *wanted.values()),
        body=_body(fleet, clash),
    )


def _body(fleet: Fleet, clash: Clash) -> str:
    with_whom = " and ".join(clash.others) or f"the base, {fleet.settings.base}"
    shown = "\n".join(f"    {line}" for line in clash.text.splitlines())
    paths = "\n".join(f"- `{path!r}`" for path in clash.paths)
    sides = [fleet.tasks[one] for one in (clash.task, *clash.others) if one in fleet.tasks]
    asked = "\n\n".join(
        f"### {side.id}\n\n" + "\n".join(f"    {line}" for line in side.body.splitlines())
        for side in sides
    )
    return f"""\
{clash.task} conflicts with {with_whom}. In this worktree the merge of {clash.task}
({clash.commit[:12]}) has begun and stopped at the conflict; `git status` shows where. In conflict:

{paths}

git says:

{shown}

Resolve it so that what both sides were to do is done, and commit the merge (`git add`, then
`git commit --no-edit`). Do not drop one side's work: where both cannot hold, ask (`fleet ask`).

## What the sides were to do

{asked}
"""


def _free(state: State, wanted: str) -> str:
    """Returns a name that no task of the run has."""
    if wanted not in state.steps:
        return wanted
    return next(name for n in count(2) if (name := f"{wanted}-{n}") not in state.steps)
