"""An MCP server by hand, in plain Python over its standard streams, that misbehaves when told to.

    python mcp_server.py NOTES [BEFORE]

Each start and each call is a line of NOTES: `start PID`, `call TOOL {...}`, with what `_meta` of
fleet says. BEFORE is what goes wrong before anything else: `dies`, `hangs`, `babbles`, `listless`
(it has no list of its tools), `deaf` (it ignores TERM, the end of its input, and starts a child
that does).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TOOLS = {
    "echo": "puts out what it is given, structured",
    "words": "puts out texts",
    "die": "ends in the middle of a call; with `once` only of the first one",
    "hang": "never answers, unless the file `alive` is there",
    "garbage": "says lines that are no JSON before it answers",
    "babble": "says nothing else",
    "wrong": "answers with what is no result, by `how`",
    "flood": "says so much news before it answers",
    "big": "answers with so many megabytes",
    "loud": "fills standard error before it answers",
    "env": "puts out its environment, also on standard error",
    "refuse": "says that it failed",
    "ask": "asks for input",
}


class Server:
    """The server; each message is a line."""

    def __init__(self, notes: Path, before: str = "") -> None:
        self.notes, self.before = notes, before

    def note(self, *words: object) -> None:
        with self.notes.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def say(self, **message: object) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    def serve(self) -> None:
        for line in sys.stdin:
            told = json.loads(line)
            if "id" in told:
                self.answer(told["id"], told["method"], told.get("params") or {})

    def answer(self, number: int, method: str, params: dict) -> None:
        if method == "initialize":
            about = {"name": "by hand", "version": "1"}
            result = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": about,
            }
            self.say(id=number, result=result)
        elif method == "tools/list" and self.before == "listless":
            self.say(id=number, error={"code": -32601, "message": "no list"})
        elif method == "tools/list":
            tools = [
                {"name": name, "description": text, "inputSchema": {"type": "object"}}
                for name, text in TOOLS.items()
            ]
            self.say(id=number, result={"tools": tools})
        elif method == "tools/call":
            meta = {k: v for k, v in (params.get("_meta") or {}).items() if k.startswith("fleet/")}
            self.note("call", params["name"], json.dumps({"key": [*meta.values()]}))
            getattr(self, params["name"])(number, params.get("arguments") or {})
        else:
            self.say(id=number, error={"code": -32601, "message": f"no method {method}"})

    def text(self, number: int, *texts: str, **more: object) -> None:
        content = [{"type": "text", "text": text} for text in texts]
        self.say(id=number, result={"content": content, **more})

    # --- tools ------------------------------------------------------------------------------------

    def echo(self, number: int, told: dict) -> None:
        time.sleep(told.pop("pause", 0))
        self.text(number, json.dumps(told), structuredContent=told)

    def words(self, number: int, told: dict) -> None:
        if "json" in told:
            inner = {"uri": "x:y", "mimeType": "application/json", "text": json.dumps(told["json"])}
            self.say(id=number, result={"content": [{"type": "resource", "resource": inner}]})
        else:
            self.text(number, *told["texts"])

    def die(self, number: int, told: dict) -> None:
        died = self.notes.with_name("died")
        if told.get("once") and died.exists():
            self.text(number, "alive")
            return
        died.touch()
        print("a heavy heart", file=sys.stderr, flush=True)
        os._exit(7)

    def hang(self, number: int, told: dict) -> None:
        while not self.notes.with_name("alive").exists():
            time.sleep(0.05)
        self.text(number, "alive")

    def garbage(self, number: int, told: dict) -> None:
        for line in ("INFO: starting", '{"jsonrpc": "2.0"}', "[1, 2", "\x1b[31mred\x1b[0m", ""):
            print(line)
        self.text(number, "after all")

    def babble(self, number: int, told: dict) -> None:
        while True:
            print("no JSON")

    def wrong(self, number: int, told: dict) -> None:
        wrong = {
            "form": '{"content": "text"}',
            "surrogate": '{"content": [{"type": "text", "text": "\\ud800"}]}',
            "deep": f'{{"content": [], "structuredContent": {"[" * 99_999}{"]" * 99_999}}}',
            "number": '{"content": [], "structuredContent": {"n": NaN}}',
        }
        print(f'{{"jsonrpc": "2.0", "id": {number}, "result": {wrong[told["how"]]}}}', flush=True)

    def flood(self, number: int, told: dict) -> None:
        for n in range(told["messages"]):
            self.say(method="notifications/message", params={"level": "info", "data": n})
        self.text(number, "that was all")

    def big(self, number: int, told: dict) -> None:
        part = "x" * (1 << 20)
        if told.get("last"):  # the id behind the answer, as other libraries write it
            sys.stdout.write('{"result": {"content": [{"type": "text", "text": "')
        else:
            sys.stdout.write(f'{{"jsonrpc": "2.0", "id": {number}, "result": {{"content": "')
        for _ in range(told["megabytes"]):
            sys.stdout.write(part)
        end = f'"}}]}}, "jsonrpc": "2.0", "id": {number}}}' if told.get("last") else '"}}'
        print(end, flush=True)

    def loud(self, number: int, told: dict) -> None:
        for n in range(told["lines"]):
            print(f"line {n} " + "y" * 90, file=sys.stderr)
        self.text(number, "said it all")

    def env(self, number: int, told: dict) -> None:
        print(f"my token is {os.environ.get('TOKEN')}", file=sys.stderr, flush=True)
        self.text(number, "", structuredContent=dict(os.environ))

    def refuse(self, number: int, told: dict) -> None:
        self.text(number, f"\x1b[2Jno {told['what']}", isError=True)

    def ask(self, number: int, told: dict) -> None:
        self.say(id=number, result={"resultType": "input_required", "inputRequests": {}})


def main(notes: Path, before: str = "") -> None:
    server = Server(notes, before)
    server.note("start", os.getpid())
    if before == "dies":
        sys.exit("no heart at all")
    if before == "hangs":
        time.sleep(600)
    if before == "babbles":
        server.babble(0, {})
    if before == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code, str(notes)], start_new_session=True)
        server.note("child", child.pid)
    server.serve()
    if before == "deaf":
        time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
