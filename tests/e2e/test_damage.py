"""Full disks and damaged journals: what is whole is kept, what is not is named, work goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.scripted_fleet import ScriptedFleet, until
from support.small_disk import fill, small_disk


def finished_half(fleet: ScriptedFleet) -> ScriptedFleet:
    """Returns a fleet whose first task is verified and whose second one waits to be launched."""
    fleet.phases("p")
    fleet.task("a", phase="p", deliverables=["a.md"])
    fleet.task("b", phase="p", deliverables=["b.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    fleet.must("down")
    return fleet


def test_a_journal_with_garbage_in_it_is_named_and_repaired(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    finished_half(fleet)
    untouched()
    events = fleet.history()
    journal = fleet.state / "journal.db"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) // 2])
    for name in ("journal.db-wal", "journal.db-shm"):
        (fleet.state / name).unlink(missing_ok=True)
    read = fleet("status")
    assert read.code == 1, read
    assert "journal" in read.stderr, read
    assert "--repair" in read.stderr, read
    write = fleet("launch", "b", timeout_s=90)
    assert write.code == 1, write
    assert "journal" in write.stderr, write
    assert "Traceback" not in read.stderr + write.stderr
    told = fleet("doctor")
    assert told.code == 1
    assert "journal" in told.stdout
    assert "--repair" in told.stdout
    mended = fleet("doctor", "--repair")
    assert "journal" in mended.stdout, mended
    kept = [one for one in fleet.state.rglob("*") if one.is_file() and "journal" in str(one)]
    assert any(one.read_bytes()[:4096] == whole[:4096] for one in kept), "the damaged one is kept"
    left = fleet.history()
    assert left == events[: len(left)], "what is kept is a whole beginning"
    fleet.must("launch", "b")
    assert fleet.wait("b").code == 0
    assert fleet.ran()["b 1"] == 1


def test_pages_of_the_journal_overwritten(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    finished_half(fleet)
    untouched()
    events = fleet.history()
    journal = fleet.state / "journal.db"
    for name in ("journal.db-wal", "journal.db-shm"):
        (fleet.state / name).unlink(missing_ok=True)  # `down` has left nothing in them
    with journal.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096)
    told = fleet("doctor")
    assert told.code == 1, told
    assert "journal" in told.stdout, told
    fleet("doctor", "--repair")
    again = fleet("doctor", "--json").json()
    assert {one["level"] for one in again["checks"] if one["name"] == "journal"} == {"ok"}, again
    left = fleet.history()
    assert left == events[: len(left)]
    fleet("launch", "--all", timeout_s=90)
    assert fleet.wait("a", "b").code == 0


def test_a_backup_is_restored_and_the_run_goes_on(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    finished_half(fleet)
    untouched()
    copy = fleet.top / "copy.db"
    assert "would" in fleet.must("backup", copy, "--dry-run").stdout
    assert not copy.exists()
    fleet.must("backup", copy)
    twice = fleet("backup", copy)
    assert twice.code == 1
    assert "is there already" in twice.stderr
    events = fleet.history()
    fleet.must("launch", "b")
    running = fleet("backup", copy, "--restore")
    assert running.code == 1
    assert "the coordinator is running" in running.stderr
    assert fleet.wait("b").code == 0
    fleet.must("down")
    assert len(fleet.history()) > len(events)
    fleet.must("backup", copy, "--restore")
    assert fleet.history()[: len(events)] == events
    # The journal knows nothing of b's attempt, but its folder says that it ran: it is adopted.
    fleet.must("launch", "b")
    assert fleet.wait("b").code == 0
    assert fleet.ran() == {"a 1": 1, "b 1": 1}
    missing = fleet("backup", fleet.top / "none.db", "--restore")
    assert missing.code == 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MB."""
    with small_disk(tmp_path / "small", 80) as place:
        yield place


def test_a_full_disk_is_said_and_after_room_is_made_it_goes_on(
    disk: Path, tmp_path: Path, fleet_cli: Callable[..., object]
) -> None:
    fleet = ScriptedFleet(tmp_path, fleet_cli, root=disk / "repo")  # type: ignore[arg-type]
    fleet.task("a", deliverables=["a.md"])
    fleet.task("b", fleet.waits("b") + fleet.delivers("b"), deliverables=["b.md"])
    fleet.write()
    fleet.must("launch", "b")
    events = fleet.history()
    filler = fill(disk)
    seen = fleet.status()
    assert {row["id"]: row["state"] for row in seen["tasks"]} == {"a": "ready", "b": "working"}
    refused = fleet("launch", "a", timeout_s=100)
    assert refused.code in (0, 1), refused
    if refused.code:
        said = refused.stdout + refused.stderr
        assert "space" in said or "disk" in said, refused
    told = fleet("doctor")
    assert told.code == 1, told
    assert "disk" in told.stdout, told
    filler.unlink()
    fleet.go("b")
    fleet("launch", "a")
    fleet("resume")
    until(lambda: fleet.row("b")["facts"]["verified"] or fleet("retry", "b").code < 0, "b")
    until(lambda: fleet.row("a")["facts"]["verified"], "a")
    assert fleet.history()[: len(events)] == events
    assert fleet.ran()["b 1"] == 1
    assert max(fleet.ran().values()) == 1
    fleet.must("down")
    fleet.nothing_runs()
