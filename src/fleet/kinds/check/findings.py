"""What a check has found at one commit, and why that is red."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Findings:
    """What was found at one commit; `against` are the reasons why it is red, in words."""

    commit: str
    start: str
    worktree: Mapping[str, Any]
    tries: int
    attempts: int
    branch: str = ""
    deliverables: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None

    @property
    def own(self) -> list[str]:
        """Returns what is wrong with what the task itself left."""
        told = [self.branch] if self.branch else []
        told += [f"{one['text']}: {one['why']}" for one in self.deliverables if not one["met"]]
        return told + [
            f"evidence {one['text']!r}: {one['why']}" for one in self.evidence if not one["met"]
        ]

    @property
    def against(self) -> list[str]:
        """Returns why this is red; nothing when it is green."""
        told = self.own
        told += [
            f"check {one['text']!r} failed: {one['why']}"
            for one in self.checks
            if not one["passed"]
        ]
        return told

    def plain(self) -> dict[str, Any]:
        """Returns the findings as plain values, for the journal."""
        told: dict[str, Any] = {
            "commit": self.commit,
            "start": self.start,
            "worktree": dict(self.worktree),
            "tries": self.tries,
            "attempts": self.attempts,
            "branch": self.branch,
            "deliverables": self.deliverables,
            "checks": self.checks,
            "metrics": self.metrics,
            "evidence": self.evidence,
        }
        return told if self.verdict is None else {**told, "verdict": self.verdict}
