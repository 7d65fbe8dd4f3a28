"""What the hooks of a running session ask: that a turn which ended be judged before it is over.

A turn that ends without its deliverables, or with a red check, is sent back to work with the
evidence, so many times at most, before a new attempt is spent; in its terminal a turn that ends
with everything in place ends the session. `hook` says which files this is spoken through.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet.adapters.attempts import AttemptFolder
from fleet.adapters.hooks import REQUEST, SESSION, read, waiting
from fleet.files.flows.answering import answered
from fleet.harnesses import brief as briefs
from fleet.kinds import Work
from fleet.kinds.agent.preparing import given

TURNS_BACK: Final = 2
"""How often one attempt is sent back to work; then its end is an end."""


@dataclass(slots=True)
class Turns:
    """The turns of one attempt: what is waited for in them, and how the last one was judged."""

    work: Work
    place: Mapping[str, Any]
    interactive: bool
    judging: bool = False
    judged: Mapping[str, Any] = field(default_factory=dict)
    """The latest findings, as the kind `check` puts them out; nothing before the first."""
    said: str = ""

    @property
    def folder(self) -> Path:
        """The attempt's folder."""
        return self.work.folder

    @property
    def waits(self) -> bool:
        """Whether the session waits for fleet or for a person, and so rightly says nothing."""
        return self.judging or any(waiting(self.folder, "asked"))

    async def attend(self) -> None:
        """Answers turns that end; returns when the session may be ended: all is there."""
        answers = self.folder / "answers"
        with self.work.world.watching(self.folder / SESSION / "stops") as changed:
            while True:
                stops = waiting(self.folder, "stops")
                over = [stop for stop in stops if not (answers / f"{stop}.json").exists()]
                for stop in over:
                    if await self._judge(stop, answers / f"{stop}.json"):
                        return
                if not over:
                    await changed()

    async def _judge(self, stop: str, answer: Path) -> bool:
        """Judges the turn that has ended and answers it; returns whether the session may end."""
        self.said = str(read(self.folder / SESSION / "stops" / stop).get("said") or "")
        if self.work.params.keys() & {"flow", "answers"}:  # nothing is committed: its end is one
            await self.work.world.in_thread(_answer, answer, {"block": False, "reason": ""})
            return self.interactive
        self.judging = True
        try:
            self.judged = await self.work.world.judge(self.work, self.place)
            wrong = await self.work.world.in_thread(self._misspoken)
        finally:
            self.judging = False
        against = [*(self.judged.get("against") or ())]
        found = briefs.findings(self.judged, "; ".join(against))
        if self.judged and wrong:
            against.append(wrong)
            found = f"{found}\n- your verdict: {wrong}".strip()
            self.judged = {**self.judged, "against": against}
        block = bool(against) and len(self.sent_back) < TURNS_BACK
        reason = ""
        if block:
            reason = f"This is not done yet.\n\n{found}"
        await self.work.world.in_thread(_answer, answer, {"block": block, "reason": reason})
        return self.interactive and self.green

    def _misspoken(self) -> str:
        """Returns why what was said last is not what a schema asks for, nothing when it is."""
        schema = self.work.params.get("schema")
        if not schema:
            return ""
        said = given(AttemptFolder(self.folder))
        return answered(self.said if said is None else said, schema)[1]

    @property
    def green(self) -> bool:
        """Whether the latest judgement found everything in place."""
        return bool(self.judged) and not self.judged["against"]

    @property
    def sent_back(self) -> list[int]:
        """When each turn ended that was sent back to work, in ms since 1970."""
        answers = (self.folder / "answers").glob("*.json")
        names = sorted(one.stem for one in answers if read(one).get("block"))
        return [int(one.partition("-")[0]) // 1_000_000 for one in names if REQUEST.fullmatch(one)]


def answer_request(folder: Path, about: Mapping[str, object]) -> None:
    """Writes the answer that a session's request waits for; nothing when it is about none."""
    request = str(about.get("request") or "")
    if request and "/" not in request:
        told = {name: about.get(name) for name in ("value", "note", "pattern")}
        _answer(folder / "answers" / f"{request}.json", told)


def read_answer(folder: Path, request: str) -> Mapping[str, Any] | None:
    """Returns the answer of a request, None before there is one."""
    path = folder / "answers" / f"{request}.json"
    return read(path) if path.exists() else None


def _answer(path: Path, told: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(told), encoding="utf-8")
    draft.replace(path)
