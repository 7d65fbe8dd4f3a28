from __future__ import annotations

import random
import shutil

import pytest

from fleet.adapters.journal import Batch, Journal, Reader, backup, repair, restore, verify
from fleet.adapters.lease import LOCK, Lease
from fleet.errors import FleetError, Rejected

RUNS = ("one", "two", "drei ü")


def fill(folder, events=40, long=9000):
    writer = Journal.open(folder)
    for seq in range(1, events + 1):
        body = f'{{"n":{seq},"pad":"{"x" * (long if seq % 15 == 0 else seq % 90)}"}}'
        writer.append(
            Batch(
                events=[(run, seq, 1000 + seq, body) for run in RUNS],
                handled=[(f"c{seq}", seq, "{}")],
                runs=[(run, "running", f'{{"n":{seq}}}') for run in RUNS],
            )
        )
        if seq == events // 2:
            writer.checkpoint()
    return writer


def content(folder):
    reader = Reader(folder)
    found = {run: list(reader.events(run)) for run in RUNS}
    reader.close()
    return found


def copied(source, target):
    target.mkdir(mode=0o700)
    for path in source.glob("journal.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, target)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / ".fleet"
    writer = fill(folder)
    yield folder
    writer.close()


def test_a_whole_journal_is_whole_and_left_alone(live, tmp_path):
    copied(live, tmp_path / "s")
    assert verify(tmp_path / "s/journal.db") == []
    assert repair(tmp_path / "s").aside is None


@pytest.mark.parametrize("kind", ["empty", "garbage", "gone", "header", "half"])
def test_repair_keeps_a_prefix_of(kind, live, tmp_path):
    folder, whole = tmp_path / "s", content(live)
    copied(live, folder)
    path = folder / "journal.db"
    if kind == "header":  # else the log holds the first page too, and nothing is lost
        writer = Journal.open(folder)
        writer.checkpoint()
        writer.close()
    raw = path.read_bytes()
    changed = {
        "empty": b"",
        "garbage": random.Random(1).randbytes(len(raw)),
        "header": b"\0" * 100 + raw[100:],
        "half": raw[: len(raw) // 2],
    }
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[kind])
    if kind != "gone":
        with pytest.raises(FleetError, match=r"damaged|empty|journal"):
            Journal.open(folder)
    report = repair(folder)
    assert report.damage
    assert report.aside
    kept = content(folder)
    for run in RUNS:
        assert kept[run] == whole[run][: len(kept[run])]
    if kind == "header":
        assert kept == whole
    assert verify(path) == []
    Journal.open(folder).close()


def test_a_journal_lost_twice_is_mended_twice(live, tmp_path):
    folder, asides = tmp_path / "s", set()
    copied(live, folder)
    for _ in range(2):
        (folder / "journal.db").unlink()
        (folder / "journal.db-wal").write_bytes(b"x")
        asides.add(repair(folder).aside)
        Journal.open(folder).close()
    assert len(asides) == 2


def test_a_repair_waits_for_no_coordinator(tmp_path):
    with Lease.acquire(tmp_path), pytest.raises(Rejected, match="coordinator"):
        repair(tmp_path)


def test_five_hundred_wounds_never_a_traceback_and_always_a_prefix(live, tmp_path):
    dice, whole, named = random.Random(7), content(live), 0
    for n in range(500):
        folder = tmp_path / "s"
        copied(live, folder)
        name = dice.choice(["journal.db", "journal.db", "journal.db-wal"])
        raw = bytearray((folder / name).read_bytes())
        if n % 5 == 0:
            del raw[dice.randrange(len(raw)) :]
        else:
            for _ in range(dice.choice([1, 1, 8])):
                raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        (folder / name).write_bytes(raw)
        damage = verify(folder / "journal.db")
        named += bool(damage)
        repair(folder)
        kept = content(folder)
        for run in RUNS:
            assert kept[run] == whole[run][: len(kept[run])], n
        if name == "journal.db" and not damage:
            assert kept == whole, n
        assert verify(folder / "journal.db") == [], n
        shutil.rmtree(folder)
    assert named > 100


def test_a_backup_of_a_live_journal_is_restored_but_not_over_a_coordinator(live, tmp_path):
    backup(live / "journal.db", tmp_path / "b.db")
    with pytest.raises(Rejected, match="exists"):
        backup(live / "journal.db", tmp_path / "b.db")
    folder = tmp_path / "s"
    folder.mkdir(mode=0o700)
    Journal.open(folder).close()
    with Lease.acquire(folder), pytest.raises(Rejected, match="coordinator"):
        restore(tmp_path / "b.db", folder, folder / LOCK)
    assert restore(tmp_path / "b.db", folder, folder / LOCK).exists()
    assert content(folder) == content(live)
