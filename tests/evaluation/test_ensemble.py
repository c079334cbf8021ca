import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import TrainingError
from lockstep.evaluation import average, out_of_fold, score


def test_an_ensemble_is_the_mean_of_its_members():
    predictions = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 6)).astype(np.float32)
    mean = average(predictions)
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, predictions.astype(float).mean(axis=0))
    np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-6)


def test_members_set_aside_or_not_finite_have_no_say():
    predictions = np.array([[1.0, 2.0], [np.nan, 2.0], [3.0, 4.0], [100.0, 100.0]])
    np.testing.assert_allclose(average(predictions, ok=[True, True, True, False]), [2.0, 3.0])


def test_an_ensemble_of_failed_members_alone_is_an_error_that_says_what_to_do():
    with pytest.raises(TrainingError, match=r"all 2 failed.*optimizer\.lr"):
        average(np.full((2, 3), np.nan))


@given(seed=st.integers(0, 2**32 - 1), members=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_an_ensembles_log_loss_and_rmse_are_never_worse_than_its_members_mean(seed, members):
    rng = np.random.default_rng(seed)
    target, predictions = rng.integers(0, 3, 20), rng.dirichlet(np.ones(3), size=(members, 20))
    each = [score("multiclass", target, p)["log_loss"] for p in predictions]
    assert score("multiclass", target, average(predictions))["log_loss"] <= np.mean(each) + 1e-12
    numbers, guesses = rng.normal(size=20), rng.normal(size=(members, 20))
    each = [score("regression", numbers, g)["rmse"] for g in guesses]
    assert score("regression", numbers, average(guesses))["rmse"] <= np.mean(each) + 1e-12


def test_out_of_fold_puts_every_row_in_its_place_and_averages_over_seeds():
    rows = [np.array([4, 0]), np.array([1, 3]), np.array([0, 4]), np.array([3, 1])]
    predictions = [np.array([40.0, 0.0]), np.array([10.0, 30.0]), np.array([2.0, 42.0]), np.array([32.0, 12.0])]
    assembled = out_of_fold(predictions, rows, n_rows=6)
    np.testing.assert_allclose(assembled.prediction, [1.0, 11.0, np.nan, 31.0, 41.0, np.nan])
    assert assembled.covered.tolist() == [True, True, False, True, True, False]
    assert assembled.members.tolist() == [2, 2, 0, 2, 2, 0]


def test_out_of_fold_leaves_failed_members_out_and_keeps_the_class_axis():
    p = np.array([[0.2, 0.8], [0.6, 0.4]])
    rows = [np.array([0, 1]), np.array([0, 1]), np.array([2, 3])]
    assembled = out_of_fold([p, p * np.nan, p], rows, n_rows=4, ok=[True, True, False])
    np.testing.assert_allclose(assembled.prediction[:2], p)
    assert np.isnan(assembled.prediction[2:]).all()
    assert assembled.covered.tolist() == [True, True, False, False]
