"""What a look finds: one line with its level and its cure, whatever happens to the look itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fleet.errors import FleetError

Finding = dict[str, Any]
"""{name, level, text, cure}; a level is ok, warning, error or absent."""

Look = Callable[[], Iterator[Finding] | Finding]


def finding(name: str, level: str, text: str, cure: str = "") -> Finding:
    """Returns one finding."""
    return {"name": name, "level": level, "text": text, "cure": cure}


def counted(number: int, word: str) -> str:
    """Returns a number with its word in the right form."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def looked(name: str, look: Look) -> list[Finding]:
    """Returns what a look finds; whatever it raises is its finding, so that it hides no other."""
    try:
        found = look()
        return [found] if isinstance(found, dict) else list(found)
    except FleetError as error:
        return [finding(name, "error", error.text, error.hint)]
    except OSError as error:
        return [finding(name, "error", str(error), "see whether the disk is sound and writable")]
    except Exception as broken:  # noqa: BLE001 - a look that fails is a finding; the others still count
        return [
            finding(name, "error", f"could not be looked at: {broken!r}", "see the checks above")
        ]
