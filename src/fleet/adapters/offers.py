"""An offer: a piece of work that a client may take, who has it until when, and what was handed in.

    lease        who has it; replaced whole, under the lock
    lock         of two who take it at once one gets it, and nobody hands in while it is taken
    handed.json  what its holder handed in; appears whole or not at all
    handed       the FIFO on which `harnesses/offer.sh` waits for that

Law: a lease ends by the clock that this boot counts and nobody sets, which stands still while the
machine sleeps; from then on it is nobody's, and whoever asks next gets the work. No process keeps
it: a client that vanishes has nothing to give back. Nothing here knows what the work is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fleet.errors import FleetError, Rejected
from fleet.records import record

HANDED: Final = "handed.json"
HANDED_BYTES: Final = 1 << 20
LEASE_BYTES: Final = 4_096
LOCK_S: Final = 5.0
"""How long somebody waits for who holds the lock: it is held for one look and one write."""

PAUSE_S: Final = 0.01


@record(kw_only=False)
class Lease:
    """Who has an offer: `key` proves it, `until_s` is on the clock of the boot `boot`."""

    key: str
    holder: str
    boot: str
    until_s: float

    @property
    def left_s(self) -> float:
        """How many seconds it still lasts; 0 when it has ended."""
        return max(0.0, self.until_s - time.monotonic()) if self.boot == _boot() else 0.0


@record(kw_only=False)
class Offer:
    """One offer, by its folder."""

    folder: Path

    def lease(self) -> Lease | None:
        """Returns the lease that counts now; None when the offer is nobody's."""
        found = self._read()
        return found if found is not None and found.left_s > 0 else None

    def take(self, holder: str, lasts_s: float) -> Lease | None:
        """Returns a lease of the caller's own; None while somebody else has one, or takes it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.folder, wait_s=0) as got:
            if not got or self.lease() is not None or handed(self.folder) is not None:
                return None
            return self._write(secrets.token_hex(8), holder, lasts_s)

    def renew(self, key: str, lasts_s: float) -> Lease:
        """Returns the lease anew from now on; raises Rejected when it has gone."""
        with self.holding(key) as lease:
            return self._write(key, lease.holder, lasts_s)

    def give_back(self, key: str) -> None:
        """Ends a lease before its time; raises Rejected when it has gone."""
        with self.holding(key) as lease:
            self._write(key, lease.holder, 0)

    def hand_in(self, key: str, told: Mapping[str, object]) -> None:
        """Leaves what the holder hands in, once, and wakes who waits for it; raises Rejected when
        the lease has gone.
        """
        with self.holding(key):
            _put(self.folder / HANDED, told)
        with contextlib.suppress(OSError):  # nobody holds the FIFO open: who comes looks first
            poke = os.open(self.folder / "handed", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(poke, b"\n")
            os.close(poke)

    @contextlib.contextmanager
    def holding(self, key: str) -> Iterator[Lease]:
        """Yields the lease that `key` proves, which nobody else gets meanwhile; raises Rejected
        with who has the offer now when it has gone.
        """
        if not self.folder.is_dir():
            raise Rejected("the lease has gone")
        with _locked(self.folder, wait_s=LOCK_S) as got:
            if not got:
                raise FleetError("somebody else is at this step right now", hint="try again")
            lease, own = self.lease(), self.is_of(key)
            if handed(self.folder) is not None:
                raise Rejected("the lease has gone: the step was handed in already")
            if lease is None and own:
                raise Rejected("the lease has gone: its time was over")
            if lease is None or not own:
                now = f"{lease.holder} has the step now" if lease else "nobody has the step now"
                raise Rejected(f"the lease has gone: {now}")
            yield lease

    def is_of(self, key: str) -> bool:
        """Returns whether the latest lease is the one that `key` proves, ended or not."""
        known = self._read()
        said = key.encode("utf-8", "replace")
        return known is not None and secrets.compare_digest(known.key.encode(), said)

    def _read(self) -> Lease | None:
        found = _read_json(self.folder / "lease", LEASE_BYTES)
        try:
            return Lease(
                str(found["key"]), str(found["holder"]), str(found["boot"]), float(found["until_s"])
            )
        except (KeyError, TypeError, ValueError):
            return None

    def _write(self, key: str, holder: str, lasts_s: float) -> Lease:
        until_s = time.monotonic() + lasts_s
        told = {"key": key, "holder": holder, "boot": _boot(), "until_s": until_s}
        _put(self.folder / "lease", told)
        return Lease(key, holder, _boot(), until_s)


def handed(folder: Path) -> dict[str, Any] | None:
    """Returns what was handed in for an offer, None while nothing was."""
    return _read_json(folder / HANDED, HANDED_BYTES) or None


@contextlib.contextmanager
def _locked(folder: Path, *, wait_s: float) -> Iterator[bool]:
    """Yields whether the lock of an offer was had; the system drops it when its holder dies."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    yield False
                    return
                time.sleep(PAUSE_S)
                continue
            yield True
            return
    finally:
        os.close(handle)


def _put(path: Path, told: Mapping[str, object]) -> None:
    """Puts a 0600 file in place whole, on the disk before it is there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, for the mode
            json.dump(told, file, ensure_ascii=False)
            file.flush()
            os.fsync(handle)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _read_json(path: Path, limit_bytes: int) -> dict[str, Any]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor, for what it must not follow
            found = json.loads(file.read(limit_bytes))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
