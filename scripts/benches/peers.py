"""Other engines at the same work in the same run: `scripts/bench workflows --peers`.

They are installed from the package registries into `.bench/` of the checkout (BENCH_PEERS says
elsewhere), at the versions below; what cannot be installed is said and left out. Each runs in an
interpreter of its own, with its journal on the same disk. All journal each step before the next
one, so what differs is what they do besides; see each program for what it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import flows
import scenes
import workflows

HERE = Path(__file__).resolve().parent
ENGINES = HERE / "engines"
PYTHONS = ("dbos==3.4.0", "restate-sdk==1.3.0", "hypercorn==0.18.0")
SERVER = "@restatedev/restate-server@1.7.12"
BINARY = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"
LIMIT_S = 240.0

Found = Mapping[str, float]


def cache() -> Path:
    """Returns where the engines are installed."""
    told = os.environ.get("BENCH_PEERS")
    return Path(told) if told else HERE.parents[1] / ".bench"


def python() -> str:
    """Returns the interpreter that has the engines; installs them first."""
    home = cache() / "venv"
    made = home / "bin/python"
    mark = home / "-".join(("installed", *(one.replace("==", "-") for one in PYTHONS)))
    if not mark.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        quietly = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([made, *quietly, *PYTHONS], check=True)
        mark.touch()
    return str(made)


def server() -> str:
    """Returns Restate's server; installs it first."""
    binary = cache() / BINARY
    if not binary.exists():
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(cache())]
        subprocess.run([*npm, SERVER], check=True, stdout=subprocess.DEVNULL)
    return str(binary)


def driven(folder: Path, name: str, *more: str, interpreter: str = sys.executable) -> Found:
    """Returns what the program that drives an engine has found."""
    place = folder / name
    place.mkdir()
    said = subprocess.run(
        [interpreter, str(ENGINES / f"{name}.py"), str(place), *more],
        check=True, stdout=subprocess.PIPE, timeout=LIMIT_S, cwd=place,
    ).stdout  # fmt: skip
    found: Found = json.loads(said.splitlines()[-1])
    return found


def ours(folder: Path) -> Found:
    """Returns the same of fleet: its starts until the first step is journaled and read back."""
    with workflows.engine(folder / "ours") as one:
        starts, _ = workflows.starts_ms(one)
        chain_s = one.play(flows.chain(workflows.CHAIN))[0]
    with workflows.engine(folder / "ours-many") as one:
        many_s, many_cpu_s, _ = workflows.many(one)
    return {
        "start_ms": workflows.high(starts), "chain_s": chain_s,
        "many_s": many_s, "many_cpu_s": many_cpu_s,
    }  # fmt: skip


def show(folder: Path) -> None:
    """Prints what each engine needs, and how many times as much as fleet."""
    cases: dict[str, Callable[[], Found]] = {
        "fleet": lambda: ours(folder),
        "asyncio and SQLite, bare": lambda: driven(folder, "journal"),
        "DBOS, SQLite": lambda: driven(folder, "dbos_sqlite", interpreter=python()),
        "Restate": lambda: driven(folder, "restate_server", server(), interpreter=python()),
    }
    figures, least = [], None
    for name, case in cases.items():
        try:
            found = case()
        except (OSError, subprocess.SubprocessError) as absent:
            figures.append(scenes.Figure(name, "not measured", note=str(absent)[:120]))
            continue
        least = least or found
        told = (
            f"a chain of 100 {found['chain_s'] * 1000:.0f} ms, 1,000 runs of 5 steps"
            f" {found['many_s']:.2f} s and {found['many_cpu_s']:.2f} processor s"
        )
        times = found["many_cpu_s"] / least["many_cpu_s"]
        figures.append(
            scenes.Figure(f"{name}: first step, P95", f"{found['start_ms']:.1f} ms",
                note=f"{told}; {times:.2f}x fleet's processor")
        )  # fmt: skip
    scenes.show("engines", "scripts/bench workflows --peers", figures)
