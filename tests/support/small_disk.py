"""A disk that is soon full: a small file system of its own, mounted for one test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE_BYTES = 4096


@contextlib.contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[Path]:
    """Yields `place` as a file system of that size; skips where it cannot be mounted."""
    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "fleet-test", str(place)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, *, left_bytes: int = 0) -> Path:
    """Fills a disk but for so many bytes; returns the file that does, to be removed."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(b"x" * PAGE_BYTES) == PAGE_BYTES:
                pass
        file.truncate(max(0, file.tell() - left_bytes))
    return filler
