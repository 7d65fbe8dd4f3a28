"""The demo: a whole fleet of scripted agents on a fresh repository, told as a story.

Each command is shown with what it prints, and each must end as the story says, so a demo is a test
of the installation as well. It needs no key and no network, and leaves nothing behind. What is told
is data (`story`), where it is told is `scene`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Final

from fleet.app.demo.scene import Unexpected, stage
from fleet.app.demo.story import FIRST, Story, read_story
from fleet.errors import FleetError

NEEDED: Final = ("git", "tmux", "python3", "sh")


def run_demo(name: str, tell: Callable[[str], None], *, keep: bool = False) -> int:
    """Tells the story of an example, by default the first; returns and raises as `tell_story`, and
    NotFound for a name that none has.
    """
    return tell_story(read_story(name or FIRST), tell, keep=keep)


def tell_story(story: Story, tell: Callable[[str], None], *, keep: bool = False) -> int:
    """Plays a story in a temporary folder and returns 0, or 1 when a step was not as expected.

    `tell` prints a text; `keep` leaves the folder, and says where it is. Raises FleetError when the
    machine lacks a program.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise FleetError(f"the demo needs {', '.join(missing)}", hint="see: fleet doctor")
    begun = time.monotonic()
    with stage(story, tell, keep=keep) as scene:
        try:
            for number, chapter in enumerate(story.chapters, start=1):
                tell(f"\n== {number}. {chapter.title}\n{scene.wrapped(chapter.text)}")
                for act in chapter.acts:
                    scene.play(act)
            scene.check_end(story.ending)
        except Unexpected as wrong:
            scene.tell_state()
            tell(f"\nTHE DEMO FAILED: {wrong.text}")
            return 1
    tell(
        f"\nDone in {time.monotonic() - begun:.0f} s: {story.closing}\n"
        "Now in your own repository:  fleet init"
    )
    return 0
