"""The kind `check`: judges what an agent left on its branch, at one commit, and says so with
evidence.

*Reported* becomes *verified* here and nowhere else: every deliverable is committed and fresh, every
check passes in the worktree at that commit. The commit is anchored, so no gc takes what was
accepted. Red work carries the patch for one more round while tries are left; after that the ladder
goes on. What a verifier leaves is judged likewise; what it says of others stands in `verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.crash import crash_point
from fleet.adapters.git import refs
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.errors import FleetError
from fleet.files.changes.rework import handed_over, next_round
from fleet.files.proofs import DISPROVED, following
from fleet.kinds import Work
from fleet.kinds.check import evidence
from fleet.kinds.check.commands import Stopped, judge_all
from fleet.kinds.check.deliverables import Scene
from fleet.kinds.check.findings import Findings
from fleet.kinds.check.judging import judged_by_agents
from fleet.kinds.check.loops import ended_by_loop
from fleet.kinds.check.proving import disproved, in_words, tries_at
from fleet.kinds.check.verdict import Verdict, begin_anew, conclude, outcome_of

SAID_CHARS: Final = 4_000
VERIFIED: Final = "refs/fleet/verified/"


async def run(work: Work) -> Outcome:
    """Returns the findings as output when all is green, else FAILED with them as evidence and the
    rework.
    """
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped before anything was judged")
    try:
        found = await _found(work)
        if isinstance(found, Outcome):
            return found
        ends = not found.against or disproved(work, found.own, found.checks, found.tries)
        if ends:
            task, repo = work.params["task"], work.world.repository
            await work.world.in_thread(anchor, repo, task, found.commit)
    except Stopped:
        return Outcome(ending=Ending.STOPPED, text="stopped while a check ran")
    except FleetError as failed:
        text = f"it could not be judged: {failed.text} {failed.hint}".strip()
        # A rework that a person asks for works there and counts on, whatever was not found out.
        tries, attempts = _spent(work)
        place = dict(work.worktree or {})
        told = {"worktree": place, "tries": tries, "attempts": attempts} if place else {}
        return Outcome(ending=Ending.FAILED, failure=Failure.INFRA, text=text, evidence=told)
    crash_point("kinds.check.before_outcome")
    if not found.against:
        return Outcome(ending=Ending.SUCCEEDED, output=found.plain() | {"said": _said(work)})
    return _disproved(work, found) if ends else _red(work, found)


async def _found(work: Work) -> Findings | Outcome:
    """Returns what there is to be found, or the outcome of a check that goes on elsewhere."""
    in_thread = work.world.in_thread
    found: Findings
    scene, found, tree = await in_thread(_look, work)
    anew: Outcome | None = await in_thread(begin_anew, work, found.worktree, found.plain())
    if anew is not None:
        return anew
    if not found.branch and not _known(work, found):
        found.deliverables, found.checks, found.metrics, found.evidence = [], [], [], []
        await judge_all(work, scene, found, tree)
    stated, backing = work.params.get("evidence") or (), evidence.backing_of(work.inputs)
    found.evidence += await in_thread(evidence.stated, scene, stated, backing)
    if (work.params.get("verifies") or work.params.get("stays")) and not found.own:
        verdict: Verdict = await in_thread(conclude, work, found.worktree, found.checks)
        found.verdict, found.branch = verdict.plain(), verdict.astray
        if not verdict.passed and not found.branch:
            return outcome_of(work, verdict, found.plain(), tries=found.tries)
    if work.params.get("judges") and not found.against:
        told = await in_thread(judged_by_agents, work, found.commit)
        if isinstance(told, Outcome):
            return told
        found.checks += told
    return found


async def find_now(work: Work, place: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the findings in the worktree of an agent that still runs, with `against`, or {}.

    `work` is the agent's own: the check that follows it says what is wanted.
    """
    mine = work.step.id
    check = work.siblings.get(mine.replace("/work", "/check", 1))
    if check is None or check.kind != "check":
        return {}
    told = {mine: {"standing": "succeeded", "output": {"worktree": dict(place)}}}
    if check.params.get("verifies") or check.params.get("proof"):
        # Its commands judge others, or what the world is like: they send nobody back to a turn.
        check = replace(check, params={**check.params, "checks": [], "metrics": []})
    looking = replace(work, step=replace(check, id=mine), inputs=told)
    try:
        scene, found, tree = await work.world.in_thread(_look, looking)
        if not found.branch:
            await judge_all(looking, scene, found, tree)
    except (Stopped, FleetError):  # the check behind the agent will say it
        return {}
    plain: dict[str, Any] = found.plain() | {"against": found.against}
    return plain


def _known(work: Work, found: Findings) -> bool:
    """Whether the agent's last turn was judged at this very commit, and green; takes that over.

    The commands of a verifier or of a proof were not run then.
    """
    if work.params.get("verifies") or work.params.get("proof"):
        return False
    for one in work.inputs.values():
        output: Any = one.get("output")
        judged = output.get("judged") if isinstance(output, Mapping) else None
        if judged and judged["commit"] == found.commit:
            found.deliverables = list(judged["deliverables"])
            found.checks, found.metrics = list(judged["checks"]), list(judged["metrics"])
            found.evidence = list(judged.get("evidence") or ())
            return not bool(found.against)
    return False


def _said(work: Work) -> str:
    """Returns the agent's last words, which go on to the tasks behind this one."""
    for name, one in work.inputs.items():
        output: Any = one.get("output") if "/judge." not in name else None
        if isinstance(output, Mapping) and output.get("said"):
            return str(output["said"])[-SAID_CHARS:]
    return ""


def anchor(repo: git.Repository, task: str, commit: str) -> None:
    """Keeps a verified commit from every gc, under `refs/fleet/verified/<task>`."""
    line = refs.put(VERIFIED + refs.component(str(task)), commit)
    refs.transact(repo.site, [line], why="fleet: verified")


def _red(work: Work, found: Findings) -> Outcome:
    task = str(work.params["task"])
    text = f"{task} is not there yet: " + "; ".join(found.against)
    loop = ended_by_loop(work, text, found.plain())
    if loop is not None:
        return loop
    patch, rounds = None, work.rounds(task)
    again = found.tries < tries_at(work, found.own, found.checks)
    if any(step.kind == "agent" for step in rounds.values()) and (
        again or work.params.get("others")
    ):
        more = next_round if again else handed_over
        before = work.course.waiting_for(work.step.id)
        patch = more(work.step, rounds, reason=text[:500], spent=found.tries, before=before)
    return Outcome(
        ending=Ending.FAILED, failure=Failure.TASK, text=text, evidence=found.plain(), patch=patch
    )


def _disproved(work: Work, found: Findings) -> Outcome:
    """Returns the end of a proof whose assumption does not hold: it has done what it was for, and
    what the plan says follows.
    """
    why = in_words(found.checks)
    output = found.plain() | {"said": _said(work), "disproved": why}
    follows = work.look(f"{work.params['task']}/adapt") or work.look(
        f"{work.params['task']}/consult"
    )
    waiting = work.course.waiting_for(str(work.params["task"]))
    patch = following(work.step, why, waiting) if follows is None else None
    return Outcome(
        ending=Ending.SUCCEEDED,
        label=DISPROVED,
        text=f"disproved: {why}",
        output=output,
        patch=patch,
    )


# --- looking --------------------------------------------------------------------------------------


def _look(work: Work) -> tuple[Scene, Findings, git.Worktree]:
    place = work.worktree
    if place is None:
        raise FleetError(f"no step tells where the worktree of {work.params['task']} is")
    repo, branch = work.world.repository, str(work.params["branch"])
    tree = git.Worktree(
        path=Path(place["path"]),
        branch=branch,
        start=str(place["start"]),
        key=f"{work.run}/{work.params['task']}",
        admin=Path(place["admin"]),
        common=repo.common,
    )
    at, tip = git.head(tree), repo.heads([branch]).get(branch)
    tries, attempts = _spent(work)
    commit = tip or at.sha or tree.start
    found = Findings(
        commit, tree.start, place, tries, attempts, branch=_astray(repo, tree, at, tip)
    )
    scene = Scene(
        repo=repo,
        path=tree.path,
        branch=branch,
        base=str(work.params.get("base", "")),
        start=tree.start,
        commit=commit,
        dirty=git.dirty(tree),
    )
    return scene, found, tree


def _spent(work: Work) -> tuple[int, int]:
    """Returns how many tries of the task are used up, and how often an agent was started for it."""
    tries, attempts = int(work.params.get("spent") or 0), 0
    stems = {
        name: name.removeprefix(f"{work.params['task']}/").partition(".")[0] for name in work.inputs
    }
    worked = "work" in stems.values()
    for name, one in work.inputs.items():
        told: Any = one.get("output") if isinstance(one.get("output"), Mapping) else {}
        stem = stems[name]
        if stem == "worktree":  # where nobody works between, what is run there is one try
            tries += not worked
        elif stem == "work":
            tries += int(one.get("tries") or 0) + 1
            attempts = max(attempts, int(told.get("attempt") or one.get("attempt") or 1))
        else:
            attempts = max(attempts, int(told.get("attempts") or 0))
    return tries, attempts


def _astray(repo: git.Repository, tree: git.Worktree, at: git.Head, tip: str | None) -> str:
    """Returns which commits are not where they belong, or nothing."""
    if tip is None:
        return f"the branch {tree.branch!r} is gone"
    if at.sha is None or at.branch == tree.branch or at.sha == tip:
        return ""
    where = f"branch {at.branch!r}" if at.branch else "a detached HEAD"
    ahead = repo.ahead_behind(at.sha, tip)[0]
    if ahead:
        commits = f"{ahead} commit{'s' * (ahead != 1)} up to {at.sha[:12]}"
        cure = f"git switch {tree.branch}; git merge {at.sha[:12]}"
        return f"{commits} are on {where}, not on {tree.branch!r}: bring them over ({cure})"
    return f"the worktree is on {where}, not on {tree.branch!r} (git switch {tree.branch})"
