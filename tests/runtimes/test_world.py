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


def test_a_poke_makes_it_look_at_once(repo, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 20.0)
    launch = launch_of(repo, "t", "sh", "-c", "sleep 0.2; exit 7")

    async def act(sessions):
        await sessions.launch(launch)
        waiting = asyncio.create_task(sessions.wait_for_exit(launch))
        while AttemptFolder(launch.folder).exit_record() is None:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.02)
        sessions.poked()
        return await waiting

    assert scene(repo, act).code == 7


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
