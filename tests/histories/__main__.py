"""`python -m histories --seeds N [--from M]`: plays histories and prints what was played."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from time import perf_counter

from histories.world import World


def main(argv: list[str]) -> int:
    """Returns 0 when every history kept every promise, else 1 after showing those that did not."""
    parser = ArgumentParser(prog="scripts/histories", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--most", type=int, default=3, help="failing seeds to show")
    parser.add_argument("--keep", action="store_true", help="keep the folders of failing seeds")
    asked = parser.parse_args(argv)
    if os.access("/dev/shm", os.W_OK):
        tempfile.tempdir = "/dev/shm"  # memory: these histories are many, and end with their proof
    begun, bad = perf_counter(), 0
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="histories-", ignore_cleanup_errors=True) as top:
        for seed in range(asked.first, asked.first + asked.seeds):
            world = World(seed, Path(top) / str(seed))
            try:
                world.play()
            except Exception as error:  # noqa: BLE001  a bug of any sort is what is looked for
                bad += 1
                print(f"seed {seed}: {type(error).__name__}: {error}")
                print("\n".join(world.trace[-30:]))
                if not isinstance(error, AssertionError):
                    traceback.print_exception(error)
                if asked.keep:
                    shutil.copytree(world.folder, Path.cwd() / f"history-{seed}", symlinks=True)
                if bad >= asked.most:
                    break
            tally.update(world.tally)
            shutil.rmtree(world.folder, ignore_errors=True)
    print(f"{asked.seeds} seeds from {asked.first} in {perf_counter() - begun:.1f} s, {bad} bad")
    print(", ".join(f"{name} {number}" for name, number in sorted(tally.items())))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
