"""What an agent may do by itself: the patterns that allow and deny it, and what they decide.

Law: a deny wins, from wherever it comes; an allow must cover every part of what is to be done; what
is not understood is asked about, and never allowed. Standard library only, for `fleet.hook` judges
by it in a process of its own. The patterns themselves are explained in the reference of documents.
"""

from __future__ import annotations

import os
import re

from fleet.policy.matching import ANY, MANY, SIGNS, fits, joined
from fleet.policy.tools import Use, uses_of

KINDS = ("run", "edit", "read", "fetch", "mcp")
DECISIONS = ("allow", "deny", "ask")
PATTERN_CHARS = 400
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_.*-]*\Z")
_HOST = re.compile(r"(?=.)[a-z0-9*-]*(?:\.[a-z0-9*-]+)*\Z")
_OF_CLAUDE = re.compile(r"([A-Za-z]+)\((.*)\)\Z", re.DOTALL)
_LOGICAL = {"Bash": "run", "Edit": "edit", "Write": "edit", "Read": "read", "WebFetch": "fetch"}


class Rule:
    """A pattern: the logical tool (`tool` for a program's own), and what it is used on, as parts
    that `matching` takes; no parts stand for anything.
    """

    def __init__(self, text: str) -> None:
        """Reads a pattern; raises ValueError with what is wrong, and a hint where there is one."""
        self.text = text.strip()
        kind, colon, subject = (word.strip() for word in self.text.partition(":"))
        if len(self.text) > PATTERN_CHARS or not self.text.isprintable():
            raise ValueError("is too long, or holds what cannot be printed")
        self.kind, self.subject = kind, subject
        self.parts: list[str] = []
        if not colon:
            self._bare(kind)
            return
        if kind not in KINDS:
            raise ValueError(f"has no such tool {kind!r}; they are {', '.join(KINDS)}")
        if not subject:
            raise ValueError(f"says nothing after the colon; `{kind}` alone stands for all of it")
        self.parts = _READERS[kind](subject)

    def _bare(self, name: str) -> None:
        other = _OF_CLAUDE.match(name)
        if other:
            wanted = _LOGICAL.get(other[1], "")
            hint = f"; write `{wanted}: {other[2]}`" if wanted else ""
            raise ValueError(f"is no pattern{hint}")
        if name in KINDS:
            return
        if not _TOOL.match(name):
            raise ValueError(f"is no pattern; one is `run: git push *`, {', '.join(KINDS[1:])}")
        self.kind, self.parts = "tool", [_starred(name)]

    def __repr__(self) -> str:
        return f"Rule({self.text!r})"


def _starred(text: str) -> str:
    return text.replace("*", ANY)


def _words(subject: str) -> list[str]:
    """Returns the words of a command's pattern; quoted ones are taken as they are."""
    found, at = [], 0
    for match in re.finditer(r"""\s*((?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+)""", subject):
        if match.start() != at:
            raise ValueError("has a quote that is not closed")
        at = match.end()
        if match[1] == "*":
            found.append(MANY)
            continue
        pieces = re.findall(r"""'[^']*'|"[^"]*"|\\.|[^'"\\]+""", match[1])
        found.append("".join(_piece(piece) for piece in pieces))
    if at != len(subject.rstrip()):
        raise ValueError("has a quote that is not closed")
    return found


def _piece(piece: str) -> str:
    if piece[0] in "'\"":
        return piece[1:-1]
    return piece[1:] if piece[0] == "\\" else _starred(piece)


def _folders(subject: str) -> list[str]:
    """Returns the parts of a path's pattern, from the root of the file system or the worktree."""
    expanded = os.path.expanduser(subject)
    if ".." in expanded.split("/"):
        raise ValueError("goes up by `..`; write the path itself")
    top = ["/"] if expanded.startswith("/") else []
    parts = [part for part in expanded.split("/") if part not in ("", ".")]
    return top + [MANY if part == "**" else _starred(part) for part in parts]


def _host(subject: str) -> list[str]:
    name = subject.lower().removesuffix(".")
    if not _HOST.match(name):
        raise ValueError("is no host; write it as `example.org` or `*.example.org`")
    return [_starred(name)]


def _server(subject: str) -> list[str]:
    server, dot, tool = subject.partition(".")
    if not server or (dot and not tool) or not re.fullmatch(r"[\w.*-]+", subject):
        raise ValueError("is no tool of a server; write it as `server.tool` or `server.*`")
    return [_starred(server), _starred(tool) if dot else ANY]


_READERS = {"run": _words, "edit": _folders, "read": _folders, "fetch": _host, "mcp": _server}


class Policy:
    """The rules of one session."""

    def __init__(self, allow: list[str], deny: list[str]) -> None:
        """Takes patterns; one that cannot be read allows nothing, and raises ValueError in deny."""
        self.deny = [Rule(text) for text in deny]
        self.allow = []
        for text in allow:
            try:
                self.allow.append(Rule(text))
            except ValueError:
                continue

    def decide(self, tool: str, wanted: object, worktree: str, cwd: str = "") -> tuple[str, str]:
        """Returns (`allow`, `deny` or `ask`, the pattern that decides or why it is asked; empty
        where no pattern says anything).
        """
        try:
            uses, clear = uses_of(tool, wanted, worktree, cwd or worktree)
        except (ValueError, TypeError, RecursionError, OSError):
            uses, clear = [Use("tool", [tool])], False
        for rule in self.deny:
            if any(_hits(rule, use, certain=True) for use in uses):
                return "deny", rule.text
        for rule in self.deny:
            if any(_hits(rule, use, certain=False) for use in uses):
                return "ask", f"it may be what `{rule.text}` denies"
        if not clear:
            hidden = any(rule.kind in ("run", "edit", "read") for rule in self.deny)
            return "ask", "what it would do cannot be told beforehand" if hidden else ""
        covering = [_covering(self.allow, use) for use in uses if use.counts]
        if covering and all(covering):
            return "allow", ", ".join(dict.fromkeys(rule.text for rule in covering if rule))
        return "ask", ""


def _hits(rule: Rule, use: Use, *, certain: bool) -> bool:
    """Returns whether a deny rule is about a use, or may be."""
    if rule.kind != use.kind:
        return False
    if not rule.parts:
        return not use.mentioned
    return any(
        _is_about(rule, words) and fits(rule.parts, joined(words), certain=certain)
        for words in use.readings
    )


def _is_about(rule: Rule, words: list[str]) -> bool:
    """Returns whether a path's rule and a path both begin at the top, or both at the worktree."""
    if rule.kind not in ("edit", "read") or words == [MANY]:
        return True
    return (rule.parts[0] == "/") == (words[:1] == ["/"])


def _covering(rules: list[Rule], use: Use) -> Rule | None:
    """Returns an allow rule that covers a use whatever becomes of it."""
    for rule in rules:
        if rule.kind == "tool" and use.tool and fits(rule.parts, joined([use.tool]), certain=True):
            return rule
        if rule.kind != use.kind or not use.exact:
            continue
        if not rule.parts:
            if use.inside:
                return rule
            continue
        about = [words for words in use.exact if _is_about(rule, words)]
        if about and all(fits(rule.parts, joined(w), certain=True) for w in about):
            return rule
    return None


def pattern_of(tool: str, wanted: object, worktree: str, cwd: str = "") -> str:
    """Returns the pattern that allows just this, empty where none is so narrow."""
    try:
        uses, clear = uses_of(tool, wanted, worktree, cwd or worktree)
    except (ValueError, TypeError, RecursionError, OSError):
        return ""
    asked = [use for use in uses if use.counts]
    if not clear or len(asked) != 1 or not asked[0].exact or asked[0].kind == "tool":
        return ""
    kind, words = asked[0].kind, asked[0].exact[-1]
    if any(sign in word for word in words for sign in SIGNS):
        return ""
    if kind == "run":
        text = f"run: {' '.join(_as_written(word) for word in words)}"
    elif kind in ("edit", "read"):
        text = f"{kind}: {'/'.join(words).replace('//', '/')}"
    else:
        text = f"{kind}: {'.'.join(words)}"
    narrow = "*" not in text or kind == "run"
    ok = narrow and len(text) <= PATTERN_CHARS and text.isprintable()
    return (
        text if ok and Policy([text], []).decide(tool, wanted, worktree, cwd)[0] == "allow" else ""
    )


def _as_written(word: str) -> str:
    if re.fullmatch(r"[\w./:=@%+,-]+", word):
        return word
    return f"'{word}'" if "'" not in word else f'"{word}"' if '"' not in word else "'"
