"""The whole kernel by seed: hostile worlds end by themselves, and planted bugs are found."""

from __future__ import annotations

import pytest

from simulation.mutants import MUTANTS, caught_by
from simulation.world import World

SEEDS = 300
BOUND = 1000


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_every_seeded_world_keeps_its_promises(first):
    for seed in range(first, first + 50):
        World(seed).play()


def test_the_same_seed_gives_the_same_trace():
    traces = []
    for seed in (3, 3, 4):
        world = World(seed)
        world.play()
        traces.append(world.trace.hexdigest())
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant):
    assert caught_by(mutant, BOUND) is not None, "no checker sees it"
