"""The use case that brings a phase to a remote: what has landed is pushed; what lands by a pull
request is pushed to a branch of its own, and asked for.

All of it is done here, in the person's own environment and with the person's own log-in, after the
landing and never instead of it: whatever the remote says, what has landed stands. Each step can be
done again after a kill; what is there already is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from fleet.adapters import gh, git
from fleet.adapters.crash import crash_point
from fleet.app.telling import tell
from fleet.app.watching import gate
from fleet.core import messages as m
from fleet.errors import FleetError
from fleet.views.tasks import PhaseSteps, phases_of

if TYPE_CHECKING:
    from fleet.app.landed import Landing
    from fleet.app.place import FleetPlace
    from fleet.core.state import State

BODY: Final = 60_000
"""So many characters of a manifest go into a pull request; GitHub takes 65,536."""


@dataclass(frozen=True)
class Publisher:
    """Where to and how: `push` what has landed, to the remote `wanted` (else the base's own);
    `page` makes Markdown of a gate's manifest.
    """

    place: FleetPlace
    page: Callable[[Mapping[str, Any]], str]
    push: bool = False
    wanted: str = ""

    def require_remote(self) -> None:
        """Raises NotFound or Rejected, with the cure, when landings cannot be pushed anywhere."""
        if self.push:
            self._remote(self.place.documents.settings.base)

    def intent(self, phase: PhaseSteps) -> str:
        """Returns what would follow the merge of a phase, in words."""
        assert phase.merge is not None
        params = phase.merge.step.params
        if params.get("land") == "pr":
            return f", by a pull request at {self._remote(str(params['base']))}"
        return f" and pushed to {self._remote(str(params['base']))}" if self.push else ""

    def publish(self, state: State, landing: Landing) -> Landing:
        """Returns a landing with where it went. What a remote refuses is told in it; raises
        FleetError when a pull request is wanted and cannot be made.
        """
        phase = phases_of(state)[landing.phase]
        if landing.landed:
            return self._push(phase, landing) if self.push else landing
        part = landing.evidence.get("landed")
        if part and self.push:
            return self._push_part(phase, landing, str(part["commit"]))
        candidate = landing.evidence.get("candidate")
        return self._propose(phase, landing, candidate) if candidate else landing

    # --- what has landed --------------------------------------------------------------------------

    def _push(self, phase: PhaseSteps, landing: Landing) -> Landing:
        assert phase.merge is not None
        base = str(phase.merge.step.params["base"])
        remote = self._remote(base)
        crash_point("publish.before_push")
        updates: list[git.Update] = []
        try:
            updates, refused = self._updates(landing, base, remote)
            if refused is None and updates:
                refused = git.push(self._repo, remote, updates)
        except FleetError as failed:
            refused = git.NotPushed("failed", f"{failed.text} {failed.hint}".strip())
        if refused is not None:
            text = f"landed, and not pushed: {_why(refused, remote, base, landing.phase)}"
            told = {"why": refused.why, "text": refused.text}
            return replace(landing, text=text, evidence={**landing.evidence, "push": told})
        crash_point("publish.after_push")
        ref = f"refs/heads/{base}"
        there = next((one.sha for one in updates if one.ref == ref), landing.commit)
        fact = {"remote": remote, "ref": ref, "commit": there, "tag": landing.tag}
        known = phase.published("pushed")
        if not updates and known is not None and known["remote"] == remote:
            return replace(landing, pushed=known)
        self._note(phase, {"pushed": fact})
        return replace(landing, pushed=fact)

    def _push_part(self, phase: PhaseSteps, landing: Landing, commit: str) -> Landing:
        """Returns a phase that landed in part, as far as `commit`, with where that went."""
        told = self._push(phase, replace(landing, commit=commit))
        text = landing.text if told.pushed else f"{landing.text}; {told.text}"
        return replace(told, commit=landing.commit, text=text)

    def _updates(
        self, landing: Landing, base: str, remote: str
    ) -> tuple[list[git.Update], git.NotPushed | None]:
        """Returns what has to be moved at a remote, or why it may not be."""
        repo, commit = self._repo, str(landing.commit)
        ref, tag = f"refs/heads/{base}", f"refs/tags/{landing.tag}"
        head = repo.resolve(ref)
        if head is None or not repo.is_ancestor(commit, head):
            return [], git.NotPushed("gone", f"{commit[:12]} is not on {base} any more")
        seen = git.look(repo, remote, [ref, tag])
        there, updates = seen.get(ref), list[git.Update]()
        if not git.holds(repo, there, commit):
            # After a pull only what joins both goes forward from what the remote has.
            sha = next((one for one in (commit, head) if git.is_forward(repo, there, one)), None)
            if sha is None:
                return [], git.NotPushed("moved", f"it is at {str(there)[:12]}")
            updates.append(git.Update(ref, sha, there))
        mine = git.tag_object(repo, landing.tag) if landing.tag else None
        if mine is not None and seen.get(tag) != mine:
            if tag in seen:
                text = f"the tag {landing.tag} is at {seen[tag][:12]} there, at {mine[:12]} here"
                return [], git.NotPushed("tag", text)
            updates.append(git.Update(tag, mine, None))
        return updates, None

    # --- what is proposed -------------------------------------------------------------------------

    def _propose(
        self, phase: PhaseSteps, landing: Landing, candidate: Mapping[str, Any]
    ) -> Landing:
        assert phase.merge is not None
        root, params = self.place.root, phase.merge.step.params
        base, branch, commit = str(params["base"]), f"fleet/{phase.name}", str(candidate["commit"])
        remote = self._remote(base)
        found = gh.pull_requests(root, base, branch)
        fact: dict[str, Any] = {"remote": remote, "ref": f"refs/heads/{branch}", "commit": commit}
        how = f"git pull, then: fleet merge {phase.name}"
        taken = next((o for o in found if o.state == "MERGED" and o.head == commit), None)
        if taken is not None:
            fact |= {"number": taken.number, "url": taken.url}
            return replace(landing, pull_request=fact, text=f"{taken.url} was merged; {how}")
        crash_point("publish.before_push")
        refused = self._push_branch(phase, fact)
        if refused is not None:
            told = _why(refused, remote, branch, phase.name)
            text = f"judged as {commit[:12]}, and not pushed: {told}"
            evidence = {**landing.evidence, "push": {"why": refused.why, "text": refused.text}}
            return replace(landing, text=text, evidence=evidence)
        crash_point("publish.after_push")
        title = str(params.get("name") or phase.name)
        body = self.page(gate(self.place, phase.name)[0])[:BODY]
        there = next((one for one in found if one.state == "OPEN"), None)
        if there is None:
            number, url = gh.open_pull_request(root, base, branch, title, body)
        else:
            number, url = there.number, there.url
            gh.update_pull_request(root, number, title, body)
        crash_point("publish.after_request")
        fact |= {"number": number, "url": url}
        self._note(phase, {"pull_request": fact})
        text = f"judged as {commit[:12]}, waits as {url}. Merge it there, {how}"
        return replace(landing, pull_request=fact, text=text)

    def _push_branch(self, phase: PhaseSteps, fact: Mapping[str, Any]) -> git.NotPushed | None:
        """Brings the branch of a pull request to what was judged, over nobody else's commits."""
        ref, remote, commit = str(fact["ref"]), str(fact["remote"]), str(fact["commit"])
        seen = git.look(self._repo, remote, [ref]).get(ref)
        if seen == commit:
            return None
        last = phase.published("pull_request") or {}
        if seen is not None and seen != last.get("commit"):
            return git.NotPushed("foreign", f"{ref} is at {seen[:12]} there")
        return git.push(self._repo, remote, [git.Update(ref, commit, seen)])

    def _note(self, phase: PhaseSteps, facts: Mapping[str, object]) -> None:
        assert phase.merge is not None
        step, attempt = phase.merge.step.id, phase.merge.attempt
        tell(self.place, [m.ReportProgress(step=step, attempt=attempt, facts=facts)])

    def _remote(self, base: str) -> str:
        return git.choose_remote(self._repo, base, self.wanted)

    @cached_property
    def _repo(self) -> git.Repository:
        return git.Repository.at(self.place.root)


def _why(refused: git.NotPushed, remote: str, branch: str, phase: str) -> str:
    """Returns why a remote is as it was, in a sentence with the cure."""
    again = f"fleet merge {phase} --push"
    return {
        "hook": f"the hook pre-push refused: {refused.text or 'without a word'}",
        "moved": f"{branch} has moved at {remote}; git pull --no-rebase, then: {again}",
        "foreign": f"{refused.text}, which is not what fleet has put there; take that into a "
        f"task's branch, or: git push {remote} --delete {branch}",
        "refused": f"{remote} refused: {refused.text}",
    }.get(refused.why, f"{refused.text}; then: {again}")
