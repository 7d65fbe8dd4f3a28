"""Names of branches and of fleet's own refs, and transactions on refs.

Refs are always written by their full names and by compare-and-swap. What is not the user's lives in
`refs/fleet/`, which git neither clones nor pushes by default:

    refs/fleet/start/<branch>/<key>   where a branch of ours began, and whose it is
    refs/fleet/candidate/<name>       a merge that is being judged
    refs/fleet/undo/<name>            a move of a branch or tag, and where it stood before
    refs/fleet/rescue/<name>          a snapshot taken before something was removed
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fleet.adapters.git.command import Site, decode, encode, run
from fleet.records import record

HEADS: Final = "refs/heads/"
START: Final = "refs/fleet/start/"
CANDIDATE: Final = "refs/fleet/candidate/"
UNDO: Final = "refs/fleet/undo/"
RESCUE: Final = "refs/fleet/rescue/"
TRANSACTION_S: Final = 60.0

_LONGEST: Final = 180  # bytes of one path component, with room for git's ".lock"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_SHA: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@record(kw_only=False)
class Start:
    """The record that `branch` was taken for `key` at the commit `sha`."""

    branch: str
    key: str
    sha: str


def is_sha(text: str) -> bool:
    """Returns whether `text` is a full object id."""
    return bool(_SHA.fullmatch(text))


@lru_cache(maxsize=4096)
def branch_name_problem(name: str) -> str | None:
    """Returns why git would refuse `name` as a branch, in a sentence, or None when it is fine."""
    if not name:
        return "a branch name is empty"
    if name.startswith("-"):
        return f"branch name {name!r} begins with '-'"
    if name in {"HEAD", "@"} or is_sha(name):
        return f"branch name {name!r} means something else to git"
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST:
        return None
    if "\0" in name or any(len(encode(part)) > _LONGEST for part in name.split("/")):
        return f"branch name {name!r} is too long or holds a NUL"
    checked = run(["check-ref-format", HEADS + name], cwd=Path("/"), accept=(0, 1))
    return None if checked.code == 0 else f"git refuses {name!r} as a branch name"


def component(text: str) -> str:
    """Returns any text as one component of a ref name; `plain` takes it back unless it was very
    long.
    """
    quoted = quote_from_bytes(encode(text), safe="").replace(".", "%2E").replace("~", "%7E")
    if len(quoted) <= _LONGEST:
        return quoted or "%"
    from hashlib import sha256  # it loads OpenSSL, for names that hardly anybody has

    return f"{quoted[:100]}%{sha256(encode(text)).hexdigest()[:40]}"


def plain(quoted: str) -> str:
    """Returns the text that `component` was given."""
    return decode(unquote_to_bytes(quoted))


def start_ref(branch: str, key: str) -> str:
    """Returns the ref that records where `branch` began for `key`."""
    return f"{START}{component(branch)}/{component(key)}"


def snapshot(site: Site, *prefixes: str) -> dict[str, str]:
    """Returns every ref under `prefixes` with its object id, read by one process."""
    listed = site.git("for-each-ref", "--format=%(objectname) %(refname)", *prefixes)
    return {line.split(" ", 1)[1]: line.split(" ", 1)[0] for line in listed.lines}


def starts(refs: dict[str, str]) -> dict[str, list[Start]]:
    """Returns the recorded starts among `refs`, by the branch's quoted name."""
    found: dict[str, list[Start]] = {}
    for ref, sha in refs.items():
        if ref.startswith(START) and ref.count("/") == START.count("/") + 1:
            branch, key = ref.removeprefix(START).split("/")
            found.setdefault(branch, []).append(Start(plain(branch), key, sha))
    return found


def create(ref: str, sha: str) -> bytes:
    """Returns the line of a transaction that creates `ref`; it must not exist."""
    return b"create " + encode(ref) + b"\0" + encode(sha) + b"\0"


def update(ref: str, new: str, old: str) -> bytes:
    """Returns the line that moves `ref` from `old` to `new`; an `old` of zeros means that it must
    not exist.
    """
    return b"update " + encode(ref) + b"\0" + encode(new) + b"\0" + encode(old) + b"\0"


def put(ref: str, new: str) -> bytes:
    """Returns the line that sets `ref`, whatever it was; only for refs of our own."""
    assert ref.startswith("refs/fleet/"), ref
    return b"update " + encode(ref) + b"\0" + encode(new) + b"\0\0"


def delete(ref: str, old: str) -> bytes:
    """Returns the line that deletes `ref` if it still is `old`."""
    return b"delete " + encode(ref) + b"\0" + encode(old) + b"\0"


def verify(ref: str, sha: str) -> bytes:
    """Returns the line that demands that `ref` is `sha`."""
    return b"verify " + encode(ref) + b"\0" + encode(sha) + b"\0"


def transact(site: Site, lines: Iterable[bytes], *, why: str, keep: Sequence[int] = ()) -> None:
    """Carries out a ref transaction, all or nothing; `why` goes to the reflog. Raises
    ToolFailed.
    """
    site.git(
        *("update-ref", "-m", why, "--stdin", "-z"),
        stdin=b"".join(lines),
        writes=True,
        timeout_s=TRANSACTION_S,
        keep=keep,
    )
