"""What a coordinator makes of the documents while the fleet's plan runs: edits are taken up, or
asked about where they have landed, and changes of the plan are worked out.

Reading happens in a thread, and so does working a change out; an edit is lowered, and the run is
asked, in the coordinator's own. Each patch names what it was worked out against, so one that was
overtaken is refused, and worked out anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.core import messages as m
from fleet.core.plan import basis_of
from fleet.errors import FleetError, Rejected
from fleet.files.kept import changes_of, fingerprint, pending_revision
from fleet.runtimes.arrivals import FILES, arrived, asking

if TYPE_CHECKING:
    from fleet.core.state import State
    from fleet.files.changes.changing import Prepared
    from fleet.files.changes.revise import Revision
    from fleet.kinds import Changed

PLAN_RUN: Final = "plan"
"""The run of the fleet's own plan, which follows the documents."""

EDITS_S: Final = 1.0
"""How often the documents are looked at for an edit."""

TURN_S: Final = 0.05
"""How long a coordinator is given to take what it was told, before a change is worked out anew."""


@dataclass(slots=True)
class Documents:
    """The documents of one fleet, as its coordinator follows them."""

    root: Path
    folder: Path
    in_thread: Callable[..., Awaitable[Any]]
    state: Callable[[], State | None]
    """Returns the plan's run as it stands now, None while there is none."""
    post: Callable[[str, m.Command], None]
    log: Callable[..., None]
    told: tuple[str, str] = ("", "")
    """Of the edit that the run was told last: against what, and with which digest of the files."""

    async def follow(self) -> None:
        """Takes up edits of the documents; while they do not hold, the last good plan counts."""
        seen = fingerprint(self.root)
        await self.take_up()  # an edit, or a landing, may have come while nobody looked
        while True:
            await asyncio.sleep(EDITS_S)
            now = fingerprint(self.root)
            if now != seen or self._overtaken():
                seen = now
                await self.take_up()

    def _overtaken(self) -> bool:
        """Whether the run has taken up something else since it was told of an edit, not that."""
        state, (basis, digest) = self.state(), self.told
        if state is None or not basis or basis_of(state.about) == basis:
            return False
        return state.about.get("digest") != digest

    async def take_up(self) -> dict[str, bytes | None]:
        """Tells the run of an edit, if there is one that holds, or asks about one that has landed:
        returns what the run follows in its place.
        """
        state = self.state()
        if state is None:
            return {}
        self.told = ("", "")
        try:
            from fleet.files.load import load
            from fleet.harnesses import demands

            basis = basis_of(state.about)
            fleet = await self.in_thread(load, self.root, changes=changes_of(state))
            demands.require(fleet)
            landed: dict[str, bytes | None]
            landed = await self.in_thread(arrived, fleet, self.folder, state)
            as_is = fleet
            if landed:
                changes = changes_of(state)
                fleet = await self.in_thread(load, self.root, changes=changes, stead=landed)
            state = self.state()
            assert state is not None, "a plan's run is never gone"
            if basis_of(state.about) != basis:  # it has taken up a change that is not in this fleet
                self.told = (basis, fleet.digest)
                return {}
            for command in asking(as_is, self.folder, state, landed) if landed else ():
                self.post(PLAN_RUN, command)
            revision = pending_revision(fleet, self.folder, state)
        except FleetError as invalid:
            self.log("warning", "the edited files do not hold", run=PLAN_RUN, why=invalid.text)
            return {}
        if revision is not None:
            words = "; ".join(line.strip() for line in revision.words())
            self.log("info", "edit taken up", run=PLAN_RUN, edit=words)
            self.told = (basis_of(state.about), fleet.digest)
            self.post(PLAN_RUN, m.RevisePlan(patch=revision.patch, by=FILES))
        return landed

    async def change(self, run: str, wanted: str | Mapping[str, Any]) -> Changed:
        """Returns what a change of the plan, or a named one, means for the run as it stands now.

        Raises InvalidPlan with every problem, NotFound for an unknown name, and Rejected for
        another run than the plan's own, and when others change the plan all the while.
        """
        from fleet.files.changes.changing import RACES, followed_by, overtaken, prepare, revise
        from fleet.harnesses import demands
        from fleet.kinds import Changed

        state = self.state()
        if run != PLAN_RUN or state is None:
            raise Rejected("only a step of the fleet's own plan changes that plan")
        stead: dict[str, bytes | None] = {}
        for _ in range(RACES):
            followed = replace(followed_by(state), stead=stead)
            prepared: Prepared = await self.in_thread(
                prepare, self.root, self.folder, wanted, followed, demands.require
            )
            state = self.state()
            assert state is not None, "a plan's run is never gone"
            if prepared.taken:
                return Changed(prepared.asked.told, taken=True)
            if not overtaken(prepared, followed, state):
                found: Revision = revise(state, prepared)
                return Changed(prepared.asked.told, prepared.against, found.patch)
            if prepared.after.about["digest"] != state.about["digest"]:
                stead = await self.take_up()
            await asyncio.sleep(TURN_S)
        raise Rejected("others change the plan all the while", hint="try again")
