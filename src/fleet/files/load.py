"""Find, read, check: a fleet's files become a `Fleet`, or all of their problems in order of place.

Pydantic and YAML are imported only when a file is not in the cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fleet.errors import InvalidPlan, Place, Problem
from fleet.files import cache
from fleet.files.changes.patched import apply_all, basis_with, patches_hold, taken_up
from fleet.files.changes.proposals import Change
from fleet.files.check import check
from fleet.files.checkpoints import with_checkpoints
from fleet.files.documents import AgentDocument, HarnessDocument, TaskDocument
from fleet.files.fleet import MAX_BYTES, SETTINGS_FILE, Fleet, Raw
from fleet.files.harnesses import harness_of
from fleet.files.names import id_problem
from fleet.files.normal import agent_of, settings_of, task_of
from fleet.files.phases import Known, phases_of
from fleet.files.proofs import with_proofs
from fleet.files.roots import current_branch, find_root

__all__ = ["Fleet", "find_root", "load"]

FOLDERS = {"agents": "agent", "tasks": "task", "harnesses": "harness"}
KINDS = ("fleet", *FOLDERS.values())
ENDINGS = (".md", ".yaml", ".yml")
MAX_FILES = 20_000
OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
AGENT_KEYS = frozenset(AgentDocument.__dataclass_fields__) - {"id", "name", "profile"}
TASK_KEYS = frozenset(TaskDocument.__dataclass_fields__) - {"id", "name"}


def load(
    root: Path,
    *,
    use_cache: bool = True,
    changes: Sequence[Mapping[str, Any]] = (),
    change: Change | None = None,
    stead: Mapping[str, bytes | None] | None = None,
) -> Fleet:
    """Returns the checked fleet of `root`; raises InvalidPlan with all problems, in order.

    With the `changes` that a run has taken up (see `patched`) it is the fleet that the run follows,
    and with a `change` what it would be then. Its digest stays that of the files. What `stead` has
    of a path counts in the place of the file, None as if that were not there.
    """
    root = root.resolve()
    problems: list[Problem] = []
    warnings: list[Problem] = []
    known = cache.read(root) if use_cache else {}
    raws: list[Raw] = []
    broken: set[tuple[str, str]] = set()
    stead = stead or {}
    listed = {path: kind for kind, path in _documents(root, problems, warnings)}
    listed |= {path: FOLDERS.get(path.partition("/")[0], "fleet") for path in stead}
    for path, kind in sorted(listed.items(), key=lambda one: KINDS.index(one[1])):
        if stead.get(path, b"") is None:
            continue
        raw = _raw(root, kind, path, known, problems, stead=stead.get(path))
        if raw is not None:
            raws.append(raw)
        else:
            broken.add((kind, _stem(path) if kind != "fleet" else ""))
    fresh = {raw.path: (raw.digest, dict(raw.values)) for raw in raws}
    if use_cache and fresh != known and not stead:
        cache.write(root, fresh)
    by_id = _by_id(raws, problems)
    digest = _digest(by_id)
    build = partial(_built, root, frozenset(broken))
    told = [*map(taken_up, changes), *([change] if change is not None else [])]
    fleet, found, more = apply_all(by_id, told, build)
    problems += found
    fleet = replace(
        fleet,
        digest=digest,
        changes=tuple(changes),
        basis=basis_with(digest, changes),
        warnings=_in_order(warnings + more),
    )
    if not (problems or told):
        problems += patches_hold(fleet, build)
    if problems:
        raise InvalidPlan(_in_order(problems))
    return fleet


def _built(
    root: Path, broken: frozenset[tuple[str, str]], raws: Mapping[tuple[str, str], Raw]
) -> tuple[Fleet, list[Problem], list[Problem]]:
    """Returns the fleet of documents, its problems and its warnings."""
    problems: list[Problem] = []
    fleet = _fleet(root, raws, broken, problems)
    found, warnings = check(fleet)
    return fleet, problems + found, warnings


def _documents(
    root: Path, problems: list[Problem], warnings: list[Problem]
) -> Iterator[tuple[str, str]]:
    """Yields (kind, path) of each document; names what looks like one and is not read."""
    if not os.path.lexists(root / SETTINGS_FILE):
        problems.append(Problem("file is missing", Place(SETTINGS_FILE), "run 'fleet init'"))
    else:
        yield "fleet", SETTINGS_FILE
    for folder, kind in FOLDERS.items():
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(Problem(f"cannot be listed: {error.strerror}", Place(folder)))
            continue
        if len(entries) > MAX_FILES:
            problems.append(Problem(f"more than {MAX_FILES} files", Place(folder)))
            continue
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.endswith("~") or name.lower() == "readme.md":
                continue
            endings = ENDINGS[kind == "harness" :]  # nothing of one is prose
            if name.endswith(endings):
                yield kind, f"{folder}/{name}"
            else:
                place = Place(_printable(f"{folder}/{name}"))
                hint = f"documents end in {', '.join(endings[:-1])} or {endings[-1]}"
                warnings.append(Problem("is not read", place, hint))


def _raw(
    root: Path,
    kind: str,
    path: str,
    known: cache.Entries,
    problems: list[Problem],
    *,
    stead: bytes | None = None,
) -> Raw | None:
    """Returns one document in normal form, from the cache where its bytes are the same."""
    try:
        raw = _read(os.fspath(root), path) if stead is None else stead
    except OSError as error:
        why = error.strerror or str(error)
        problems.append(Problem(f"cannot be read: {why}", Place(_printable(path))))
        return None
    digest = hashlib.sha256(raw).hexdigest()
    if path in known and known[path][0] == digest:
        return Raw(kind, path, raw, digest, known[path][1])
    values = _validated(kind, _printable(path), raw, problems)
    return Raw(kind, path, raw, digest, values) if values is not None else None


def _read(root: str, path: str) -> bytes:
    """Returns a file's bytes, one more than allowed at most; never blocks on what is no plain file.

    A link is followed only where it stays in the repository: the open refuses links, so that only
    they are looked at twice.
    """
    full = f"{root}/{path}"
    try:
        handle = os.open(full, OPEN | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        if not os.path.realpath(full).startswith(f"{root}/"):
            raise OSError(0, "it is a link that leads out of the repository") from None
        handle = os.open(full, OPEN)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(0, "it is no plain file")
        left = min(about.st_size, MAX_BYTES) + 1
        parts = []
        while left > 0 and (part := os.read(handle, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def _validated(kind: str, path: str, raw: bytes, problems: list[Problem]) -> dict[str, Any] | None:
    from pydantic import ValidationError

    from fleet.files import source
    from fleet.files.validate import normal_form, problems_of

    read = source.read_markdown if path.endswith(".md") else source.read_yaml
    try:
        text = source.decode(raw, path)
        found = read(text, path)
    except source.Unreadable as error:
        problems.append(error.problem)
        return None
    try:
        values = normal_form(kind, found.values)
    except ValidationError as error:
        problems += problems_of(kind, error, read(text, path, positions=True), path)
        return None
    if found.body.strip():
        key = {"fleet": "rules", "agent": "prompt", "task": "body"}[kind]
        if key in values:
            place = read(text, path, positions=True).place(path, (key,), key=True)
            said = f"{key!r} stands both as a key and below the front matter"
            problems.append(Problem(said, place, "keep one"))
        values[key] = found.body
    return values


def _by_id(raws: list[Raw], problems: list[Problem]) -> dict[tuple[str, str], Raw]:
    """Returns the files by kind and id; an id that is there twice, or almost, is a problem."""
    found: dict[tuple[str, str], Raw] = {}
    lower: dict[tuple[str, str], str] = {}
    for raw in raws:
        if raw.kind == "fleet":
            found["fleet", ""] = raw
            continue
        stem = _stem(raw.path)
        name = raw.values.get("id", stem)
        if "id" not in raw.values and id_problem(stem):
            text = f"file name {_printable(stem)!r} {id_problem(stem)}"
            problems.append(
                Problem(text, Place(_printable(raw.path)), "rename it, or give it an id")
            )
            continue
        other = lower.get((raw.kind, name.lower()))
        if other is not None:
            there = found[raw.kind, other].path
            text = f"{raw.kind} {name!r} is there twice, first in {there}"
            if other != name:
                text = f"{raw.kind} {name!r} differs only in case from {other!r} in {there}"
            problems.append(Problem(text, _place(raw, "id"), "give one of them another id"))
            continue
        lower[raw.kind, name.lower()] = name
        found[raw.kind, name] = raw
    return found


def _place(raw: Raw, key: str) -> Place:
    from fleet.files.fleet import place_in

    return place_in(raw, (key,) if key in raw.values else ())


def _fleet(
    root: Path,
    raws: Mapping[tuple[str, str], Raw],
    broken: frozenset[tuple[str, str]],
    problems: list[Problem],
) -> Fleet:
    """Returns all documents with defaults applied, not yet checked against each other."""
    top = raws.get(("fleet", ""))
    plain = dict(top.values) if top else {}
    written = plain.pop("phases", [])
    defaults = plain.pop("defaults", {})
    plain.setdefault("fleet", root.name)
    plain.setdefault("base", current_branch(root))
    agent_defaults = {key: value for key, value in defaults.items() if key in AGENT_KEYS}
    task_defaults = {key: value for key, value in defaults.items() if key in TASK_KEYS}
    harnesses = {
        name: harness_of(name, raw.values)
        for (kind, name), raw in sorted(raws.items())
        if kind == "harness"
    }
    agents = {
        name: _agent(name, _filled(agent_defaults, raw.values), harnesses)
        for (kind, name), raw in sorted(raws.items())
        if kind == "agent"
    }
    filled = {
        name: _filled(task_defaults, raw.values)
        for (kind, name), raw in sorted(raws.items())
        if kind == "task"
    }
    said = {name: values.get("phase", "") for name, values in filled.items()}
    known = Known(said=said, raws=raws, broken=broken, problems=problems)
    phases, placed = phases_of(written, known)
    tasks = {}
    for name, values in filled.items():
        values["id"] = name
        values["phase"] = placed[name]
        values.setdefault("name", name)
        alone = ("agent", name) not in raws and ("agent", name) not in broken
        only_runs = alone and values.get("verifies") and values.get("checks")
        values.setdefault("agent", "" if only_runs else name)
        values.setdefault("branch", f"fleet/{name}")
        if "dependencies" in values:
            values["dependencies"] = tuple(dict.fromkeys(values["dependencies"]))
        tasks[name] = task_of(values)
    fleet = Fleet(
        root=root, settings=settings_of(plain), agents=agents, tasks=tasks, phases=phases,
        harnesses=harnesses, raws=raws, broken=broken,
    )  # fmt: skip
    return with_checkpoints(with_proofs(fleet, problems), task_defaults, problems)


def _digest(raws: Mapping[tuple[str, str], Raw]) -> str:
    digest = hashlib.sha256()
    for key, raw in sorted(raws.items()):
        digest.update(f"{key[0]}\0{key[1]}\0{raw.digest}\n".encode())
    return digest.hexdigest()


def _agent(
    name: str, values: Mapping[str, Any], harnesses: Mapping[str, HarnessDocument]
) -> AgentDocument:
    agent = agent_of({"name": name, **values, "id": name})
    if isinstance(agent.harness, str) and agent.harness in harnesses:
        return replace(agent, profile=harnesses[agent.harness])
    return agent


def _filled(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file leaves out comes from the defaults: mappings key by key, all else whole."""
    filled = {**defaults, **values}
    for key in ("limits", "env", "uses"):
        if key in defaults and key in values:
            filled[key] = {**defaults[key], **values[key]}
    if "permissions" in defaults and "permissions" in values:
        filled["permissions"] = _both(defaults["permissions"], values["permissions"])
    return filled


def _both(fleets: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an agent's permissions, its patterns behind the fleet's, which hold for everybody."""
    lists = {key: [*fleets.get(key, ()), *own.get(key, ())] for key in ("allow", "deny")}
    return {**fleets, **own, **{key: found for key, found in lists.items() if found}}


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    def order(problem: Problem) -> tuple[bool, str, int, int, str]:
        place = problem.place or Place("")
        return place.path != SETTINGS_FILE, place.path, place.line, place.column, problem.text

    return tuple(sorted(dict.fromkeys(problems), key=order))


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _printable(path: str) -> str:
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]
