"""Secrets are references (`env:NAME`, `file:PATH`, `cmd:...`, `keyring:service/name`), resolved as
late as can be.

A value goes into one process's environment and nowhere else: it is in no file of the plan, no
journal and no log, and `mask` takes it out of whatever the process printed before that is kept.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.errors import Rejected

COMMAND_S: Final = 30.0
SHORTEST: Final = 4
"""A value of fewer characters is not masked: it would take ordinary words with it."""


def resolve(references: Mapping[str, str], root: Path) -> dict[str, str]:
    """Returns the values by variable; raises Rejected, naming the variable but never a value."""
    return {str(name): _value(str(name), str(said), root) for name, said in references.items()}


def mask(text: str, values: Mapping[str, str]) -> str:
    """Returns `text` with every secret value replaced by its name, the longest first."""
    for name, value in sorted(values.items(), key=lambda pair: -len(pair[1])):
        if len(value) >= SHORTEST:
            text = text.replace(value, f"[{name}]")
    return text


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
