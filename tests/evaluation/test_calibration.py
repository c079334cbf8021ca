import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve

from lockstep.evaluation import reliability, wilson


def pair(p):
    return np.c_[1 - p, p]


def test_bins_are_those_of_scikit_learns_quantile_strategy():
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    target = rng.integers(0, 2, 1000)
    observed, predicted = calibration_curve(target, p, n_bins=10, strategy="quantile")
    curve = reliability("binary", target, pair(p))
    np.testing.assert_allclose([b.predicted for b in curve.bins], predicted, atol=2e-3)
    np.testing.assert_allclose([b.observed for b in curve.bins], observed, atol=0.011)
    assert [b.count for b in curve.bins] == [100] * 10


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 80), bins=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_every_row_is_in_one_bin_equal_probabilities_share_it_and_the_error_is_as_defined(seed, rows, bins):
    rng = np.random.default_rng(seed)
    p, target = rng.integers(0, 8, rows) / 8, rng.integers(0, 2, rows)
    curve = reliability("binary", target, pair(p), bins=bins)
    counts = np.array([b.count for b in curve.bins])
    assert 1 <= len(counts) <= bins
    assert counts.sum() == rows
    assert set(np.cumsum(counts)) <= set(np.searchsorted(np.sort(p), np.unique(p), side="right"))
    assert sum(b.observed * b.count for b in curve.bins) == pytest.approx(target.sum())
    assert sum(b.predicted * b.count for b in curve.bins) == pytest.approx(p.sum())
    error = sum(abs(b.observed - b.predicted) * b.count for b in curve.bins) / rows
    assert curve.error == pytest.approx(error)
    assert all(0 <= b.low <= b.observed + 1e-12 and b.observed - 1e-12 <= b.high <= 1 for b in curve.bins)


def test_probabilities_that_mean_what_they_say_have_a_small_error_and_overconfident_ones_a_large():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    target = (rng.random(20_000) < p).astype(int)
    honest = reliability("binary", target, pair(p))
    assert honest.error < 0.015
    boastful = reliability("binary", target, pair(np.where(p > 0.5, 0.5 + p / 2, p / 2)))
    assert boastful.error > 0.1


def test_several_classes_are_judged_by_the_confidence_in_the_predicted_one():
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.1, 0.0, 0.9]])
    curve = reliability("multiclass", np.array([0, 0, 2, 2]), probability, bins=2)
    assert [b.predicted for b in curve.bins] == pytest.approx([0.65, 0.85])
    assert [b.observed for b in curve.bins] == [1.0, 0.5]
    assert curve.error == pytest.approx(0.35)
    assert set(curve.to_dict()["bins"][0]) == {"predicted", "observed", "low", "high", "count"}


def test_wilsons_interval_is_scipys():
    for hits, count in [(0, 10), (3, 10), (10, 10), (1, 1), (50, 200)]:
        low, high = wilson(np.array([hits]), np.array([count]))
        expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_there_is_no_reliability_of_a_regression_or_of_no_rows():
    assert reliability("regression", np.zeros(3), np.zeros(3)) is None
    assert reliability("binary", np.zeros(0), np.zeros((0, 2))) is None
