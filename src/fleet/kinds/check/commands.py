"""What a check asks for, judged one after another in the task's worktree at the commit.

A command counts for that commit only: it is not run where tracked files differ from it, and it may
move neither HEAD nor change one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.adapters import git
from fleet.harnesses.commands import Ran, run_command
from fleet.kinds import Work
from fleet.kinds.check import evidence
from fleet.kinds.check.deliverables import Scene, judge
from fleet.kinds.check.findings import Findings
from fleet.kinds.check.measures import bound_of, measured, missed

CHECK_S: Final = 1_800.0


class Stopped(Exception):
    """The attempt was told to stop while a command ran."""


async def judge_all(work: Work, scene: Scene, found: Findings, tree: git.Worktree) -> None:
    """Adds to the findings what is found of all that a check asks for, but what is only stated."""
    number = 0
    for wanted in work.params.get("deliverables") or ():
        if wanted.get("command"):
            number += 1
            verdict = await _command(work, found, tree, wanted, f"deliverable-{number}")
            why = "" if verdict["passed"] else f"{verdict['why']}\n{verdict['tail']}".strip()
            told = scene.verdict(str(wanted["text"]), why, verdict["digest"])
            found.deliverables.append(told)
        else:
            found.deliverables.append(await work.world.in_thread(judge, scene, wanted))
    for number, wanted in enumerate(work.params.get("evidence") or (), start=1):
        if wanted.get("command"):
            verdict = await _command(work, found, tree, wanted, f"evidence-{number}")
            row = evidence.by_command(str(wanted["text"]), wanted["command"], verdict)
            found.evidence.append(row)
        elif wanted.get("path"):
            found.evidence.append(await work.world.in_thread(evidence.by_file, scene, wanted))
    for number, wanted in enumerate(work.params.get("checks") or (), start=1):
        found.checks.append(await _command(work, found, tree, wanted, f"check-{number}"))
    for number, wanted in enumerate(work.params.get("metrics") or (), start=1):
        if wanted.get("measure"):
            ran = await _run(work, found, tree, {"command": wanted["measure"]}, f"metric-{number}")
            found.metrics.append(measured(wanted, ran, found.commit))
        else:
            found.metrics.append(
                {**wanted, "value": None, "met": None, "why": "nothing measures it"}
            )


async def _command(
    work: Work, found: Findings, tree: git.Worktree, wanted: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Returns the verdict of a command, which may change neither HEAD nor a tracked file."""
    before = await work.world.in_thread(_state, tree)
    if before[1]:
        changed_files = ", ".join(before[1][:5])
        why = f"not run: {changed_files} differ from the commit, so it would judge another tree"
        return _verdict(found, wanted, why)
    ran = await _run(work, found, tree, wanted, name)
    after = await work.world.in_thread(_state, tree)
    why = ""
    if not ran.passed:
        why = "it ran out of time" if ran.code is None else f"it exited with {ran.code}"
    elif after[0] != before[0]:
        why = f"it moved HEAD from {_short(before[0].sha)} to {_short(after[0].sha)}"
    elif changed := sorted(set(after[1]) - set(before[1])):
        why = f"it changed tracked files: {', '.join(changed[:5])}"
    # What a command measured that meddled is no measure: it may have been of another tree.
    measures = not why and wanted.get("target") is not None
    why = missed(wanted, ran) if measures else why
    return _verdict(found, wanted, why, ran, measures=measures)


def _verdict(
    found: Findings,
    wanted: Mapping[str, Any],
    why: str,
    ran: Ran | None = None,
    *,
    measures: bool = False,
) -> dict[str, Any]:
    return {
        "text": str(wanted["text"]),
        "passed": not why,
        "at_commit": found.commit,
        "seconds": ran.seconds if ran else 0.0,
        "code": ran.code if ran else None,
        "why": why,
        "tail": ran.tail if ran else "",
        "digest": ran.digest if ran else "",
        **(bound_of(wanted, ran if measures else None) if wanted.get("target") is not None else {}),
    }


async def _run(
    work: Work,
    found: Findings,
    tree: git.Worktree,
    wanted: Mapping[str, Any],
    name: str,
) -> Ran:
    ran = await run_command(
        wanted["command"],
        cwd=tree.path,
        env=work.environment(
            task=str(work.params["task"]),
            branch=tree.branch,
            worktree=str(tree.path),
            port=found.worktree.get("port"),
        ),
        log=work.folder / f"{name}.log",
        timeout_s=float(wanted.get("timeout_s") or work.params.get("timeout_s") or CHECK_S),
        marker=f"{work.world.root}:{work.key}",
        stop=work.stop,
    )
    if ran.stopped:
        raise Stopped
    return ran


def _state(tree: git.Worktree) -> tuple[git.Head, tuple[str, ...]]:
    """Returns where HEAD is, and which tracked files differ from it."""
    changed = tree.site.git(
        *("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
    ).fields
    return git.head(tree), tuple(line[3:] for line in changed)


def _short(sha: str | None) -> str:
    return sha[:12] if sha else "nothing"
