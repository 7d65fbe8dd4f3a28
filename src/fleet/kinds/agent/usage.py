"""What a running attempt has used so far: looked for every so often, reported when it has changed.

What is decided on it, its budget's end say, is the run's. The figures that a program tells at its
end take the place of these.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet.core.messages import ReportProgress
from fleet.harnesses import AgentFacts, Harness, Report
from fleet.harnesses.meters import Meter
from fleet.kinds import Work

LOOK_S: Final = 2.0
REPORT_S: Final = 5.0
"""How often an attempt's usage is journaled at most."""

LAST_LOOKS: Final = 64
"""How often a file that is behind is looked at once the attempt is over."""


@dataclass(slots=True)
class Usage:
    """What one attempt has used, as its meter shows; nothing where its program has none."""

    work: Work
    meter: Meter | None
    so_far: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)
    told_s: float = 0.0

    async def watch(self) -> None:
        """Looks and reports for ever, at no cost while nothing is written."""
        if self.meter is None:
            return
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()
            if self.so_far != self.told and time.monotonic() - self.told_s >= REPORT_S:
                self._report(self.meter.source)

    async def look(self) -> dict[str, float]:
        """Returns what is used so far."""
        if self.meter is not None and self.meter.has_news():
            amounts = await self.work.world.in_thread(self.meter.look)
            self.so_far = Report(ok=True, usage=amounts).spent
        return self.so_far

    async def in_all(self, told: Mapping[str, float]) -> dict[str, float]:
        """Returns what the attempt has used, with what its program has told at its end."""
        seen = await self.look()
        looks = 1
        while self.meter is not None and self.meter.is_behind and looks < LAST_LOOKS:
            seen, looks = await self.look(), looks + 1
        exact = self.meter is not None and self.meter.exact
        return {**told, **seen} if exact else {**seen, **told}

    def _report(self, source: str) -> None:
        self.told, self.told_s = dict(self.so_far), time.monotonic()
        facts = {"usage_source": source, "usage_at_ms": time.time_ns() // 1_000_000}
        self.work.tell(
            ReportProgress(
                step=self.work.step.id,
                attempt=self.work.attempt,
                facts=facts,
                usage=self.told,
            )
        )


def usage_of(work: Work, harness: Harness, agent: AgentFacts) -> Usage:
    """Returns the usage of an attempt, to be watched while it runs."""
    make = getattr(harness, "meter", None)
    return Usage(work, make(agent, work.folder) if make is not None else None)
