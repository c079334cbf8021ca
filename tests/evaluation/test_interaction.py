import itertools

import numpy as np
import pytest

from lockstep.evaluation import corrected_t_test, elsewhere

HOW = {"test_over_train": 1 / 4}


@pytest.fixture
def rng():
    return np.random.default_rng()


def cells(rng, means, noise=0.0, folds=5, seeds=2):
    """Scores of candidates x and y with each of the means ``[B, L]``, shared difficulty of folds and own noise."""
    means = np.asarray(means, dtype=float)
    choices = [{"b": f"b{b}", "a": f"a{a}"} for b, a in itertools.product(*map(range, means.shape))]
    scores = means.reshape(-1, 1, 1) + rng.normal(size=(1, folds, seeds))
    return scores + noise * rng.normal(size=(len(scores), folds, seeds)), choices


def test_where_the_best_changes_sides_is_found_with_its_gain(rng):
    sign = rng.choice([-1, 1])
    scores, choices = cells(rng, sign * np.array([[3.0, 0.0], [0.0, 1.0]]), noise=1e-3)
    order = rng.permutation(4)
    (found,) = elsewhere(scores[order], [choices[i] for i in order], "a", "b", larger_is_better=sign > 0, **HOW)
    assert (found.at, found.level, found.than) == ("b1", "a1", "a0")
    assert found.gain == pytest.approx(1, abs=0.02)
    assert found.p_value < 1e-4


def test_the_p_value_is_that_of_the_contrast_times_the_tries(rng):
    scores, choices = cells(rng, [[4.0, 0, 0], [0, 1.0, 0], [4.0, 0, 0]], noise=0.2)
    (found,) = elsewhere(scores, choices, "a", "b", larger_is_better=True, **HOW)
    assert found.at == "b1"
    grid = scores.reshape(3, 3, *scores.shape[1:])
    level = int(found.level[1])
    ahead = grid[:, level] - grid[:, 0]
    plain = corrected_t_test(ahead[1] - (ahead[0] + ahead[2]) / 2, **HOW).p_value
    assert found.p_value == pytest.approx(min(1, 3 * 2 * plain))


def test_a_best_level_that_is_best_everywhere_is_not_said_to_depend(rng):
    scores, choices = cells(rng, [[3.0, 0.0], [1.0, 0.5]], noise=1e-3)
    assert elsewhere(scores, choices, "a", "b", larger_is_better=True, **HOW) == []


def test_without_an_interaction_it_is_claimed_at_most_once_in_twenty():
    rng, claims, tries = np.random.default_rng(0), 0, 600
    for _ in range(tries):
        scores, choices = cells(rng, np.zeros((3, 3)), noise=1.0)
        claims += any(one.p_value < 0.05 for one in elsewhere(scores, choices, "a", "b", larger_is_better=True, **HOW))
    assert claims <= 0.05 * tries


def test_a_third_factor_is_averaged_over_and_a_missing_cell_leaves_it_open(rng):
    scores, choices = cells(rng, [[3.0, 0.0], [0.0, 1.0]], noise=1e-3)
    wide = [chosen | {"c": c} for c in (1, 2) for chosen in choices]
    both = np.concatenate([scores, scores + 7])
    assert len(elsewhere(both, wide, "a", "b", larger_is_better=True, **HOW)) == 1
    assert elsewhere(both, wide, "c", "b", larger_is_better=True, **HOW) == []
    assert elsewhere(scores[:3], choices[:3], "a", "b", larger_is_better=True, **HOW) == []
    scores[2, 0, 0] = np.nan
    assert elsewhere(scores, choices, "a", "b", larger_is_better=True, **HOW) == []
