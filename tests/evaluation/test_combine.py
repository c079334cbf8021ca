import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from lockstep.evaluation import average, score
from lockstep.evaluation.combine import (
    Stacked,
    Weighted,
    best_weights,
    combine,
    cross_fitted,
    features,
    from_dict,
    greedy_weights,
    left_out,
    mean_of,
)

METHODS = ("mean", "weighted", "greedy", "stacked")


def classes(rng: np.random.Generator, models: int = 4, rows: int = 300, count: int = 3):
    """Models of differing skill: the truth's logits with more and more noise."""
    target = rng.integers(0, count, rows)
    logits = 2.0 * np.eye(count)[target]
    noise = rng.normal(size=(models, rows, count)) * np.linspace(0.5, 4, models)[:, None, None]
    return target, softmax(logits + noise, axis=-1)


def numbers(rng: np.random.Generator, models: int = 4, rows: int = 300):
    target = 50 + 10 * rng.normal(size=rows)
    return target, target + rng.normal(size=(models, rows)) * np.linspace(2, 20, models)[:, None]


def test_the_mean_is_the_average(rng):
    _, predictions = classes(rng)
    np.testing.assert_allclose(mean_of(4)(predictions), average(predictions))


@pytest.mark.parametrize("method", METHODS)
def test_one_model_alone_is_itself(rng, method):
    target, predictions = classes(rng, models=1)
    np.testing.assert_allclose(combine(method, "multiclass", target, predictions)(predictions), predictions[0])


@pytest.mark.parametrize("method", ["weighted", "greedy", "stacked"])
@pytest.mark.parametrize(("task", "count"), [("binary", 2), ("multiclass", 3), ("regression", 0)])
def test_what_is_fitted_beats_the_mean_of_good_and_bad_models(rng, method, task, count):
    target, predictions = classes(rng, rows=2000, count=count) if count else numbers(rng, rows=2000)
    fitted = combine(method, task, target[:1000], predictions[:, :1000])
    loss = "log_loss" if count else "rmse"
    new, ahead = target[1000:], predictions[:, 1000:]
    assert score(task, new, fitted(ahead))[loss] < score(task, new, average(ahead))[loss]


def test_weights_of_the_lowest_log_loss_are_those_that_a_general_optimiser_finds(rng):
    target, predictions = classes(rng, models=3)
    found = best_weights("multiclass", target, predictions, rounds=5000)

    def loss(z):
        w = softmax(z)
        return -np.log(np.einsum("m,mn->n", w, predictions[:, np.arange(len(target)), target])).mean()

    best = minimize(loss, np.zeros(3), method="L-BFGS-B")
    assert loss(np.log(np.maximum(found, 1e-12))) <= best.fun + 1e-6
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)


def test_weights_of_the_lowest_squared_error_are_those_of_a_fine_grid(rng):
    target, predictions = numbers(rng, models=3)
    found = best_weights("regression", target, predictions)
    grid = [(a, b, 1 - a - b) for a, b in itertools.product(np.linspace(0, 1, 101), repeat=2) if a + b <= 1]
    errors = [np.square(np.tensordot(w, predictions, axes=1) - target).mean() for w in grid]
    assert np.square(np.tensordot(found, predictions, axes=1) - target).mean() <= min(errors) + 1e-6
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0


def test_greedy_selection_is_never_worse_than_the_best_single_model_and_takes_whole_shares(rng):
    target, predictions = classes(rng)
    weights = greedy_weights("multiclass", target, predictions)
    each = [score("multiclass", target, p)["log_loss"] for p in predictions]
    mixed = score("multiclass", target, Weighted(tuple(weights))(predictions))["log_loss"]
    assert mixed <= min(each) + 1e-9
    assert weights.sum() == pytest.approx(1)
    assert any(np.allclose(weights * size, np.round(weights * size)) for size in range(1, 101))


def test_greedy_selection_leaves_out_what_only_harms(rng):
    target, predictions = numbers(rng)
    predictions = np.concatenate([predictions, predictions[:1] + 1e6])
    assert greedy_weights("regression", target, predictions)[-1] == 0


def test_stacking_is_a_logistic_regression_on_what_the_models_say(rng):
    target, predictions = classes(rng)
    stack = combine("stacked", "multiclass", target, predictions)
    x = features("multiclass", predictions)
    theirs = LogisticRegression(max_iter=1000).fit(x, target).predict_proba(x)
    np.testing.assert_allclose(stack(predictions), theirs, atol=1e-9)


def test_stacking_knows_every_class_also_when_its_rows_lack_one(rng):
    target, predictions = classes(rng, count=4)
    some = target != 2
    stack = combine("stacked", "multiclass", target[some], predictions[:, some])
    out = stack(predictions)
    assert out.shape == (300, 4)
    np.testing.assert_allclose(out.sum(axis=1), 1)
    assert out[:, 2].max() < 0.01


def test_stacking_of_three_classes_is_that_of_two_where_its_rows_have_only_two(rng):
    target, predictions = classes(rng)
    some = target != 1
    stack = combine("stacked", "multiclass", target[some], predictions[:, some])
    x = features("multiclass", predictions[:, some])
    theirs = LogisticRegression(max_iter=1000).fit(x, target[some]).predict_proba(x)
    out = stack(predictions[:, some])
    np.testing.assert_allclose(out[:, [0, 2]] / out[:, [0, 2]].sum(axis=1, keepdims=True), theirs, atol=1e-9)
    assert out[:, 1].max() < 0.01


def test_stacking_on_rows_of_one_class_is_the_mean(rng):
    _, predictions = classes(rng, models=2, count=2)
    assert combine("stacked", "binary", np.zeros(300, dtype=int), predictions) == mean_of(2)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("method", METHODS)
def test_a_combination_comes_back_from_what_is_kept_of_it(rng, task, method):
    target, predictions = numbers(rng) if task == "regression" else classes(rng, count=2 if task == "binary" else 3)
    fitted = combine(method, task, target, predictions)
    assert isinstance(fitted, Stacked if method == "stacked" else Weighted)
    np.testing.assert_array_equal(from_dict(fitted.to_dict())(predictions), fitted(predictions))


def test_a_combinations_own_score_does_not_come_from_the_rows_that_chose_it(rng):
    """Of pure noise, the best on some rows is no better than any on others."""
    target, predictions = rng.integers(0, 2, 60), rng.dirichlet(np.ones(2), size=(40, 60))
    folds = [np.arange(0, 30), np.arange(30, 60)]
    honest = cross_fitted("greedy", "binary", target, predictions, folds)
    flattered = combine("greedy", "binary", target, predictions)(predictions)
    assert score("binary", target, flattered)["log_loss"] < score("binary", target, honest)["log_loss"]
    for rows, others in (folds, folds[::-1]):
        alone = combine("greedy", "binary", target[others], predictions[:, others])
        np.testing.assert_allclose(honest[rows], alone(predictions[:, rows]))


def test_what_is_left_without_a_member_is_the_mean_of_the_others(rng):
    _, predictions = classes(rng, models=5)
    without = left_out(predictions)
    for k in range(5):
        np.testing.assert_allclose(without[k], average(np.delete(predictions, k, axis=0)))
