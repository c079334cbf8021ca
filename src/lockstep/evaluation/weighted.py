"""Every metric under many sets of row weights at once.

A score is the metric under weights of one; a bootstrap resample is the metric under the number of times each row was
drawn. Both come from here, so a metric has one formula. Weights are ``weights_NR`` ``[N, R]``: ``N`` rows, ``R`` sets;
a metric is ``[R]``, NaN where it is undefined (no rows, one class alone for the AUC, a constant target for R²).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lockstep.spec.data import Task

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
OfWeights = Callable[[Floats], Floats]
Evaluate = Callable[[Floats], dict[str, Floats]]


def evaluator(task: Task, target: NDArray[Any], prediction: NDArray[Any], quantile: float | None = None) -> Evaluate:
    """The function from ``weights_NR`` ``[N, R]`` to ``{metric: [R]}`` for these rows; sorting is done once, here.

    ``target`` ``[N]`` is class codes or numbers, ``prediction`` probabilities ``[N, C]`` (binary: C = 2) or ``[N]``; of
    a forecast both are ``[N, C, H]``. Where numbers are predicted as a ``quantile``, two metrics more judge it as one.
    """
    prediction = np.asarray(prediction, dtype=np.float64)
    if task == "regression":
        numbers = np.asarray(target, dtype=np.float64)
        return _with_quantile(_regression(numbers, prediction), numbers, prediction, quantile)
    if task == "forecast":
        numbers = np.asarray(target, dtype=np.float64)
        return _with_quantile(_forecast(numbers, prediction), numbers, prediction, quantile)
    return _classification(task, np.asarray(target, dtype=np.int64), prediction)


def _regression(target: Floats, prediction: Floats) -> Evaluate:
    assert target.shape == prediction.shape, f"target {target.shape}, prediction {prediction.shape}"
    error = prediction - target
    centred = target - target.mean() if target.size else target  # so that a large offset costs no digits
    with np.errstate(over="ignore"):
        rows_SN = np.stack([error**2, np.abs(error), centred, centred**2])

    @np.errstate(over="ignore", invalid="ignore")  # a prediction gone astray may square to inf, and its score is inf
    def evaluate(weights_NR: Floats) -> dict[str, Floats]:
        total = weights_NR.sum(axis=0)
        squared, absolute, first, second = rows_SN @ weights_NR
        spread = second - _ratio(first**2, total)
        spread[spread <= 1e-12 * second] = np.nan
        return {
            "rmse": np.sqrt(_ratio(squared, total)),
            "mae": _ratio(absolute, total),
            "r2": 1 - squared / spread,
        }

    return evaluate


def _forecast(target: Floats, prediction: Floats) -> Evaluate:
    """Of windows ``[N, C, H]``: the means over all their values, each window weighing as much as its row says."""
    assert target.shape == prediction.shape, f"target {target.shape}, prediction {prediction.shape}"
    with np.errstate(over="ignore"):
        error = (prediction - target).reshape(len(target), -1)
        rows_SN = np.stack([np.square(error).mean(axis=1), np.abs(error).mean(axis=1)])

    @np.errstate(over="ignore", invalid="ignore")
    def evaluate(weights_NR: Floats) -> dict[str, Floats]:
        squared, absolute = rows_SN @ weights_NR
        total = weights_NR.sum(axis=0)
        return {"mse": _ratio(squared, total), "mae": _ratio(absolute, total)}

    return evaluate


def _with_quantile(others: Evaluate, target: Floats, prediction: Floats, quantile: float | None) -> Evaluate:
    """``others``, and of a quantile q the pinball loss, the mean of ``max(q·e, (q−1)·e)`` with e the target less the
    prediction (Koenker and Bassett 1978), and the coverage, the share of targets at or below the prediction."""
    if quantile is None:
        return others
    error = (target - prediction).reshape(len(target), -1)
    rows_SN = np.stack([np.maximum(quantile * error, (quantile - 1) * error).mean(axis=1), (error <= 0).mean(axis=1)])

    def evaluate(weights_NR: Floats) -> dict[str, Floats]:
        pinball, covered = rows_SN @ weights_NR
        total = weights_NR.sum(axis=0)
        return {**others(weights_NR), "pinball": _ratio(pinball, total), "coverage": _ratio(covered, total)}

    return evaluate


def _classification(task: Task, target: Integers, probability_NC: Floats) -> Evaluate:
    assert probability_NC.ndim == 2, f"probabilities are [N, C], however: {probability_NC.shape}"
    assert target.shape == probability_NC.shape[:1], f"target {target.shape}, prediction {probability_NC.shape}"
    N, C = probability_NC.shape
    assert task != "binary" or C == 2, f"binary probabilities are [N, 2], however: {probability_NC.shape}"
    predicted = probability_NC.argmax(axis=1) if N else np.zeros(0, dtype=np.int64)
    rows_SN = np.stack([log_losses(target, probability_NC), _brier(task, target, probability_NC)])
    true_CN, predicted_CN = one_hot(target, C), one_hot(predicted, C)
    hit_CN = true_CN.multiply(predicted_CN).tocsr()
    scored = (1,) if task == "binary" else tuple(np.unique(target))
    rankings = [_ranking(target == c, probability_NC[:, c]) for c in scored]

    def evaluate(weights_NR: Floats) -> dict[str, Floats]:
        total = weights_NR.sum(axis=0)
        log_loss, brier = rows_SN @ weights_NR
        true, named, hit = true_CN @ weights_NR, predicted_CN @ weights_NR, hit_CN @ weights_NR
        if task == "binary":
            auc = rankings[0][0](weights_NR)
            f1 = np.where(total > 0, np.nan_to_num(_ratio(2 * hit[1], true[1] + named[1])), np.nan)
        else:
            auc = _mean([auc_of_class(weights_NR) for auc_of_class, _ in rankings], total)
            f1 = _mean(_ratio(2 * hit, true + named), total)
        scores = {
            "accuracy": _ratio(hit.sum(axis=0), total),
            "balanced_accuracy": _mean(_ratio(hit, true), total),
            "f1": f1,
            "auc": auc,
            "log_loss": _ratio(log_loss, total),
            "brier": _ratio(brier, total),
        }
        if task == "binary":
            scores["average_precision"] = rankings[0][1](weights_NR)
        return scores

    return evaluate


def log_losses(target: Integers, probability_NC: Floats) -> Floats:
    """``-log p(true class)`` of each row ``[N]``, in nats; p is clipped to [eps, 1 - eps] as in scikit-learn."""
    eps = np.finfo(np.float64).eps
    true = probability_NC[np.arange(target.size), target]
    return -np.log(np.clip(true, eps, 1 - eps))


def _brier(task: Task, target: Integers, probability_NC: Floats) -> Floats:
    """Squared error of the probabilities: of class 1 for two classes (0 to 1), summed over classes else (0 to 2)."""
    if task == "binary":
        return np.square(probability_NC[:, 1] - target)
    true = probability_NC[np.arange(target.size), target]
    squares: Floats = np.square(probability_NC).sum(axis=1)
    return squares - 2 * true + 1


def one_hot(codes: Integers, classes: int) -> Any:
    """``[C, N]`` sparse: 1 where the row is of the class."""
    rows = codes.size
    return sparse.csr_array((np.ones(rows), (codes, np.arange(rows))), shape=(classes, rows))


def _ranking(positive: NDArray[np.bool_], score: Floats) -> tuple[OfWeights, OfWeights]:
    """AUC and average precision of one class against the rest, each as a function of the weights.

    AUC is the chance that a positive row scores above a negative one, a tie counting half (Mann and Whitney 1947).
    Average precision is the sum over distinct scores, from the top, of precision times the gain in recall.
    """
    order = np.argsort(score, kind="stable")
    above, below = order[positive[order]], order[~positive[order]]  # positive rows, negative rows, both by rising score
    below_it = np.searchsorted(score[below], score[above], side="left")  # for each positive: negatives that score less
    up_to_it = np.searchsorted(score[below], score[above], side="right")
    first_equal = np.searchsorted(score[above], score[above], side="left")

    def auc(weights_NR: Floats) -> Floats:
        hits, misses = weights_NR[above], _running_sum(weights_NR, below)
        ranked = np.einsum("nr,nr->r", hits, misses[below_it])
        if (below_it != up_to_it).any():
            ranked = (ranked + np.einsum("nr,nr->r", hits, misses[up_to_it])) / 2
        return _ratio(ranked, hits.sum(axis=0) * misses[-1])

    def average_precision(weights_NR: Floats) -> Floats:
        hits, misses, found = weights_NR[above], _running_sum(weights_NR, below), _running_sum(weights_NR, above)
        found_from = found[-1] - found[first_equal]
        precision = _ratio(found_from, found_from + (misses[-1] - misses[below_it]))
        return _ratio(np.einsum("nr,nr->r", hits, np.nan_to_num(precision, copy=False)), found[-1])

    return auc, average_precision


def _running_sum(weights_NR: Floats, rows: Integers) -> Floats:
    """``[n + 1, R]``: the weights of the first 0, 1, … n of these rows together."""
    sums = np.zeros((rows.size + 1, weights_NR.shape[1]))
    np.take(weights_NR, rows, axis=0, out=sums[1:], mode="clip")
    np.cumsum(sums, axis=0, out=sums)
    return sums


def _ratio(above: Floats, below: Floats) -> Floats:
    """``above / below``, NaN where ``below`` is 0."""
    ratio = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _mean(per_class: Any, total: Floats) -> Floats:
    """The mean over classes ``[C, R] -> [R]`` of those that are defined, NaN where none is."""
    values = np.asarray(per_class, dtype=np.float64).reshape(-1, total.size)
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))
