"""Stories: what a demo runs, in which order, and what must then be seen.

A story stands beside its fleet, in `examples/NAME/story.yaml`, so that whoever reads a fleet finds
there what it shows. This module finds and reads them; it runs nothing. They come with fleet, so a
fault in one is a bug, not a problem to be told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import fleet
from fleet.errors import NotFound

EXAMPLES: Final = Path(fleet.__file__).with_name("examples")
FILE: Final = "story.yaml"
FIRST: Final = "shop"
"""The story that is told when none is named."""


@dataclass(frozen=True, slots=True)
class Do:
    """One command: how it must end, and texts that must be in what it prints, or must not be."""

    run: str
    code: int = 0
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    patient: bool = False
    """Whether to try again, unseen, until it ends and says as it must."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the story: what it is about, and its commands."""

    title: str
    text: str
    acts: tuple[Do, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """What git itself must show at the end, on the base."""

    merges: int = 0
    files: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Story:
    """A fleet's story: its documents' folder, its first and last sentence, and the chapters."""

    files: Path
    opening: str
    closing: str
    chapters: tuple[Chapter, ...]
    ending: Ending = field(default_factory=Ending)

    @property
    def name(self) -> str:
        """The example's name, and that of the repository in which it is told."""
        return self.files.name


def names() -> list[str]:
    """Returns the names of all stories, the first one first."""
    found = sorted(path.parent.name for path in EXAMPLES.glob(f"*/{FILE}"))
    return sorted(found, key=lambda name: name != FIRST)


def read_story(name: str) -> Story:
    """Returns the story of an example; raises NotFound, with the names that there are."""
    import yaml

    known = names()
    if name not in known:
        raise NotFound("demo", name, known)
    told = yaml.safe_load((EXAMPLES / name / FILE).read_text(encoding="utf-8"))
    return Story(
        files=EXAMPLES / name,
        opening=told["opening"],
        closing=told["closing"],
        chapters=tuple(_chapter(one) for one in told["chapters"]),
        ending=Ending(**_frozen(told["ending"])),
    )


def _chapter(told: dict[str, Any]) -> Chapter:
    acts = (one if isinstance(one, dict) else {"run": one} for one in told["acts"])
    return Chapter(told["title"], told["text"], tuple(Do(**_frozen(one)) for one in acts))


def _frozen(told: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(one) if isinstance(one, list) else one for key, one in told.items()}
