"""Restate: its server, the service that it calls, and a client, each a process on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import restate
from hypercorn.asyncio import serve as serve_app
from hypercorn.config import Config
from measure import CHAIN, MANY, STARTS, STEPS, report, spent

CLIENTS = 64
TIMES = "times"


def serve(port: int, folder: Path) -> None:
    """Is the service: a workflow of steps that count; leaves when its first step began."""
    service = restate.Service("flow")

    @service.handler()
    async def run(ctx: restate.Context, count: int) -> int:
        number = 0
        for step in range(count):

            def one(number: int = number, step: int = step) -> int:
                if not step:
                    (folder / TIMES).write_text(repr(time.time()))
                return number + 1

            number = await ctx.run_typed("one", one)
        return number

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    asyncio.run(serve_app(restate.app([service]), config))


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def call(port: int, path: str, told: object) -> object:
    """Returns what a server answers."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        link.request("POST", path, json.dumps(told), {"content-type": "application/json"})
        answer = link.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{path}: {answer.status} {said[:300]!r}")
        return json.loads(said)
    finally:
        link.close()


def eventually(port: int, path: str, told: object) -> object:
    """Returns the same as soon as the server answers."""
    until = time.monotonic() + 60
    while True:
        try:
            return call(port, path, told)
        except (OSError, RuntimeError, http.client.HTTPException):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def main(folder: Path, binary: str) -> None:
    """Measures."""
    ingress, admin, node, service = (free_port() for _ in range(4))
    (folder / "restate.toml").write_text(
        f'disable-telemetry = true\nbase-dir = "{folder}/data"\nnode-name = "bench"\n'
        f'bind-address = "127.0.0.1:{node}"\nadvertised-address = "http://127.0.0.1:{node}/"\n'
        f'[ingress]\nbind-address = "127.0.0.1:{ingress}"\n'
        f'[admin]\nbind-address = "127.0.0.1:{admin}"\n'
    )
    with (folder / "restate.log").open("wb") as log:
        server = subprocess.Popen(
            [binary, "--config-file", str(folder / "restate.toml")], stdout=log, stderr=log
        )
        worker = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(service), str(folder)], stdout=log, stderr=log
        )
    try:
        eventually(admin, "/deployments", {"uri": f"http://127.0.0.1:{service}"})
        eventually(ingress, "/flow/run", 1)
        starts = []
        for _ in range(STARTS):
            at = time.time()
            call(ingress, "/flow/run", STEPS)
            starts.append((float((folder / TIMES).read_text()) - at) * 1000)
        at = time.perf_counter()
        assert call(ingress, "/flow/run", CHAIN) == CHAIN
        chain_s = time.perf_counter() - at
        before, at = spent(server.pid, worker.pid), time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda _: call(ingress, "/flow/run", STEPS), range(MANY)))
        many_s = time.perf_counter() - at
        report(starts, chain_s, many_s, spent(server.pid, worker.pid) - before)
    finally:
        for process in (worker, server):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), os.fspath(sys.argv[2]))
