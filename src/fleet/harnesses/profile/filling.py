"""How a profile's words become an argv, variables and files: placeholders, and what they stand for.

    {brief} {text} {opening}    the brief: its path, its text, the first prompt of a session
    {folder} {worktree}         the attempt's own folder; the worktree
    {session}                   the session's id: chosen here, or the one that is gone on with
    {model} {prompt}            as the agent's file says
    {limits.NAME} {env.NAME}    a limit, or a variable, of the agent
    {permission} ...            whatever the agent's permission fills, or `absent`; a template, too
    {hooks}                     what hands the hooks over, as the code that `hooks` names gives it
    {git_folders}               git's folders of a linked worktree: the common one and its own
    {words} {args}              the profile's `words`; the agent's `args`

A placeholder fills exactly one argument or a part of one, whatever is in it, and what was filled in
is not searched again. Only a list (`args`, say) that stands alone becomes as many arguments as it
has. `{name:json}` is the same as JSON, and so as TOML or YAML has it. What is not set takes its
word along, and the flag before it; its line of a file or of standard input; its variable.
`{{name}}` stands for itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fleet.adapters import hooks
from fleet.errors import Rejected
from fleet.harnesses import NOTHING, AgentFacts, Preparation, chosen_session, opening
from fleet.harnesses.profile import Asked, Fill, Fills, HookUp, Mode, Profile, code_of

STDIN_FILE: Final = "prompt.md"
"""What is on standard input where that is not the brief itself."""

ASKING: Final = frozenset({"PermissionRequest", "Stop"})
"""Events at which a session asks fleet; who only tells gets no file of what it asks."""

PLACE: Final = re.compile(r"\{\{([a-z]\w*(?:\.\w+)?)\}\}|\{([a-z]\w*(?:\.\w+)?)(:json)?\}")


def prepare(
    name: str,
    profile: Profile,
    agent: AgentFacts,
    *,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns how the agent is started; raises Rejected for a mode or permissions that the program
    does not have.
    """
    mode = _mode(name, profile, agent)
    resume = resume if mode.resume else None
    told: dict[str, Fill] = {
        **_agents(profile, mode, agent),
        **_briefs(brief),
        "folder": str(folder),
        "worktree": str(worktree),
        "session": resume or chosen_session(folder),
        "git_folders": git_folders(worktree),
    }
    told |= _own(profile, agent, told)
    hooked = _hooked(profile, mode, agent, folder, told)
    told["hooks"] = hooked.fill
    files = {**hooked.files, **({folder / hooks.RESUMED: resume} if resume else {})}
    for file, template in {**profile.files, **mode.files}.items():
        if text := text_of(template, told):
            files[folder / file] = text
    argv = words_of(mode.resume if resume else mode.start, profile.words, told)
    env = {n: filled(template, told) for n, template in {**profile.env, **mode.env}.items()}
    own = {n: value for n, value in env.items() if value is not None}
    stdin: Path | None = NOTHING
    if agent.mode == "interactive":
        stdin = None
    elif said := text_of(mode.stdin, told).lstrip("\n"):
        stdin = brief
        if said != told["text"]:
            stdin = folder / STDIN_FILE
            files[stdin] = said
    return Preparation(
        argv=[profile.program, *argv],
        env={**own, **agent.env, **hooked.env, "FLEET_BRIEF": str(brief)},
        stdin=stdin,
        stdout="pane" if agent.mode == "interactive" else "file",
        files=files,
        links=hooked.links,
    )


def _mode(name: str, profile: Profile, agent: AgentFacts) -> Mode:
    mode = profile.mode(agent.mode)
    if mode is None:
        raise Rejected(f"{name} has no mode {agent.mode!r}", hint="mend `mode` of the agent")
    permitted = profile.permitted(agent.mode)
    if agent.permissions not in permitted:
        raise Rejected(
            f"{name} cannot keep to permissions {agent.permissions!r} {agent.mode}",
            hint=f"{agent.mode} it keeps to {', '.join(permitted) or 'none'}",
        )
    return mode


def _agents(profile: Profile, mode: Mode, agent: AgentFacts) -> dict[str, Fill]:
    """Returns what the agent's own file fills: its model, its limits, its words."""
    env = {**profile.env, **mode.env, **agent.env}
    return {
        "model": agent.model,
        "prompt": agent.prompt,
        "args": agent.words,
        **{f"limits.{name}": str(value) for name, value in agent.limits.items()},
        **{f"env.{name}": value for name, value in env.items()},
    }


def _own(profile: Profile, agent: AgentFacts, told: Fills) -> dict[str, Fill]:
    """Returns what the profile itself fills: templates, too, of what is `told`."""
    fills = {name: one.fill for name, one in profile.absent.items() if not Path(one.path).exists()}
    more = profile.fills(agent.mode, agent.permissions, sandboxed=agent.sandboxed)
    return {
        name: (filled(value, told) or "") if isinstance(value, str) else words_of(value, (), told)
        for name, value in {**fills, **more}.items()
    }


def _hooked(profile: Profile, mode: Mode, agent: AgentFacts, folder: Path, told: Fills) -> HookUp:
    """Returns how the session is hooked, with the file that says what its hook asks of fleet, if
    it asks anything.
    """
    if not mode.events:
        return HookUp()
    events = words_of((*mode.events, *agent.guards), (), told)
    words = words_of(profile.words, (), told)
    asked = Asked(events=events, agent=agent, folder=folder, words=words)
    found: HookUp = code_of(profile.hooks).hook_up(asked)
    if not ASKING.intersection(events):
        return found
    unasked = {name: words_of(templates, (), told) for name, templates in profile.unasked.items()}
    wishes = hooks.wishes(folder, **({"unasked": unasked} if unasked else {}), **found.wishes)
    return replace(found, files={**found.files, **wishes})


def _briefs(brief: Path) -> dict[str, Fill]:
    return {
        "brief": str(brief),
        "text": brief.read_text(encoding="utf-8"),
        "opening": opening(brief),
    }


def git_folders(worktree: Path) -> list[str]:
    """Returns git's common folder and the worktree's own; none for a checkout that holds its own
    `.git`.
    """
    try:
        pointer = (worktree / ".git").read_text(encoding="utf-8").strip()
    except OSError:
        return []
    admin = Path(worktree, pointer.removeprefix("gitdir: "))
    return [str(admin.parent.parent), str(admin)] if admin.parent.name == "worktrees" else []


# --- templates ------------------------------------------------------------------------------------


def words_of(template: Sequence[str], words: Sequence[str], told: Fills) -> list[str]:
    """Returns the arguments that a template stands for; `words` are those of `{words}`."""
    found: list[str] = []
    flag = False  # whether the word before is a flag, which goes with the value that is not set
    for word in _spread(template, words):
        alone = PLACE.fullmatch(word)
        value = told.get(alone[2] or "", "") if alone else ""
        if alone and not alone[3] and not isinstance(value, str):
            found += value
            flag = False
            continue
        text = filled(word, told)
        if text is not None:
            found.append(text)
        elif flag and not word.startswith("-"):
            found.pop()
        flag = text is not None and word.startswith("-") and PLACE.search(word) is None
    return found


def _spread(template: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    for word in template:
        yield from words if word == "{words}" else (word,)


def text_of(template: str, told: Fills) -> str:
    """Returns a text of lines without those in which something is not set; empty when nothing but
    white space is left.
    """
    lines = [filled(line, told) for line in template.split("\n")]
    text = "\n".join(line for line in lines if line is not None)
    return text if text.strip() else ""


def filled(template: str, told: Fills) -> str | None:
    """Returns one text with its places filled; None where one of them is not set."""
    missing = False

    def put(place: re.Match[str]) -> str:
        nonlocal missing
        if place[1]:
            return f"{{{place[1]}}}"
        value = told.get(place[2]) or ""
        missing = missing or not value
        if place[3]:
            return json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)
        return value if isinstance(value, str) else " ".join(value)

    text = PLACE.sub(put, template)
    return None if missing else text


def is_chosen(profile: Profile) -> bool:
    """Returns whether a session is begun under an id that is chosen here."""
    modes = [mode for mode in (profile.headless, profile.interactive) if mode is not None]
    words = [word for mode in modes for word in _spread(mode.start, profile.words)]
    return any(place[2] == "session" for word in words for place in PLACE.finditer(word))
