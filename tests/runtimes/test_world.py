"""Sessions of real wrappers: started together, ends noticed by record, by poke, by death."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from types import SimpleNamespace

import pytest

from fleet.adapters.attempts import AttemptFolder, Launch
from fleet.errors import FleetError
from fleet.runtimes import world as module
from fleet.runtimes.world import Sessions, make_world
from support.git_repo import GitRepo


@pytest.fixture
def repo(tmp_path):
    return GitRepo(tmp_path / "repo")


def launch_of(repo, name, *argv):
    place = repo.root.parent / name
    repo.git("worktree", "add", "-q", "-b", name, str(place))
    folder = repo.root / ".fleet" / "attempts" / name
    found = Launch(
        key=("r", name, 1), session=f"{name}-1", folder=folder, worktree=place, argv=list(argv),
        admin_dir=repo.root / ".git/worktrees" / name,
    )  # fmt: skip
    folder.mkdir(parents=True)
    AttemptFolder(folder).write_spec(found)
    return found


def scene(repo, act):
    """Runs `act(sessions)` with the fleet's own tmux server, which is ended after it."""

    async def run():
        sessions = Sessions(repo.root, repo.root / ".fleet")
        try:
            async with asyncio.timeout(30):
                return await act(sessions)
        finally:
            await sessions.close()

    return asyncio.run(run())


def test_sessions_asked_for_together_start_together_and_end_with_their_records(repo):
    launches = [launch_of(repo, f"t{n}", "sh", "-c", f"exit {n}") for n in range(3)]

    async def act(sessions):
        calls = []
        start = sessions.tmux.start
        sessions.tmux = SimpleNamespace(
            start=lambda asked: calls.append(len(asked)) or start(asked)
        )
        troubles = await asyncio.gather(*(sessions.launch(one) for one in launches))
        ends = await asyncio.gather(*(sessions.wait_for_exit(one) for one in launches))
        return troubles, [one.code for one in ends], calls, sessions.ends

    troubles, codes, calls, awaited = scene(repo, act)
    assert troubles == [None] * 3
    assert codes == [0, 1, 2]
    assert calls == [3], "one client of tmux for all"
    assert awaited == {}


def test_a_wrapper_that_is_killed_leaves_no_record_and_is_noticed(repo, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 20.0)
    launch = launch_of(repo, "t", "sleep", "60")

    async def act(sessions):
        assert await sessions.launch(launch) is None
        folder = AttemptFolder(launch.folder)
        while (claim := folder.claim()) is None:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(sessions.wait_for_exit(launch))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        os.killpg(os.getpgid(claim.pid), signal.SIGKILL)
        return await waiting, time.monotonic() - began

    record, took_s = scene(repo, act)
    assert record is None
    assert took_s < 15, "by its pidfd, not by the next look"


def test_a_session_that_nobody_claims_is_lost(repo, monkeypatch):
    monkeypatch.setattr(module, "CLAIM_TIMEOUT_S", 0.1)
    launch = launch_of(repo, "t", "true")

    async def act(sessions):
        return await sessions.wait_for_exit(launch)

    assert scene(repo, act) is None


def test_an_end_is_seen_by_its_wrappers_end(repo, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 1_000.0)
    launch = launch_of(repo, "t", "sh", "-c", "sleep 0.2; exit 7")

    async def act(sessions):
        await sessions.launch(launch)
        return await sessions.wait_for_exit(launch)

    assert scene(repo, act).code == 7


def test_a_look_wakes_only_those_whose_folder_has_changed(repo):
    folders = [repo.root / name for name in ("a", "b")]

    async def act(sessions):
        seen = {folder.name: 0 for folder in folders}

        async def wait(folder):
            with sessions.watching(folder) as changed:
                while True:
                    await changed()
                    seen[folder.name] += 1

        waiting = [asyncio.create_task(wait(folder)) for folder in folders]
        counts = []

        async def look():
            sessions.look()
            await asyncio.sleep(0)
            counts.append(dict(seen))

        await asyncio.sleep(0)
        await look()
        folders[0].mkdir()
        await look()
        await asyncio.sleep(2 * module.UNSURE_S)
        await look()  # the first change was so young that another could have hidden behind it
        await look()
        (folders[0] / "one").touch()
        await look()
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return counts, sessions.watched

    counts, watched = scene(repo, act)
    assert [one["a"] for one in counts] == [0, 1, 2, 2, 3]
    assert [one["b"] for one in counts] == [0] * 5
    assert watched == set(), "who waits no more is not looked for"


def test_a_tmux_that_does_not_start_is_told_to_every_launch(repo):
    launches = [launch_of(repo, name, "true") for name in ("a", "b")]

    async def act(sessions):
        def start(asked):
            raise FleetError("no server")

        sessions.tmux = SimpleNamespace(start=start)
        return await asyncio.gather(*(sessions.launch(one) for one in launches))

    assert scene(repo, act) == ["no server", "no server"]


def test_a_world_is_made_of_a_repository_and_nothing_else(repo, tmp_path):
    async def act(sessions):
        logged = []
        folder = repo.root / ".fleet"
        folder.mkdir()
        children = SimpleNamespace(run_child=None, cancel_run=None, thread=None)
        log = lambda *told, **_: logged.append(told)  # noqa: E731
        found = make_world(repo.root, folder, sessions, log, children)
        assert found.repository.resolve("refs/heads/main") == repo.head()
        assert await found.in_thread(sum, [1, 2]) == 3
        assert logged == []
        with pytest.raises(FleetError):
            make_world(tmp_path / "nowhere", tmp_path, sessions, log, children)
        return found.tmux

    digest = hashlib.sha256(os.fsencode(repo.root)).hexdigest()[:12]
    assert scene(repo, act).socket == f"fleet-{digest}"
