"""Whatever agents, people and a killed fleet do: no commit and no file is lost, the base holds what
was judged. `scripts/histories --seeds 2000` plays more.
"""

from __future__ import annotations

import shutil

import pytest

from histories.mutants import MUTANTS, found_in
from histories.world import World

SEEDS = 12


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost(seed, tmp_path):
    World(seed, tmp_path / "w").play()


def test_the_same_seed_gives_the_same_history(tmp_path):
    told = []
    for seed in (5, 5, 6):
        world = World(seed, tmp_path / "w")
        world.play(6)
        told.append(world.memory.commits)
        shutil.rmtree(tmp_path / "w")
    assert told[0] == told[1] != told[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant, tmp_path):
    assert found_in(mutant.scene, tmp_path / "well") == "", "the scene itself is at fault"
    assert found_in(mutant.scene, tmp_path / "planted", mutant), "no check sees it"
