"""Secrets are references (`env:NAME`, `file:PATH`, `cmd:...`, `keyring:service/name`), resolved as
late as can be.

A value goes into one process's environment and nowhere else: it is in no file of the plan, no
journal and no log, and `mask` takes it out of whatever the process printed before that is kept.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.errors import Rejected

COMMAND_S: Final = 30.0
SHORTEST: Final = 4
"""A value of fewer characters is not masked: it would take ordinary words with it."""

LINE: Final = 12
"""A line of a value counts for itself from so many characters on."""

NAMES_VARIABLE: Final = "FLEET_SECRETS"
"""Names, never values, of the variables in a session that hold its secrets."""


def resolve(references: Mapping[str, str], root: Path) -> dict[str, str]:
    """Returns the values by variable; raises Rejected, naming the variable but never a value."""
    return {str(name): _value(str(name), str(said), root) for name, said in references.items()}


def known(references: Mapping[str, str], root: Path) -> dict[str, str]:
    """Returns those values that can be had here and now; the others cannot be masked."""
    found = {}
    for name, said in references.items():
        with contextlib.suppress(Rejected):
            found[str(name)] = _value(str(name), str(said), root)
    return found


def own(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the secrets of the session that this process is in; none outside one."""
    names = environ.get(NAMES_VARIABLE, "").split()
    return {name: environ[name] for name in names if name in environ}


def mask(text: str, values: Mapping[str, str]) -> str:
    """Returns `text` with every secret value replaced by its name, the longest first.

    Of one of several lines each is one, for programs print lines; and so is a value as JSON has it.
    """
    for value, name in _forms(values):
        text = text.replace(value, f"[{name}]")
    return text


def scrub(path: Path, values: Mapping[str, str]) -> None:
    """Masks every secret value in a file, which is replaced whole; one that holds none is left."""
    forms = [(value.encode(), f"[{name}]".encode()) for value, name in _forms(values)]
    try:
        with path.open("rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                if all(whole.find(value) < 0 for value, _ in forms):
                    return
            raw = file.read()
    except (OSError, ValueError):  # an empty file cannot be mapped
        return
    for value, name in forms:
        raw = raw.replace(value, name)
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(raw)
    draft.replace(path)


def _forms(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns what stands for each secret in a text, with its name, the longest first."""
    found: dict[str, str] = {}
    for name, value in values.items():
        parts = [one.strip() for one in value.splitlines()] if "\n" in value else []
        forms = (value, json.dumps(value)[1:-1], *(one for one in parts if len(one) >= LINE))
        found |= {form: name for form in forms if len(form) >= SHORTEST}
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


def _value(name: str, reference: str, root: Path) -> str:
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        if rest not in os.environ:
            raise Rejected(
                f"secret {name}: the coordinator has no variable {rest}",
                hint=f"export {rest} and restart it: fleet down; fleet up",
            )
        return os.environ[rest]
    if scheme == "file":
        try:
            return (root / Path(rest).expanduser()).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, ValueError) as lost:
            raise Rejected(
                f"secret {name}: {rest} cannot be read ({type(lost).__name__})"
            ) from None
    if scheme == "cmd":
        return _said(name, ["/bin/sh", "-c", rest], root)
    if scheme == "keyring":
        service, _, who = rest.partition("/")
        return _said(name, ["secret-tool", "lookup", "service", service, "name", who], root)
    raise Rejected(
        f"secret {name}: {scheme!r} is no kind of reference",
        hint="env:NAME, file:PATH, cmd:COMMAND or keyring:service/name",
    )


def _said(name: str, argv: list[str], root: Path) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise Rejected(
            f"secret {name}: its command gave no answer ({type(failed).__name__})"
        ) from None
    if done.returncode:
        raise Rejected(f"secret {name}: its command exited with {done.returncode}")
    return done.stdout.decode("utf-8", "replace").rstrip("\n")
