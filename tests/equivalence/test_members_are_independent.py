"""A member does not change when others join its population, leave it early or go NaN, whichever executor trains it."""

from functools import cache

import pytest
import torch
from every import distance, same
from test_fused_equals_separate import RUNS, Setting, draw

from lockstep.engine.train import Trained
from lockstep.spec import SGD, AdamW, Constant, TrainSpec

CALM = [1e-3, 1e-2]
OTHERS = {"join": 3e-3, "stop early": 3.0, "go NaN": 1e300}  # their rate
PLACES = {0: 0, 1: 1, 4: 2, 5: 3}  # of the calm ones with the others between them, and by themselves; two folds each


@cache
def setting(case: str) -> Setting:
    return draw(case, torch.float64, seeds=1, epochs=8, patience=1, clip_norm=None, schedule=Constant())


def at_rates(case: str, rates: list[float]) -> TrainSpec:
    kind = SGD if case == "transformer" else AdamW  # see CASES
    return setting(case).spec.replace("optimizer", kind(lr=rates))


@cache
def by_themselves(case: str, executor: str) -> Trained:
    return setting(case).by(executor, at_rates(case, CALM)).trained


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_a_member_stays_as_it_is_when_others(what: str, case: str, executor: str) -> None:
    expected = by_themselves(case, executor)
    among = setting(case).by(executor, at_rates(case, [CALM[0], OTHERS[what], CALM[1]])).trained
    others = [among.finished[place] for place in (2, 3)]
    match what:
        case "stop early":
            assert len({done.epochs for done in among.finished}) > 1, "some must stop while others go on"
        case "go NaN":
            assert all(other.ended == "diverged" and other.epochs == 1 for other in others)
    for place, own in PLACES.items():
        one, other = among.finished[place], expected.finished[own]
        assert (one.ended, one.epochs, one.best_epoch) == (other.ended, other.epochs, other.best_epoch)
        if executor == "compiled":  # whose sums for a member are the same whoever trains beside it
            assert same(among.module(place), expected.module(own))
        assert distance(among.module(place), expected.module(own)) < 1e-12
