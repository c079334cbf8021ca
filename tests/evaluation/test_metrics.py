import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lockstep.evaluation import HEADLINE, LOSS, METRICS, TASK_METRICS, baseline, bootstrap, score
from lockstep.evaluation.weighted import evaluator


def draw_classes(rng, rows, classes, *, ties=False, present=None):
    """Codes [N] and probabilities [N, C] that know something, in tenths for ties; ``present`` limits the codes."""
    target = rng.choice(classes if present is None else present, size=rows)
    logits = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[target]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return target, rng.multinomial(10, probability) / 10 if ties else probability


def sklearn_classification(target, probability, weights=None):
    """The same metrics from scikit-learn, for targets of at least two classes."""
    classes = probability.shape[1]
    predicted, kept = probability.argmax(axis=1), {"sample_weight": weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class predicted but absent
        expected = {
            "accuracy": sk.accuracy_score(target, predicted, **kept),
            "balanced_accuracy": sk.balanced_accuracy_score(target, predicted, **kept),
            "f1": sk.f1_score(target, predicted, average="binary" if classes == 2 else "macro", **kept),
            "log_loss": sk.log_loss(target, probability, labels=np.arange(classes), **kept),
        }
    if classes == 2:
        return expected | {
            "auc": sk.roc_auc_score(target, probability[:, 1], **kept),
            "brier": sk.brier_score_loss(target, probability[:, 1], **kept),
            "average_precision": sk.average_precision_score(target, probability[:, 1], **kept),
        }
    squares = ((np.eye(classes)[target] - probability) ** 2).sum(axis=1)
    each = [sk.roc_auc_score(target == c, probability[:, c], **kept) for c in np.unique(target)]
    if weights is None and len(each) == classes:
        assert np.mean(each) == pytest.approx(sk.roc_auc_score(target, probability, multi_class="ovr"))
    return expected | {"auc": np.mean(each), "brier": np.average(squares, weights=weights)}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=15, deadline=None)
def test_classification_scores_are_those_of_scikit_learn_with_and_without_ties(classes, ties, seed, rows):
    target, probability = draw_classes(np.random.default_rng(seed), rows, classes, ties=ties)
    target[:2] = 0, 1
    task = "binary" if classes == 2 else "multiclass"
    expected = sklearn_classification(target, probability)
    actual = score(task, target, probability)
    assert list(actual) == list(TASK_METRICS[task])
    assert actual == pytest.approx(expected, rel=1e-9)


def test_a_class_that_the_test_rows_lack_is_left_out_of_the_means():
    target, probability = draw_classes(np.random.default_rng(0), 200, 5, present=[0, 2, 4])
    expected = sklearn_classification(target, probability)
    assert score("multiclass", target, probability) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_weights_mean_what_scikit_learns_sample_weights_mean(classes):
    rng = np.random.default_rng(1)
    target, probability = draw_classes(rng, 120, classes, ties=True)
    weights_NR = rng.integers(0, 4, size=(120, 5)).astype(float)
    task = "binary" if classes == 2 else "multiclass"
    actual = evaluator(task, target, probability)(weights_NR)
    for r in range(5):
        expected = sklearn_classification(target, probability, weights_NR[:, r])
        assert {name: values[r] for name, values in actual.items()} == pytest.approx(expected, rel=1e-9)


def test_a_certain_and_wrong_prediction_has_the_log_loss_that_scikit_learn_gives_it():
    target, probability = np.array([0, 1, 1]), np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert score("binary", target, probability)["log_loss"] == pytest.approx(sk.log_loss(target, probability))


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 100), offset=st.sampled_from([0.0, 1e6, -1e9]))
@settings(max_examples=30, deadline=None)
def test_regression_scores_are_those_of_scikit_learn(seed, rows, offset):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=rows) * 3 + offset
    prediction = target + rng.normal(size=rows)
    expected = {
        "rmse": sk.root_mean_squared_error(target, prediction),
        "mae": sk.mean_absolute_error(target, prediction),
        "r2": sk.r2_score(target, prediction),
    }
    assert score("regression", target, prediction) == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 2**32 - 1), power=st.floats(0.2, 5))
@settings(max_examples=30, deadline=None)
def test_auc_does_not_change_under_a_monotone_map_of_the_scores(seed, power):
    target, probability = draw_classes(np.random.default_rng(seed), 60, 2, ties=True)
    mapped = probability[:, 1] ** power / 2
    before, after = score("binary", target, probability), score("binary", target, np.c_[1 - mapped, mapped])
    assert after["auc"] == pytest.approx(before["auc"], nan_ok=True)
    assert after["average_precision"] == pytest.approx(before["average_precision"], nan_ok=True)


def test_what_the_rows_leave_undefined_is_nan_and_nothing_crashes():
    one_class = score("binary", np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert np.isnan(one_class["auc"])
    assert np.isnan(one_class["average_precision"])
    assert one_class["accuracy"] == 0.5
    assert one_class["f1"] == 0.0
    assert np.isnan(score("multiclass", np.array([1, 1]), np.full((2, 3), 1 / 3))["auc"])
    assert np.isnan(score("regression", np.array([3.0]), np.array([2.0]))["r2"])
    assert score("regression", np.array([3.0]), np.array([2.0]))["rmse"] == 1.0
    assert np.isnan(score("regression", np.array([0.1, 0.1, 0.1]), np.array([2.0, 1.0, 0.1]))["r2"])
    for task, empty in [("binary", np.zeros((0, 2))), ("multiclass", np.zeros((0, 3))), ("regression", np.zeros(0))]:
        assert np.isnan(list(score(task, np.zeros(0), empty).values())).all()


def test_a_prediction_that_is_not_finite_has_no_score():
    assert np.isnan(list(score("regression", np.array([1.0, 2.0]), np.array([1.0, np.inf])).values())).all()
    assert np.isnan(list(score("binary", np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, np.nan]])).values())).all()


def test_an_enormous_prediction_has_an_infinite_error_and_no_warning():
    assert score("regression", np.array([1.0, 2.0]), np.array([1.0, 1e200])) == {
        "rmse": np.inf,
        "mae": pytest.approx(5e199),
        "r2": -np.inf,
    }


def test_the_classification_baseline_names_the_most_frequent_training_class_and_its_frequencies():
    train, test = np.array([1] * 6 + [0] * 3 + [2]), np.array([0, 1, 1, 2, 2])
    guess = baseline("multiclass", train, test)
    assert guess.what == "always the most frequent class"
    assert guess.metrics["accuracy"] == pytest.approx(2 / 5)
    assert guess.metrics["auc"] == 0.5
    assert guess.metrics["log_loss"] == pytest.approx(-np.log([0.3, 0.6, 0.6, 0.1, 0.1]).mean())
    assert baseline("multiclass", train, test, classes=5).prediction.shape == (5, 5)


def test_the_regression_baseline_is_the_training_mean():
    guess = baseline("regression", np.array([1.0, 3.0]), np.array([2.0, 4.0]))
    assert guess.prediction.tolist() == [2.0, 2.0]
    assert guess.metrics["mae"] == 1.0


def test_every_metric_has_a_title_and_every_task_a_headline_and_a_loss():
    for task, names in TASK_METRICS.items():
        assert {HEADLINE[task], LOSS[task]} <= set(names)
        assert all(METRICS[name].title for name in names)
    assert METRICS["auc"].larger_is_better
    assert not METRICS["rmse"].larger_is_better


def test_a_forecast_is_scored_over_all_its_values_and_windows_weigh_alike(rng):
    target, prediction = rng.normal(size=(2, 50, 3, 7))
    found = score("forecast", target, prediction)
    assert found["mse"] == pytest.approx(np.square(target - prediction).mean())
    assert found["mae"] == pytest.approx(np.abs(target - prediction).mean())
    blocks = bootstrap("forecast", target, prediction, groups=np.arange(50) // 10)["mse"]
    assert blocks.low <= found["mse"] <= blocks.high


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), quantile=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_a_quantile_is_judged_by_scikit_learns_pinball_loss_and_by_the_share_of_targets_it_covers(seed, rows, quantile):
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(0, 5, rows) + 0.0, rng.integers(0, 5, rows) + 0.0  # with ties
    found = score("regression", target, prediction, quantile)
    assert list(found) == ["pinball", "coverage", "rmse", "mae", "r2"]
    assert found["pinball"] == pytest.approx(sk.mean_pinball_loss(target, prediction, alpha=quantile))
    assert found["coverage"] == pytest.approx(np.mean(target <= prediction))
    plain = score("regression", target, prediction)
    assert {name: found[name] for name in plain} == pytest.approx(plain, nan_ok=True)
    weights = rng.integers(1, 4, (rows, 1)).astype(float)
    weighted = evaluator("regression", target, prediction, quantile)(weights)
    assert weighted["pinball"][0] == pytest.approx(
        sk.mean_pinball_loss(target, prediction, alpha=quantile, sample_weight=weights[:, 0])
    )


def test_the_quantile_of_a_forecast_is_judged_over_all_its_values():
    rng = np.random.default_rng()
    target, prediction = rng.normal(size=(2, 7, 3, 4))
    found = score("forecast", target, prediction, 0.3)
    assert found["pinball"] == pytest.approx(sk.mean_pinball_loss(target.ravel(), prediction.ravel(), alpha=0.3))
    assert found["coverage"] == pytest.approx(np.mean(target <= prediction))


def test_the_baseline_of_a_quantile_is_that_of_the_training_rows():
    rng = np.random.default_rng()
    train, target = rng.exponential(size=500), rng.exponential(size=400)
    simple = baseline("regression", train, target, quantile=0.8)
    assert "0.8 quantile of the training rows" in simple.what
    np.testing.assert_allclose(simple.prediction, np.quantile(train, 0.8))
    others = [score("regression", train, np.full(500, c), 0.8)["pinball"] for c in (np.mean(train), np.median(train))]
    assert score("regression", train, np.full(500, simple.prediction[0]), 0.8)["pinball"] < min(others)
    found = bootstrap("regression", target, simple.prediction, quantile=0.8)
    assert found["coverage"].low <= simple.metrics["coverage"] <= found["coverage"].high
