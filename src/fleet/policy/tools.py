"""What a program's tool is about to do, in logical terms: commands, edits, reads, addresses.

The tables name the tools of each program, and where in their input the command, the path or the
address stands. A tool that is not in them may be allowed by its own name only, and is denied by
whatever its input seems to say; where its name holds a `_` or `-`, it may be a server's.
"""

from __future__ import annotations

import os
import re

from fleet.policy.matching import MANY, SIGNS
from fleet.policy.shell import Part, split

COMMAND = ("command", "cmd")
PATH = ("file_path", "notebook_path", "filePath", "absolute_path", "path", "dir_path")
LOOKED = (*PATH, "paths")
URL = ("url",)
CWD = ("dir_path", "workdir")
"""Where a command's tool is told in which folder to run it."""

TOOLS = {
    # claude; codex calls its shell `Bash` before its hooks
    "Bash": ("run", COMMAND), "Monitor": ("run", COMMAND), "PowerShell": ("hidden", COMMAND),
    "Edit": ("edit", PATH), "Write": ("edit", PATH), "MultiEdit": ("edit", PATH),
    "NotebookEdit": ("edit", PATH), "Read": ("read", PATH), "NotebookRead": ("read", PATH),
    "Glob": ("look", LOOKED), "Grep": ("look", LOOKED), "LS": ("look", PATH),
    "WebFetch": ("fetch", URL),
    # codex
    "shell": ("run", COMMAND), "local_shell": ("run", COMMAND), "exec_command": ("run", COMMAND),
    "unified_exec": ("run", COMMAND), "write_stdin": ("hidden", COMMAND),
    "apply_patch": ("patch", ("command", "input", "patch", "patchText")),
    # gemini
    "run_shell_command": ("run", COMMAND), "write_file": ("edit", PATH), "replace": ("edit", PATH),
    "read_file": ("read", PATH), "read_many_files": ("globs", ("include",)),
    "list_directory": ("look", PATH), "grep_search": ("look", PATH),
    "web_fetch": ("fetch", ("url", "prompt")),
    # opencode, copilot (which calls most of them as claude does before its hooks)
    "bash": ("run", COMMAND), "write_bash": ("hidden", ("input",)), "edit": ("edit", PATH),
    "write": ("edit", PATH), "multiedit": ("edit", PATH), "create": ("edit", PATH),
    "str_replace": ("edit", PATH), "str_replace_editor": ("edit", PATH),
    "read": ("read", PATH), "view": ("read", PATH), "list": ("look", PATH),
    "glob": ("look", LOOKED), "grep": ("look", LOOKED), "webfetch": ("fetch", URL),
    "patch": ("patch", ("patchText", "patch", "input")),
}  # fmt: skip
"""A program's tool -> what it does, and the keys of its input that tell on what. `look` reads the
worktree unless it names paths; `patch` edits the files that its text names; `hidden` does what its
input does not tell; `globs` reads whatever fits."""

OWN = frozenset((
    # gemini
    "activate_skill", "ask_user", "complete_task", "enter_plan_mode", "exit_plan_mode",
    "get_internal_docs", "google_web_search", "invoke_agent", "list_background_processes",
    "list_mcp_resources", "read_background_output", "read_mcp_resource", "save_memory",
    "tracker_add_dependency", "tracker_create_task", "tracker_get_task", "tracker_list_tasks",
    "tracker_update_task", "tracker_visualize", "update_topic", "write_todos",
    # copilot
    "fetch_copilot_cli_documentation", "list_agents", "list_bash", "read_agent", "read_bash",
    "report_intent", "session_store_sql", "stop_bash", "write_agent",
    # codex
    "close_agent", "list_mcp_resource_templates", "request_user_input", "resume_agent",
    "send_input", "spawn_agent", "update_plan", "view_image", "web_search",
))  # fmt: skip
"""Tools that are a program's own, though their names could be those of a server's."""

SHELLS = frozenset((
    "sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "busybox", "pwsh",
))  # fmt: skip
CARRIERS = SHELLS | frozenset((
    "sudo", "doas", "su", "env", "command", "builtin", "exec", "eval", "trap", "xargs",
    "parallel", "nohup", "setsid", "nice", "ionice", "time", "timeout", "stdbuf", "watch", "find",
    "ssh", "script", "unshare", "chroot", "flock", "strace", "ltrace", "taskset", "function",
    "coproc", ".", "source", "for", "select", "case",
))  # fmt: skip
"""Words behind which other commands stand, as words or as a text."""

RESERVED = frozenset((
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "}", "done", "fi", "esac",
))  # fmt: skip
MOVES = frozenset(("cd", "pushd", "popd", "eval", ".", "source", "trap"))
"""Words after which a relative path may be another."""

WRITES = frozenset((">", ">>", ">|", "&>", "&>>", "<>", ">&"))
SINKS = frozenset(("/dev/null", "/dev/stdout", "/dev/stderr"))
WORDS = 100
"""So many words of a command are looked into; a longer one is not told beforehand."""

_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]]*\])?\+?=")
_PATCHED = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$", re.MULTILINE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_HOST = re.compile(
    r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]+)?(?:[/?#]\S*)?\Z", re.IGNORECASE
)


class Use:
    """One thing that is about to be done.

    `readings` are all ways in which a deny may understand it, `exact` the ways that an allow must
    cover, all of them (a path's from the top, then from the worktree): none where nothing but the
    tool's name may allow it. `inside` is False for a path out of the worktree, `counts` for what
    needs no allow; `mentioned` is a file that a command only names.
    """

    def __init__(self, kind: str, words: list[str], tool: str = "") -> None:
        self.kind, self.tool = kind, tool
        self.readings = [words]
        self.exact = [words]
        self.inside = self.counts = True
        self.mentioned = False


def uses_of(tool: str, wanted: object, worktree: str, cwd: str) -> tuple[list[Use], bool]:
    """Returns what a call of a tool does, and whether that is all of it."""
    told = wanted if isinstance(wanted, dict) else {}
    named = Use("tool", [tool])
    named.counts = False
    found = [named]
    clear = True
    if tool.startswith("mcp__"):
        found.append(_of_server(tool))
    kind, keys = TOOLS.get(tool, ("", ()))
    if kind == "run":
        cwd = os.path.join(cwd, str(next((told[key] for key in CWD if told.get(key)), "")))
    if kind:
        values = [told[key] for key in keys if told.get(key)]
        subject = values[0] if values else None
        more, clear = _of_kind(kind, subject, worktree, cwd)
        clear = clear and len({str(value) for value in values}) <= 1
        found += more
    elif not tool.startswith("mcp__"):
        named.counts = True
        found += _perhaps_of_server(tool)
    if not kind:  # a deny goes by what it seems to be; its name alone may allow it
        for kind, keys in (("run", COMMAND), ("edit", PATH), ("read", PATH), ("fetch", URL)):
            for value in (told[key] for key in keys if told.get(key)):
                seeming, plain = _of_kind(kind, value, worktree, cwd)
                for use in seeming:
                    use.counts = False
                found += seeming
                clear = clear and (plain or kind != "run")
    for use in found:
        use.tool = tool
    return found, clear


def _of_server(tool: str) -> Use:
    """Returns the use of a tool of an MCP server, in each way in which its name may be meant."""
    words = tool.split("__")[1:]
    ways = [["__".join(words[:n]), "__".join(words[n:])] for n in range(1, len(words))]
    use = Use("mcp", words)
    use.readings = use.exact = ways or [[words[0], ""]]
    return use


def _perhaps_of_server(tool: str) -> list[Use]:
    """Returns the use of a tool whose name may hold a server's: enough to deny, not to allow it."""
    name = tool.removeprefix("mcp_")
    at = [n for n, sign in enumerate(name) if sign in "_-" and 0 < n < len(name) - 1]
    if tool in OWN or not at:
        return []
    use = Use("mcp", [name, ""])
    use.readings = [[name[:n], name[n + 1 :]] for n in at]
    use.exact, use.counts = [], False
    return [use]


def _of_kind(kind: str, subject: object, worktree: str, cwd: str) -> tuple[list[Use], bool]:
    if kind in ("hidden", "globs"):
        return [Use("run" if kind == "hidden" else "read", [MANY])], False
    if kind == "look" and isinstance(subject, list) and subject:
        found = [_of_kind(kind, one, worktree, cwd) for one in subject]
        return [use for uses, _ in found for use in uses], all(clear for _, clear in found)
    if kind == "run" and isinstance(subject, list) and all(isinstance(w, str) for w in subject):
        part = Part()
        part.words = list(subject)
        return _of_parts([part], worktree, cwd)
    if kind == "look" and subject is None:
        subject = cwd
    if not isinstance(subject, str) or not subject:
        return [], False
    if kind == "run":
        parts, clear = split(subject)
        uses, plain = _of_parts(parts, worktree, cwd)
        return uses, clear and plain and bool(uses)
    if kind == "fetch":
        return _of_address(subject)
    if kind == "patch":
        paths = _PATCHED.findall(subject)
        return [_of_path("edit", path, worktree, cwd) for path in paths], bool(paths)
    if any(sign in subject for sign in SIGNS):
        return [], False
    use = _of_path("read" if kind == "look" else kind, subject, worktree, cwd)
    return [use], True


def _of_address(text: str) -> tuple[list[Use], bool]:
    """Returns the hosts that a text names; where it is more than one address, none is allowed."""
    found = []
    for match in _URL.finditer(text):
        rest = re.split(r"[/?#\\\s]", text[match.end() :], maxsplit=1)[0].rpartition("@")[2]
        host = rest if rest.startswith("[") else rest.partition(":")[0]
        found.append(Use("fetch", [host.lower().rstrip(".")]))
    if _HOST.match(text) is None:
        for use in found:
            use.exact = []
    return found, bool(found)


def _of_path(kind: str, path: str, worktree: str, cwd: str) -> Use:
    """Returns the use of a path: as it is written, and where its links lead."""
    full = os.path.normpath(os.path.join(cwd, os.path.expanduser(path)))
    real, top = os.path.realpath(full), os.path.realpath(worktree)
    use = Use(kind, [])
    use.readings = [["/", *_folders(full)], ["/", *_folders(real)]]
    for place, above in ((full, worktree), (full, top), (real, top)):
        if place == above or place.startswith(above.rstrip("/") + "/"):
            use.readings.append(_folders(place[len(above) :]))
    inner = _folders(real[len(top) :]) if real.startswith(top.rstrip("/") + "/") else []
    use.inside = bool(inner) and ".git" not in inner
    use.exact = [["/", *_folders(real)], *([inner] if use.inside else [])]
    return use


def _folders(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


# --- commands -------------------------------------------------------------------------------------


def _of_parts(parts: list[Part], worktree: str, cwd: str) -> tuple[list[Use], bool]:
    found: list[Use] = []
    clear = True
    moved = any(word in MOVES for part in parts for word in part.words)
    for part in parts:
        if part.words:
            use = Use("run", part.words)
            use.readings, plain = _readings(part.words, 0)
            clear = clear and plain
            found.append(use)
            name = os.path.basename(part.words[0])
            if name in ("apply_patch", "applypatch"):
                text = " ".join(part.words[1:]) or part.stdin
                edits, plain = _of_kind("patch", text, worktree, cwd)
                found, clear = found + edits, clear and plain
            if name != "echo":
                found += _mentioned(part.words[1:WORDS], worktree, cwd)
        for kind, target in part.redirects:
            found += _of_redirect(kind, target, worktree, "" if moved else cwd)
    return found, clear


def _mentioned(words: list[str], worktree: str, cwd: str) -> list[Use]:
    """Returns files that a command names: what may not be read may not be named either."""
    found = []
    for word in words:
        if not any(sign in word for sign in SIGNS) and not word.startswith("-") and len(word) < 400:
            use = _of_path("read", word, worktree, cwd)
            use.counts, use.mentioned = False, True
            found.append(use)
    return found


def _of_redirect(kind: str, target: str, worktree: str, cwd: str) -> list[Use]:
    if target in SINKS:
        return []
    does = ["edit"] if kind in WRITES else ["read"]
    does += ["read"] if kind == "<>" else []
    if any(sign in target for sign in SIGNS) or not (cwd or target.startswith("/")):
        found = [Use(one, [MANY]) for one in does]
        for use in found:
            use.inside, use.exact = False, []
        return found
    return [_of_path(one, target, worktree, cwd or worktree) for one in does]


def _readings(words: list[str], depth: int) -> tuple[list[list[str]], bool]:
    """Returns every command that words may be: without what stands before it, by the program's
    bare name, without its options, and what it hands on to others; and whether that is all.
    """
    at = 0
    while at < len(words) and (words[at] in RESERVED or _ASSIGNED.match(words[at])):
        at += 1
    found = [words]
    if at == len(words):
        return found, True
    own = words[at:]
    found += _spellings(own)
    name = os.path.basename(own[0])
    if name not in CARRIERS:
        return found, True
    clear = not (name in SHELLS and _reads_on(own)) and depth < 4 and len(own) <= WORDS
    own = own[:WORDS]
    if name in ("eval", "trap", ".", "source"):
        clear = clear and not any(sign in word for word in own for sign in SIGNS)
    texts = [word for word in own[1:] if re.search(r"[\s;&|<>`$(]", word)]
    texts += [" ".join(own[1:])] if name == "eval" else []
    for text in texts if depth < 4 else ():
        parts, plain = split(text)
        for part in parts:
            more, inner = _readings(part.words, depth + 1)
            found, clear = found + more, clear and inner
        clear = clear and (plain or name not in SHELLS | {"eval"})
    tail = [MANY] if name in ("xargs", "parallel") else []
    for start in range(1, len(own)):
        found += _spellings([*own[start:], *tail])
    more_shells = [own[n:] for n in range(1, len(own)) if os.path.basename(own[n]) in SHELLS]
    return found, clear and not any(_reads_on(one) for one in more_shells)


def _reads_on(words: list[str]) -> bool:
    """Returns whether a shell runs what these words do not tell: its stdin, or an unknown text."""
    if any(sign in word for word in words[1:] for sign in SIGNS):
        return True
    plain = [word for word in words[1:] if not word.startswith(("-", "+"))]
    return not plain or "-s" in words[1:]


def _spellings(words: list[str]) -> list[list[str]]:
    """Returns a command also by the bare name of its program, and without the options (each with
    at most one value) that stand before its next word.
    """
    found = [words]
    name = words[0].rpartition("/")[2]
    if name != words[0]:
        found.append([name, *words[1:]])
    starts, at = {1}, [1]
    while at:
        here = at.pop()
        if here < len(words) and words[here].startswith("-"):
            for more in (here + 1, here + 2):
                if more <= len(words) and more not in starts:
                    starts.add(more)
                    at.append(more)
    found += [[name, *words[start:]] for start in sorted(starts - {1})]
    return found
