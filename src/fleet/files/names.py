"""Rules for names that reach git, the file system, tmux or an environment.

Each rule returns the end of a sentence that begins with the name ("ends in '.lock'"), or an empty
text. They are stricter than the tools, because some tools accept what another reads as an option,
an expansion or a way out. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata

ID_RULE = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_ID = re.compile(ID_RULE[:-1] + r"\Z")
_REFERENCE = re.compile(r"(?:env:[A-Za-z_][A-Za-z0-9_]*|(?:file|cmd|keyring):\S.*)\Z")
_SCHEMES = ("env", "file", "cmd", "keyring")
_LIMIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:-]{0,127}\Z")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SHORT_GIT = re.compile(r"git~[0-9]+\Z")
_GIT_REFUSES = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")
_SHELL_READS = re.compile("[;|&$`'\"<>(){}!%#]")
_PSEUDO_REFS = frozenset(
    {"HEAD", "FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "stash"}
)
_ENV_DENIED = frozenset(
    {"BASH_ENV", "ENV", "NODE_OPTIONS", "PYTHONPATH", "PYTHONSTARTUP", "TMUX", "TMUX_PANE"}
)
_ENV_ALLOWED = ("GIT_AUTHOR_", "GIT_COMMITTER_")
_FILE = re.compile(r"(?=\S*[/*?]|\S*\w\.[A-Za-z]\w{0,9}\Z)\S+\Z")
MAX_REF, MAX_PATH = 200, 1_024


def id_problem(name: str) -> str:
    """Ids of tasks, agents, phases and patches."""
    if _ID.match(name):
        return ""
    if len(name) > 64:
        return "is longer than 64 characters"
    return "is no id: letters, digits, '-' and '_', beginning with a letter or digit"


def limit_problem(name: str) -> str:
    """Names of limits, such as `agents`, `staging` or `branch:main`."""
    return "" if _LIMIT.match(name) else "is no name for a limit: letters, digits and _ . / : -"


def is_reference(text: str) -> bool:
    """Whether a text says where a secret is: env:NAME, file:PATH, cmd:... or keyring:..."""
    return bool(_REFERENCE.match(text))


def proof_id(task: str, number: int) -> str:
    """Returns the id of the proof of what a task takes for granted, by its number from 0."""
    return f"{task}-proof" + (f"-{number + 1}" if number else "")


def looks_like_path(text: str) -> bool:
    """Whether a text that may also be prose names a file: it has no space, and a folder, an ending
    or a glob.
    """
    return "://" not in text and bool(_FILE.match(text))


def looks_like_reference(text: str) -> bool:
    """Whether a text begins as a reference does, well formed or not."""
    return text.partition(":")[0] in _SCHEMES and ":" in text


def env_problem(name: str) -> str:
    """Names of environment variables; those that change how programs start are refused."""
    if not _ENV.match(name):
        return "is no name for an environment variable: letters, digits and '_'"
    if name.startswith("FLEET_"):
        return "is set by fleet itself"
    if name in _ENV_DENIED or name.startswith("LD_"):
        return "may not be set: it changes what every program in the session runs"
    if name.startswith("GIT_") and not name.startswith(_ENV_ALLOWED):
        return "may not be set: it would point git at another repository"
    return ""


def ref_problem(name: str) -> str:  # noqa: C901 - one rule a line reads best
    """Names of branches and tags: git's check-ref-format rules, and what else could mislead."""
    if not name:
        return "is empty"
    if name.startswith("-"):
        return "begins with '-', which git would read as an option"
    if name == "@" or name in _PSEUDO_REFS:
        return "means something else to git"
    if name.startswith(("refs/", "heads/", "tags/", "remotes/")):
        return "must be the plain name, without 'refs/' or 'heads/'"
    found = _GIT_REFUSES.search(name)
    if found:
        return f"holds {found[0]!r}, which git refuses"
    for part in ("..", "@{", "//"):
        if part in name:
            return f"holds {part!r}, which git refuses"
    if name.startswith("/"):
        return "begins with '/', which git refuses"
    if name.endswith(("/", ".")):
        return f"ends in {name[-1]!r}, which git refuses"
    for part in name.split("/"):
        if part.startswith("."):
            return "has a part that begins with '.', which git refuses"
        if part.endswith(".lock"):
            return "has a part that ends in '.lock', which git refuses"
    found = _SHELL_READS.search(name)
    if found:
        return f"holds {found[0]!r}, which shells and tools would read"
    if _hidden(name):
        return "holds an invisible or direction-changing character"
    if len(name.encode()) > MAX_REF:
        return f"is longer than {MAX_REF} bytes"
    return ""


def path_problem(path: str) -> str:
    """Paths and globs inside a worktree: deliverables, owned files, files to copy."""
    if path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path):
        return "is absolute; paths start from the worktree's root"
    if path.startswith("~"):
        return "begins with '~'; paths start from the worktree's root"
    if path.startswith("-"):
        return "begins with '-', which programs would read as an option"
    if any(mark in path for mark in "\0\n\r\t\\"):
        return "holds a control character or a backslash"
    if len(path) > MAX_PATH:
        return f"is longer than {MAX_PATH} characters"
    parts = path.split("/")
    if ".." in parts:
        return "holds '..'; it must stay inside the worktree"
    if all(part in ("", ".") for part in parts):
        return "names no file"
    if any(is_git_folder(part) for part in parts):
        return "points into .git"
    if _hidden(path):
        return "holds an invisible or direction-changing character"
    return ""


def home_problem(path: str) -> str:
    """Paths in a home folder: what is copied from there into a sandbox."""
    if not path.startswith("~/"):
        return "does not begin with '~/'; what lies elsewhere stands under `read`"
    return path_problem(path[2:])


def worktree_problem(path: str) -> str:
    """Paths of worktrees as written; where they lead is checked with the others."""
    if path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path):
        return "is absolute; write it from the repository's root ('../x' is fine)"
    if path.startswith("~") or "$" in path:
        return "is not expanded; write it from the repository's root ('../x' is fine)"
    if path.startswith("-"):
        return "begins with '-', which git would read as an option"
    if "#{" in path or "#(" in path:
        return "holds '#{' or '#(', which tmux would expand"
    if any(mark in path for mark in "\0\n\r\t\\"):
        return "holds a control character or a backslash"
    if len(path.encode()) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if any(is_git_folder(part) for part in path.split("/")):
        return "lies inside .git"
    if _hidden(path):
        return "holds an invisible or direction-changing character"
    return ""


def is_git_folder(part: str) -> bool:
    """True for `.git` as any file system may know it: other case, hidden characters, short name."""
    if not part.isascii():
        part = "".join(c for c in part if unicodedata.category(c) != "Cf")
    plain = part.rstrip(". ").lower()
    return plain == ".git" or bool(_SHORT_GIT.match(plain))


def _hidden(text: str) -> bool:
    return not text.isascii() and any(
        unicodedata.category(c) in ("Cf", "Cc", "Zl", "Zp") for c in text
    )
