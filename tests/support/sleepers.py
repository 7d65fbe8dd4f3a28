"""Processes that outlast a test unless something ends them, told apart from all others."""

from __future__ import annotations

import itertools
import os

import psutil

_NUMBERS = itertools.count(1)


def sleeper() -> list[str]:
    """Returns a command that sleeps for a quarter of an hour and that nobody else runs."""
    return ["sleep", f"900.{os.getpid()}{next(_NUMBERS)}"]


def alive(command: list[str]) -> list[psutil.Process]:
    """Returns the processes that run a command."""
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == command]
