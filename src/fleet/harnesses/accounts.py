"""Whether a person's own set-up of an agent program is logged in, and trusts a repository.

Law: read only, at once and without a model. A program that can tell by a command of its own is
asked; of the others their own files are read, and what cannot be told for certain is not told at
all. No secret is read: that a variable or a file is there is enough.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ASK_S: Final = 10.0
FILE_BYTES: Final = 8 << 20
QUIET: Final = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
_KEY = re.compile(r"[A-Z0-9_]+_API_KEY")
_COPILOT_USER = re.compile(
    r'"(?:loggedInUsers|logged_in_users)"\s*:\s*\[\s*[{"]'
    r'|"(?:lastLoggedInUser|last_logged_in_user)"\s*:\s*[{"]'
)


@dataclass(frozen=True, slots=True)
class Login:
    """By what a program is logged in (`by`); empty where it is not, and then what to run."""

    by: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """That a program would ask first whether it may work in a folder, and the cure."""

    text: str
    cure: str


def login_of(name: str, program: str, environ: Mapping[str, str]) -> Login | None:
    """Returns how the program `name` at the path `program` is logged in under `environ`; None where
    that cannot be told.
    """
    if name not in _LOGINS:
        return None
    keys, look = _LOGINS[name]
    given = next((key for key in keys if environ.get(key)), None)
    return Login(given) if given else look(program, environ)


def keys_of(name: str) -> tuple[str, ...]:
    """Returns the variables of which each stands for a login of the program."""
    return _LOGINS[name][0] if name in _LOGINS else ()


def trust_of(name: str, root: Path, environ: Mapping[str, str]) -> Trust | None:
    """Returns what stands between a session in its terminal and the repository with the main
    checkout `root`; None where the program trusts it, never asks, or is told by fleet.
    """
    look = _TRUSTS.get(name)
    return look(root, environ) if look else None


# --- logins ---------------------------------------------------------------------------------------


def _claude(program: str, environ: Mapping[str, str]) -> Login | None:
    cure = "claude auth login"
    if not _claude_state(environ).exists():  # never started: it would begin by writing it
        return Login("", cure)
    return _asked([program, "auth", "status"], environ, cure)


def _codex(program: str, environ: Mapping[str, str]) -> Login | None:
    own = _toml(_codex_home(environ) / "config.toml").get("model_provider")
    if isinstance(own, str) and own != "openai":
        return Login("a model provider of its own")
    if not _codex_home(environ).exists():
        return Login("", "codex login")
    return _asked([program, "login", "status"], environ, "codex login")


def _gemini(program: str, environ: Mapping[str, str]) -> Login | None:
    home = _home(environ) / ".gemini"
    chosen: Any = _json(home / "settings.json")
    for key in ("security", "auth", "selectedType"):
        chosen = chosen.get(key) if isinstance(chosen, dict) else None
    stores = ("oauth_creds.json", "gemini-credentials.json")
    if chosen == "oauth-personal" and not any((home / name).exists() for name in stores):
        chosen = None
    if isinstance(chosen, str):
        return Login(f"{chosen}, which its settings choose")
    return Login("", "start `gemini` once and choose how to log in, or set GEMINI_API_KEY")


def _opencode(program: str, environ: Mapping[str, str]) -> Login | None:
    data = Path(environ.get("XDG_DATA_HOME") or _home(environ) / ".local/share")
    if _json(data / "opencode/auth.json"):
        return Login("its own credentials")
    key = next((one for one in sorted(environ) if _KEY.fullmatch(one) and environ[one]), None)
    if key:
        return Login(key)
    config = Path(environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config") / "opencode"
    files = ("opencode.json", "opencode.jsonc", "config.json")
    if any('"provider"' in _text(config / name) for name in files):
        return Login("a provider of its configuration")
    return Login("", "opencode auth login")


def _copilot(program: str, environ: Mapping[str, str]) -> Login | None:
    if _COPILOT_USER.search(_text(_copilot_home(environ) / "config.json")):
        return Login("its own account")
    config = Path(environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config")
    if _text(Path(environ.get("GH_CONFIG_DIR") or config / "gh") / "hosts.yml"):
        return Login("the account of `gh`")
    return Login("", "copilot login")


def _asked(argv: list[str], environ: Mapping[str, str], cure: str) -> Login | None:
    """Returns what a program's own command says by its exit code."""
    try:
        done = subprocess.run(
            argv,
            env={**environ, **QUIET},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=ASK_S,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode not in {0, 1}:
        return None
    return Login("" if done.returncode else "its own account", cure if done.returncode else "")


_Look = Callable[[str, Mapping[str, str]], Login | None]
_LOGINS: Final[Mapping[str, tuple[tuple[str, ...], _Look]]] = {
    "claude": (
        (
            *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
            *("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"),
        ),
        _claude,
    ),
    "codex": (("CODEX_API_KEY",), _codex),
    "gemini": (
        (
            *("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            *("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"),
        ),
        _gemini,
    ),
    "opencode": ((), _opencode),
    "copilot": (
        (
            *("COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"),
            "COPILOT_PROVIDER_BASE_URL",
        ),
        _copilot,
    ),
}
"""For each program the variables that stand for a login, and where else to look."""


# --- trust ----------------------------------------------------------------------------------------


def _claude_trust(root: Path, environ: Mapping[str, str]) -> Trust | None:
    projects = _json(_claude_state(environ)).get("projects")
    told = projects.get(str(root)) if isinstance(projects, dict) else None
    if isinstance(told, dict) and told.get("hasTrustDialogAccepted") is True:
        return None
    return Trust("does not trust this repository yet", f"start `claude` once in {root} and say yes")


def _codex_trust(root: Path, environ: Mapping[str, str]) -> Trust | None:
    projects = _toml(_codex_home(environ) / "config.toml").get("projects")
    told = projects.get(str(root)) if isinstance(projects, dict) else None
    level = told.get("trust_level") if isinstance(told, dict) else None
    if level == "trusted":
        return None
    text = "is told not to trust this repository" if level else "does not trust this repository yet"
    return Trust(text, f"start `codex` once in {root} and say yes")


def _copilot_trust(root: Path, environ: Mapping[str, str]) -> Trust | None:
    lines = _text(_copilot_home(environ) / "config.json").splitlines()
    plain = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
    told = _object(plain).get("trustedFolders")
    if isinstance(told, list) and str(root) in told:
        return None
    cure = f"start `copilot` once in {root} and say yes, for later sessions too"
    return Trust("does not trust this repository yet", cure)


_TRUSTS: Final[Mapping[str, Callable[[Path, Mapping[str, str]], Trust | None]]] = {
    "claude": _claude_trust,
    "codex": _codex_trust,
    "copilot": _copilot_trust,
}
"""The programs that ask in their terminal about a repository's main checkout, whose answer then
counts for its worktrees. gemini takes fleet's word for each."""


# --- files of a person ----------------------------------------------------------------------------


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "/")


def _claude_state(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CLAUDE_CONFIG_DIR") or _home(environ)) / ".claude.json"


def _codex_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CODEX_HOME") or _home(environ) / ".codex")


def _copilot_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("COPILOT_HOME") or _home(environ) / ".copilot")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    return _object(_text(path))


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
