"""Bringing commits to a remote, forward only, and never over what somebody else has put there.

Every push names the commit, says with a lease what the remote was seen to be, and is one for all of
its refs (`--atomic`). It runs in the user's own environment (ssh agent, credential helpers,
askpass; no terminal is asked) with the user's pre-push hook, and has a time limit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.command import Finished, Site
from fleet.adapters.git.repository import Repository
from fleet.errors import FleetError, NotFound, Rejected, ToolFailed

PUSH_S: Final = 600.0
LOOK_S: Final = 60.0
"""How long a remote may take for a push, and to say what it has; one that hangs is ended."""

_USERS: Final = (
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_PROXY_COMMAND",
)
_USERS_TOO: Final = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_NO_VERIFY", "GIT_HTTP_USER_AGENT")


@dataclass(frozen=True, slots=True)
class Update:
    """What a remote's `ref` is to be: the object `sha`, instead of `seen` (None: it is not
    there).
    """

    ref: str
    sha: str
    seen: str | None


@dataclass(frozen=True, slots=True)
class NotPushed:
    """The remote is as it was: `why` is `hook`, `moved`, `refused` or `failed`, `text` what was
    said.
    """

    why: str
    text: str


def choose_remote(repo: Repository, base: str, wanted: str = "") -> str:
    """Returns the remote that is `wanted`, else the base's own, else `origin`, else the only one.

    Raises NotFound for a name that is none, Rejected when nothing says which is meant.
    """
    names = repo.site.git("remote").lines
    if wanted:
        if wanted not in names:
            raise NotFound("remote", wanted, names)
        return wanted
    own = repo.site.git("config", "--get", f"branch.{base}.remote", accept=(0, 1)).line
    for name in (own, "origin"):
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    if not names:
        raise Rejected("there is no remote to push to", hint="git remote add origin URL")
    raise Rejected(
        f"which remote {base!r} is pushed to is not said: {', '.join(names)}",
        hint=f"--remote NAME, or: git config branch.{base}.remote NAME",
    )


def look(repo: Repository, remote: str, names: Sequence[str]) -> dict[str, str]:
    """Returns what those of the full ref `names` are at a remote now that it has.

    Raises FleetError with what git said when it cannot be asked.
    """
    try:
        asked = _git(repo, "ls-remote", "--", remote, *names, timeout_s=LOOK_S)
    except ToolFailed as failed:
        said = " ".join(failed.stderr.split())
        raise FleetError(f"the remote {remote} cannot be asked: {said}") from None
    pairs = (line.split("\t", 1) for line in asked.lines)
    return {name: sha for sha, name in pairs if name in names}


def push(repo: Repository, remote: str, updates: Sequence[Update]) -> NotPushed | None:
    """Moves the refs of a remote, all or none, from exactly what was seen of them; returns why it
    did not.
    """
    leases = [f"--force-with-lease={one.ref}:{one.seen or ''}" for one in updates]
    moves = [f"{one.sha}:{one.ref}" for one in updates]
    fixed = ("push", "--porcelain", "--atomic", "--no-follow-tags", "--no-recurse-submodules")
    try:
        done = _git(
            repo, *fixed, *leases, "--", remote, *moves, timeout_s=PUSH_S, accept=(0, 1), hooks=True
        )
    except ToolFailed as failed:
        return NotPushed("failed", " ".join(failed.stderr.split()))
    if done.code == 0:
        return None
    said = _said(done)
    # git tells of each ref once it has talked to the remote; before that only the hook says no.
    refused = [line.split("\t")[-1] for line in done.lines if line.startswith("!")]
    if not refused:
        return NotPushed("hook", said)
    moved = any(word in one for one in refused for word in ("stale info", "fetch first"))
    return NotPushed("moved" if moved else "refused", f"{', '.join(refused)}: {said}")


def is_forward(repo: Repository, seen: str | None, sha: str) -> bool:
    """Returns whether going from what a remote has to `sha` loses nothing of it."""
    return seen is None or (repo.resolve(seen) == seen and repo.is_ancestor(seen, sha))


def holds(repo: Repository, seen: str | None, sha: str) -> bool:
    """Returns whether what a remote has is known here, and contains `sha`."""
    return seen is not None and repo.resolve(seen) == seen and repo.is_ancestor(sha, seen)


def tag_object(repo: Repository, name: str) -> str | None:
    """Returns the object that the tag `name` is: a commit or, where it says more, a tag."""
    return refs.snapshot(repo.site, f"refs/tags/{name}").get(f"refs/tags/{name}")


def _git(
    repo: Repository,
    *args: str,
    timeout_s: float,
    accept: Sequence[int] = (0,),
    hooks: bool = False,
) -> Finished:
    site = Site(repo.common, repo.common, repo.root)
    return site.git(*args, timeout_s=timeout_s, accept=accept, hooks=hooks, environ=_of_the_user())


def _of_the_user() -> Mapping[str, str]:
    return {name: os.environ[name] for name in (*_USERS, *_USERS_TOO) if name in os.environ}


def _said(done: Finished) -> str:
    lines = (line.removeprefix("remote: ").strip() for line in done.err.splitlines())
    return " ".join(one for one in lines if one and not one.startswith("error: failed to push"))
