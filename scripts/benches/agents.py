"""What fleet adds to agent programs: to a headless turn, to memory, between a hook and the inbox.

    main([-n=ROUNDS] [--programs=NAME,...])

The programs are those that `tests/real` has installed (PYTEST_REAL_CACHE or .real), their model is
scripted and on loopback. The floor of a turn is the same command without fleet and its hooks, in a
worktree as well: programs are slower there than in the repository's own checkout (codex by 180 ms).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import scenes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

SESSIONS, ASKED = 50, 40
HOOKED_BY = ("GEMINI_CLI_HOME", "OPENCODE_CONFIG_CONTENT")
"""Variables that point a program at fleet's hooks; the bare command goes without."""


class Program:
    """One agent program with a home of its own and a scripted model for each turn."""

    def __init__(self, folder: Path, name: str, binary: Path) -> None:
        self.name, self.folder, self.count = name, folder, 0
        self.home, self.bin = folder / "home", folder / "bin"
        for made in (self.home, self.bin):
            made.mkdir(parents=True)
        (self.bin / name).symlink_to(binary)
        self.permissions = "yolo" if name == "mini" else "edits"

    def _scene(self, server: object) -> tuple[Path, Path, dict[str, str]]:
        """Returns a fresh repository, where the program's worktree is to be, and what its
        environment needs.
        """
        from support.agent_programs import KEY, KEYS, point, working

        self.count += 1
        root = scenes.make_repository(self.folder / f"r{self.count}", 20)
        for name in ("name", "email"):  # gemini's shell sees the repository's configuration only
            subprocess.run(["git", "config", f"user.{name}", "bench"], cwd=root, check=True)
        work = root.parent / f"{root.name}.worktrees" / "ada"
        model = server.play(  # type: ignore[attr-defined]
            f"m{self.count}", working(self.name, "ada"), cwd=work, toolless=self.name == "aider"
        )
        return root, work, {**point(self.name, self.home, root, model.url), KEYS[self.name]: KEY}

    def bare(self, server: object) -> float:
        """Returns the seconds of the program's own command, as fleet would call it."""
        from fleet.harnesses import AgentFacts, find_harness

        root, work, env = self._scene(server)
        add = ["git", "worktree", "add", "-q", "-b", "ada", str(work)]
        subprocess.run(add, cwd=root, check=True)
        brief = root.parent / f"{root.name}.md"
        brief.write_text("Write ada.md.")
        attempt = self.folder / f"attempt{self.count}"
        agent = AgentFacts(id="ada", harness=self.name, permissions=self.permissions)
        made = find_harness(self.name).prepare(agent, brief, attempt, work, None)
        for path, text in made.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        told = {name: value for name, value in made.env.items() if name not in HOOKED_BY}
        words, argv = list(made.argv), []
        while words:
            word = words.pop(0)
            if word == "--settings" or (word == "-c" and words[0].startswith("hooks.")):
                words.pop(0)
            elif not word.startswith(("--dangerously-bypass-hook-trust", "--plugin-dir=")):
                argv.append(word)
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        began = time.perf_counter()
        with (made.stdin or brief).open("rb") as stdin:
            subprocess.run(
                argv, cwd=work, stdin=stdin,
                env={**os.environ, **told, **env, "PATH": path, "PWD": str(work)},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
            )  # fmt: skip
        took = time.perf_counter() - began
        assert (work / "ada.md").exists()
        shutil.rmtree(work.parent)
        return took

    def driven(self, server: object) -> float:
        """Returns the seconds from the wrapper's claim to its exit record, turn judged and all."""
        root, _, env = self._scene(server)
        agent = {
            "id": "ada",
            "harness": self.name,
            "mode": "headless",
            "permissions": self.permissions,
            "env": {**env, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"},
        }
        (root / "agents").mkdir()
        (root / "tasks").mkdir()
        (root / "coordination.md").write_text("---\nfleet: bench\nbase: main\n---\n\nWork.\n")
        (root / "agents/ada.yaml").write_text(json.dumps(agent))
        (root / "tasks/ada.md").write_text(
            "---\nagent: ada\ndeliverables: [ada.md]\n---\n\nWrite ada.md.\n"
        )
        try:
            folder = root / ".fleet/attempts/plan/ada%2Fwork/1"
            launch = scenes.fleet("-C", str(root), "launch", "--all")
            subprocess.run(launch, check=True, capture_output=True)
            # Waited for without another command of fleet's, whose start would run beside the turn.
            scenes.until((folder / "exit").exists)
            wait = scenes.fleet("-C", str(root), "wait", "ada", "--timeout", "240")
            subprocess.run(wait, check=True, capture_output=True)
            ended_ms = json.loads((folder / "exit").read_text())["ended_at_ms"]
            return float(ended_ms) / 1000 - (folder / "claim").stat().st_mtime
        finally:
            scenes.end_fleet(root)
            shutil.rmtree(root.parent / f"{root.name}.worktrees", ignore_errors=True)


def turn_figures(folder: Path, rounds: int, wanted: str) -> list[scenes.Figure]:
    """Returns what fleet adds to one headless turn of each program that is installed and wanted."""
    from support.agent_programs import BINARIES
    from support.model_server import ModelServer

    cache = Path(os.environ.get("PYTEST_REAL_CACHE") or ROOT / ".real")
    figures = []
    for name, where in BINARIES.items():
        if wanted and name not in wanted.split(","):
            continue
        binary = next(iter(cache.glob(f"{name}-*/{where}")), None)
        if binary is None:
            figures.append(scenes.Figure(f"a turn of {name}", "not installed", note=str(cache)))
            continue
        program = Program(folder / name, name, binary)
        with ModelServer() as server:
            found = scenes.in_turn(
                rounds,
                bare=lambda: program.bare(server),  # noqa: B023 - called in this round
                driven=lambda: program.driven(server),  # noqa: B023
            )
        bare, driven = (statistics.median(found[case]) for case in ("bare", "driven"))
        added_ms = (driven - bare) * 1000
        met = added_ms <= max(150, bare * 100)
        figures.append(
            scenes.Figure(
                f"a turn of {name}, what fleet adds",
                f"{added_ms:.0f} ms",
                "<= 10 % or 150 ms",
                met,
                f"{driven / bare:.2f}x; median {driven * 1000:.0f} ms against {bare * 1000:.0f} ms",
            )
        )
    return figures


def memory_mb(folder: Path) -> float:
    """Returns what one more live agent costs fleet itself, in MB of proportional memory."""
    held = {}
    for count in (1, SESSIONS):
        root, notes = scenes.make_repository(folder / f"memory{count}", 20), folder / f"n{count}"
        notes.mkdir()
        scenes.write_fleet(root, count, f"date +%s%N >{notes}/$FLEET_TASK; exec sleep 900")
        try:
            with scenes.coordinator(root) as pid:
                subprocess.run(
                    scenes.fleet("-C", str(root), "launch", "--all"),
                    check=True,
                    capture_output=True,
                )
                scenes.until(lambda: len(list(notes.iterdir())) == count)  # noqa: B023
                time.sleep(1)
                held[count] = sum(_pss(one) for one in _ours(root, pid))
        finally:
            scenes.end_fleet(root)
    return (held[SESSIONS] - held[1]) / (SESSIONS - 1) / 1e6


def _ours(root: Path, coordinator: int) -> list[psutil.Process]:
    """Returns the coordinator, the tmux server and all below it but the agents."""
    from fleet.app.place import FleetPlace

    socket = FleetPlace(root).socket
    said = subprocess.run(
        ["tmux", "-L", socket, "display-message", "-p", "#{pid}"], capture_output=True, check=True
    )
    server = psutil.Process(int(said.stdout))
    below = [one for one in server.children(recursive=True) if one.name() != "sleep"]
    return [psutil.Process(coordinator), server, *below]


def _pss(one: psutil.Process) -> int:
    return int(one.memory_full_info().pss)


def asking_ms(folder: Path) -> list[float]:
    """Returns how long each permission took from the start of its hook to the journal, sorted."""
    import fleet.hook
    from fleet.adapters.journal import Reader

    root = scenes.make_repository(folder / "asking", 20)
    scenes.write_fleet(root, 1, "exec sleep 900")
    found: list[float] = []
    hooks: list[subprocess.Popen[bytes]] = []
    try:
        subprocess.run(
            scenes.fleet("-C", str(root), "launch", "--all"), check=True, capture_output=True
        )
        brief = root / ".fleet/attempts/plan/t0%2Fwork/1/brief.md"
        event = b'{"hook_event_name": "PermissionRequest", "tool_name": "Bash"}'
        reader = Reader(root / ".fleet")
        for _ in range(ASKED):
            seq = reader.last_seq("plan")
            began = time.time()
            hook = subprocess.Popen(
                [sys.executable, "-I", "-S", str(fleet.hook.__file__)],
                env={"FLEET_BRIEF": str(brief)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            hooks.append(hook)
            assert hook.stdin is not None
            hook.stdin.write(event)
            hook.stdin.close()
            scenes.until(lambda: _raised(reader, seq))  # noqa: B023
            found.append((time.time() - began) * 1000)
        reader.close()
    finally:
        for hook in hooks:
            hook.kill()
            hook.wait()
        scenes.end_fleet(root)
    return sorted(found)


def _raised(reader: object, seq: int) -> bool:
    rows = reader.events("plan", after=seq)  # type: ignore[attr-defined]
    return any(json.loads(row.body)["is"] == "question-raised" for row in rows)


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 5)
    wanted = next((word[11:] for word in argv if word.startswith("--programs=")), "")
    # Programs that shut themselves in have a /dev of their own, and put no helpers under /tmp.
    os.environ.setdefault("BENCH_TMP", "/var/tmp")  # noqa: S108  a folder of its own is made in it
    with scenes.scratch() as folder:
        figures = turn_figures(folder, rounds, wanted)
        if wanted:
            return scenes.show("agents", "scripts/bench agents", figures)
        held = memory_mb(folder)
        lags = asking_ms(folder)
    high = lags[round(len(lags) * 0.95) - 1]
    figures += [
        scenes.Figure(
            f"memory for one more live agent of {SESSIONS}", f"{held:.2f} MB", "<= 3 MB", held <= 3
        ),
        scenes.Figure(
            "hook to inbox, P95", f"{high:.0f} ms", "< 200 ms", high < 200,
            f"P50 {lags[len(lags) // 2]:.0f} ms",
        ),
    ]  # fmt: skip
    return scenes.show("agents", "scripts/bench agents", figures)
