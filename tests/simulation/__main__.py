"""`python -m simulation --seeds N [--from M]`: plays seeds and prints what was played."""

from __future__ import annotations

import sys
import traceback
from argparse import ArgumentParser
from collections import Counter
from time import perf_counter

from simulation.world import World


def main(argv: list[str]) -> int:
    """Returns 0 when every seed kept every promise, else 1 after naming the seeds that did not."""
    parser = ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--most", type=int, default=5, help="failing seeds to show")
    asked = parser.parse_args(argv)
    begun, bad = perf_counter(), []
    sums: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    for seed in range(asked.first, asked.first + asked.seeds):
        world = World(seed)
        try:
            world.play()
        except Exception as error:  # noqa: BLE001  a bug of any sort is what is looked for
            bad.append(seed)
            last = traceback.extract_tb(error.__traceback__)[-1]
            print(f"seed {seed}: {type(error).__name__}: {error} ({last.name}:{last.lineno})")
            if len(bad) >= asked.most:
                break
        tally = world.tally
        sums.update(
            events=tally.events,
            commands=tally.commands,
            rejected=tally.rejected,
            crashes=tally.crashes,
            turns=tally.turns,
        )
        tags.update(tally.tags)
    spent = perf_counter() - begun
    print(f"{asked.seeds} seeds from {asked.first} in {spent:.1f} s, {len(bad)} bad")
    print(", ".join(f"{name} {number}" for name, number in sums.items()))
    print(", ".join(f"{name} {number}" for name, number in tags.most_common()))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
