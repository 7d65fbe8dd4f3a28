"""The kind `merge`: lands a phase, exactly the commits that its gate pinned, or leaves the base as
it was.

Assembled in dependency order on the base's head and judged as one tree in a worktree of its own,
outside every checkout of the user's; then the base moves by compare-and-swap to that very commit.
If it has moved meanwhile, all is done again on the new base, a few times. What was killed half way
is found again: a landing is known by its pinned commits, which the base contains, and by its undo
ref.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.crash import crash_point
from fleet.adapters.git import refs
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure, Need, NeedsChange, Patch
from fleet.errors import FleetError, Rejected
from fleet.harnesses.commands import run_command
from fleet.kinds import Work

ROUNDS: Final = 3
CHECK_S: Final = 1_800.0
TRIALS: Final = "trials"


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the gate let through: commit and branch by task, in the order in which they land."""

    parts: tuple[git.Part, ...]
    gate: str

    @property
    def commits(self) -> dict[str, str]:
        """The pinned commit of each task."""
        return {part.task: part.sha for part in self.parts}


async def run(work: Work) -> Outcome:
    """Returns SUCCEEDED with {commit, before, tasks, tag, undo}; DEFERRED, held, with the reason
    otherwise.
    """
    world, trial = work.world, _trial(work)
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped before anything was merged")
    try:
        await world.in_thread(git.recover_landings, world.repository)
        await world.in_thread(git.remove_trial, world.repository, trial)
        pinned = _pinned(work)
        landed = await world.in_thread(_landed, work, pinned)
        if landed is not None:
            done: Outcome = await world.in_thread(_success, work, pinned, landed, ())
            return done
        moved = await world.in_thread(_moved, work, pinned)
        if moved:
            return _gate_again(
                work, pinned, f"{', '.join(moved)} moved since the gate opened", {}, hold=False
            )
        for _ in range(ROUNDS):
            outcome = await _round(work, pinned, trial)
            if outcome is not None:
                return outcome
        base = work.params["base"]
        return _held(
            f"{base} was moved by somebody else {ROUNDS} times "
            f"while {work.params['phase']} was judged"
        )
    except Rejected as refused:
        return _held(f"{refused.text} {refused.hint}".strip())
    except FleetError as failed:
        text = f"{failed.text} {failed.hint}".strip()
        return Outcome(ending=Ending.FAILED, failure=Failure.INFRA, text=text)


async def _round(work: Work, pinned: Pinned, trial: Path) -> Outcome | None:
    """Assembles, judges and lands once; returns None when the base moved meanwhile."""
    world, params = work.world, work.params
    repo, base = world.repository, str(params["base"])
    before = await world.in_thread(repo.resolve, f"refs/heads/{base}")
    if before is None:
        return _held(f"the base branch {base!r} does not exist")
    made = await world.in_thread(_assemble, work, pinned, before)
    if isinstance(made, git.Conflict):
        return _conflict(work, pinned, made)
    crash_point("kinds.merge.after_assembly")
    checks, stopped = await _judge(work, trial, made.commit)
    if stopped:
        return Outcome(ending=Ending.STOPPED, text="stopped; the base is as it was")
    red = [one for one in checks if not one["passed"]]
    if red:
        return _red(work, pinned, checks, made)
    crash_point("kinds.merge.before_land")
    landed = await world.in_thread(_land, work, before, made.commit)
    if isinstance(landed, git.BaseMoved):
        return None
    if isinstance(landed, git.WouldOverwrite):
        names = ", ".join(landed.paths)
        text = (
            f"landing would overwrite your {landed.why} in {landed.checkout}: {names}. "
            "Commit or move them, then merge again"
        )
        return _held(text, {"overwrites": list(landed.paths), "checkout": str(landed.checkout)})
    if isinstance(landed, git.HookFailed):
        return _held(
            f"a hook of the repository refused to move {base}: {landed.text}", {"hook": landed.text}
        )
    crash_point("kinds.merge.after_land")
    undo = "" if made.commit == before else landed.undo_ref
    done: Outcome = await world.in_thread(
        _success, work, pinned, (made.commit, before, undo), checks
    )
    return done


# --- the parts ------------------------------------------------------------------------------------


def _pinned(work: Work) -> Pinned:
    gates = [
        (name, one)
        for name, one in work.inputs.items()
        if isinstance(one.get("output"), Mapping) and "commits" in one["output"]
    ]
    if not gates:
        raise Rejected(f"no gate of {work.params['phase']} has opened")
    name, gate = gates[-1]
    commits: Mapping[str, str] = gate["output"]["commits"]
    step = work.plan_step(name) or work.siblings.get(name)
    listed: Any = step.params["tasks"] if step else ()
    branches = {str(one["id"]): str(one["branch"]) for one in listed}
    parts = [
        git.Part(task, branches.get(task, task), commits[task])
        for task in work.params["tasks"]
        if task in commits
    ]
    return Pinned(tuple(parts), name)


def _name(work: Work) -> str:
    """Returns the name of what this step does to the base; a landing after an undo has its own."""
    number = work.step.id.removeprefix(f"{work.params['phase']}/merge").replace(".", ":")
    return f"{work.run}/{work.params['phase']}{number}"


def _trial(work: Work) -> Path:
    """Returns where the combined tree is judged: beside the root, where no tool finds the root's
    own files upwards.
    """
    root, name = work.world.root, refs.component(_name(work))
    if os.access(root.parent, os.W_OK):
        return root.parent / f"{root.name}.worktrees" / f".trial-{name}"
    return work.world.state / TRIALS / name


def _moved(work: Work, pinned: Pinned) -> list[str]:
    heads = work.world.repository.heads([part.branch for part in pinned.parts])
    return [part.task for part in pinned.parts if heads.get(part.branch, part.sha) != part.sha]


def _assemble(work: Work, pinned: Pinned, before: str) -> git.Assembled | git.Conflict:
    phase = work.params.get("name") or work.params["phase"]

    def message(part: git.Part) -> str:
        return f"Merge {part.task} ({phase})\n\nVerified at {part.sha}.\n"

    repo, onto = work.world.repository, before
    undone: Any = work.params.get("undone") or {}
    if undone.get("reverted") and any(repo.is_ancestor(p.sha, before) for p in pinned.parts):
        # A revert stands in the base's history: merging what it reverted would bring nothing.
        told = f"Reapply {phase}\n\nThis lands {undone['commit']} again.\n"
        again = git.revert(
            repo, onto, old=undone["commit"], new=undone["before"], name=_name(work), message=told
        )
        if isinstance(again, git.Clash):
            return git.Conflict(str(work.params["phase"]), again.paths, ("base",), again.text)
        onto = onto if again.tree == repo.tree(onto) else again.commit
    return git.assemble(
        repo,
        onto,
        pinned.parts,
        name=_name(work),
        message=message,
        strategy=work.params.get("strategy") or "merge",
        sign=True,
    )


async def _judge(work: Work, trial: Path, commit: str) -> tuple[list[dict[str, Any]], bool]:
    """Runs the phase's checks on the combined tree; returns their verdicts, and whether it was
    stopped.
    """
    wanted = work.params.get("checks") or ()
    if not wanted:
        return [], False
    world, found = work.world, list[dict[str, Any]]()
    await world.in_thread(trial.parent.mkdir, parents=True, exist_ok=True)
    place = await world.in_thread(git.trial_checkout, world.repository, commit, trial)
    try:
        for number, check in enumerate(wanted, start=1):
            env = work.environment(
                task=str(work.params["phase"]), branch=str(work.params["base"]), worktree=str(place)
            )
            ran = await run_command(
                check["command"],
                cwd=place,
                env=env,
                log=work.folder / f"check-{number}.log",
                timeout_s=float(check.get("timeout_s") or CHECK_S),
                marker=f"{world.root}:{work.key}",
                stop=work.stop,
            )
            if ran.stopped:
                return found, True
            why = "" if ran.passed else f"it exited with {ran.code}"
            found.append(
                {
                    "text": str(check["text"]),
                    "passed": ran.passed,
                    "at_commit": commit,
                    "seconds": ran.seconds,
                    "why": "it ran out of time" if ran.code is None else why,
                    "tail": ran.tail,
                }
            )
    finally:
        await world.in_thread(git.remove_trial, world.repository, trial)
        with contextlib.suppress(OSError):
            trial.parent.rmdir()
    return found, False


def _land(
    work: Work, before: str, commit: str
) -> git.Landed | git.BaseMoved | git.WouldOverwrite | git.HookFailed:
    phase = work.params["phase"]
    return git.land(
        work.world.repository,
        str(work.params["base"]),
        before,
        commit,
        name=_name(work),
        message=f"fleet: merge {phase}",
    )


def _landed(work: Work, pinned: Pinned) -> tuple[str, str, str] | None:
    """Returns (commit, before, undo ref) of a landing of these very commits that a killed attempt
    has made.
    """
    repo = work.world.repository
    candidate = repo.resolve(refs.CANDIDATE + "/".join(map(refs.component, _name(work).split("/"))))
    base = repo.resolve(f"refs/heads/{work.params['base']}")
    move = git.last_move(repo, _name(work), candidate) if candidate else None
    if candidate is None or base is None or move is None or move.old is None:
        return None
    if not repo.is_ancestor(candidate, base):
        return None
    if not all(git.contained(repo, part.sha, candidate) for part in pinned.parts):
        return None
    return candidate, move.old, move.undo_ref


def _success(work: Work, pinned: Pinned, landed: tuple[str, str, str], checks: object) -> Outcome:
    commit, before, undo = landed
    repo, tag = work.world.repository, work.params.get("tag")
    evidence: dict[str, object] = {"checks": checks}
    if tag:
        try:
            git.tag(repo, str(tag), commit, act=_name(work))
        except Rejected as refused:
            # What has landed has landed; the tag is told, not made a failure of the merge.
            evidence["tag"] = f"{refused.text} {refused.hint}".strip()
    crash_point("kinds.merge.after_tag")
    output = {
        "commit": commit,
        "before": before,
        "tasks": pinned.commits,
        "tag": None if "tag" in evidence else tag,
        "undo": undo,
    }
    text = f"landed on {work.params['base']} as {commit[:12]}"
    return Outcome(ending=Ending.SUCCEEDED, text=text, output=output, evidence=evidence)


# --- what keeps it from landing -------------------------------------------------------------------


def _conflict(work: Work, pinned: Pinned, found: git.Conflict) -> Outcome:
    others = [work.params["base"] if name == "base" else name for name in found.with_tasks]
    text = (
        f"{found.task} conflicts with {' and '.join(map(str, others))} "
        f"in {', '.join(found.paths)}; the base is as it was"
    )
    conflict = {
        "task": found.task,
        "with": list(found.with_tasks),
        "paths": list(found.paths),
        "text": found.text,
    }
    return _gate_again(work, pinned, text, {"conflict": conflict})


def _red(work: Work, pinned: Pinned, checks: list[dict[str, Any]], made: git.Assembled) -> Outcome:
    failed = ", ".join(f"{one['text']!r} ({one['why']})" for one in checks if not one["passed"])
    tasks = ", ".join(step.task for step in made.steps if not step.contained)
    text = f"red on the combined tree of {tasks or 'the base'}: {failed}; the base is as it was"
    return _gate_again(work, pinned, text, {"checks": checks, "tasks": list(pinned.commits)})


def _gate_again(
    work: Work, pinned: Pinned, text: str, evidence: Mapping[str, object], *, hold: bool = True
) -> Outcome:
    """Returns the deferred merge with the patch that closes the gate again: a further one, before
    this step.
    """
    gate = work.plan_step(pinned.gate) or work.siblings[pinned.gate]
    number = 1 + sum(step.kind == "gate" for step in work.siblings.values())
    closed = replace(
        gate,
        id=f"{work.params['phase']}/gate.{number}",
        params={**gate.params, "closed": text},
        needs=(*gate.needs, Need(step=gate.id)),
        released=True,
    )
    change = NeedsChange(add=(Need(step=closed.id),), remove=(gate.id,))
    patch = Patch(put=(closed,), needs={work.step.id: change}, reason=text[:500])
    return Outcome(ending=Ending.DEFERRED, hold=hold, text=text, patch=patch, evidence=evidence)


def _held(text: str, evidence: Mapping[str, object] | None = None) -> Outcome:
    return Outcome(ending=Ending.DEFERRED, hold=True, text=text, evidence=evidence or {})
