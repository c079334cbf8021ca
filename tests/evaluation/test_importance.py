import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.evaluation import permutation_importance, sample_rows


def shuffler(x, predict):
    def shuffled(feature, permutation):
        moved = x.copy()
        moved[:, feature] = x[permutation, feature]
        return predict(moved)

    return shuffled


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_feature_that_the_model_ignores_has_no_importance_and_the_ones_it_uses_rank_by_weight(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, 3))
    target = 3 * x[:, 0] + x[:, 1] + 0.1 * rng.normal(size=400)

    def predict(x):
        return 3 * x[:, 0] + x[:, 1]

    found = permutation_importance(shuffler(x, predict), ["large", "small", "unused"], "regression", target, predict(x))
    assert [one.name for one in found] == ["large", "small", "unused"]
    assert (found[2].mean, found[2].low, found[2].high) == (0.0, 0.0, 0.0)
    assert found[1].low > 0
    assert all(one.low <= one.mean <= one.high for one in found)


def test_the_rise_of_the_rmse_has_the_size_that_the_model_gives_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 1))
    target = 2 * x[:, 0] + rng.normal(size=20_000)
    found = permutation_importance(
        shuffler(x, lambda x: 2 * x[:, 0]), ["x"], "regression", target, 2 * x[:, 0], repeats=3
    )
    # Permuted, the error's variance is 1 + 2·2²: each of two independent draws of x brings its own.
    assert found[0].mean == pytest.approx(3 - 1, abs=0.05)
    assert found[0].low <= 2 <= found[0].high


def test_noise_that_the_model_fitted_has_an_interval_around_nothing_and_a_class_signal_has_not():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 2))
    target = (x[:, 0] + 0.5 * rng.normal(size=1000) > 0).astype(int)

    def predict(x):
        p = 1 / (1 + np.exp(-3 * x[:, 0] - 0.02 * x[:, 1]))
        return np.c_[1 - p, p]

    signal, noise = permutation_importance(shuffler(x, predict), ["signal", "noise"], "binary", target, predict(x))
    assert signal.name == "signal"
    assert signal.low > 0.5
    assert noise.low <= 0.001
    assert abs(noise.mean) < 0.01


def test_the_interval_tells_what_other_rows_would_have_shown():
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(200, 1))
        target = 2 * x[:, 0] + rng.normal(size=200)
        found = permutation_importance(shuffler(x, lambda x: 2 * x[:, 0]), ["x"], "regression", target, 2 * x[:, 0])
        held += found[0].low <= 2 <= found[0].high
    assert 0.82 <= held / 60 <= 1


def test_one_row_has_an_importance_without_an_interval():
    shuffled = shuffler(np.ones((1, 1)), lambda x: x[:, 0])
    lone = permutation_importance(shuffled, ["x"], "regression", np.zeros(1), np.ones(1))[0]
    assert lone.mean == 0
    assert math.isnan(lone.low)


def test_a_prediction_gone_astray_has_no_interval_and_is_no_warning():
    x, target = np.c_[np.arange(4.0), np.array([1e300, 1.0, 2.0, 3.0])], np.arange(4.0)
    shuffled = shuffler(x, lambda x: x[:, 0] + x[:, 1])
    for one in permutation_importance(shuffled, ["a", "b"], "regression", target, target):
        assert not math.isfinite(one.mean)
        assert math.isnan(one.low)


def test_the_same_seed_gives_the_same_importance():
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(50, 2)), rng.normal(size=50)
    shuffled = shuffler(x, lambda x: x[:, 0] - x[:, 1])
    once = permutation_importance(shuffled, ["a", "b"], "regression", target, x[:, 0] - x[:, 1], seed=5)
    assert once == permutation_importance(shuffled, ["a", "b"], "regression", target, x[:, 0] - x[:, 1], seed=5)


def test_sampled_rows_are_distinct_rising_and_at_most_as_many_as_asked():
    rows = sample_rows(10_000, most=200)
    assert len(rows) == 200
    assert (np.diff(rows) > 0).all()
    assert rows.max() < 10_000
    assert sample_rows(5).tolist() == [0, 1, 2, 3, 4]
