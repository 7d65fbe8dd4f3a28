"""What a verifier concludes about the tasks that it judges, and what follows for them.

Its agent's verdict and its commands are about the commits that came into its worktree, and count
for these alone: where a judged branch has moved since, or the task has been sent back by somebody
else, it judges again. Red, it sends tasks back with what was found, until their tries or its own
are used up; then its ladder goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from fleet.adapters.attempts import plain
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.core.state import Standing
from fleet.files.changes.mending import heirs_of, landed_in, may_mend
from fleet.files.changes.rejudging import last_check, may_again, send_back, tries_of
from fleet.files.verdicts import blamed
from fleet.kinds import Work
from fleet.kinds.check.loops import ended_by_loop
from fleet.views.verdicts import found_in

NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was concluded: `commits` are those that were judged, by task; `moved` are branches that
    have left them, `overtaken` tasks that were sent back by others; `back` are to be sent back.
    """

    commits: Mapping[str, str]
    findings: Sequence[Mapping[str, Any]] = ()
    red: Sequence[str] = ()
    back: Sequence[str] = ()
    moved: Mapping[str, str] = field(default_factory=dict)
    overtaken: Sequence[str] = ()
    digest: str = ""
    """What names the agent's verdict and all that the commands printed."""
    astray: str = ""
    """Why the verdict is about something else: that is the verifier's own failure."""
    stays: str = ""
    """Why a checkpoint stays closed; nobody is sent back for that."""

    @property
    def passed(self) -> bool:
        """Whether all that was judged is good, and still what it was."""
        return not (self.back or self.moved or self.overtaken or self.astray or self.stays)

    def plain(self) -> dict[str, Any]:
        """Returns the verdict as plain values, for the journal."""
        return {
            "passed": self.passed,
            "commits": dict(self.commits),
            "findings": [dict(one) for one in self.findings],
            "red": list(self.red),
            "back": list(self.back),
            "moved": dict(self.moved),
            "overtaken": list(self.overtaken),
            "digest": self.digest,
        }

    def in_words(self) -> str:
        """Returns why it is red, in a sentence; nothing when it is not."""
        told = []
        if self.overtaken:
            were = "was" if len(self.overtaken) == 1 else "were"
            told.append(f"{_and(self.overtaken)} {were} sent back meanwhile: judged again then")
        if self.back:
            does = "does" if len(self.back) == 1 else "do"
            told.append(f"{_and(self.back)} {does} not pass: {found_in(self.plain())}")
        if self.stays:
            told.append(self.stays)
        told += [
            f"the branch of {task} was moved from {self.commits[task][:12]} to {sha[:12]} "
            "while it was judged"
            for task, sha in self.moved.items()
        ]
        return "; ".join(told)


def conclude(work: Work, place: Mapping[str, Any], checks: Sequence[Mapping[str, Any]]) -> Verdict:
    """Returns what a verifier concludes, from its agent's words and what its commands found."""
    after: Any = place.get("after") or {}
    branches = {str(one["id"]): str(one["branch"]) for one in work.params["verifies"]}
    commits = {name: str(after[name]["commit"]) for name in branches if name in after}
    told = _told(work)
    findings = [
        {name: plain(str(value)) for name, value in one.items()}
        for one in told.get("findings") or ()
    ]
    red = [str(one["text"]) for one in checks if not one["passed"]]
    stays = bool(work.params.get("stays"))
    back: list[str] = []
    if not told.get("passed", True):
        back = blamed(findings, list(commits))
    elif red and not stays:
        back = list(commits)
    lost = not stays and not commits and (red or not told.get("passed", True))
    landed, heirs = landed_in(work.step), heirs_of(work.course, work.step)
    overtaken = [
        name
        for name, sha in commits.items()
        if name in heirs or (name not in landed and _is_overtaken(work, name, sha))
    ]
    heads = work.world.repository.heads([branches[name] for name in commits if name not in landed])
    moved = {
        name: head
        for name, sha in commits.items()
        if (head := heads.get(branches[name])) is not None and head != sha and name not in overtaken
    }
    return Verdict(
        commits=commits,
        findings=findings,
        red=red,
        back=back,
        moved=moved,
        overtaken=overtaken,
        digest=_digest(told, checks),
        stays=_stays(red, len(checks)) if stays else "",
        astray=_astray(work, told.get("commits") or {}, commits)
        or ("it does not pass, and nothing that it judges has a commit" if lost else ""),
    )


def begin_anew(work: Work, place: Mapping[str, Any], evidence: Mapping[str, Any]) -> Outcome | None:
    """Returns the failure of a checkpoint that is looked at once more and has nothing to look at
    here, because what it judges, or the base, is another by now; else None.
    """
    if not work.params.get("stays") or work.attempt == 1:
        return None
    verdict = conclude(work, place, ())
    if verdict.passed and not _base_moved(work, evidence):
        return None
    text = verdict.in_words() or f"{work.params['base']} was moved: judged again there"
    told = {**evidence, "verdict": verdict.plain()}
    moved = list(verdict.moved)
    patch = send_back(work.course, work.step, {}, moved=moved, reason=text)
    return Outcome(
        ending=Ending.FAILED, failure=Failure.TASK, text=text, evidence=told, patch=patch
    )


def outcome_of(work: Work, verdict: Verdict, evidence: Mapping[str, Any], *, tries: int) -> Outcome:
    """Returns the failure that a red verdict is, with the patch that follows from it while there
    are tries left; `tries` are the verifier's own so far.
    """
    verifier, text = str(work.params["task"]), verdict.in_words()
    patch = None
    if verdict.overtaken:
        # Somebody else's findings are at work on it: this round is no try of the verifier's.
        spent = int(work.params.get("spent") or 0)
        patch = send_back(work.course, work.step, {}, spent=spent, reason=text)
    elif work.params.get("stays"):
        if verdict.moved or _base_moved(work, evidence):
            moved = list(verdict.moved)
            patch = send_back(work.course, work.step, {}, moved=moved, reason=text)
    else:
        landed = landed_in(work.step)
        used = {task: 0 if task in landed else tries_of(work.course, task) for task in verdict.back}
        spent_out = [task for task in used if not _may_go_back(work, task, landed=task in landed)]
        if tries >= int(work.params.get("attempts") or 1):
            text += f"; {verifier} has judged as often as its document lets it ({tries})"
        elif spent_out:
            text += f"; {_and(spent_out)} cannot be sent back again"
        else:
            loop = ended_by_loop(work, text, evidence) if verdict.back else None
            if loop is not None:
                return loop
            moved = [task for task in verdict.moved if task not in used]
            patch = send_back(work.course, work.step, used, moved=moved, spent=tries, reason=text)
    return Outcome(
        ending=Ending.FAILED, failure=Failure.TASK, text=text, evidence=evidence, patch=patch
    )


def _may_go_back(work: Work, task: str, *, landed: bool) -> bool:
    if landed:
        return may_mend(work.course, work.step, task)
    return may_again(work.course, task)


def _stays(red: Sequence[str], items: int) -> str:
    """Returns which items of a checkpoint are not met, in words; nothing where all are."""
    if not red:
        return ""
    more = f" and {len(red) - NAMED} more" if len(red) > NAMED else ""
    count = f"{len(red)} of {items} items are not met: " if items > 1 else "it is not met: "
    return f"{count}{', '.join(red[:NAMED])}{more}"


def _base_moved(work: Work, evidence: Mapping[str, Any]) -> bool:
    """Whether the base holds what a checkpoint has not seen: it begins anew there."""
    repo = work.world.repository
    base = repo.resolve(f"refs/heads/{work.params['base']}")
    return base is not None and not repo.is_ancestor(base, str(evidence["commit"]))


def _told(work: Work) -> Mapping[str, Any]:
    """Returns the verdict of the verifier's agent; nothing where it only runs commands."""
    for one in work.inputs.values():
        output: Any = one.get("output")
        if isinstance(output, Mapping) and isinstance(output.get("value"), Mapping):
            return output["value"]  # type: ignore[no-any-return]
    return {}


def _digest(told: Mapping[str, Any], checks: Sequence[Mapping[str, Any]]) -> str:
    kept = [dict(told), [[one["text"], one["digest"]] for one in checks]]
    return f"sha256:{sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()}"


def _is_overtaken(work: Work, task: str, sha: str) -> bool:
    """Whether a task is being reworked, or has been since."""
    last = last_check(work.course, task)
    if last is None or last.standing is Standing.FAILED:
        return False
    output: Any = last.output
    now = output.get("commit") if isinstance(output, Mapping) else None
    return not last.settled or (now is not None and now != sha)


def _astray(work: Work, named: Mapping[str, str], commits: Mapping[str, str]) -> str:
    """Returns which commits a verdict names that it was not to judge, or nothing."""
    wrong = []
    for task, sha in named.items():
        wanted = commits.get(task, "")
        if wanted and not wanted.startswith(sha):
            known = work.world.repository.resolve(sha) is not None
            gone = "" if known else ", which is not in the repository"
            wrong.append(f"{task} at {sha[:12]}{gone}; {wanted[:12]} is to be judged")
    return f"its verdict is about {', '.join(wrong)}" if wrong else ""


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
