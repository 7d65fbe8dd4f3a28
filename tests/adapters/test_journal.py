from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.adapters import journal
from fleet.adapters.journal import Batch, Conflict, Corrupt, DiskFull, Journal, Reader
from fleet.adapters.journal import place as journal_place
from fleet.errors import FleetError, Rejected

WRITER = """
import sys
from pathlib import Path
from fleet.adapters.journal import Batch, Journal, Reader
folder = Path(sys.argv[1])
seq = Reader(folder).last_seq("r")
writer = Journal.open(folder)
while True:
    seq += 1
    writer.append(Batch(events=[("r", seq, seq, "{}"), (f"q{seq}", 1, seq, "{}")]))
    print(seq, flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".fleet"


def spawn(folder, **env):
    source = str(Path(journal.__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": source, **env}
    argv = [sys.executable, "-c", WRITER, str(folder)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)


def test_every_name_is_there_and_the_reader_comes_alone():
    assert all(getattr(journal, name) for name in journal.__all__)
    assert not hasattr(journal, "unheard_of")
    source = """
import sys
from fleet.adapters.journal import Reader
print(*sorted(n.rpartition(".")[2] for n in sys.modules if n.startswith(Reader.__module__[:-6])))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(journal.__file__).parents[3])}
    argv = [sys.executable, "-c", source]
    found = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["place", "reader"]


def test_nothing_acknowledged_is_lost_in_fifty_kills(folder):
    acknowledged = 0
    for n in range(50):
        with spawn(folder) as writer:
            for _ in range(n % 7 + 1):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split("\n")
            acknowledged = int(([acknowledged] + [line for line in rest[:-1] if line])[-1])
        assert Reader(folder).last_seq("r") in {acknowledged, acknowledged + 1}
    seqs = [row.seq for row in Reader(folder).events("r")]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize(
    ("point", "written"), [("journal.before_commit", 2), ("journal.after_commit", 3)]
)
def test_a_crash_around_the_commit_leaves_all_or_nothing(folder, point, written):
    with spawn(folder, FLEET_CRASH_AT=f"{point}:3") as writer:
        assert writer.stdout.read() == "1\n2\n"
    assert writer.returncode == -signal.SIGKILL
    reader = Reader(folder)
    assert (reader.last_seq("r"), reader.last_seq("q3")) == (written, int(written == 3))
    Journal.open(folder).append(Batch(events=[("r", written + 1, 0, "")]))


texts = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2**53), texts), max_size=30))
def test_what_was_appended_is_what_is_read(events):
    with tempfile.TemporaryDirectory() as place:
        writer = Journal.open(Path(place) / "f")
        told = {"a": [], "b": []}
        for run, at_ms, body in events:
            seq = len(told[run]) + 1
            writer.append(Batch(events=[(run, seq, at_ms, body)], snapshots=[(run, seq, body)]))
            told[run].append((seq, at_ms, body))
        reader = Reader(Path(place) / "f")
        for run, rows in told.items():
            assert [(r.seq, r.at_ms, r.body) for r in reader.events(run)] == rows
            assert reader.snapshot(run) == ((rows[-1][0], rows[-1][2]) if rows else None)
        reader.close()
        writer.close()


def test_two_writers_cannot_both_have_a_number(folder):
    first, second = Journal.open(folder), Journal.open(folder)
    first.append(Batch(events=[("r", 1, 0, "a")]))
    second.append(Batch(events=[("r", 2, 0, "b")]))
    with pytest.raises(Conflict, match="2 of run r"):
        first.append(Batch(events=[("r", 2, 0, "c")], handled=[("x", 0, "{}")]))
    first.append(Batch(events=[("r", 3, 0, "d")], handled=[("x", 0, "done")]))
    with pytest.raises(Conflict, match="x"):
        first.append(Batch(handled=[("x", 0, "again")]))
    reader = Reader(folder)
    assert [row.body for row in reader.events("r")] == ["a", "b", "d"]
    assert reader.handled("x") == "done"
    assert [r.seq for r in reader.events("r", after=1, limit=1)] == [2]


def test_a_reader_neither_starts_nor_blocks_anything(folder):
    assert Reader(folder).runs() == []
    assert not folder.exists()
    writer = Journal.open(folder)
    writer.append(
        Batch(events=[("r", n, n, "x") for n in range(1, 2501)], runs=[("r", "on", "{}")])
    )
    reader = Reader(folder)
    rows = reader.events("r")
    assert next(rows).seq == 1
    writer.append(Batch(events=[("r", 2501, 2501, "x")]))
    assert writer.checkpoint()  # a reader in the middle of its events holds no snapshot
    assert [row.seq for row in rows] == list(range(2, 2502))
    assert reader.last_at_ms() == 2501


def test_forgotten_runs_are_gone_and_their_space_too(folder):
    writer = Journal.open(folder)
    writer.append(
        Batch(events=[("r", n, n, "x" * 900) for n in range(1, 2000)], runs=[("r", "", "")])
    )
    writer.checkpoint()
    before = writer.path.stat().st_size
    writer.forget("r")
    writer.compact()
    assert writer.path.stat().st_size < before / 10
    assert Reader(folder).runs() == []


def test_a_moved_file_is_noticed(folder):
    writer = Journal.open(folder)
    assert writer.intact()
    writer.path.rename(folder / "elsewhere")
    assert not writer.intact()


def test_files_are_private_whatever_the_umask(folder):
    old = os.umask(0)
    try:
        Journal.open(folder).append(Batch(events=[("r", 1, 0, "")]))
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.iterdir())
    assert files
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)


def test_a_newer_format_is_refused_unwritten(folder):
    Journal.open(folder).close()
    with sqlite3.connect(folder / "journal.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    raw = (folder / "journal.db").read_bytes()
    with pytest.raises(Rejected, match="99"):
        Journal.open(folder)
    assert (folder / "journal.db").read_bytes() == raw


def test_unsafe_folders_are_refused_with_a_cure(folder, tmp_path, monkeypatch):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Rejected) as refused:
        Journal.open(folder)
    assert "chmod 700" in refused.value.hint
    folder.chmod(0o700)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    with monkeypatch.context() as patch:
        patch.setattr(journal_place, "MOUNTS", mounts)
        with pytest.raises(Rejected, match="network"):
            Journal.open(folder)
    if os.geteuid() == 0:
        os.chown(folder, 4711, -1)
        with pytest.raises(Rejected, match="another user"):
            Journal.open(folder)


def test_an_emptied_file_is_no_new_journal(folder):
    Journal.open(folder).close()
    os.truncate(folder / "journal.db", 0)
    with pytest.raises(Corrupt):
        Journal.open(folder)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root and mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_loses_nothing_and_is_survived(small_disk):
    writer = Journal.open(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    seq = 0

    def append_until_full():
        nonlocal seq
        while True:
            writer.append(Batch(events=[("r", seq + 1, 0, "y" * 3000)]))
            seq += 1

    with pytest.raises(DiskFull):
        append_until_full()
    assert seq
    with pytest.raises(FleetError):
        writer.append(Batch(events=[("r", seq + 1, 0, "y" * 400_000)]))
    ballast.unlink()
    writer.append(Batch(events=[("r", seq + 1, 0, "z")]))
    assert Reader(small_disk).last_seq("r") == seq + 1


def test_a_disk_without_a_byte_is_still_readable(small_disk):
    writer = Journal.open(small_disk)
    writer.append(Batch(events=[("r", 1, 0, "a")]))
    writer.close()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(b"x" * 4096):
            pass
    assert os.statvfs(small_disk).f_bavail == 0
    reader = Reader(small_disk)
    assert [row.body for row in reader.events("r")] == ["a"]
    assert reader.degraded
