"""GitHub's own command line, `gh`: pull requests listed, made and brought up to date.

Every call is an argv list with a time limit, asks no terminal, and takes long texts by file. It
runs in the user's environment, whose log-in it uses.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.errors import FleetError, ToolFailed

TIMEOUT_S: Final = 120.0
NOT_LOGGED_IN: Final = 4
"""The exit code with which gh asks for a log-in."""

_FIELDS: Final = "number,url,state,headRefOid"
_QUIET: Final = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}
_NUMBER: Final = re.compile(r"/(\d+)/?$")


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request: its `state` is OPEN, CLOSED or MERGED, `head` the commit it is at."""

    number: int
    url: str
    state: str
    head: str


def pull_requests(root: Path, base: str, head: str) -> list[PullRequest]:
    """Returns the pull requests of a branch, the newest first.

    Raises FleetError with the cure when gh is missing or not logged in.
    """
    said = _gh(root, "pr", "list", "--head", head, "--base", base, "--state", "all",
               "--json", _FIELDS)  # fmt: skip
    try:
        told = json.loads(said)
        found = [
            PullRequest(int(o["number"]), str(o["url"]), str(o["state"]), str(o["headRefOid"]))
            for o in told
        ]
    except (ValueError, TypeError, KeyError):
        raise ToolFailed(("gh", "pr", "list"), 0, f"not what was asked for: {said[:200]}") from None
    return sorted(found, key=lambda one: -one.number)


def open_pull_request(root: Path, base: str, head: str, title: str, body: str) -> tuple[int, str]:
    """Makes a pull request and returns its number and address."""
    fixed = ("pr", "create", "--base", base, "--head", head, "--title", title)
    url = _with_body(root, fixed, body).strip().splitlines()[-1:] or [""]
    found = _NUMBER.search(url[0])
    if found is None:
        raise ToolFailed(("gh", "pr", "create"), 0, f"it named no pull request: {url[0][:200]}")
    return int(found[1]), url[0]


def update_pull_request(root: Path, number: int, title: str, body: str) -> None:
    """Gives a pull request its title and text anew."""
    _with_body(root, ("pr", "edit", str(number), "--title", title), body)


def _with_body(root: Path, words: Sequence[str], body: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".md", encoding="utf-8") as file:
        file.write(body)
        file.flush()
        return _gh(root, *words, "--body-file", file.name)


def _gh(root: Path, *words: str) -> str:
    try:
        child = subprocess.Popen(
            ["gh", *words],
            cwd=root,
            env={**os.environ, **_QUIET},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        raise FleetError(
            "a pull request needs gh, which is not installed", hint="https://cli.github.com"
        ) from None
    try:
        out, err = child.communicate(timeout=TIMEOUT_S)
    except BaseException as cut:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        if isinstance(cut, subprocess.TimeoutExpired):
            said = f"no answer within {TIMEOUT_S:g} s"
            raise ToolFailed(("gh", *words[:2]), None, said) from None
        raise
    said = err.decode("utf-8", "replace").strip()
    if child.returncode == NOT_LOGGED_IN:
        raise FleetError("gh is not logged in", hint="gh auth login")
    if child.returncode:
        raise ToolFailed(("gh", *words[:2]), child.returncode, said)
    return out.decode("utf-8", "replace")
