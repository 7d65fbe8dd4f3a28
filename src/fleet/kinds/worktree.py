"""The kind `worktree`: a task's own checkout, at its declared path and branch, ready to be worked
in.

Adopt-or-create: the base's head with the verified commits of the dependencies merged in where the
base does not contain them; a port; the setup commands, each once. A clash between dependencies
names both tasks and the files. Nothing that an agent could have written is overwritten. In a later
round of a verifier the same worktree begins anew with the commits that are to be judged now; that
of another task keeps its own, and what it has come to need since is merged in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.crash import crash_point
from fleet.adapters.ports import HIGH, LOW, Ports
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure, Patch
from fleet.core.state import Standing
from fleet.errors import FleetError, Rejected
from fleet.files.changes.rejudging import last_check, may_again, send_back, tries_of
from fleet.harnesses.commands import run_command
from fleet.kinds import Work

SETUP_S: Final = 1_800.0
SAID_CHARS: Final = 2_000
SETUP_DONE: Final = "fleet-setup"
"""A file in the worktree's own git folder that counts the setup commands which have passed."""


async def run(work: Work) -> Outcome:
    """Returns the worktree as output: {path, branch, start, admin, port, adopted, after}; FAILED
    with the reason.
    """
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped before the worktree was made")
    try:
        port = None
        if work.params.get("port") is not None:
            port = await work.world.in_thread(_reserve, work)
        made = await _make(work)
    except Rejected as refused:
        # What is in the way stays there until a person moves it: no use in trying again.
        return _failed(Failure.TASK, f"{refused.text} {refused.hint}".strip())
    except FleetError as failed:
        return _failed(Failure.INFRA, f"{failed.text} {failed.hint}".strip())
    if isinstance(made, Outcome):
        return made
    crash_point("kinds.worktree.before_setup")
    output = {
        "path": str(made.path),
        "branch": made.branch,
        "start": made.start,
        "admin": str(made.admin),
        "port": port,
        "adopted": made.adopted,
        "after": _left(work),
        **({"attempts": attempts} if (attempts := _attempts(work)) else {}),
    }
    work.report({"worktree": output["path"], "branch": made.branch})
    return await _set_up(work, made, port) or Outcome(ending=Ending.SUCCEEDED, output=output)


def _reserve(work: Work) -> int:
    port = work.params["port"]
    low, high = work.params.get("ports") or (LOW, HIGH)
    ports = Ports(work.world.state, int(low), int(high))
    return ports.reserve(str(work.params["task"]), None if port == "auto" else int(port))


async def _make(work: Work) -> git.Worktree | Outcome:
    world, params = work.world, work.params
    base = await world.resolve(f"refs/heads/{params['base']}")
    if base is None:
        return _failed(Failure.TASK, f"the base branch {params['base']!r} does not exist")
    wanted = _dependencies(work)
    lost = [task for task, sha in wanted.items() if await world.resolve(sha) is None]
    if lost:
        return _failed(
            Failure.AGENT, f"the verified commit of {', '.join(lost)} is not in the repository"
        )
    repo = world.repository
    merge = {
        task: sha
        for task, sha in wanted.items()
        if not await world.in_thread(git.contained, repo, sha, base)
    }
    made = await world.make_worktree(
        git.Request(
            path=Path(params["path"]),
            branch=str(params["branch"]),
            start=base,
            key=f"{work.run}/{params['task']}",
            merge=tuple(merge.values()),
            copy=tuple(params.get("copy") or ()),
        )
    )
    if isinstance(made, FleetError):
        raise made
    if not isinstance(made, git.StartConflict) and "renews" in params:
        made = await world.in_thread(_renewed, work, made, base, tuple(merge.values()))
    if isinstance(made, git.StartConflict):
        clash: Outcome = await world.in_thread(_clash, work, merge, base, made)
        return clash
    if made.adopted and "renews" not in params:
        # Of what has come to be needed since it was made nothing is in it yet.
        made = await world.in_thread(git.bring_in, repo, made, wanted)
    return made


def _renewed(
    work: Work, made: git.Worktree, base: str, merge: tuple[str, ...]
) -> git.Worktree | git.StartConflict:
    """Returns the worktree of an earlier round, begun anew where it would begin now."""
    before = work.look(str(work.params["renews"]))
    output: Any = before.output if before is not None else None
    since = str(output["start"]) if isinstance(output, dict) else made.start
    return git.renew(work.world.repository, made, start=base, merge=merge, since=since)


def _attempts(work: Work) -> int:
    """Returns how often an agent was started in earlier rounds of the task; 0 in the first."""
    told: list[Any] = [
        one.get(kept)
        for step, one in work.inputs.items()
        if step.startswith(f"{work.params['task']}/check")
        for kept in ("output", "evidence")
    ]
    return max((int(one.get("attempts") or 0) for one in told if isinstance(one, dict)), default=0)


def _dependencies(work: Work) -> dict[str, str]:
    """Returns the verified commit of each dependency, in the order of the document; a skipped one
    has none.
    """
    return {task: str(one["commit"]) for task, one in _left(work).items()}


def _left(work: Work) -> dict[str, dict[str, Any]]:
    """Returns what each dependency left, for the brief of the agent that works here."""
    found = {}
    for task in work.params.get("after") or ():
        output: Any = _landed(work, str(task)) or work.verified(str(task))[1].get("output")
        if isinstance(output, dict) and output.get("commit"):
            found[str(task)] = {
                "commit": output["commit"],
                "said": str(output.get("said") or "")[-SAID_CHARS:],
                "deliverables": [
                    *({"text": one["text"]} for one in output.get("deliverables") or ()),
                    *(
                        {"text": one["file"]}
                        for one in output.get("evidence") or ()
                        if one.get("file")
                    ),
                ],
                **_proved(work, str(task), output),
            }
    return found


def _landed(work: Work, task: str) -> object:
    """Returns what the last check of a task of an earlier phase put out, None for any other task:
    its phase's gate may have had it checked again after all that this step waits for.
    """
    last = last_check(work.course, task)
    join = work.look(task)
    told: Any = join.step.params.get("task") if join is not None else None
    if last is None or not told or told.get("phase") == work.params.get("phase"):
        return None
    return last.output if last.standing is Standing.SUCCEEDED else None


def _proved(work: Work, task: str, output: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a proof has found, and what a role has said to that, for the brief."""
    check = last_check(work.course, task)
    told: Any = check.step.params.get("proof") if check is not None else None
    if not told:
        return {}
    answers = [
        str(one["output"]["answer"])
        for name, one in work.inputs.items()
        if name.startswith(f"{task}/consult") and one.get("output")
    ]
    why = output.get("disproved") or ""
    return {"proof": {"text": told["text"], "why": why, "answers": answers}}


def _clash(work: Work, merge: dict[str, str], base: str, found: git.StartConflict) -> Outcome:
    """Returns the outcome of a clash of dependencies: who clashes with whom, in which files."""
    repo = work.world.repository
    second = next((task for task, sha in merge.items() if sha == found.commits[1]), "a dependency")
    first = []
    for task, sha in merge.items():
        if task == second:
            break
        fork = repo.merge_base(sha, base)
        if fork and git.changed_since(repo, fork, sha) & set(found.paths):
            first.append(task)
    with_whom = first or [str(work.params["base"])]
    text = (
        f"{work.params['task']} cannot start: the work of {' and '.join([*with_whom, second])} "
        f"conflicts in {', '.join(found.paths)}"
    )
    evidence = {
        "conflict": {"task": second, "with": with_whom, "paths": list(found.paths)},
        "tail": found.text,
    }
    patch = _sent_back(work, second, text)
    if patch is not None:
        commits = [merge.get(one, base) for one in with_whom]
        evidence["verdict"] = _finding(work, second, with_whom, commits, found)
    return Outcome(
        ending=Ending.FAILED, failure=Failure.TASK, text=text, evidence=evidence, patch=patch
    )


def _finding(
    work: Work, task: str, others: list[str], commits: list[str], found: git.StartConflict
) -> dict[str, Any]:
    """Returns a clash as a verifier's finding about the second of the tasks that clash."""
    text = f"it conflicts with {' and '.join(others)} in {', '.join(found.paths)}; bring that into "
    text += "your branch and resolve it there"
    shown = "\n".join([*(f"$ git merge {sha}" for sha in commits), found.text])
    told = {"severity": "high", "task": task, "text": text, "evidence": shown}
    return {"passed": False, "commits": _dependencies(work), "findings": [told]}


def _sent_back(work: Work, task: str, reason: str) -> Patch | None:
    """Returns the patch that sends a task back whose work does not merge into what is to be judged
    together; None where it is not for this step to judge, or the task's tries are used up.
    """
    course, check = work.course, last_check(work.course, str(work.params["task"]))
    told: Any = check.step.params.get("verifies", ()) if check is not None else ()
    if check is None or task not in [one["id"] for one in told] or not may_again(course, task):
        return None
    tries = {task: tries_of(course, task)}
    return send_back(course, check.step, tries, tree=work.step, reason=reason)


async def _set_up(work: Work, made: git.Worktree, port: int | None) -> Outcome | None:
    """Runs the setup commands that have not passed yet; returns the outcome of one that fails."""
    commands = work.params.get("setup") or ()
    mark = made.admin / SETUP_DONE
    env = work.environment(
        task=str(work.params["task"]), branch=made.branch, worktree=str(made.path), port=port
    )
    for number, command in enumerate(commands, start=1):
        if number <= _passed(mark):
            continue
        ran = await run_command(
            command,
            cwd=made.path,
            env=env | {str(k): str(v) for k, v in (work.params.get("env") or {}).items()},
            log=work.folder / f"setup-{number}.log",
            timeout_s=SETUP_S,
            marker=f"{work.world.root}:{work.key}",
            stop=work.stop,
        )
        if ran.stopped:
            return Outcome(ending=Ending.STOPPED, text="stopped during setup")
        if not ran.passed:
            shown = command if isinstance(command, str) else " ".join(command)
            how = "ran out of time" if ran.code is None else f"exited with {ran.code}"
            text = f"setup command {number} {how}: {shown}\n{ran.tail}".strip()
            evidence = {"setup": {"command": shown, "code": ran.code, "tail": ran.tail}}
            return Outcome(
                ending=Ending.FAILED, failure=Failure.AGENT, text=text, evidence=evidence
            )
        await work.world.in_thread(mark.write_text, str(number))
        crash_point("kinds.worktree.after_setup")
    return None


def _passed(mark: Path) -> int:
    try:
        return int(mark.read_text())
    except (OSError, ValueError):
        return 0


def _failed(failure: Failure, text: str) -> Outcome:
    return Outcome(ending=Ending.FAILED, failure=failure, text=text)
