"""The kind `merge`: lands a phase, exactly the commits that its gate pinned, or leaves the base as
it was.

Assembled in dependency order on the base's head and judged as one tree in a worktree of its own,
outside every checkout of the user's; then the base moves by compare-and-swap to that very commit.
If it has moved meanwhile, all is done again on the new base, a few times. When the whole is red, a
smallest set of tasks that is red is looked for; the last of them is sent back to work, and the
rest, judged on its own, lands if a person wants it. What was killed half way is found again: a
landing is known by its pinned commits, which the base contains, and by its undo ref.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.crash import crash_point
from fleet.adapters.git import refs
from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import Failure
from fleet.errors import FleetError, Rejected
from fleet.kinds import Work
from fleet.kinds.merge import hooks, proposal, refusals
from fleet.kinds.merge.blame import Blame, find_guilty
from fleet.kinds.merge.refusals import Pinned, gate_again, held
from fleet.kinds.merge.trial import Stopped, Trial, begin, folder_of, name_of, red

ROUNDS: Final = 3
LAND_REST, REWORK, HOLD = "land-rest", "rework", "hold"


async def run(work: Work) -> Outcome:
    """Returns SUCCEEDED with {commit, before, tasks, tag, undo}; DEFERRED, held, with the reason
    otherwise.
    """
    world = work.world
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped before anything was merged")
    try:
        await world.in_thread(git.recover_landings, world.repository)
        await world.in_thread(git.remove_trial, world.repository, folder_of(work))
        pinned = _pinned(work)
        landed = await world.in_thread(_landed, work, pinned)
        if landed is not None:
            return await _end(work, pinned, landed, ())
        proposed = proposal.known(work, pinned)
        if proposed is not None:
            taken = await world.in_thread(proposal.taken, work, proposed)
            if taken is not None:
                return await _end(work, pinned, taken, proposed["checks"])
        moved = await world.in_thread(_moved, work, pinned)
        if moved:
            text = f"{', '.join(moved)} moved since the gate opened"
            return gate_again(work, pinned, text, {}, hold=False)
        if proposed is not None and await world.in_thread(proposal.stands, work, proposed):
            return proposal.put(work, proposed)
        for _ in range(ROUNDS):
            outcome = await _round(work, pinned)
            if outcome is not None:
                return outcome
        base = work.params["base"]
        return held(
            f"{base} was moved by somebody else {ROUNDS} times "
            f"while {work.params['phase']} was judged"
        )
    except Stopped:
        return Outcome(ending=Ending.STOPPED, text="stopped; the base is as it was")
    except Rejected as refused:
        return held(_in_words(refused))
    except FleetError as failed:
        text = _in_words(failed)
        return Outcome(ending=Ending.FAILED, failure=Failure.INFRA, text=text)


def _in_words(error: FleetError) -> str:
    return f"{error.text}; {error.hint}" if error.hint else error.text


async def _round(work: Work, pinned: Pinned) -> Outcome | None:
    """Assembles, judges and lands once; returns None when the base moved meanwhile."""
    world, params = work.world, work.params
    repo, base = world.repository, str(params["base"])
    before = await world.in_thread(repo.resolve, f"refs/heads/{base}")
    if before is None:
        return held(f"the base branch {base!r} does not exist")
    trial = begin(work, before)
    made = await trial.assemble(pinned.parts)
    if isinstance(made, git.Conflict):
        return refusals.conflict(work, pinned, made)
    crash_point("kinds.merge.after_assembly")
    checks = await trial.judge(made)
    if red(checks):
        return await _blame(work, pinned, trial, made, checks)
    sealed = await hooks.seal(work, trial, pinned.parts, made)
    if isinstance(sealed, hooks.Refusal):
        return sealed.outcome
    checks = [{**one, "at_commit": sealed.commit} for one in checks]
    if work.params.get("land") == "pr" and sealed.commit != before:
        return proposal.put(work, proposal.of(pinned, before, sealed.commit, checks))
    crash_point("kinds.merge.before_land")
    landed = await world.in_thread(_land, work, before, sealed.commit, name_of(work))
    if not isinstance(landed, git.Landed):
        return _not_landed(base, landed)
    crash_point("kinds.merge.after_land")
    undo = "" if sealed.commit == before else landed.undo_ref
    return await _end(work, pinned, (sealed.commit, before, undo), checks)


def _not_landed(
    base: str, refused: git.BaseMoved | git.WouldOverwrite | git.HookFailed
) -> Outcome | None:
    if isinstance(refused, git.BaseMoved):
        return None
    if isinstance(refused, git.HookFailed):
        return hooks.Refusal("reference-transaction", None, f"move {base}", refused.text).outcome
    names = ", ".join(refused.paths)
    text = (
        f"landing would overwrite your {refused.why} in {refused.checkout}: {names}. "
        "Commit or move them, then merge again"
    )
    return held(text, {"overwrites": list(refused.paths), "checkout": str(refused.checkout)})


# --- when the whole is red ------------------------------------------------------------------------


async def _blame(
    work: Work,
    pinned: Pinned,
    trial: Trial,
    made: git.Assembled,
    checks: list[dict[str, Any]],
) -> Outcome | None:
    """Returns what becomes of a phase whose whole is red; None when the base moved meanwhile."""
    found = await find_guilty(work, pinned.parts, trial, red(checks))
    if found is None:
        tasks = [step.task for step in made.steps if not step.contained]
        return refusals.nobody_to_blame(work, pinned, checks, tasks)
    text = f"red on the combined tree: {refusals.failures(checks)}. {found.in_words()}"
    evidence: dict[str, object] = {
        "checks": checks,
        "culprits": [list(one) for one in found.sets],
        "sent_back": list(found.back),
        "waits": list(found.waits),
        "rest": found.news,
    }
    choice = _chosen(work, pinned, found)
    if choice is None:
        return _ask(work, found, pinned, text, evidence)
    if choice == HOLD:
        return gate_again(work, pinned, f"{text}; left to you, the base is as it was", evidence)
    ending = "the base is as it was"
    contained = {step.task for step in found.made.steps if step.contained}
    there = [part for part in found.rest if part.task in contained]
    if choice == LAND_REST and found.news:
        name = f"{name_of(work)}.rest-{work.attempt}"
        sealed = await hooks.seal(work, trial, found.rest, found.made, within=".part")
        if isinstance(sealed, hooks.Refusal):
            return sealed.outcome
        landed = await work.world.in_thread(
            _land, work, trial.before, sealed.commit, name, found.news
        )
        if not isinstance(landed, git.Landed):
            return _not_landed(str(work.params["base"]), landed)
        crash_point("kinds.merge.after_rest")
        evidence["landed"] = {"commit": sealed.commit, "before": trial.before}
        evidence["undo"] = landed.undo_ref
        evidence["rest_checks"] = [{**one, "at_commit": sealed.commit} for one in found.checks]
        ending = f"the rest landed as {sealed.commit[:12]}"
        if (said := await hooks.after(work)) is not None:
            evidence["hook"] = said.evidence
            ending += f"; {said.in_words}"
        there = list(found.rest)
    note = f"{text}.\n\n{refusals.evidence_of(checks)}"
    if there:
        work.report({"landed": {part.task: part.sha for part in there}})
        names = ", ".join(part.task for part in there)
        note += f"\n\n{names}: on {work.params['base']} now. Merge that into your branch first."
    text = f"{text}; {', '.join(found.back)} is sent back to work, {ending}"
    again = not work.params.get("auto")
    return gate_again(work, pinned, text, evidence, hold=again, sent_back=found.back, note=note)


def _chosen(work: Work, pinned: Pinned, found: Blame) -> str | None:
    """Returns what a person has chosen to do about these very commits; without a rest to land
    there is nothing to choose, unless the work was sent back as often as it may.
    """
    for one in reversed(work.answers):
        about: Any = one.question.about
        asked = {"commits": pinned.commits, "back": list(found.back), "attempt": work.attempt - 1}
        if dict(about) == asked:
            return one.value
    spent = any(refusals.is_spent(work, task) for task in found.back)
    return None if found.news or spent else REWORK


def _ask(
    work: Work, found: Blame, pinned: Pinned, text: str, evidence: Mapping[str, object]
) -> Outcome:
    rest = f" Land the rest ({', '.join(found.news)})?" if found.news else " Send it back?"
    question = Question(
        message=f"{text}.{rest}",
        kind="choice",
        choices=(LAND_REST, REWORK, HOLD) if found.news else (REWORK, HOLD),
        topic="culprit",
        then=Then.AGAIN,
        about={"commits": pinned.commits, "back": list(found.back), "attempt": work.attempt},
    )
    return Outcome(ending=Ending.ASKED, text=text, question=question, evidence=evidence)


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


def _moved(work: Work, pinned: Pinned) -> list[str]:
    heads = work.world.repository.heads([part.branch for part in pinned.parts])
    return [part.task for part in pinned.parts if heads.get(part.branch, part.sha) != part.sha]


def _land(
    work: Work, before: str, commit: str, name: str, tasks: Sequence[str] = ()
) -> git.Landed | git.BaseMoved | git.WouldOverwrite | git.HookFailed:
    what = f"{', '.join(tasks)} of {work.params['phase']}" if tasks else work.params["phase"]
    return git.land(
        work.world.repository,
        str(work.params["base"]),
        before,
        commit,
        name=name,
        message=f"fleet: merge {what}",
    )


def _landed(work: Work, pinned: Pinned) -> tuple[str, str, str] | None:
    """Returns (commit, before, undo ref) of a landing of these very commits that a killed attempt
    has made.
    """
    repo = work.world.repository
    candidate = repo.resolve(
        refs.CANDIDATE + "/".join(map(refs.component, name_of(work).split("/")))
    )
    base = repo.resolve(f"refs/heads/{work.params['base']}")
    move = git.last_move(repo, name_of(work), candidate) if candidate else None
    if candidate is None or base is None or move is None or move.old is None:
        return None
    if not repo.is_ancestor(candidate, base):
        return None
    if not all(git.contained(repo, part.sha, candidate) for part in pinned.parts):
        return None
    return candidate, move.old, move.undo_ref


async def _end(work: Work, pinned: Pinned, landed: tuple[str, str, str], checks: object) -> Outcome:
    """Returns the success of a landing, with the tag set and the user's post-merge hook told."""
    done: Outcome = await work.world.in_thread(_success, work, pinned, landed, checks)
    said = await hooks.after(work) if landed[2] else None
    if said is None:
        return done
    text = f"{done.text}; {said.in_words}"
    return replace(done, text=text, evidence={**done.evidence, "hook": said.evidence})


def _success(work: Work, pinned: Pinned, landed: tuple[str, str, str], checks: object) -> Outcome:
    commit, before, undo = landed
    repo, tag = work.world.repository, work.params.get("tag")
    evidence: dict[str, object] = {"checks": checks}
    if tag:
        try:
            git.tag(repo, str(tag), commit, act=name_of(work))
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
