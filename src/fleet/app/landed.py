"""What became of the merge of a phase, for those who bring it about, publish it or show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.views.tasks import PhaseSteps


@dataclass(frozen=True, slots=True)
class Landing:
    """What became of one phase's merge."""

    phase: str
    landed: bool
    commit: str | None = None
    before: str | None = None
    tasks: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    undo: str | None = None
    pushed: Mapping[str, Any] | None = None
    """{remote, ref, commit, tag}: where the base was brought to."""
    pull_request: Mapping[str, Any] | None = None
    """{remote, ref, commit, number, url}: what is to be taken there."""
    text: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all that was asked for is done: it landed, or is proposed, and was pushed."""
        return (self.landed or self.pull_request is not None) and "push" not in self.evidence


def landing_of(name: str, phase: PhaseSteps) -> Landing:
    """Returns a phase's landing from what its merge put out."""
    landed: Any = phase.landed or {}
    found: Any = phase.merge.evidence if phase.merge is not None else {}
    told = {name: found[name] for name in ("hook",) if name in found}
    return Landing(
        name,
        landed=True,
        commit=landed.get("commit"),
        before=landed.get("before"),
        tasks=dict(landed.get("tasks", {})),
        tag=landed.get("tag"),
        undo=landed.get("undo"),
        pushed=phase.published("pushed"),
        pull_request=phase.published("pull_request"),
        text=phase.merge.text if phase.merge is not None and told else "",
        evidence=told,
    )
