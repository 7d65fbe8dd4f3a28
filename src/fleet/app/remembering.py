"""Use cases around what workflows remember: the built-in tools, export, import."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.app.place import FleetPlace
from fleet.errors import FleetError


def call_memory(place: FleetPlace, tool: str, parameters: Mapping[str, Any]) -> Any:
    """Returns what `memory.TOOL` of a workflow returns for these parameters; raises FleetError for
    such as it does not take.
    """
    from fleet.adapters.memory import Memory

    return Memory(place.state).call(tool, parameters, key=f"call/{secrets.token_hex(8)}")


def memory_text(place: FleetPlace) -> str:
    """Returns `fleet.memory/1`, all that workflows remember, as text."""
    from fleet.adapters.memory import Memory

    told = {"schema": "fleet.memory/1", "entries": Memory(place.state).entries()}
    return json.dumps(told, ensure_ascii=False)


def export_memory(place: FleetPlace, file: Path) -> None:
    """Writes `memory_text` to a file; raises FleetError for one that cannot be written."""
    try:
        file.write_text(memory_text(place) + "\n", encoding="utf-8")
    except OSError as wrong:
        raise FleetError(f"{file} cannot be written: {wrong.strerror}") from wrong


def restore_memory(place: FleetPlace, file: Path, *, dry_run: bool) -> int:
    """Keeps what was exported and returns how many entries; raises FleetError for another file."""
    from fleet.adapters.memory import Memory

    hint = "give what `fleet memory export` wrote"
    try:
        told = json.loads(file.read_bytes())
        entries: list[Mapping[str, Any]] = [
            {**one, "content": one["content"]} for one in told["entries"]
        ]
    except OSError as wrong:
        raise FleetError(f"{file} cannot be read: {wrong.strerror}") from wrong
    except ValueError as wrong:
        raise FleetError(f"{file} is no JSON: {wrong}", hint=hint) from wrong
    except (KeyError, TypeError, RecursionError) as wrong:
        raise FleetError(f"{file} holds no exported memory", hint=hint) from wrong
    return len(entries) if dry_run else Memory(place.state).restore(entries)
