"""aider: one message from a file, then it ends; or in its terminal, with the brief in its chat.

It edits files by what its model writes, asks for no tools and commits by itself, so there is little
to permit: `edits`, `auto` and `yolo` are the same, and commands that its model suggests are never
run; `plan`, `deny` and, without a person, `ask` let it answer only. In its terminal it says once
after an answer that it waits for a person, be it for a yes or for the next prompt: so that its turn
has ended is never known there. It prints text and ends with 0 whatever happened: its last count of
tokens, with no error after it, tells success. It has no sessions to go on with. Its histories lie
in the attempt's folder; its map of the repository would be kept in the worktree, so it is off
unless `args` turn it on (`--map-tokens 1024`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import TESTED, AgentFacts, Heard, Report, judge
from fleet.harnesses.meters import LineMeter, Tally
from fleet.harnesses.profile import Asked, HookUp, Mode, Profile, Version

TAIL_BYTES: Final = 1 << 20
SAID_CHARS: Final = 4_000
# In the folder that it may write in a sandbox, too.
HISTORY: Final = f"{hooks.SESSION}/aider.chat.md"
WAITS: Final = '{"hook_event_name": "Notification", "notification_type": "idle_prompt"}'
ANSWERING: Final = {"chat": "ask"}
PROFILE: Final = Profile(
    name="aider",
    program="aider",
    install="uv tool install --python 3.12 aider-chat",
    version=Version(tested=TESTED["aider"]),
    words=(
        *("--map-tokens", "0"),
        *("--chat-history-file", f"{{folder}}/{HISTORY}"),
        *("--input-history-file", f"{{folder}}/{hooks.SESSION}/aider.input"),
        *("--chat-mode", "{chat}"),
        *("--model", "{model}"),
    ),
    headless=Mode(
        start=(
            *("--yes-always", "--no-suggest-shell-commands", "--no-pretty", "--no-stream"),
            *("{words}", "--message-file", "{brief}", "{args}"),
        ),
    ),
    interactive=Mode(
        start=(
            *("{words}", "--notifications", "--notifications-command", "{hooks}"),
            *("--read", "{brief}", "{args}"),
        ),
        permissions={"ask": {}},
        events=("Notification",),
    ),
    permissions={
        "ask": ANSWERING,
        "edits": {},
        "auto": {},
        "plan": ANSWERING,
        "deny": ANSWERING,
        "yolo": {},
    },
    # An address in the brief would be fetched, and what fetches it installed, by a `yes` to
    # everything.
    env={
        "AIDER_ANALYTICS": "false",
        "AIDER_CHECK_UPDATE": "false",
        "AIDER_DETECT_URLS": "false",
        "AIDER_GITIGNORE": "false",
        "AIDER_SHOW_MODEL_WARNINGS": "false",
        "AIDER_SHOW_RELEASE_NOTES": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    },
    hooks="aider",
    reads="aider",
    measures=("tokens",),
)
_TOKENS = re.compile(r"^(?:> )?Tokens: (.*) received\.(?:.* \$(\d[\d.]*) session\.)?", re.MULTILINE)
_COUNT = re.compile(r"(\d[\d.,]*)([kM]?)(?: (sent|cache hit))?")
_HEAD = re.compile(r"^Repo-map: .*\n(?:Added .*\n)*", re.MULTILINE)
# What it says below an error in words of its own tells a limit where the provider's do not.
_ERROR = re.compile(
    r"^(?:litellm\.\w+|\w+Error|\w+Exception): .*(?:\nThe API provider.*)?", re.MULTILINE
)
_TIMES: Final = {"": 1, "k": 1_000, "M": 1_000_000}


def hook_up(asked: Asked) -> HookUp:
    """Returns the command that it runs when it waits for a person."""
    return HookUp(fill=f"echo {shlex.quote(WAITS)} | {hooks.command()}")


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


def meter(agent: AgentFacts, folder: Path) -> LineMeter:
    """Returns what adds up its counts of tokens, which it prints after each answer; in its terminal
    its history of the chat holds them.
    """
    headless = agent.mode == "headless"
    source = "standard output" if headless else "chat history"
    path = AttemptFolder(folder).stdout if headless else folder / HISTORY
    return LineMeter(source, lambda: path, _count, parse=_told)


def _told(line: bytes) -> dict[str, float] | None:
    found = _TOKENS.match(line.decode("utf-8", "replace"))
    return None if found is None else _counts(found)


def _count(tally: Tally, told: Mapping[str, float]) -> None:
    cost = {"usd": told["usd"]} if "usd" in told else {}
    tally.add({name: count for name, count in told.items() if name not in cost})
    tally.amounts.update(cost)


def _usage(counts: list[re.Match[str]]) -> dict[str, float]:
    """Returns what all counts tell."""
    tally = Tally()
    for count in counts:
        _count(tally, _counts(count))
    return tally.amounts


def _counts(count: re.Match[str]) -> dict[str, float]:
    """Returns tokens in (cached ones apart) and out, rounded by it, and what the session has cost
    so far.
    """
    names = {"sent": "input_tokens", "cache hit": "cached_tokens", "": "output_tokens"}
    told: dict[str, float] = {"turns": 1}
    for figure, times, name in _COUNT.findall(count[1]):
        told[names[name]] = float(figure.replace(",", "").rstrip(".")) * _TIMES[times]
    if count[2]:
        told["usd"] = float(count[2].rstrip("."))
    return told
