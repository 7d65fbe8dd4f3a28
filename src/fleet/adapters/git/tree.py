"""Reading the files of a commit. Deliverables are judged on commits, never on the file system.

Symlinks are reported as what they are and never followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from fleet.adapters.git.command import encode
from fleet.adapters.git.repository import Repository
from fleet.errors import NotFound, Rejected

_MODES = {"100644": "file", "100755": "program", "120000": "symlink", "160000": "submodule"}


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit; `mode` is one of file, program, symlink, submodule; a submodule's size
    is 0.
    """

    path: str
    size_bytes: int
    oid: str
    mode: str


def find_files(repo: Repository, commit: str, glob: str) -> tuple[File, ...]:
    """Returns the files of `commit` that match `glob`, sorted by path.

    `*` and `?` stay within one folder, `**/` stands for any number of folders, `[...]` for one
    character; a glob that names a folder, or ends with `/` or `/**`, means everything below it.
    """
    pattern = _pattern(glob)
    return tuple(f for f in _listed(repo, commit) if pattern.fullmatch(f.path))


def fits(path: str, glob: str) -> bool:
    """Returns whether a path is meant by a glob, as `find_files` reads it."""
    return _pattern(glob).fullmatch(path) is not None


def read_file(repo: Repository, commit: str, path: str, limit_bytes: int) -> bytes:
    """Returns the content of one file of `commit`, at most `limit_bytes`.

    Raises NotFound when the commit has no such file, Rejected when it is a submodule or larger.
    """
    found = next((f for f in _listed(repo, commit) if f.path == path), None)
    if found is None:
        raise NotFound("file", path, [f.path for f in _listed(repo, commit)])
    if found.mode == "submodule":
        raise Rejected(f"{path!r} is a submodule, not a file")
    if found.size_bytes > limit_bytes:
        raise Rejected(f"{path!r} has {found.size_bytes} bytes, more than {limit_bytes}")
    return repo.site.git("cat-file", "blob", found.oid).out


def changed_since(repo: Repository, old: str, new: str) -> frozenset[str]:
    """Returns the paths that are new or changed in commit `new` against `old`; deleted ones are
    left out.
    """
    return frozenset(c.path for c in repo.changed(old, new) if c.status != "D")


@lru_cache(maxsize=32)
def _listed(repo: Repository, commit: str) -> tuple[File, ...]:
    fields = repo.site.git(
        *("ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", commit)
    ).fields
    found = []
    for line in fields:
        facts, path = line.split("\t", 1)
        mode, _, oid, size = facts.split()
        found.append(File(path, 0 if size == "-" else int(size), oid, _MODES.get(mode, "file")))
    return tuple(sorted(found, key=lambda f: encode(f.path)))


@lru_cache(maxsize=512)
def _pattern(glob: str) -> re.Pattern[str]:
    """Returns a glob as an expression over whole paths."""
    text, out, at = glob.removeprefix("./").rstrip("/"), "", 0
    while at < len(text):
        rest = text[at:]
        if rest.startswith("**/"):
            out, at = out + "(?:[^/]+/)*", at + 3
        elif rest == "**":
            out, at = out + ".+", at + 2
        elif rest[0] == "*":
            out, at = out + "[^/]*", at + 1
        elif rest[0] == "?":
            out, at = out + "[^/]", at + 1
        elif rest[0] == "[" and (closed := re.match(r"\[!?\]?[^\]/]*\]", rest)):
            inner = closed[0][1:-1].replace("\\", "\\\\").replace("[", "\\[")
            inner = "^" + inner[1:] if inner.startswith("!") else inner.replace("^", "\\^")
            out, at = out + f"[{inner}]", at + closed.end()
        else:
            out, at = out + re.escape(rest[0]), at + 1
    return re.compile(out + "(?:/.*)?", re.DOTALL)
