"""A shell command taken apart: every simple command that it holds, wherever it hides.

What separates commands (`;`, `&&`, `|`, a newline), what nests them (`$(...)`, backticks, a
subshell, a process or here-document) and what quotes their words is understood as bash does; what
is only known when it runs becomes `ANY` or `MANY`. What is not understood is told (`clear` is
False), never guessed: nothing here raises.
"""

from __future__ import annotations

import os
import re

from fleet.policy.matching import ANY, MANY, SIGNS

TEXT_CHARS = 100_000
DEPTH = 12
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_REDIRECT = re.compile(r"&>>|&>|<<<|<<-|<<|<>|<&|>&|>>|>\||<|>")
_BREAKS = " \t\n;&|()"


class Part:
    """A simple command: its words, its redirections (operator, target), what it reads on stdin
    (None: not known).
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.redirects: list[tuple[str, str]] = []
        self.stdin: str | None = None


def split(command: str, depth: int = 0) -> tuple[list[Part], bool]:
    """Returns the simple commands in a text, and whether all of it was understood."""
    clear = len(command) <= TEXT_CHARS and not any(sign in command for sign in (*SIGNS, "\x03"))
    if not clear or depth > DEPTH:
        return [], False
    reader = _Reader(command, depth)
    reader.commands()
    return reader.parts, reader.clear and not reader.here


class _Reader:
    def __init__(self, text: str, depth: int) -> None:
        self.text, self.at, self.depth = text, 0, depth
        self.parts: list[Part] = []
        self.part = Part()
        self.clear = True
        self.here: list[tuple[Part, str, bool, bool]] = []

    @property
    def sign(self) -> str:
        return self.text[self.at : self.at + 1]

    def commands(self, until: str = "") -> None:
        """Reads commands up to a closing `until`, or to the end."""
        outer, self.part = self.part, Part()
        self.depth += 1
        if self.depth > DEPTH:
            self.clear, self.at = False, len(self.text)
        while self.at < len(self.text):
            sign = self.sign
            if sign in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif sign == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif sign == until:
                break
            elif sign in "<>" or self.text.startswith("&>", self.at):
                self._redirect()
            elif sign in ";&|()\n":
                self._separator(sign)
            else:
                self._word()
        if until and self.sign != until:
            self.clear = False
        self.at += len(until)
        self._end()
        self.depth -= 1
        self.part = outer

    def _separator(self, sign: str) -> None:
        self.at += 1
        self._end()
        if sign == "(":
            self.commands(")")
        elif sign == ")":
            self.clear = False
        elif sign == "\n":
            self._here_bodies()

    def _end(self) -> None:
        if self.part.words or self.part.redirects:
            self.parts.append(self.part)
        self.part = Part()

    def _word(self) -> None:
        word = self.word()
        if word.isdigit() and self.sign and self.sign in "<>":
            return  # the number of a descriptor
        self.part.words.append(word)
        if self.sign == "(":
            self.clear = False  # a function, a list, a pattern: what follows is another shell's

    def _redirect(self) -> None:
        if self.text[self.at + 1 : self.at + 2] == "(" and self.sign in "<>":
            self._word()
            return
        found = _REDIRECT.match(self.text, self.at)
        assert found is not None
        kind = found[0]
        self.at = found.end()
        while self.sign and self.sign in " \t":
            self.at += 1
        begun = self.at
        if not self.sign or self.sign in "\n;&|()<>":
            self.clear = False
            return
        word = self.word()
        raw = self.text[begun : self.at]
        if kind in ("<<", "<<-"):
            self.clear = self.clear and not any(sign in word for sign in SIGNS)
            quoted = any(sign in raw for sign in "'\"\\")
            self.here.append((self.part, word, quoted, kind == "<<-"))
        elif kind == "<<<":
            self.part.stdin = word if ANY not in word and MANY not in word else None
        elif kind not in ("<&", ">&") or not re.fullmatch(r"[0-9]+-?|-", word):
            self.part.redirects.append((kind, word))

    def _here_bodies(self) -> None:
        for part, ending, quoted, stripped in self.here:
            lines = []
            while self.at < len(self.text):
                stop = self.text.find("\n", self.at)
                stop = len(self.text) if stop < 0 else stop
                line = self.text[self.at : stop]
                self.at = stop + 1
                line = line.lstrip("\t") if stripped else line
                if line == ending:
                    break
                lines.append(line)
            else:
                self.clear = False
            body = "\n".join(lines)
            if not quoted:
                self._nested(body, "quoted")
            known = quoted or not any(sign in body for sign in "$`\\")
            part.stdin = body if known else None
        self.here = []

    def _nested(self, text: str, how: str) -> None:
        if self.depth >= DEPTH:
            self.clear = False
            return
        inner = _Reader(text, self.depth + 1)
        if how == "quoted":
            inner.quoted([], closed=False)
        else:
            inner.commands()
        self.parts += inner.parts
        self.clear = self.clear and inner.clear

    # --- words ------------------------------------------------------------------------------------

    def word(self) -> str:
        """Reads one word; what is not known of it is ANY or MANY."""
        out: list[str] = []
        vague = False
        while sign := self.sign:
            following = self.text[self.at + 1 : self.at + 2]
            if sign in _BREAKS or (sign in "<>" and following != "("):
                break
            self.at += 1
            if sign in "<>":
                self.at += 1
                self.commands(")")
                out.append(ANY)
            elif sign == "'":
                self._literal(out)
            elif sign == '"':
                self.quoted(out)
            elif sign == "\\":
                self.at += 1
                out.append(following if following != "\n" else "")
            elif sign in "$`":
                self._expansion(sign, out, quoted=False)
            elif sign in "*?[{~=":
                vague = self._special(sign, following, out) or vague
            else:
                if not sign.isprintable() and sign != "\t":
                    self.clear = False
                out.append(sign)
        return MANY if vague else "".join(out)

    def _special(self, sign: str, following: str, out: list[str]) -> bool:
        """Reads what the shell may make other words of; returns whether it may be any words."""
        blank = following in ("", " ", "\t", "\n")
        if sign in "*?" or (sign == "[" and (out or not (blank or following in "[]"))):
            out.append(MANY)
        elif sign == "{" and following == "}":
            self.at += 1
            out.append("{}")
        elif sign == "{" and (out or not blank):
            return True
        elif sign == "~" and not out:
            at_home = following == "/" or following in _BREAKS
            out.append(os.path.expanduser("~") if at_home else ANY)
        elif sign == "=" and not (out or blank or following == "="):
            return True  # zsh looks for a program there
        else:
            out.append(sign)
        return False

    def _literal(self, out: list[str]) -> None:
        end = self.text.find("'", self.at)
        self.clear = self.clear and end >= 0
        end = len(self.text) if end < 0 else end
        out.append(self.text[self.at : end])
        self.at = end + 1

    def quoted(self, out: list[str], *, closed: bool = True) -> None:
        """Reads the inside of double quotes, or all of a text that is read like one."""
        while sign := self.sign:
            self.at += 1
            if sign == '"' and closed:
                return
            if sign == "\\":
                following = self.sign
                self.at += 1
                kept = "" if following in '$`"\\' else sign
                out.append("" if following == "\n" else kept + following)
            elif sign in "$`":
                self._expansion(sign, out, quoted=True)
            else:
                out.append(sign)
        self.clear = self.clear and not closed

    def _expansion(self, sign: str, out: list[str], *, quoted: bool) -> None:
        unknown = ANY if quoted else MANY
        following = self.sign
        name = _NAME.match(self.text, self.at)
        if sign == "`":
            self._backticks()
        elif following == "(":
            self.at += 1
            self.commands(")")
        elif following == "{":
            self.at += 1
            self._braces()
        elif following == "'" and not quoted:
            self._escaped(out)
            return
        elif following == '"' and not quoted:
            self.at += 1
            self.quoted(out)
            return
        elif name is not None:
            self.at = name.end()
            unknown = MANY if name[0] in "@*" else unknown
        else:
            out.append("$")
            return
        out.append(unknown)

    def _backticks(self) -> None:
        inner: list[str] = []
        while sign := self.sign:
            self.at += 1
            if sign == "`":
                self._nested("".join(inner), "commands")
                return
            if sign == "\\" and self.sign and self.sign in "`\\$":
                sign = self.sign
                self.at += 1
            inner.append(sign)
        self._nested("".join(inner), "commands")
        self.clear = False

    def _braces(self) -> None:
        """Reads `${...}`: a plain name is understood; of all else, only the commands in it."""
        depth, begun = 1, self.at
        while sign := self.sign:
            self.at += 1
            if sign == "\\":
                self.at += 1
            elif sign in "{}":
                depth += 1 if sign == "{" else -1
                if not depth:
                    break
        inner = self.text[begun : self.at - 1]
        if not _SIMPLE.match(inner):
            self.clear = False
            self._nested(inner, "quoted")

    def _escaped(self, out: list[str]) -> None:
        """Reads `$'...'`; with an escape in it, it may be anything."""
        begun = self.at + 1
        self.at = begun
        while self.sign and self.sign != "'":
            self.at += 2 if self.sign == "\\" else 1
        self.clear = self.clear and bool(self.sign)
        inner = self.text[begun : self.at]
        out.append(ANY if "\\" in inner else inner)
        self.at += 1
