"""aider: one message from a file, then it ends; or in its terminal, with the brief in its chat.

It edits files by what its model writes, asks for no tools and commits by itself, so there is little
to permit: `edits`, `auto` and `yolo` are the same, and commands that its model suggests are never
run; `plan`, `deny` and, without a person, `ask` let it answer only. It prints text and ends with 0
whatever happened: its last count of tokens, with no error after it, tells success. It has no
sessions to go on with. Its histories lie in the attempt's folder; its map of the repository would
be kept in the worktree, so it is off unless `args` turn it on (`--map-tokens 1024`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import (
    NOTHING,
    AgentFacts,
    Found,
    Heard,
    Preparation,
    Report,
    find_program,
    judge,
)

MEASURES: Final = ("tokens",)
TAIL_BYTES: Final = 1 << 20
SAID_CHARS: Final = 4_000
EDITING: Final = frozenset({"edits", "auto", "yolo"})
# An address in the brief would be fetched, and what fetches it installed, by a `yes` to everything.
QUIET: Final = {
    "AIDER_ANALYTICS": "false",
    "AIDER_CHECK_UPDATE": "false",
    "AIDER_DETECT_URLS": "false",
    "AIDER_GITIGNORE": "false",
    "AIDER_SHOW_MODEL_WARNINGS": "false",
    "AIDER_SHOW_RELEASE_NOTES": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
_TOKENS = re.compile(r"^Tokens: (.*) received\.(?:.* \$(\d[\d.]*) session\.)?", re.MULTILINE)
_COUNT = re.compile(r"(\d[\d.,]*)([kM]?)(?: (sent|cache hit))?")
_HEAD = re.compile(r"^Repo-map: .*\n(?:Added .*\n)*", re.MULTILINE)
# What it says below an error in words of its own tells a limit where the provider's do not.
_ERROR = re.compile(
    r"^(?:litellm\.\w+|\w+Error|\w+Exception): .*(?:\nThe API provider.*)?", re.MULTILINE
)
_TIMES: Final = {"": 1, "k": 1_000, "M": 1_000_000}


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the command; `resume` means nothing to it."""
    words = [
        *("--map-tokens", "0"),
        *("--chat-history-file", str(folder / "aider.chat.md")),
        *("--input-history-file", str(folder / "aider.input")),
    ]
    interactive = agent.mode == "interactive"
    if agent.permissions not in EDITING and not (interactive and agent.permissions == "ask"):
        words += ["--chat-mode", "ask"]
    if agent.model:
        words += ["--model", agent.model]
    env = {**QUIET, **agent.env, "FLEET_BRIEF": str(brief)}
    if interactive:
        argv = ["aider", *words, "--read", str(brief), *agent.words]
        return Preparation(argv=argv, env=env, stdout="pane")
    alone = ["--yes-always", "--no-suggest-shell-commands", "--no-pretty", "--no-stream"]
    argv = ["aider", *alone, *words, "--message-file", str(brief), *agent.words]
    return Preparation(argv=argv, env=env, stdin=NOTHING)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what its last count of tokens and the errors after it say."""
    text = folder.stdout_tail(TAIL_BYTES)
    counts = list(_TOKENS.finditer(text))
    since = counts[-1].end() if counts else 0
    errors = _ERROR.findall(text, since)
    head = _HEAD.search(text)
    said = text[head.end() if head else 0 : counts[-1].start()] if counts else ""
    heard = Heard(
        done=bool(counts) and not errors,
        worked=bool(counts),
        complaint=errors[-1] if errors else "",
        output=said.strip()[-SAID_CHARS:] or None,
        usage=_usage(counts),
    )
    return judge(ended, folder, heard)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the program and its version, or the problem with its cure."""
    return find_program("aider", environ, "uv tool install --python 3.12 aider-chat")


def _usage(counts: list[re.Match[str]]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, rounded by it, and what the session cost."""
    names = {"sent": "input_tokens", "cache hit": "cached_tokens", "": "output_tokens"}
    total: dict[str, float] = {"turns": len(counts)} if counts else {}
    for count in counts:
        for figure, times, name in _COUNT.findall(count[1]):
            number = float(figure.replace(",", "").rstrip(".")) * _TIMES[times]
            total[names[name]] = total.get(names[name], 0) + number
        if count[2]:
            total["usd"] = float(count[2].rstrip("."))
    return total
