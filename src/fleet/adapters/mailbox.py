"""The mailbox: every will reaches the coordinator as a small file, and a poke wakes it.

The whole protocol, for whoever cannot import this module (F is the fleet's state folder):
1. write one JSON object, MAIL_FORM, to a new file in F/mailbox/tmp (mode 0600), fsync it;
2. rename it to F/mailbox/new/<time in ns, 20 digits>-<pid, 10>-<counter, 6>-<8 hex>.json, and
   fsync that folder;
3. poke: open F/wake, a FIFO, for writing without blocking and write one byte; no listener is no
   failure. In sh: `[ -p "$F/wake" ] && echo 1<>"$F/wake"`, which on Linux neither waits for a
   listener nor forks.
Agents in a sandbox see in that place a mailbox of their own, F/mailbox-inside. Its folders are
theirs to replace, so it is only gone into by descriptor, and nothing is moved out of or within it.
Mail is at least once: the coordinator commits the id with its result, then deletes the file. Names
sort by time, then pid, then counter. A poke carries nothing: drain first, then look.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import stat
import struct
import termios
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from fleet.adapters.crash import crash_point
from fleet.errors import FleetError, Rejected

MAIL_FORM: Final = '{"id": text, "sent_at_ms": integer, "actor": text, "command": {...}}'
MAIL_BYTES: Final = 1 << 20
PLAN_BYTES: Final = 1 << 27
"""How long mail may be that carries a plan or a change of one, which nobody in a sandbox sends."""

INSIDE: Final = "mailbox-inside"
"""The mailbox of those in a sandbox; they see it as `mailbox`."""

_counter = itertools.count()


@dataclass(frozen=True, slots=True)
class Mail:
    """One piece of mail: its id, its file, and the object in it (MAIL_FORM); `inside` came from a
    sandbox.
    """

    id: str
    path: Path
    body: Mapping[str, object]
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file in the mailbox that is no mail, where it lies now, and why it was refused."""

    path: Path
    why: str


class Waker:
    """The coordinator's ear: readable as soon as somebody has poked."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "wake"
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISFIFO(self.path.lstat().st_mode):
                self.path.unlink()
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.path, 0o600)
        # Open for writing too: then it never reads as ended, and sh may write and leave.
        self._handle = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Returns the descriptor to wait on."""
        return self._handle

    def drain(self) -> bool:
        """Returns whether anybody has poked since the last time.

        Look at the world after, not before.
        """
        poked = False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._handle, 65536):
                poked = True
        return poked

    def close(self) -> None:
        """Stops listening; the FIFO stays, and pokes go nowhere."""
        os.close(self._handle)

    @staticmethod
    def poke(folder: Path) -> bool:
        """Returns whether a coordinator listens.

        Never blocks. One unread poke is enough, so no second is written.
        """
        try:
            handle = os.open(folder / "wake", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            if not stat.S_ISFIFO(os.fstat(handle).st_mode):
                return False
            (unread,) = struct.unpack("i", fcntl.ioctl(handle, termios.FIONREAD, b"\0" * 4))
            if not unread:
                os.write(handle, b"\n")
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return True


class Mailbox:
    """The mailbox of one state folder; anybody posts, the coordinator alone takes and deletes."""

    def __init__(self, folder: Path, *, inside: bool = False) -> None:
        self.folder, self.inside = folder, inside
        top = folder / (INSIDE if inside else "mailbox")
        self._tmp, self._new, self._bad = (top / name for name in ("tmp", "new", "bad"))
        for place in (self._tmp, self._new, self._bad):
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._taken: dict[str, list[Path]] = {}
        self._stuck: set[str] = set()
        # What `take` has refused; the coordinator logs and clears it.
        self.garbage: list[Garbage] = []

    def post(
        self,
        command: Mapping[str, object],
        *,
        id: str | None = None,  # noqa: A002
        actor: str = "",
        most: int = MAIL_BYTES,
    ) -> str:
        """Returns the mail's id once it is on disk under its final name.

        Raises Rejected for more than `most` bytes, FleetError where the disk refuses. The same id
        may be posted again: it has one effect.
        """
        now_ns = time.time_ns()
        count = next(_counter) % 1_000_000
        name = f"{now_ns:020d}-{os.getpid():010d}-{count:06d}-{os.urandom(4).hex()}"
        mail_id = name if id is None else id
        body = {
            "id": mail_id,
            "sent_at_ms": now_ns // 1_000_000,
            "actor": actor,
            "command": dict(command),
        }
        # What is no text, half of a surrogate pair, could not be journaled: `?` stands for it.
        text = json.dumps(body, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
        if len(text) > most:
            raise Rejected(
                f"the command is {len(text)} bytes long, at most {most} are taken",
                hint="put long text into a file and name the file",
            )
        draft = self._tmp / name
        try:
            handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            with open(handle, "wb") as file:  # noqa: PTH123  a descriptor, for the mode
                file.write(text)
                file.flush()
                os.fsync(handle)
            draft.rename(self._new / f"{name}.json")
            crash_point("mailbox.after_rename")
            _sync(self._new)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            _refuse(self.folder, error)
        self.wake()
        return mail_id

    def take(self, limit: int = 1000) -> list[Mail]:
        """Returns the oldest `limit` pieces of mail, oldest first.

        Each id comes once, however often it was posted. What is no mail is moved to bad/ and named
        in `garbage`. Mail stays until `delete`.
        """
        mails: list[Mail] = []
        self._taken.clear()
        try:
            folder = os.open(self._new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            if self.inside:
                return []
            raise
        try:
            self._take(folder, mails, limit)
        finally:
            os.close(folder)
        return mails

    def _take(self, folder: int, mails: list[Mail], limit: int) -> None:
        for name in sorted(os.listdir(folder)):
            if len(mails) >= limit:
                break
            path = self._new / name
            if name in self._stuck:
                continue
            try:
                mail = _read(path, folder, inside=self.inside)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError) as error:
                self._set_aside(path, str(error) or type(error).__name__)
                continue
            if mail.id not in self._taken:
                mails.append(mail)
            self._taken.setdefault(mail.id, []).append(path)

    def delete(self, ids: Iterable[str]) -> None:
        """Removes mail of the last `take` whose results are committed; unknown ids do no harm."""
        crash_point("mailbox.before_delete")
        for mail_id in ids:
            for path in self._taken.pop(mail_id, ()):
                _remove(path)

    def wake(self) -> bool:
        """Returns whether a coordinator was there to be poked."""
        return Waker.poke(self.folder)

    def sweep(self, older_than_s: float = 86_400) -> None:
        """Removes drafts whose writers died before they posted them."""
        if self.inside:
            return
        for path in self._tmp.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > older_than_s:
                    path.unlink()

    def _set_aside(self, path: Path, why: str) -> None:
        if self.inside:
            if not _remove(path):
                self._stuck.add(path.name)
            self.garbage.append(Garbage(path, why))
            return
        target = self._bad / path.name
        if target.exists():
            target = self._bad / f"{path.name}.{time.time_ns()}"
        try:
            path.rename(target)
        except OSError:
            self._stuck.add(path.name)
            target = path
        self.garbage.append(Garbage(target, why))


def _remove(path: Path) -> bool:
    """Removes a file from a folder that is no link; returns whether it is gone."""
    with contextlib.suppress(FileNotFoundError):
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except NotADirectoryError:
            return False
        try:
            os.unlink(path.name, dir_fd=folder)
        except (IsADirectoryError, PermissionError):
            return False
        finally:
            os.close(folder)
    return True


def _read(path: Path, folder: int, *, inside: bool) -> Mail:
    # Neither a link nor a FIFO under a mail's name may lead the coordinator astray or make it wait.
    handle = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with open(handle, "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("no regular file")
        most = MAIL_BYTES if inside else PLAN_BYTES
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"longer than {most} bytes")
    body = json.loads(raw.decode(), parse_constant=_refuse_constant)
    if not isinstance(body, dict) or not isinstance(body.get("command"), dict):
        raise ValueError("no object with a command in it")  # noqa: TRY004  it is a text that is wrong
    mail_id = body.get("id")
    if not isinstance(mail_id, str) or not mail_id:
        raise ValueError("no id")
    if b"\\u" in raw:
        # Half of a surrogate pair could never be journaled.
        json.dumps(body, ensure_ascii=False).encode()
    return Mail(mail_id, path, body, inside)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refuse(folder: Path, error: OSError) -> NoReturn:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        raise FleetError(
            f"the disk that holds {folder} is full; the command was not sent",
            hint="free some space, then repeat it",
        ) from error
    raise FleetError(f"the command could not be sent: {error.strerror} ({folder})") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
