"""The hooks of the user's repository at a landing, run as git would run them at a merge.

`pre-merge-commit` is asked once, of the tree that lands; `prepare-commit-msg` and `commit-msg` for
each commit that is made for a part. They may change a message or refuse, not the tree: that was
judged. `post-merge` is told in the checkout that followed. A hook that refuses holds the landing;
it is no red check, and nobody is to blame for it. Commits are signed here too, where the user
signs: what is only tried out is neither signed nor shown to a hook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleet.adapters import git
from fleet.core.messages import Outcome
from fleet.harnesses.commands import run_command
from fleet.kinds import Work
from fleet.kinds.merge.refusals import held
from fleet.kinds.merge.trial import Stopped, Trial, folder_of

HOOK_S: Final = 600.0
"""How long a hook may take; then it is ended with all that it started."""

BEFORE: Final = ("pre-merge-commit", "prepare-commit-msg", "commit-msg")
AFTER: Final = "post-merge"

# As git does it: what the kernel cannot run, for want of a first line, is a script of sh.
_EXEC: Final = ("/bin/sh", "-c", 'exec "$0" "$@"')


@dataclass(frozen=True, slots=True)
class Refusal:
    """A hook that said no: its name, exit code (None: it was ended), to what, in which words."""

    name: str
    code: int | None
    what: str
    text: str

    @property
    def in_words(self) -> str:
        """The refusal in a sentence."""
        refused = "failed" if self.name == AFTER else f"refused to {self.what}"
        said = self.text or ("without a word" if self.code is None else f"it exited {self.code}")
        return f"the hook {self.name} {refused}: {said}"

    @property
    def evidence(self) -> Mapping[str, object]:
        """{name, code, text}."""
        return {"name": self.name, "code": self.code, "text": self.text}

    @property
    def outcome(self) -> Outcome:
        """The merge put back, to be released once the hook is content."""
        return held(f"{self.in_words}; the base is as it was", {"hook": self.evidence})


async def seal(
    work: Work,
    trial: Trial,
    parts: Sequence[git.Part],
    made: git.Assembled,
    *,
    within: str = "",
) -> git.Assembled | Refusal:
    """Returns what lands: the very tree that was judged, its commits with the messages that the
    hooks left them, signed where the user signs. Raises Stopped; Rejected when signing fails.
    """
    world = work.world
    if made.commit == trial.before:
        return made
    messages = {step.task: step.message for step in made.steps if step.message}
    found = await world.in_thread(git.find_hooks, world.repository, BEFORE)
    if found:
        asked = _Asked(work, found, {part.task: part.sha for part in parts})
        try:
            refused = await asked.about(trial.before, made, messages)
        finally:
            await world.in_thread(git.remove_trial, world.repository, folder_of(work))
        if refused is not None:
            return refused
    sign = await world.in_thread(git.signs, world.repository)
    changed = any(step.message and messages[step.task] != step.message for step in made.steps)
    if not sign and not changed:
        return made
    again = await trial.assemble(parts, within=within, messages=messages, sign=sign)
    assert isinstance(again, git.Assembled), again
    assert again.tree == made.tree, "only messages and signatures may differ"
    return again


async def after(work: Work) -> Refusal | None:
    """Runs `post-merge` in the checkout of the base, if there are both; returns how it failed."""
    world, squash = work.world, (work.params.get("strategy") or "merge") == "squash"
    found = await world.in_thread(git.find_hooks, world.repository, (AFTER,))
    if not found:
        return None
    places = await world.in_thread(world.repository.holders, str(work.params["base"]))
    if not places:
        return None
    env = {}
    if places[0] != world.repository.root:
        env["GIT_DIR"] = str(await world.in_thread(world.repository.git_dir_of, places[0]))
    words = (str(found[AFTER]), "1" if squash else "0")
    return await _run(work, AFTER, words, places[0], env, what="")


@dataclass(slots=True)
class _Asked:
    """The hooks before a landing, on a stage in the folder of the trial."""

    work: Work
    found: Mapping[str, Path]
    shas: Mapping[str, str]
    stage: git.Stage | None = field(default=None)

    async def about(
        self, before: str, made: git.Assembled, messages: dict[str, str]
    ) -> Refusal | None:
        """Returns the first refusal; changes `messages` as the hooks do."""
        merged = [self.shas[step.task] for step in made.steps if not step.contained]
        squash = (self.work.params.get("strategy") or "merge") != "merge"
        if "pre-merge-commit" in self.found:
            await self._turn(before, made.commit, merged)
            refused = await self._ask("pre-merge-commit", what="let the phase be merged")
            if refused is not None:
                return refused
        if len(self.found) == ("pre-merge-commit" in self.found):
            return None
        current = before
        for step in made.steps:
            if step.message:
                head = [] if squash else [self.shas[step.task]]
                await self._turn(current, step.commit, head)
                refused = await self._reword(step.task, messages, squash=squash)
                if refused is not None:
                    return refused
            current = step.commit
        return None

    async def _reword(self, task: str, messages: dict[str, str], *, squash: bool) -> Refusal | None:
        in_thread, stage = self.work.world.in_thread, self.stage
        assert stage is not None
        file: Path = await in_thread(git.put_message, stage, messages[task])
        what = f"let the commit of {task} be made"
        for name, more in (
            ("prepare-commit-msg", ("squash" if squash else "merge",)),
            ("commit-msg", ()),
        ):
            if name in self.found:
                refused = await self._ask(name, str(file), *more, what=what)
                if refused is not None:
                    return refused
                messages[task] = await in_thread(git.take_message, stage, file)
                if not messages[task]:
                    return Refusal(name, 0, what, "it left an empty message")
        return None

    async def _turn(self, head: str, commit: str, merged: Sequence[str]) -> None:
        world, folder = self.work.world, folder_of(self.work)
        await world.in_thread(folder.parent.mkdir, parents=True, exist_ok=True)
        self.stage = await world.in_thread(
            git.set_stage, world.repository, folder, head, commit, merged
        )

    async def _ask(self, name: str, *args: str, what: str) -> Refusal | None:
        stage = self.stage
        assert stage is not None
        env = {**stage.surroundings, "GIT_REFLOG_ACTION": f"merge {self.work.params['phase']}"}
        words = (str(self.found[name]), *args)
        refused = await _run(self.work, name, words, stage.place, env, what=what)
        if refused is not None:
            return refused
        changed = await self.work.world.in_thread(git.changed_on, stage)
        if changed:
            text = (
                f"it changed {', '.join(changed[:5])}, and only the tree that was judged may land"
            )
            return Refusal(name, 0, what, text)
        return None


async def _run(
    work: Work,
    name: str,
    words: Sequence[str],
    place: Path,
    env: Mapping[str, str],
    *,
    what: str,
) -> Refusal | None:
    ran = await run_command(
        [*_EXEC, *words],
        cwd=place,
        env=env,
        log=work.folder / f"hook-{name}.log",
        timeout_s=HOOK_S,
        marker=f"{work.world.root}:{work.key}",
        stop=work.stop,
    )
    if ran.stopped:
        raise Stopped
    return None if ran.passed else Refusal(name, ran.code, what, ran.tail)
