"""The kind `check`: judges what an agent left on its branch, at one commit, and says so with
evidence.

*Reported* becomes *verified* here and nowhere else: every deliverable is committed and fresh, every
check passes in the worktree at that commit. The commit is anchored, so no gc takes what was
accepted. Red work carries the patch for one more round while tries are left; after that the ladder
goes on. What a verifier leaves is judged likewise; what it says of others stands in `verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.crash import crash_point
from fleet.adapters.git import refs
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.errors import FleetError
from fleet.files.rework import handed_over, next_round
from fleet.harnesses.commands import Ran, run_command
from fleet.kinds import Work
from fleet.kinds.check.deliverables import Scene, judge
from fleet.kinds.check.judging import judged_by_agents
from fleet.kinds.check.loops import ended_by_loop
from fleet.kinds.check.measures import measured
from fleet.kinds.check.verdict import begin_anew, conclude, outcome_of

CHECK_S: Final = 1_800.0
SAID_CHARS: Final = 4_000
VERIFIED: Final = "refs/fleet/verified/"


@dataclass(slots=True)
class Findings:
    """What was found at one commit; `against` are the reasons why it is red, in words."""

    commit: str
    start: str
    worktree: Mapping[str, Any]
    tries: int
    attempts: int
    branch: str = ""
    deliverables: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None

    @property
    def own(self) -> list[str]:
        """Returns what is wrong with what the task itself left."""
        told = [self.branch] if self.branch else []
        return told + [
            f"{one['text']}: {one['why']}" for one in self.deliverables if not one["met"]
        ]

    @property
    def against(self) -> list[str]:
        """Returns why this is red; nothing when it is green."""
        told = self.own
        told += [
            f"check {one['text']!r} failed: {one['why']}"
            for one in self.checks
            if not one["passed"]
        ]
        return told

    def plain(self) -> dict[str, Any]:
        """Returns the findings as plain values, for the journal."""
        told: dict[str, Any] = {
            "commit": self.commit,
            "start": self.start,
            "worktree": dict(self.worktree),
            "tries": self.tries,
            "attempts": self.attempts,
            "branch": self.branch,
            "deliverables": self.deliverables,
            "checks": self.checks,
            "metrics": self.metrics,
        }
        return told if self.verdict is None else {**told, "verdict": self.verdict}


class _Stopped(Exception):
    """The attempt was told to stop while a command ran."""


async def run(work: Work) -> Outcome:
    """Returns the findings as output when all is green, else FAILED with them as evidence and the
    rework.
    """
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped before anything was judged")
    try:
        scene, found, tree = await work.world.in_thread(_look, work)
        anew: Outcome | None = await work.world.in_thread(
            begin_anew, work, found.worktree, found.plain()
        )
        if anew is not None:
            return anew
        if not found.branch and not _known(work, found):
            found.deliverables, found.checks, found.metrics = [], [], []
            await _judge(work, scene, found, tree)
        concludes = bool(work.params.get("verifies") or work.params.get("stays"))
        if concludes and not found.own:
            verdict = await work.world.in_thread(conclude, work, found.worktree, found.checks)
            found.verdict, found.branch = verdict.plain(), verdict.astray
            if not verdict.passed and not found.branch:
                return outcome_of(work, verdict, found.plain(), tries=found.tries)
        if work.params.get("judges") and not found.against:
            told = await work.world.in_thread(judged_by_agents, work, found.commit)
            if isinstance(told, Outcome):
                return told
            found.checks += told
        if not found.against:
            await work.world.in_thread(
                anchor, work.world.repository, work.params["task"], found.commit
            )
    except _Stopped:
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
    return _red(work, found)


async def find_now(work: Work, place: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the findings in the worktree of an agent that still runs, with `against`, or {}.

    `work` is the agent's own: the check that follows it says what is wanted.
    """
    mine = work.step.id
    check = work.siblings.get(mine.replace("/work", "/check", 1))
    if check is None or check.kind != "check":
        return {}
    told = {mine: {"standing": "succeeded", "output": {"worktree": dict(place)}}}
    if check.params.get("verifies"):  # its commands judge others: they send nobody back to a turn
        check = replace(check, params={**check.params, "checks": [], "metrics": []})
    looking = replace(work, step=replace(check, id=mine), inputs=told)
    try:
        scene, found, tree = await work.world.in_thread(_look, looking)
        if not found.branch:
            await _judge(looking, scene, found, tree)
    except (_Stopped, FleetError):  # the check behind the agent will say it
        return {}
    plain: dict[str, Any] = found.plain() | {"against": found.against}
    return plain


def _known(work: Work, found: Findings) -> bool:
    """Whether the agent's last turn was judged at this very commit, and green; takes that over.

    A verifier's commands were not run then.
    """
    if work.params.get("verifies"):
        return False
    for one in work.inputs.values():
        output: Any = one.get("output")
        judged = output.get("judged") if isinstance(output, Mapping) else None
        if judged and judged["commit"] == found.commit:
            found.deliverables = list(judged["deliverables"])
            found.checks, found.metrics = list(judged["checks"]), list(judged["metrics"])
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
    again = found.tries < int(work.params.get("attempts") or 1)
    if again and any(step.kind == "agent" for step in rounds.values()):
        before = work.course.waiting_for(work.step.id)
        patch = next_round(work.step, rounds, reason=text[:500], spent=found.tries, before=before)
    elif work.params.get("others") and any(step.kind == "agent" for step in rounds.values()):
        before = work.course.waiting_for(work.step.id)
        patch = handed_over(work.step, rounds, reason=text[:500], spent=found.tries, before=before)
    return Outcome(
        ending=Ending.FAILED, failure=Failure.TASK, text=text, evidence=found.plain(), patch=patch
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
    worked = any(name.startswith(f"{work.params['task']}/work") for name in work.inputs)
    for name, one in work.inputs.items():
        told: Any = one.get("output") if isinstance(one.get("output"), Mapping) else {}
        stem = name.removeprefix(f"{work.params['task']}/").partition(".")[0]
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


# --- judging --------------------------------------------------------------------------------------


async def _judge(work: Work, scene: Scene, found: Findings, tree: git.Worktree) -> None:
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
    return _verdict(found, wanted, why, ran)


def _verdict(
    found: Findings, wanted: Mapping[str, Any], why: str, ran: Ran | None = None
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
        raise _Stopped
    return ran


def _state(tree: git.Worktree) -> tuple[git.Head, tuple[str, ...]]:
    """Returns where HEAD is, and which tracked files differ from it."""
    changed = tree.site.git(
        *("status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
    ).fields
    return git.head(tree), tuple(line[3:] for line in changed)


def _short(sha: str | None) -> str:
    return sha[:12] if sha else "nothing"
