"""Journals of every released version fold to the state that was recorded then, for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet import codec
from fleet.core import messages as m
from fleet.core.evolve import evolve, replay

JOURNALS = sorted(Path(__file__).parent.glob("*/*.jsonl"))


def lines_of(journal):
    return journal.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_journal_folds_to_its_recorded_state(journal):
    recorded = json.loads(journal.with_suffix(".state.json").read_text(encoding="utf-8"))
    state = replay(map(codec.loads_event, lines_of(journal)))
    assert json.loads(codec.dump_state(state)) == recorded
    assert codec.load_state(json.dumps(recorded)) == state


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_snapshot_at_any_place_and_the_tail_fold_to_the_same(journal):
    events = [codec.loads_event(line) for line in lines_of(journal)]
    whole = replay(events)
    for place in range(1, len(events)):
        state = codec.load_state(codec.dump_state(replay(events[:place])))
        for event in events[place:]:
            state = evolve(state, event)
        assert state == whole, f"a snapshot after event {place} differs"


def test_version_0_1_shows_every_event():
    journals = (Path(__file__).parent / "0.1").glob("*.jsonl")
    shown = {type(codec.loads_event(line)) for one in journals for line in lines_of(one)}
    assert shown == set(m.Event.__args__)
