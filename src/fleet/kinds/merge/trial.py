"""Trials: some of a phase's commits put together on the base's head, and judged as one tree.

A tree is judged in a worktree of its own, outside every checkout of the user's. What was found is
kept by tree and check beside the attempt, so that no subset is judged twice, not even by an attempt
that is taken up again or that follows a person's answer. What was green at a tree stays so for all
later attempts; what was red is asked again, for that may have been the machine's fault. A check
that is red is tried once more on the same tree before anybody is blamed; if it passes then, it is
flaky, and said to be.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.git import refs
from fleet.harnesses.commands import Ran, run_command
from fleet.kinds import Work

CHECK_S: Final = 1_800.0
TRIALS: Final = "trials"
VERDICTS: Final = "verdicts.json"

Verdict = Mapping[str, Any]
"""What a check found: {text, passed, flaky, at_commit, at_tree, attempt, seconds, why, tail,
digest}; `attempt` is the one that ran it."""


class Stopped(Exception):
    """The attempt was told to stop while a check ran."""


@dataclass(slots=True)
class Trial:
    """All that one attempt puts together on the base at `before`."""

    work: Work
    before: str
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def assemble(
        self,
        parts: Sequence[git.Part],
        *,
        within: str = "",
        messages: Mapping[str, str] | None = None,
        sign: bool = False,
    ) -> git.Assembled | git.Conflict:
        """Returns these parts on the base, in their order, or the first conflict; `within` tells
        the candidate of a subset from that of the whole, `messages` are those of the parts' commits
        by task, where they are known.
        """
        params, name = self.work.params, name_of(self.work) + within
        known = messages or {}
        shas = {part.task: part.sha for part in parts}
        order = list(shas)

        def message(part: git.Part) -> str:
            before = [shas[task] for task in order[: order.index(part.task)]]
            return known.get(part.task) or _message(self.work, part, [self.before, *before])

        def make() -> git.Assembled | git.Conflict:
            onto = _onto(self.work, self.before, parts)
            if isinstance(onto, git.Conflict):
                return onto
            return git.assemble(
                self.work.world.repository,
                onto,
                parts,
                name=name,
                message=message,
                strategy=params.get("strategy") or "merge",
                sign=sign,
            )

        found: git.Assembled | git.Conflict = await self.work.world.in_thread(make)
        return found

    async def judge(
        self, made: git.Assembled, only: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Returns what the phase's checks (those whose text is among `only`) say of a tree.

        Raises Stopped.
        """
        wanted: Any = self.work.params.get("checks") or ()
        found = []
        for number, check in enumerate(wanted, start=1):
            text = str(check["text"])
            if only is not None and text not in only:
                continue
            key = f"{made.tree} {number} {text}"
            if key not in self.verdicts:
                self.verdicts[key] = await self._look(made, number, check)
                await self.work.world.in_thread(self._keep)
            found.append({**self.verdicts[key], "at_commit": made.commit})
        return found

    async def _look(
        self, made: git.Assembled, number: int, check: Mapping[str, Any]
    ) -> dict[str, Any]:
        first = await self._run(made, number, check)
        again = first if first.passed else await self._run(made, number, check)
        flaky = again.passed and not first.passed
        why = "" if first.passed else f"it exited with {first.code}"
        why = "it ran out of time" if first.code is None else why
        return {
            "text": str(check["text"]),
            "passed": again.passed,
            "flaky": flaky,
            "at_tree": made.tree,
            "attempt": self.work.attempt,
            "seconds": again.seconds,
            "why": f"flaky: {why}, then it passed on the same tree" if flaky else why,
            "tail": first.tail,
            "digest": again.digest,
        }

    async def _run(self, made: git.Assembled, number: int, check: Mapping[str, Any]) -> Ran:
        """Runs a check in a fresh checkout: what another one wrote there is not what was built."""
        work, world, trial = self.work, self.work.world, folder_of(self.work)
        await world.in_thread(trial.parent.mkdir, parents=True, exist_ok=True)
        place = await world.in_thread(git.trial_checkout, world.repository, made.commit, trial)
        try:
            ran = await run_command(
                check["command"],
                cwd=place,
                env=work.environment(
                    task=str(work.params["phase"]),
                    branch=str(work.params["base"]),
                    worktree=str(place),
                ),
                log=work.folder / f"check-{number}.log",
                timeout_s=float(check.get("timeout_s") or CHECK_S),
                marker=f"{world.root}:{work.key}",
                stop=work.stop,
            )
        finally:
            await world.in_thread(git.remove_trial, world.repository, trial)
            with contextlib.suppress(OSError):
                trial.parent.rmdir()
        if ran.stopped:
            raise Stopped
        return ran

    def _keep(self) -> None:
        path = self.work.folder / VERDICTS
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}")
        draft.write_text(json.dumps(self.verdicts), encoding="utf-8")
        draft.replace(path)


def begin(work: Work, before: str) -> Trial:
    """Returns a trial on the base at `before` that knows what was judged and still holds."""
    asked = {one.question.about.get("attempt") for one in work.answers}
    known: dict[str, dict[str, Any]] = {}
    for number in range(1, work.attempt + 1):
        found = _kept(work.folder.with_name(str(number)))
        goes_on = number == work.attempt or (number == work.attempt - 1 and number in asked)
        known |= {
            key: one
            for key, one in found.items()
            if goes_on or (one["passed"] and not one["flaky"])
        }
    return Trial(work, before, known)


def _kept(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads((folder / VERDICTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def red(checks: Sequence[Verdict]) -> list[str]:
    """Returns the checks that did not pass, by their texts."""
    return [str(one["text"]) for one in checks if not one["passed"]]


def name_of(work: Work) -> str:
    """Returns what the candidate of a merge and its undo ref are called; a landing after an undo
    has a name of its own.
    """
    number = work.step.id.removeprefix(f"{work.params['phase']}/merge").replace(".", ":")
    return f"{work.run}/{work.params['phase']}{number}"


def folder_of(work: Work) -> Path:
    """Returns where the combined tree is judged: beside the root, where no tool finds the root's
    own files upwards.
    """
    root, name = work.world.root, refs.component(name_of(work))
    if os.access(root.parent, os.W_OK):
        return root.parent / f"{root.name}.worktrees" / f".trial-{name}"
    return work.world.state / TRIALS / name


def _onto(work: Work, before: str, parts: Sequence[git.Part]) -> str | git.Conflict:
    """Returns the commit that parts are put onto: the base's, unless a revert stands in its history
    that took them away; merging what it reverted would bring nothing, so that is applied again.
    """
    repo, undone = work.world.repository, work.params.get("undone") or {}
    assert isinstance(undone, Mapping)
    if not undone.get("reverted") or not any(repo.is_ancestor(p.sha, before) for p in parts):
        return before
    phase = str(work.params.get("name") or work.params["phase"])
    told: Any = undone.get("ranges") or [(undone["before"], undone["commit"])]
    again = git.revert(
        repo,
        before,
        [(new, old) for old, new in reversed(told)],
        name=name_of(work),
        message=lambda _: f"Reapply {phase}\n\nThis lands {undone['commit']} again.\n",
    )
    if isinstance(again, git.Clash):
        return git.Conflict(str(work.params["phase"]), again.paths, ("base",), again.text)
    return before if again.tree == repo.tree(before) else again.commit


def _message(work: Work, part: git.Part, without: Sequence[str]) -> str:
    """Returns the message of a part's commit: task, run and what was shown of it, as trailers; a
    squash also tells what it makes one of, and who else wrote it.
    """
    phase = work.params.get("name") or work.params["phase"]
    check = work.plan_step(f"{part.task}/check")
    told: Mapping[str, Any] = check.params if check is not None else {}
    lines = [f"Merge {part.task} ({phase})", ""]
    co_authors: Sequence[str] = ()
    if (work.params.get("strategy") or "merge") != "merge":
        found = git.gather(work.world.repository, part.sha, without)
        lines += [f"* {subject}" for subject in found.subjects]
        lines += [f"* and {found.more} more"] if found.more else []
        lines += [""] if found.subjects else []
        co_authors = found.co_authors
    lines += [f"Fleet-Task: {part.task}"]
    lines += [f"Fleet-Run: {work.run}", f"Fleet-Verified: {part.sha}"]
    for trailer, key in (("Fleet-Deliverable", "deliverables"), ("Fleet-Check", "checks")):
        named: Any = told.get(key) or ()
        lines += [f"{trailer}: {' '.join(str(one['text']).split())}" for one in named]
    lines += [f"Co-authored-by: {who}" for who in co_authors]
    return "\n".join(lines) + "\n"
