"""Who is to blame for a phase that is red as a whole, and what is green without them.

A set of tasks that are red together is looked for by trials; the last of it is the one to be sent
back. That is believed only when all that is left without it, judged on its own, is green.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.adapters import git
from fleet.kinds import Work
from fleet.kinds.merge.culprits import IsRed, smallest_red
from fleet.kinds.merge.trial import Trial, red

BLAMED: Final = 3
"""How many sets of tasks that are red together one attempt looks for."""

Parts = Sequence[git.Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Which sets of tasks are red together, and what is left without those that are sent back.

    `back` are the last of each set, `waits` those that hold their commits, `rest` all others; the
    rest was judged green as `made`.
    """

    sets: Sequence[Sequence[str]]
    back: Sequence[str]
    waits: Sequence[str]
    rest: Sequence[git.Part]
    made: git.Assembled
    checks: Sequence[Mapping[str, Any]]
    news: Sequence[str]
    """The tasks of the rest that may land now and that the base does not hold yet; none where the
    phase lands as a whole only, by a pull request."""

    def in_words(self) -> str:
        """Returns who breaks what, in a sentence."""
        told = [
            f"{one[-1]} breaks it" if len(one) == 1 else f"{' and '.join(one)} break it together"
            for one in self.sets
        ]
        waits = f"; {', '.join(self.waits)} holds its commits" if self.waits else ""
        return "; ".join(told) + waits


async def find_guilty(
    work: Work, parts: Parts, trial: Trial, failing: Sequence[str]
) -> Blame | None:
    """Returns who is to blame for the checks that fail on all `parts`; None when nobody is found.

    Raises Stopped.
    """
    repo = work.world.repository

    async def is_red(some: Parts) -> bool | None:
        made = await trial.assemble(some, within=".part")
        if isinstance(made, git.Conflict):
            return None
        return bool(red(await trial.judge(made, failing)))

    async def holders(some: Parts, one: git.Part) -> list[git.Part]:
        def look() -> list[git.Part]:
            return [p for p in some if p != one and repo.is_ancestor(one.sha, p.sha)]

        found: list[git.Part] = await work.world.in_thread(look)
        return found

    rest, sets = list(parts), list[Sequence[str]]()
    back, waits = list[str](), list[str]()
    for _ in range(BLAMED):
        guilty = await smallest_red(rest, is_red) or await _alone(rest, is_red, holders)
        if not guilty:
            return None
        gone = [guilty[-1], *await holders(rest, guilty[-1])]
        sets.append([part.task for part in guilty])
        back.append(gone[0].task)
        waits += [part.task for part in gone[1:]]
        rest = [part for part in rest if part not in gone]
        made = await trial.assemble(rest, within=".part")
        if isinstance(made, git.Conflict):
            return None
        checks = await trial.judge(made) if rest else []
        if not red(checks):
            whole = work.params.get("land") == "pr"
            news = (
                [] if whole else await work.world.in_thread(_news, repo, rest, made, trial.before)
            )
            return Blame(
                sets=sets,
                back=back,
                waits=waits,
                rest=rest,
                made=made,
                checks=checks,
                news=news,
            )
    return None


def _news(repo: git.Repository, rest: Parts, made: git.Assembled, before: str) -> list[str]:
    """Returns what the base gets of the rest; what another of them holds comes with that."""
    shas = {part.task: part.sha for part in rest}
    brought = [shas[step.task] for step in made.steps if not step.contained]
    return [
        name
        for name, sha in shas.items()
        if sha in brought
        or (
            any(repo.is_ancestor(sha, one) for one in brought) and not repo.is_ancestor(sha, before)
        )
    ]


async def _alone(
    parts: Parts, is_red: IsRed[git.Part], holders: Callable[..., Awaitable[list[git.Part]]]
) -> tuple[git.Part, ...]:
    """Returns the one part without which, and without what holds it, all is green, if there is one:
    checks may be red on the base itself, as long as what they look for is not there.
    """
    for one in reversed(parts):
        gone = [one, *await holders(parts, one)]
        if len(gone) < len(parts) and await is_red([p for p in parts if p not in gone]) is False:
            return (one,)
    return ()
