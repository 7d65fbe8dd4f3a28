"""What programs show in their terminal while they wait for a person and have told nobody.

The last rung of the ladder: a pattern makes a session `blocked`, with a hint, and nothing else; no
key is ever pressed because of one. Each was seen in the version that its range begins with, and
outside of the range it counts for nothing: the session is then unknown, which is no fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_NUMBERS = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True)
class Screen:
    """A pattern (its white space stands for any), what it means, and the versions it holds for:
    from the first one on, below the second.
    """

    pattern: str
    hint: str
    versions: tuple[str, str] = ("", "")

    def shows(self, text: str) -> bool:
        """Returns whether it is on the screen."""
        pattern = r"\s+".join(self.pattern.split(" "))
        return re.search(pattern, text, re.IGNORECASE) is not None

    def holds_for(self, version: str) -> bool:
        """Returns whether it may be believed of a version (a `--version` as printed)."""
        first, below = map(_numbers, self.versions)
        found = _numbers(version)
        return not found or (first <= found and (not below or found < below))


ANY: Final = (
    Screen(
        r"(?:password|passphrase)[^\n]{0,120}[:?]\s*\Z",
        "it asks for a password or a passphrase",
    ),
    Screen(
        r"Are you sure you want to continue connecting \([^\n]*\)\?\s*\Z",
        "ssh asks whether a host is to be trusted",
    ),
    Screen(r"\b(?:username|login) for [^\n]{0,120}:\s*\Z", "it asks for a name to log in with"),
)
"""What any program, or one that it runs, may ask at the end of its screen."""

SCREENS: Final[Mapping[str, Sequence[Screen]]] = {
    "claude": (
        Screen(
            "Yes, I trust this folder",
            "it asks whether the folder is to be trusted (trust the repository's main checkout "
            "once, and its worktrees are trusted too)",
            ("2.1", "3"),
        ),
        Screen("Please run /login", "it is not logged in: run /login there", ("2.1", "3")),
        Screen(
            "Do you want to use this API key",
            "it asks whether the API key of its environment is to be used",
            ("2.1", "3"),
        ),
        Screen(
            "Unable to connect to Anthropic services",
            "it was never set up and cannot reach its service",
            ("2.1", "3"),
        ),
    ),
    "codex": (
        Screen(
            r"Trust this folder\?",
            "it asks whether the folder is to be trusted (that holds for the whole repository)",
            ("0.169", "1"),
        ),
        Screen(
            "Choose how you want to use Codex",
            "it is not logged in: sign in there, or `codex login`",
            ("0.169", "1"),
        ),
        Screen(
            r"Missing environment variable: `\w+`",
            "the variable that holds its API key is not set: name it among the agent's secrets",
            ("0.169", "1"),
        ),
    ),
    "gemini": (
        Screen("How would you like to authenticate", "it asks how to authenticate", ("0.61", "1")),
        Screen(
            "Do you trust (?:this folder|the files in this folder)",
            "it asks whether the folder is to be trusted",
            ("0.61", "1"),
        ),
    ),
    "copilot": (
        Screen(
            "Do you trust the files in this folder",
            "it asks whether the folder is to be trusted",
            ("1.0", "2"),
        ),
    ),
    "aider": (
        Screen(
            r"\(Y\)es/\(N\)o[^\n]*:\s*\Z",
            "it asks a question: yes or no",
            ("0.86", "1"),
        ),
    ),
}
"""By harness, what its own program asks."""


def hint_of(harness: str, text: str, version: str) -> str:
    """Returns what the screen of a session asks of a person; nothing when that is not known."""
    shown = text.rstrip()
    known = [one for one in SCREENS.get(harness, ()) if one.holds_for(version)]
    return next((one.hint for one in (*known, *ANY) if one.shows(shown)), "")


def _numbers(text: str) -> tuple[int, ...]:
    found = _NUMBERS.search(text) or re.search(r"\d+", text)
    return tuple(map(int, found[0].split("."))) if found else ()
