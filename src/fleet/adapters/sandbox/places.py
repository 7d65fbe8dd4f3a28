"""What a sandboxed attempt sees: the system, its programs, what is declared, its part of git.

Law: decides which paths are seen and which may be written, nothing else. The worktree and its admin
folder are writable but for the pointers between them; of the common git directory, what a commit
writes: loose objects, and the folder of the branch. The state folder is read-only but for a
mailbox. HOME is a folder of its own: what a program needs of the user's is declared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.sandbox.homes import clear_way
from fleet.adapters.sandbox.mounts import Mounts
from fleet.adapters.sandbox.programs import STORES, SYSTEM, fleet_places, places_of
from fleet.errors import Rejected

SEEN_STATE: Final = frozenset({"bin"})
"""Folders of the state folder that are not hidden."""

MAILBOX: Final = "mailbox"
INSIDE: Final = "mailbox-inside"
"""What a sandbox sees as its mailbox, and what lies there: mail of which little is taken."""

SESSION: Final = "session"
"""The folder of an attempt's folder in which the hooks of its program keep what they saw."""

KEEPER: Final = "fleet-sandbox.lock"
"""Keeps a branch's folder from being removed when git packs refs, under a name that git passes
over: a mount of a removed folder is gone."""

ALTERNATES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an attempt works: the fleet's root and state folder, git's common directory, the
    worktree with its admin folder and branch, the attempt's folder; `home` is what is seen as HOME.
    """

    root: Path
    state: Path
    common: Path
    worktree: Path
    admin: Path
    branch: str
    folder: Path
    home: Path


def lay_out(
    place: Place,
    program: str,
    env: Mapping[str, str],
    read: Sequence[Path],
    write: Sequence[Path],
    *,
    network: bool,
) -> Mounts:
    """Returns all that is seen; raises Rejected for what is not there or cannot be kept apart."""
    mounts = Mounts()
    home = home_of(env)
    _system(mounts, network=network)
    if home != Path("/") and home.is_absolute():
        mounts.replace(home, place.home)
    search = _variable(env, "PATH") or os.defpath
    private = (home, home / ".local", place.root, place.state, place.common, place.worktree)
    mounts.read(*places_of(program, search, place.worktree, private), *fleet_places())
    mounts.read(*_settings_of_git(env, home))
    for path in (*read, *write):
        if not path.exists():
            raise Rejected(
                f"sandbox: {path} is declared but not there", hint="make it, or take it out"
            )
    _state(mounts, place)
    _repository(mounts, place)
    mounts.write(place.worktree)
    if (place.worktree / ".git").is_file():
        mounts.read(place.worktree / ".git")
    mounts.read(*read)
    mounts.write(*write)
    clear_way(place.home, mounts.below(home))
    return mounts


def home_of(env: Mapping[str, str]) -> Path:
    """Returns the home folder as the agent is told of it."""
    return Path(_variable(env, "HOME") or "/")


def _system(mounts: Mounts, *, network: bool) -> None:
    mounts.special("--proc", Path("/proc"))
    mounts.special("--dev", Path("/dev"))
    for path in SYSTEM:
        if path.is_symlink():
            mounts.link(path, str(path.readlink()))
        elif path.is_dir():
            mounts.read(path)
    mounts.read(*(path for path in STORES if path.is_dir()))
    mounts.empty(Path("/tmp"), "1777")  # noqa: S108 - the sandbox's own
    mounts.empty(Path("/dev/shm"), "1777")  # noqa: S108 - the sandbox's own
    if os.geteuid() == 0:
        # Root without capabilities still owns these; others could not read them either.
        mounts.hide(*_closed(Path("/etc")))
        # And these: the machine's own settings, by which it can be made to run anything.
        mounts.read(*_settings_of_kernel(Path("/proc")))
    resolver = Path("/etc/resolv.conf")
    if network and resolver.is_symlink() and resolver.exists():
        mounts.read(resolver.resolve())


def _settings_of_kernel(proc: Path) -> Iterator[Path]:
    """Yields what of /proc is the machine's, not a process's, and might be written by root."""
    for path in proc.iterdir():
        if not path.name.isdecimal():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and mode & stat.S_IWUSR):
                yield path


def _closed(top: Path) -> Iterator[Path]:
    """Yields the files and folders under `top` that are not open to every user."""
    for folder, folders, files in os.walk(top):
        for name in list(folders):
            mode = os.lstat(Path(folder, name)).st_mode
            if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
                folders.remove(name)
                yield Path(folder, name)
        for name in files:
            mode = os.lstat(Path(folder, name)).st_mode
            if stat.S_ISREG(mode) and not mode & stat.S_IROTH:
                yield Path(folder, name)


def _settings_of_git(env: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yields git's settings of the user and the machine: without them nothing bears a name."""
    folder = Path(_variable(env, "XDG_CONFIG_HOME") or home / ".config") / "git"
    names = [_variable(env, "GIT_CONFIG_GLOBAL"), _variable(env, "GIT_CONFIG_SYSTEM")]
    paths = [home / ".gitconfig", *(folder / name for name in ("config", "attributes", "ignore"))]
    for path in (*(Path(name) for name in names if name), *paths):
        if path.is_file():
            yield path


def _state(mounts: Mounts, place: Place) -> None:
    settings = place.root / "coordination.md"
    if settings.is_file():
        mounts.read(settings)  # by it a folder is known as a fleet's root
    mounts.read(place.state)
    for path in place.state.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in SEEN_STATE:
            mounts.hide(path)
    for name in ("tmp", "new", "bad"):
        (place.state / INSIDE / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    (place.state / MAILBOX).mkdir(mode=0o700, exist_ok=True)
    mounts.replace(place.state / MAILBOX, place.state / INSIDE)
    mounts.read(place.folder)
    done, session = place.folder / "done.json", place.folder / SESSION
    done.touch(mode=0o600)
    session.mkdir(mode=0o700, exist_ok=True)
    mounts.write(done, session)


def _repository(mounts: Mounts, place: Place) -> None:
    common, admin = place.common, place.admin
    if (common / "reftable").is_dir():
        raise Rejected(
            "sandbox bwrap: this repository keeps its refs in one table, where no branch is apart",
            hint="git refs migrate --ref-format=files, or take `sandbox` out",
        )
    folder = Path(place.branch).parent
    if folder == Path():
        raise Rejected(
            f"sandbox bwrap: branch {place.branch!r} shares its folder with all others, which the "
            "agent could move",
            hint=f"give the task a branch in a folder, such as fleet/{place.branch}",
        )
    mounts.read(common)
    mounts.hide(common / "worktrees")
    mounts.write(admin, common / "objects")
    for name in ("pack", "info"):
        mounts.read(*(path for path in (common / "objects" / name,) if path.is_dir()))
    for top in (common / "refs/heads", common / "logs/refs/heads"):
        (top / folder).mkdir(parents=True, exist_ok=True)
        (top / folder / KEEPER).touch()
        mounts.write(top / folder)
    # Whoever works there outside is led nowhere else, and runs nothing that the agent has set.
    (admin / "config.worktree").touch()
    mounts.read(*(admin / name for name in ("commondir", "gitdir", "config.worktree")))
    mounts.read(*_alternates(common / "objects", ALTERNATES))


def _alternates(objects: Path, depth: int) -> Iterator[Path]:
    """Yields the object folders of other repositories that this one borrows from."""
    try:
        lines = (objects / "info/alternates").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        path = objects / line.strip()
        if line.strip() and not line.startswith("#") and path.is_dir():
            yield path
            if depth:
                yield from _alternates(path, depth - 1)


def _variable(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or os.environ.get(name) or ""
