"""What `envelope` of coordination.md names: agents that are there.

How far a change may go by itself is weighed when there is one (`changing`); here it is only held
that no name is a slip, for an agent that nobody has would quietly be nobody's freedom. Tasks that
may be dropped are not looked for: one that was dropped is rightly gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleet.errors import Problem, did_you_mean

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet


def names_known(fleet: Fleet) -> Iterator[Problem]:
    """Yields the agents of the envelope that are not there."""
    if ("fleet", "") in fleet.broken:
        return
    for number, name in enumerate(fleet.settings.envelope.get("agents") or ()):
        if not fleet.is_known("agent", name):
            hint = did_you_mean(name, fleet.agents) or f"write agents/{name}.md"
            place = fleet.place("fleet", "", "envelope", "agents", number)
            yield Problem(f"no agent {name!r}", place, hint)
