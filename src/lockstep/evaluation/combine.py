"""Several models as one: the mean, weights, greedy selection, or a second model on top.

Everything here is fitted on out-of-fold predictions, where no model saw the rows that it is judged by. ``M`` models
predict ``[M, N, C]`` probabilities or ``[M, N]`` numbers; a combination makes ``[N, C]`` or ``[N]`` of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

from lockstep.evaluation.weighted import Floats
from lockstep.spec.data import Task
from lockstep.spec.ensemble import Method

LEAST = 1e-6  # no probability counts as less: one sure mistake must not decide everything


@dataclass(frozen=True)
class Weighted:
    """``Σ w_m · prediction_m`` with weights ``[M]`` that are not negative and sum to 1."""

    weights: tuple[float, ...]

    def __call__(self, predictions: NDArray[Any]) -> Floats:
        return np.asarray(np.tensordot(np.array(self.weights), predictions, axes=1), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        return {"weights": list(self.weights)}


@dataclass(frozen=True)
class Stacked:
    """A linear model of the models' predictions: logistic on their log-probabilities, or linear on their numbers.

    ``coefficients`` ``[C, M·C]`` (two classes: ``[1, M]`` on log-odds; regression: ``[1, M]``), ``intercepts`` ``[C]``.
    """

    task: Task
    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]

    def __call__(self, predictions: NDArray[Any]) -> Floats:
        z = features(self.task, predictions) @ np.array(self.coefficients).T + np.array(self.intercepts)
        match self.task:
            case "regression":
                return np.asarray(z[:, 0])
            case "binary":
                return np.stack([expit(-z[:, 0]), expit(z[:, 0])], axis=1)
        return np.asarray(softmax(z, axis=1))

    def to_dict(self) -> dict[str, Any]:
        rows = [list(row) for row in self.coefficients]
        return {"task": self.task, "coefficients": rows, "intercepts": list(self.intercepts)}


Combination = Weighted | Stacked


def combine(method: Method, task: Task, target: NDArray[Any], predictions: NDArray[Any]) -> Combination:
    """The combination that ``method`` makes of ``predictions`` ``[M, N, …]`` on rows with these targets ``[N]``.

    ``weighted`` minimises the log loss (squared error) over all weights; ``greedy`` is Caruana et al. 2004; ``stacked``
    is Wolpert's stacked generalisation (1992) with a logistic (ridge) regression. One model alone is itself; of
    rows of one class there is no logistic regression, and ``stacked`` is the mean.
    """
    if method == "mean" or len(predictions) == 1:
        return mean_of(len(predictions))
    match method:
        case "weighted":
            return Weighted(tuple(best_weights(task, target, predictions).tolist()))
        case "greedy":
            return Weighted(tuple(greedy_weights(task, target, predictions).tolist()))
    if task != "regression" and len(np.unique(target)) == 1:
        return mean_of(len(predictions))
    return stacked(task, target, predictions)


def mean_of(models: int) -> Weighted:
    return Weighted((1 / models,) * models)


def from_dict(kept: dict[str, Any]) -> Combination:
    """What ``to_dict`` wrote."""
    if "weights" in kept:
        return Weighted(tuple(kept["weights"]))
    return Stacked(kept["task"], tuple(map(tuple, kept["coefficients"])), tuple(kept["intercepts"]))


def best_weights(task: Task, target: NDArray[Any], predictions: NDArray[Any], rounds: int = 500) -> Floats:
    """The weights ``[M]`` of the lowest log loss (mean squared error) of the weighted mean.

    For probabilities these are the proportions of a mixture of known densities, which EM finds: ``w_m`` becomes the
    mean over rows of ``w_m p_m / Σ w p`` (Dempster, Laird and Rubin 1977). For numbers, least squares on the simplex:
    the sum of 1 is one more, very heavy, equation.
    """
    M = len(predictions)
    if task == "regression":
        from scipy.optimize import nnls

        scale = float(np.std(target)) or 1.0
        A = ((predictions - np.mean(target)) / scale).T
        heavy = 1e3 * np.sqrt(len(target))
        y = np.append((target - np.mean(target)) / scale, heavy)
        weights, _ = nnls(np.vstack([A, np.full(M, heavy)]), y)
        return np.asarray(weights / weights.sum())
    true_MN = of_true_class(target, predictions)
    weights = np.full(M, 1 / M)
    for _ in range(rounds):
        share = weights[:, None] * true_MN
        weights = (share / share.sum(axis=0)).mean(axis=1)
    return np.asarray(weights)


def greedy_weights(task: Task, target: NDArray[Any], predictions: NDArray[Any], rounds: int = 100) -> Floats:
    """The weights ``[M]`` of ensemble selection with replacement (Caruana et al. 2004).

    Each round adds the model that makes the mean best; the bag of the best round is kept, the smallest of equals.
    """
    loss, each = additive_loss(task, target, predictions)
    total, counts = np.zeros(each.shape[1]), np.zeros(len(each))
    best, best_counts = np.inf, counts
    for size in range(1, rounds + 1):
        losses = loss((total + each) / size)
        chosen = int(np.argmin(losses))
        total, counts = total + each[chosen], counts + np.eye(len(each))[chosen]
        if losses[chosen] < best - 1e-12:
            best, best_counts = float(losses[chosen]), counts
    return np.asarray(best_counts / best_counts.sum())


def additive_loss(
    task: Task, target: NDArray[Any], predictions: NDArray[Any]
) -> tuple[Callable[[Floats], Floats], Floats]:
    """The loss ``[…, N] → […]`` of mixed predictions, and what of each model is mixed, ``[M, N]``."""
    if task == "regression":
        return lambda mixed: np.square(mixed - target).mean(axis=-1), np.asarray(predictions, dtype=np.float64)
    return lambda mixed: -np.log(mixed).mean(axis=-1), of_true_class(target, predictions)


def of_true_class(target: NDArray[Any], predictions: NDArray[Any]) -> Floats:
    """The probability ``[M, N]`` that each model gives to what was so, at least ``LEAST``."""
    rows = np.arange(predictions.shape[1])
    return np.maximum(np.asarray(predictions[:, rows, target], dtype=np.float64), LEAST)


def stacked(task: Task, target: NDArray[Any], predictions: NDArray[Any]) -> Stacked:
    """The second-level model, fitted on out-of-fold predictions."""
    from sklearn.linear_model import LogisticRegression, RidgeCV  # a second to import, and seldom asked for

    x = features(task, predictions)
    if task == "regression":
        ridge = RidgeCV(alphas=np.logspace(-3, 3, 13) * max(float(np.var(target)), 1e-12)).fit(x, target)
        return Stacked(task, (tuple(ridge.coef_.tolist()),), (float(ridge.intercept_),))
    classes = predictions.shape[2]
    logistic = LogisticRegression(max_iter=1000).fit(x, target)
    coefficients, intercepts = logistic.coef_, logistic.intercept_
    if task == "multiclass":  # a class that these rows lack keeps the least chance
        if len(logistic.classes_) == 2:  # one row of log-odds, of the second class
            coefficients, intercepts = (np.concatenate([-one / 2, one / 2]) for one in (coefficients, intercepts))
        full, offsets = np.zeros((classes, x.shape[1])), np.full(classes, np.log(LEAST))
        full[logistic.classes_], offsets[logistic.classes_] = coefficients, intercepts
        coefficients, intercepts = full, offsets
    return Stacked(task, tuple(map(tuple, coefficients.tolist())), tuple(intercepts.tolist()))


def features(task: Task, predictions: NDArray[Any]) -> Floats:
    """What the second level sees: numbers ``[N, M]``, log-odds ``[N, M]`` or log-probabilities ``[N, M·C]``."""
    if task == "regression":
        return np.asarray(predictions.T, dtype=np.float64)
    logs = np.log(np.maximum(np.asarray(predictions, dtype=np.float64), LEAST))
    if task == "binary":
        return np.asarray((logs[..., 1] - logs[..., 0]).T)
    centred = log_softmax(logs, axis=-1)
    return np.asarray(np.moveaxis(centred, 0, 1).reshape(predictions.shape[1], -1))


def cross_fitted(
    method: Method, task: Task, target: NDArray[Any], predictions: NDArray[Any], folds: list[NDArray[np.int64]]
) -> Floats:
    """The combination's own out-of-fold prediction ``[N, …]``: each fold's rows by what was fitted on the others'.

    Judging a combination on the rows that chose it would flatter it. One fold alone cannot be helped: it is fitted and
    judged on the same rows.
    """
    combined: Floats = np.full(predictions.shape[1:], np.nan)
    for number, rows in enumerate(folds):
        others = np.concatenate([r for n, r in enumerate(folds) if n != number]) if len(folds) > 1 else rows
        fitted = combine(method, task, target[others], predictions[:, others])
        combined[rows] = fitted(predictions[:, rows])
    return combined


def left_out(predictions: NDArray[Any]) -> Floats:
    """The mean of all members but one, for each of them in turn: ``[K, N, …]`` for ``[K, N, …]``, ``K ≥ 2``.

    How much worse an ensemble scores without a member is what that member adds.
    """
    K = len(predictions)
    assert K > 1, "one member alone adds everything"
    total = np.asarray(predictions, dtype=np.float64).sum(axis=0)
    return np.asarray((total - predictions) / (K - 1))
