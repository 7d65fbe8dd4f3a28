"""Use cases that show the agent programs: which are there, which versions were tested, and how one
is driven.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.errors import FleetError, NotFound, Rejected

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.harnesses import Harness
    from fleet.harnesses.profile import Profile

LOOKS = 4
"""Programs that are asked for their version at once."""


def programs(place: FleetPlace | None, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns `fleet.agents/1`: every program that fleet drives, and the fleet's own harnesses and
    agents if it has any that can be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    from fleet.harnesses import TESTED, find_harness

    told = dict(os.environ if environ is None else environ)
    drivers = {name: find_harness(name) for name in TESTED} | _written(place)
    with ThreadPoolExecutor(LOOKS) as pool:
        found = pool.map(lambda name: program_row(name, drivers[name], told), drivers)
        rows = list(found)
    agents = _agents(place) if place is not None else []
    for row in rows:
        row["agents"] = [one["id"] for one in agents if one["harness"] == row["name"]]
    return {"schema": "fleet.agents/1", "programs": rows, "agents": agents}


def program_row(name: str, driver: Harness, environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns what is found of one program: its version and path, or the problem with its cure."""
    from fleet.harnesses import Found

    found = driver.check(environ)
    tested = tested_with(driver)
    row: dict[str, Any] = {"name": name, "tested": tested, "version": None, "path": None}
    if isinstance(found, Found):
        note = age_of(found.version, tested)
        return {**row, "version": found.version, "path": found.path, "problem": note, "cure": ""}
    problem, _, cure = found.partition(": ")
    return {**row, "problem": problem, "cure": cure}


def program(
    place: FleetPlace | None, name: str, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Returns `fleet.harness/1`: how a program is driven, and what is found of it; raises NotFound
    for an unknown one, and Rejected for one that no profile drives.
    """
    from fleet.harnesses import find_harness
    from fleet.harnesses.profile import plain

    written = _written(place)
    try:
        driver = written[name] if name in written else find_harness(name)
    except NotFound as missing:
        raise NotFound("harness", name, sorted({*missing.choices, *written})) from None
    profile: Profile | None = getattr(driver, "profile", None)
    if profile is None:
        raise Rejected(
            f"{name} has no profile: what runs is what the agent's `args` say",
            hint="fleet agents show claude",
        )
    row = program_row(name, driver, os.environ if environ is None else environ)
    agents = _agents(place) if place is not None else []
    return {
        "schema": "fleet.harness/1",
        **row,
        "source": _source(place, name) if name in written else "fleet",
        "sessions": _sessions(profile),
        "profile": plain(profile),
        "agents": [one["id"] for one in agents if one["harness"] == name],
    }


def program_yaml(found: Mapping[str, Any]) -> str:
    """Returns what `program` found as a document that can be saved in `harnesses/`."""
    from fleet.files.writing import harness_text

    return harness_text(found["name"], found["profile"], own=found["source"] != "fleet")


def tested_with(driver: Harness) -> str:
    """Returns the version or versions of its program with which a harness was tried, if it says."""
    version = getattr(getattr(driver, "profile", None), "version", None)
    return str(version.tested) if version else ""


def age_of(version: str, tested: str) -> str:
    """Returns what to say of a version that is older than the tested one, or outside of those that
    were tested (`FIRST - LAST`); nothing else is wrong.
    """
    found = re.search(r"\d+(?:\.\d+)+", version)
    first, _, last = tested.partition(" - ")
    if found is None or not first:
        return ""
    if _numbers(found[0]) < _numbers(first):
        return f"older than {first}, with which it was tested"
    if last and _numbers(found[0]) > _numbers(last):
        return f"newer than {last}, up to which it was tested"
    return ""


def is_newer(version: str, tested: str) -> bool:
    """Returns whether a version is later than the tested one."""
    found = re.search(r"\d+(?:\.\d+)+", version)
    return found is not None and _numbers(found[0]) > _numbers(tested)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _written(place: FleetPlace | None) -> dict[str, Harness]:
    """Returns what drives the programs that the fleet's own documents describe, if they hold."""
    from fleet.harnesses import find_harness

    if place is None:
        return {}
    try:
        found = place.documents.harnesses
    except FleetError:
        return {}
    return {name: find_harness(name, one.profile) for name, one in found.items()}


def _source(place: FleetPlace | None, name: str) -> str:
    assert place is not None
    return place.documents.raws["harness", name].path


def _sessions(profile: Profile) -> str:
    """Returns whether fleet chooses the id of a session, takes it as it is told, or knows none."""
    from fleet.harnesses.profile.filling import is_chosen

    modes = [mode for mode in (profile.headless, profile.interactive) if mode is not None]
    if not any(mode.resume for mode in modes):
        return "none"
    return "chosen" if is_chosen(profile) else "captured"


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
