"""Real MCP servers, by hand and of the official library, that die, hang, babble, flood and refuse.

What a server is told to do stands in `support/mcp_server.py` and `support/mcp_official.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.mcp_client import Failed, Server, Servers, Why
from fleet.adapters.mcp_client.answers import value_of
from fleet.harnesses.secrets import mask, resolve
from support.mcp_peers import BY_HAND, Web, alive, end_all, noted
from support.scripted_fleet import until

LIMIT_S = 60
LINES = "cmd:printf 'one\\ntwo'"


class Scene:
    """A pool in a folder of its own, and the notes that its servers leave."""

    def __init__(self, top: Path) -> None:
        self.top, self.notes = top, top / "notes"
        self.log = top / ".fleet" / "logs" / "mcp-hand.log"

    def server(self, before: str = "", /, **more: Any) -> Server:
        words = (*BY_HAND, str(self.notes), *([before] if before else []))
        return Server(**{"name": "hand", "command": words, **more})

    def play(self, act: Callable[[Servers], Awaitable[Any]]) -> Any:
        """Returns what `act` returns, once the pool is closed after it."""

        async def run() -> Any:
            pool = Servers(self.top, self.top / ".fleet", resolve=resolve, mask=mask)
            try:
                async with asyncio.timeout(LIMIT_S):
                    return await act(pool)
            finally:
                await pool.close()

        return asyncio.run(run())

    def noted(self, what: str) -> list[str]:
        return noted(self.notes, what)

    def pids(self) -> list[int]:
        return [int(pid) for pid in (*self.noted("start"), *self.noted("child"))]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    end_all(made.notes)


async def why(call: Awaitable[Any]) -> tuple[Why, str]:
    """Returns how a call failed; that it did is insisted on."""
    with pytest.raises(Failed) as failed:
        await call
    return failed.value.why, failed.value.text


def test_results_are_values_and_what_is_no_result_is_told(scene, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "of no server's business")
    (scene.top / "token").write_text("hunter22\nof several lines\n")
    server = scene.server(
        env={"OWN": "value"},
        secrets={"TOKEN": "file:token"},
        tools=("[!lb]*", "big", "loud"),
    )

    async def act(pool):
        told = {"x": [1, None, {"y": "{{ z }}"}], "u": "\u2028ü"}
        meta = {"fleet/run": "r", "fleet/step": "s", "fleet/attempt": 2}
        assert await pool.call(server, "echo", told, meta=meta) == told
        assert await pool.call(server, "words", {"texts": ["a", "b"]}) == "a\nb"
        assert await pool.call(server, "words", {"texts": []}) is None
        assert await pool.call(server, "words", {"json": {"n": 1}}) == {"n": 1}
        assert await pool.call(server, "garbage", {}) == "after all"
        assert await why(pool.call(server, "ecko", {})) == (
            Why.TOOL,
            "it has no tool 'ecko'; did you mean 'echo'?",
        )
        kind, text = await why(pool.call(server, "babble", {}))
        assert (kind, text) == (Why.TOOL, "the fleet does not allow its tool 'babble'")
        assert "babble" not in await pool.tools(server)
        for how, told in {
            "form": "its answer is none that MCP knows: content: Input should be a valid list",
            "surrogate": "its answer cannot be read as JSON",
            "deep": "its answer cannot be read as JSON",
            "number": "its answer is no JSON: Out of range float values are not JSON compliant",
        }.items():
            assert await why(pool.call(server, "wrong", {"how": how})) == (Why.TOOL, told)
        assert await pool.call(server, "flood", {"messages": 50_000}) == "that was all"
        listless = scene.server("listless")
        assert await pool.call(listless, "words", {"texts": ["unlisted"]}) == "unlisted"
        said = "of several lines"
        assert await why(pool.call(server, "refuse", {"what": said})) == (
            Why.TOOL,
            "\x1b[2Jno [TOKEN]",
        )
        for last in (False, True):
            kind, text = await why(pool.call(server, "big", {"megabytes": 50, "last": last}))
            assert (kind, "more than" in text) == (Why.TOOL, True)
        kind, text = await why(pool.call(server, "big", {"megabytes": 2, "last": True}))
        assert (kind, "`max_output` is 1048576" in text) == (Why.TOOL, True)
        assert await pool.call(server, "loud", {"lines": 40_000}) == "said it all"
        return await pool.call(server, "env", {})

    environment = scene.play(act)
    assert environment["OWN"] == "value"
    assert environment["TOKEN"] == "[TOKEN]", "a secret that comes back is masked"
    assert "OUTSIDE" not in environment
    assert len(scene.noted("start")) == 2, "nothing of this ended a server"
    (first, *_) = (json.loads(call.partition(" ")[2]) for call in scene.noted("call"))
    assert first == {"key": ["r", "s", 2]}
    logs = [path.read_bytes() for path in scene.log.parent.iterdir()]
    assert sum(map(len, logs)) <= 2 << 20
    assert any(b"my token is ***" in log for log in logs)
    assert not any(b"hunter22" in log for log in logs)
    assert not any(map(alive, scene.pids()))


def test_a_server_that_dies_or_hangs_is_begun_anew(scene):
    server = scene.server()

    async def act(pool):
        calls = (pool.call(server, "die", {}), pool.call(server, "hang", {}))
        (kind, text), other = await asyncio.gather(*(why(call) for call in calls))
        assert (kind, "it ended with 7: a heavy heart" in text) == (Why.LOST, True)
        assert other[0] is Why.LOST
        assert await pool.call(server, "echo", {"n": 1}) == {"n": 1}
        os.kill(int(scene.noted("start")[-1]), signal.SIGKILL)
        until(lambda: not alive(int(scene.noted("start")[-1])), "its end")
        await asyncio.sleep(0.1)
        assert await pool.call(server, "echo", {"n": 2}) == {"n": 2}, "nobody was calling"
        assert len(scene.noted("start")) == 3
        kind, _ = await why(pool.call(server, "hang", {}, timeout_s=0.3))
        assert kind is Why.LATE
        assert await pool.call(server, "echo", {"n": 3}) == {"n": 3}
        assert len(scene.noted("start")) == 4
        slow = asyncio.create_task(pool.call(server, "echo", {"pause": 1, "n": 4}))
        await asyncio.sleep(0.1)
        kind, _ = await why(pool.call(server, "echo", {"n": 5}, timeout_s=0.2))
        assert (kind, await slow) == (Why.LATE, {"n": 4})
        assert len(scene.noted("start")) == 4, "one that is busy is not taken for one that hangs"
        kind, text = await why(pool.call(server, "babble", {}))
        assert (kind, text) == (Why.LOST, "it does not speak MCP: no JSON")

    scene.play(act)
    assert not any(map(alive, scene.pids()))


@pytest.mark.parametrize(
    ("before", "more", "told"),
    [
        ("", {"command": ("no-such-program",)}, "it ended with 127: no-such-program could not be"),
        ("dies", {}, "it ended with 1: no heart at all"),
        ("hangs", {"startup_s": 0.5}, "it was not ready within 0.5 s"),
        ("babbles", {}, "it does not speak MCP: no JSON"),
        ("", {"cwd": "gone"}, "No such file or directory: "),
        ("", {"secrets": {"KEY": "env:NOT_THERE"}}, "secret KEY: the coordinator has no variable"),
        (
            "",
            {"command": (), "url": "http://[::1]:9", "secret_headers": {"k": ("", LINES)}},
            "secret k: its value is no line of ASCII",
        ),
    ],
)
def test_a_server_that_does_not_start_says_why_to_all_who_wait(scene, before, more, told):
    server = scene.server(before, **more)

    async def act(pool):
        return await asyncio.gather(*(why(pool.call(server, "echo", {})) for _ in range(5)))

    found = scene.play(act)
    assert {kind for kind, _ in found} == {Why.STARTED}
    assert all(text.startswith(told) for _, text in found), found
    assert len(scene.noted("start")) <= 1, "they share one start"
    assert not any(map(alive, scene.pids()))


def test_calls_side_by_side_share_a_connection_that_ends_when_idle(scene):
    server, other = scene.server(idle_s=0.2), scene.server(env={"A": "b"})

    async def act(pool):
        calls = [pool.call(server, "echo", {"n": n, "text": "x" * 10_000}) for n in range(100)]
        found = await asyncio.gather(*calls, pool.call(other, "echo", {"n": -1}))
        assert [one["n"] for one in found] == [*range(100), -1]
        assert len(scene.noted("start")) == 2, "other settings, another server"
        while sum(map(alive, scene.pids())) > 1:  # noqa: ASYNC110 - processes
            await asyncio.sleep(0.05)
        assert await pool.call(server, "echo", {"n": 1}) == {"n": 1}
        assert len(scene.noted("start")) == 3

    scene.play(act)
    assert not any(map(alive, scene.pids()))


OWNER = """
import asyncio, sys
from pathlib import Path
from fleet.adapters.mcp_client import Server, Servers
async def own(top, *command):
    pool = Servers(Path(top), Path(top, ".fleet"), resolve=lambda *_: {}, mask=lambda text, _: text)
    await pool.call(Server(name="hand", command=command), "hang", {})
asyncio.run(own(*sys.argv[1:]))
"""


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])
def test_nothing_of_a_deaf_server_outlives_its_owner(scene, killed):
    if killed:
        words = (*BY_HAND, str(scene.notes), "deaf")
        owner = subprocess.Popen([sys.executable, "-c", OWNER, str(scene.top), *words])
        until(lambda: scene.noted("call"), "a call that hangs")
        assert all(map(alive, scene.pids()))
        owner.kill()
        owner.wait()
    else:
        scene.play(lambda pool: pool.call(scene.server("deaf"), "echo", {}))
    assert len(scene.pids()) == 2
    until(lambda: not any(map(alive, scene.pids())), "the end of the server and its child")


@pytest.fixture
def web(tmp_path):
    made = Web(tmp_path).start()
    yield made
    made.stop()


def test_a_server_over_http_refuses_limits_floods_and_comes_again(scene, web, monkeypatch):
    monkeypatch.setenv("WEB_TOKEN", "letmein")
    url = web.url
    told = {"authorization": ("Bearer ", "env:WEB_TOKEN")}
    server = Server(name="web", url=url, secret_headers=told)
    wrong = Server(name="wrong", url=url, headers={"authorization": "Bearer nonsense"})
    gone = Server(name="gone", url=f"{url}/gone", secret_headers=told)
    three = {"first": 1, "second": 2}

    async def act(pool):
        calls = [pool.call(server, "add", {"first": 1, "second": n}) for n in range(20)]
        assert [one["result"] for one in await asyncio.gather(*calls)] == [*range(1, 21)]
        found = await pool.call(server, "find", {"query": "whales"})
        assert found == {"found": ["whales {{ 7 * 6 }} #0", "whales {{ 7 * 6 }} #1"]}
        kind, text = await why(pool.call(server, "add", {"first": 1, "second": "x"}))
        assert (kind, "second" in text) == (Why.TOOL, True)
        kind, text = await why(pool.call(server, "big", {"megabytes": 50}))
        assert (kind, "it answered with more than" in text) == (Why.TOOL, True)
        assert await why(pool.call(wrong, "add", three)) == (
            Why.DENIED,
            "it refuses access (401)",
        )
        assert await why(pool.call(gone, "add", three)) == (Why.UNWELL, "it answered 404")
        (scene.top / "limited").touch()
        with pytest.raises(Failed) as limited:
            await pool.call(server, "add", three)
        assert (limited.value.why, limited.value.retry_after_s) == (Why.LIMITED, 1.0)
        (scene.top / "unwell").touch()
        kind, text = await why(pool.call(server, "add", three))
        assert (kind, text[:15]) == (Why.UNWELL, "it answered 503")
        (scene.top / "packed").touch()
        kind, text = await why(pool.call(server, "add", three))
        assert (kind, text[:21]) == (Why.TOOL, "it packed its answer ")
        kind, text = await why(pool.call(server, "die", {}))
        assert (kind, text[:23]) == (Why.LOST, "it cannot be reached: S")
        kind, text = await why(pool.call(server, "add", three))
        assert (kind, text[:21]) == (Why.UNWELL, "it cannot be reached:")
        web.start()
        assert await pool.call(server, "add", three) == {"result": 3}
        web.stop()
        web.start()
        assert await pool.call(server, "add", three) == {"result": 3}

    scene.play(act)


def test_how_long_to_wait_is_told_in_seconds_or_by_a_date():
    from fleet.adapters.mcp_client.web import MOST_WAIT_S, wait_s

    told = ("2.5", "-3", "1e9", "nan", "soon", "", formatdate(time.time() + 500, usegmt=True))
    *known, dated = map(wait_s, told)
    assert known == [2.5, 0.0, MOST_WAIT_S, None, None, None]
    assert dated is not None
    assert 0 < dated <= 500


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ([{"type": "text", "text": '{"a": 1}'}], '{"a": 1}'),
        ([{"type": "resource", "resource": {"mimeType": "a/b+json; x", "text": "[1]"}}], [1]),
        ([{"type": "resource", "resource": {"mimeType": "application/json", "text": "{"}}], "{"),
        ([{"type": "resource", "resource": {"text": "plain"}}], "plain"),
        (
            [{"type": "text", "text": "a"}, {"type": "image", "data": "eA=="}],
            ["a", {"type": "image", "data": "eA=="}],
        ),
        ([], None),
    ],
)
def test_content_comes_to_a_value(content, value):
    assert value_of({"content": content}) == value
    assert value_of({"content": content, "structuredContent": {"s": 1}}) == {"s": 1}
    assert value_of({"content": content, "structuredContent": 0}) == 0
