"""The kind `undo`: takes back a move of the base, of tags and of branches, or leaves all as it was.

The base goes back by compare-and-swap where nobody has built on it, else a commit on top reverts
the move; a tree that the base never held is judged first, by the checks of the phases that stay.
The checkout of the base follows as it does at a landing. What became of it the run learns from the
outcome's patch: another gate and another merge of the phase, before what has not started yet. A
move that a killed attempt made is known by its record. Commands of `rollback` run in a scratch
checkout of what is restored.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.crash import crash_point
from fleet.adapters.git import refs
from fleet.core.messages import Ending, Outcome, ReportProgress
from fleet.core.plan import Failure, Need, NeedsChange, Patch
from fleet.errors import FleetError, Rejected
from fleet.harnesses.commands import run_command
from fleet.kinds import Work

ROUNDS: Final = 3
COMMAND_S: Final = 1_800.0
REFUSED: Final = "refused"
TAGS: Final = "refs/tags/"


@dataclass(frozen=True, slots=True)
class Taken:
    """The base was taken back: from `before` to `commit`, by a revert or by moving it."""

    commit: str
    before: str
    undo_ref: str
    reverted: bool


async def run(work: Work) -> Outcome:
    """Returns SUCCEEDED with {commit, before, how, undo, tags, rollback}; with the label `refused`
    and why, when nothing was moved.
    """
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped before anything was taken back")
    world, trial = work.world, _trial(work)
    try:
        await world.in_thread(git.recover_landings, world.repository)
        await world.in_thread(git.remove_trial, world.repository, trial)
        taken = await _base(work, trial)
        if isinstance(taken, Outcome):
            return taken
        crash_point("kinds.undo.after_move")
        if taken is not None:
            await world.in_thread(_forget_part, work)
        told = await world.in_thread(_names, work)
        crash_point("kinds.undo.after_tags")
        rolled = await _roll_back(work, trial, taken)
        return _success(work, taken, told, rolled)
    except Rejected as refused:
        return _refused(f"{refused.text} {refused.hint}".strip())
    except FleetError as failed:
        text = f"{failed.text} {failed.hint}".strip()
        return Outcome(ending=Ending.FAILED, failure=Failure.INFRA, text=text)


# --- the base -------------------------------------------------------------------------------------


async def _base(work: Work, trial: Path) -> Taken | Outcome | None:
    """Takes the base's move back; returns what came of it, None where the base is not meant."""
    move = next((one for one in _moves(work) if one["target"] == _base_ref(work)), None)
    if move is None:
        return None
    for _ in range(ROUNDS):
        taken = await _once(work, trial, move)
        if taken is not None:
            return taken
    return _refused(f"{work.params['base']} was moved by somebody else {ROUNDS} times meanwhile")


async def _once(work: Work, trial: Path, move: Mapping[str, str]) -> Taken | Outcome | None:
    """Tries once; returns None when the base moved meanwhile."""
    world, base = work.world, str(work.params["base"])
    made = await world.in_thread(_made_before, work)
    if made is not None:
        return Taken(made.new, made.old, made.undo_ref, reverted=made.new != move["old"])
    repo, old, new = world.repository, move["old"], move["new"]
    way = await world.in_thread(_way, work, old, new)
    crash_point("kinds.undo.before_move")
    message = f"fleet: undo {work.params.get('name') or base}"
    if not way.reverts:
        backward = await world.in_thread(repo.is_ancestor, old, new)
        act = git.take_back if backward else git.land
        outcome = await world.in_thread(
            lambda: act(repo, base, new, old, name=_act(work), message=message)
        )
        return _taken(work, outcome, Taken(old, new, "", reverted=False))
    now = await world.in_thread(repo.resolve, refs.HEADS + base)
    if now is None:
        return _refused(f"the base branch {base!r} does not exist")
    found = await world.in_thread(_revert, work, now, way)
    if isinstance(found, git.Clash):
        paths = ", ".join(found.paths)
        text = f"later work stands on it ({way.why}), and taking it out conflicts in {paths}"
        return _refused(f"{text}; nothing was moved", {"conflict": {"paths": list(found.paths)}})
    red = [] if found.known else await _judge(work, trial, found.commit)
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped; the base is as it was")
    if red:
        names = ", ".join(f"{one['text']!r}" for one in red)
        return _refused(f"without it, what stays is red: {names}; nothing moved", {"checks": red})
    outcome = await world.in_thread(
        lambda: git.land(repo, base, now, found.commit, name=_act(work), message=message)
    )
    return _taken(work, outcome, Taken(found.commit, now, "", reverted=True))


def _taken(work: Work, outcome: object, taken: Taken) -> Taken | Outcome | None:
    match outcome:
        case git.Landed():
            return replace(taken, undo_ref=outcome.undo_ref)
        case git.WouldOverwrite():
            names = ", ".join(outcome.paths)
            text = f"it would overwrite your {outcome.why} in {outcome.checkout}: {names}"
            evidence = {"overwrites": list(outcome.paths), "checkout": str(outcome.checkout)}
            return _refused(f"{text}. Commit or move them, then undo again", evidence)
        case git.HookFailed():
            base = work.params["base"]
            text = f"a hook of the repository refused to move {base}: {outcome.text}"
            return _refused(text, {"hook": outcome.text})
    return None


def _made_before(work: Work) -> git.Move | None:
    """Returns the move that a killed attempt of this very step has made."""
    repo, act = work.world.repository, _act(work)
    known = [one for one in git.recorded_moves(repo) if one.act == act]
    mine = [one for one in known if one.target == _base_ref(work)]
    return mine[-1] if mine and git.stands(repo, mine[-1]) else None


def _way(work: Work, old: str, new: str) -> git.Way:
    """Returns how the base goes back; what others have put between its moves is never dropped."""
    if len(_ranges(work)) > 1:
        return git.Way(reverts=True, why=f"{work.params['base']} has moved on in between")
    return git.way_back(work.world.repository, str(work.params["base"]), old=old, new=new)


def _revert(work: Work, now: str, way: git.Way) -> git.Reverted | git.Clash:
    name = work.params.get("name") or work.params["base"]
    return git.revert(
        work.world.repository,
        now,
        _ranges(work),
        name=_act(work),
        message=lambda new: f"Revert {name}\n\nThis takes back {new}: {way.why}.\n",
    )


def _forget_part(work: Work) -> None:
    """Tells the merge of a phase, of which a part was taken back, what of it the base still has."""
    part: Any = work.params.get("part")
    if part:
        repo, before = work.world.repository, _base_move(work)["old"]
        there = {t: s for t, s in part["landed"].items() if git.contained(repo, s, before)}
        step, attempt = str(part["step"]), int(part["attempt"])
        work.tell(ReportProgress(step=step, attempt=attempt, facts={"landed": there}))


# --- tags and branches ----------------------------------------------------------------------------


def _names(work: Work) -> list[str]:
    """Takes back what was done to tags and branches; returns what was not, in words."""
    repo, told = work.world.repository, []
    known = {one.undo_ref: one for one in git.recorded_moves(repo)}
    for move in _moves(work):
        target = move["target"]
        try:
            if target.startswith(TAGS):
                _tag(work, target.removeprefix(TAGS), move)
            elif target != _base_ref(work):
                git.restore_branch(repo, known[move["ref"]])
        except Rejected as refused:
            told.append(f"{refused.text} {refused.hint}".strip())
    return told


def _tag(work: Work, name: str, move: Mapping[str, str]) -> None:
    repo = work.world.repository
    if move["new"]:
        git.untag(repo, name, move["new"], act=_act(work))
    else:
        git.tag(repo, name, move["old"], act=_act(work))


# --- commands -------------------------------------------------------------------------------------


async def _judge(work: Work, trial: Path, commit: str) -> list[dict[str, Any]]:
    """Returns those checks of the phases that stay which fail on a tree that is new to the base."""
    wanted = work.params.get("checks") or ()
    ran = await _run_all(work, trial, commit, wanted, what="check", done=[])
    return [one for one in ran if one["code"] != 0]


async def _roll_back(work: Work, trial: Path, taken: Taken | None) -> list[dict[str, Any]]:
    """Runs the phase's rollback on what is restored, from where a killed attempt was; the first
    that fails is the last.
    """
    wanted, facts = work.params.get("rollback") or (), work.facts.get("rollback")
    if taken is None or not wanted:
        return []
    done = list(facts) if isinstance(facts, list | tuple) else []
    return await _run_all(work, trial, taken.commit, wanted, what="rollback", done=done)


async def _run_all(
    work: Work,
    trial: Path,
    commit: str,
    wanted: Sequence[Mapping[str, Any]],
    *,
    what: str,
    done: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    left = list(wanted)[len(done) :]
    if not left or any(one["code"] != 0 for one in done):
        return done
    world = work.world
    await world.in_thread(lambda: trial.parent.mkdir(parents=True, exist_ok=True))
    place = await world.in_thread(git.trial_checkout, world.repository, commit, trial)
    env = work.environment(
        task=str(work.params["phase"]), branch=str(work.params["base"]), worktree=str(place)
    )
    try:
        for number, one in enumerate(left, start=len(done) + 1):
            ran = await run_command(
                one["command"],
                cwd=place,
                env=env,
                log=work.folder / f"{what}-{number}.log",
                timeout_s=float(one.get("timeout_s") or COMMAND_S),
                marker=f"{world.root}:{work.key}",
                stop=work.stop,
            )
            if ran.stopped:
                break
            told = {"text": str(one["text"]), "code": ran.code, "seconds": ran.seconds}
            done.append({**told, "tail": ran.tail, "at_commit": commit})
            work.report({what: list(done)})
            if what == "rollback" and not ran.passed:
                break
    finally:
        await world.in_thread(git.remove_trial, world.repository, trial)
        with contextlib.suppress(OSError):
            trial.parent.rmdir()
    return done


# --- what the run is told -------------------------------------------------------------------------


def _success(
    work: Work, taken: Taken | None, told: list[str], rolled: list[dict[str, Any]]
) -> Outcome:
    output = {
        "commit": taken.commit if taken else None,
        "before": taken.before if taken else None,
        "how": None if taken is None else ("reverted" if taken.reverted else "moved"),
        "undo": taken.undo_ref if taken else None,
        "rollback": rolled,
    }
    base, name = work.params["base"], work.params.get("name") or ""
    text = f"{name} was taken back"
    if taken is not None:
        how = "by a revert on top" if taken.reverted else f"by moving {base}"
        what = f"the undo of {name}" if work.params.get("redo") else name
        text = f"{what} was taken back {how}: {base} is at {taken.commit[:12]}"
    patch = None
    if taken is not None and work.params.get("merge"):
        patch = _relanded(work) if work.params.get("redo") else _reopened(work, taken, text)
    elif taken is not None and taken.reverted and work.params.get("part"):
        patch = _left_out(work, taken, text)
    evidence: dict[str, object] = {"left": told} if told else {}
    return Outcome(
        ending=Ending.SUCCEEDED, text=text, output=output, patch=patch, evidence=evidence
    )


def _reopened(work: Work, taken: Taken, text: str) -> Patch:
    """Returns the patch by which a phase has not landed: one more gate, which needs new approvals,
    and one more merge, which waits for a person, before all that has not started yet.
    """
    params, phase = work.params, str(work.params["phase"])
    gate, merge = _step(work, "gate"), _step(work, "merge")
    kinds = [one.kind for one in work.siblings.values()]
    kept = [
        need
        for need in gate.needs
        if (one := work.plan_step(need.step)) is None or one.kind != "gate"
    ]
    closed = replace(
        gate,
        id=f"{phase}/gate.{1 + kinds.count('gate')}",
        params={**gate.params, "closed": text},
        needs=(*kept, Need(step=work.step.id)),
        released=True,
    )
    again = replace(
        merge,
        id=f"{phase}/merge.{1 + kinds.count('merge')}",
        params={**merge.params, "undone": _undone(work, taken, text)},
        needs=(Need(step=closed.id),),
        released=False,
    )
    waits = NeedsChange(add=(Need(step=again.id),))
    needs = {str(name): waits for name in params.get("before") or ()}
    return Patch(put=(closed, again), needs=needs, reason=text)


def _left_out(work: Work, taken: Taken, text: str) -> Patch:
    """Returns the patch by which the merge of a phase, a part of which was reverted, brings it
    again: the base holds its commits, and nothing of what they did.
    """
    part: Any = work.params["part"]
    merge = work.plan_step(str(part["step"]))
    if merge is None:
        raise Rejected(f"the plan has no step {part['step']!r} any more")
    params = {**merge.params, "undone": _undone(work, taken, text)}
    return Patch(put=(replace(merge, params=params),), reason=text)


def _undone(work: Work, taken: Taken, text: str) -> dict[str, object]:
    move = _base_move(work)
    return {
        "commit": move["new"],
        "before": move["old"],
        "reverted": taken.reverted,
        "ranges": [list(one) for one in _ranges(work)],
        "text": text,
    }


def _relanded(work: Work) -> Patch:
    """Returns the patch that lets the phase's merge find what the base holds again."""
    merge = _step(work, "merge")
    return Patch(put=(replace(merge, released=True),), reason="its undo was taken back")


def _refused(text: str, evidence: Mapping[str, object] | None = None) -> Outcome:
    return Outcome(ending=Ending.SUCCEEDED, label=REFUSED, text=text, evidence=evidence or {})


def _step(work: Work, name: str) -> Any:
    found = work.plan_step(str(work.params[name]))
    if found is None:
        raise Rejected(f"the plan has no step {work.params[name]!r} any more")
    return found


def _moves(work: Work) -> Sequence[Mapping[str, str]]:
    moves: Any = work.params["moves"]
    return moves  # type: ignore[no-any-return]


def _base_move(work: Work) -> Mapping[str, str]:
    return next(one for one in _moves(work) if one["target"] == _base_ref(work))


def _ranges(work: Work) -> list[tuple[str, str]]:
    """Returns the (old, new) of the base's moves, the latest first."""
    move, told = _base_move(work), work.params.get("ranges")
    listed = told if isinstance(told, list | tuple) else ((move["old"], move["new"]),)
    return [(old, new) for old, new in listed]


def _base_ref(work: Work) -> str:
    return f"{refs.HEADS}{work.params['base']}"


def _act(work: Work) -> str:
    return f"taken-back/{work.run}/{work.step.id}"


def _trial(work: Work) -> Path:
    """Returns where a tree is looked at: beside the root, where no tool finds the root's own files
    upwards.
    """
    root, name = work.world.root, refs.component(f"{work.run}/{work.step.id}")
    if os.access(root.parent, os.W_OK):
        return root.parent / f"{root.name}.worktrees" / f".trial-{name}"
    return work.world.state / "trials" / name
