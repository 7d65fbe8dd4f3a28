"""The use case that shows the agent programs: which are there, and which versions were tested."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.errors import FleetError

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace

LOOKS = 4
"""Programs that are asked for their version at once."""


def programs(place: FleetPlace | None, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns `fleet.agents/1`: every program that fleet drives, and the fleet's agents if it has
    any that can be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    from fleet.harnesses import TESTED

    told = dict(os.environ if environ is None else environ)
    with ThreadPoolExecutor(LOOKS) as pool:
        rows = list(pool.map(lambda name: program_row(name, told), TESTED))
    agents = _agents(place) if place is not None else []
    for row in rows:
        row["agents"] = [one["id"] for one in agents if one["harness"] == row["name"]]
    return {"schema": "fleet.agents/1", "programs": rows, "agents": agents}


def program_row(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns what is found of one program: its version and path, or the problem with its cure."""
    from fleet.harnesses import TESTED, Found, find_harness

    found = find_harness(name).check(environ)
    row: dict[str, Any] = {"name": name, "tested": TESTED[name], "version": None, "path": None}
    if isinstance(found, Found):
        note = age_of(found.version, TESTED[name])
        return {**row, "version": found.version, "path": found.path, "problem": note, "cure": ""}
    problem, _, cure = found.partition(": ")
    return {**row, "problem": problem, "cure": cure}


def age_of(version: str, tested: str) -> str:
    """Returns what to say of a version that is older than the tested one; nothing else is wrong."""
    found = re.search(r"\d+(?:\.\d+)+", version)
    if found is None or _numbers(found[0]) >= _numbers(tested):
        return ""
    return f"older than {tested}, with which it was tested"


def is_newer(version: str, tested: str) -> bool:
    """Returns whether a version is later than the tested one."""
    found = re.search(r"\d+(?:\.\d+)+", version)
    return found is not None and _numbers(found[0]) > _numbers(tested)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _agents(place: FleetPlace) -> list[dict[str, Any]]:
    try:
        found = place.documents.agents.values()
    except FleetError:
        return []
    return [
        {
            "id": one.id,
            "name": one.name or one.id,
            "harness": one.harness if isinstance(one.harness, str) else list(one.harness),
            "model": one.model,
            "mode": one.mode or "headless",
            "permissions": one.permissions or "edits",
            "sandbox": one.sandbox.kind,
        }
        for one in found
    ]
