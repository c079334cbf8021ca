"""Which features the predictions rest on: how much worse they get when one feature's values are dealt out anew."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.evaluation.intervals import draw_counts
from lockstep.evaluation.weighted import Floats, Integers, log_losses
from lockstep.spec.data import Task

# Resamples of the interval, and the most weights (8 bytes each) that they may take up.
_RESAMPLES = 500
_WEIGHTS = 4_000_000


@dataclass(frozen=True)
class Importance:
    """How much the loss (``LOSS[task]``) rises without the feature, with its 95 % interval; NaN where unknown."""

    name: str
    mean: float
    low: float
    high: float


def sample_rows(rows: int, most: int = 2000, seed: int = 0) -> Integers:
    """At most ``most`` of ``rows`` row numbers, rising, each row equally likely; all of them where they are fewer."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, size=most, replace=False))


@np.errstate(over="ignore", invalid="ignore")  # predictions gone astray make an importance NaN, not a warning
def permutation_importance(
    shuffled: Callable[[int, Integers], NDArray[Any]],
    names: Sequence[str],
    task: Task,
    target: NDArray[Any],
    prediction: NDArray[Any],
    *,
    repeats: int = 5,
    level: float = 0.95,
    seed: int = 0,
) -> list[Importance]:
    """The rise of the log loss or RMSE when a feature is permuted (Breiman 2001), the most important feature first.

    ``shuffled(feature, permutation)`` predicts the rows with feature number ``feature`` taken from the rows
    ``permutation`` ``[N]`` and all else in place; it is called ``repeats`` times for each of ``names``, with the same
    permutations. ``prediction`` is the one with everything in place; shapes are those of ``score``. The mean is over
    repeats; the interval is a bootstrap over both rows and repeats, so it says what other rows might have shown.
    A feature that another one repeats looks unimportant here: either can stand in.
    """
    rows = len(target)
    assert rows, "importance needs rows"
    rng = np.random.default_rng(seed)
    permutations = [rng.permutation(rows) for _ in range(repeats)]
    resamples = min(_RESAMPLES, max(_WEIGHTS // rows, 50))
    row_share_NR = draw_counts(rows, resamples, rng) / rows
    repeat_share_SR = draw_counts(repeats, resamples, rng) / repeats
    before = row_losses(task, target, prediction)
    found = []
    for feature, name in enumerate(names):
        after = [row_losses(task, target, shuffled(feature, permutation)) for permutation in permutations]
        losses_SN = np.stack([before, *after])
        rise = _rise(task, losses_SN.mean(axis=1, keepdims=True))
        resampled = (_rise(task, losses_SN @ row_share_NR) * repeat_share_SR).sum(axis=0)
        found.append(_summary(name, float(rise.mean()), resampled, level if rows > 1 else math.nan))
    return sorted(found, key=lambda one: (math.isnan(one.mean), -one.mean))


def row_losses(task: Task, target: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    """``[N]``: the log loss of each row, or its squared error."""
    prediction = np.asarray(prediction, dtype=np.float64)
    if task == "regression":
        error: Floats = prediction - np.asarray(target, dtype=np.float64)
        return error**2
    return log_losses(np.asarray(target, dtype=np.int64), prediction)


def _rise(task: Task, mean_losses: Floats) -> Floats:
    """Mean losses ``[1 + repeats, R]``, the unpermuted first: how much the metric rises ``[repeats, R]``."""
    metric: Floats = np.sqrt(mean_losses) if task == "regression" else mean_losses
    return metric[1:] - metric[:1]


def _summary(name: str, mean: float, resampled: Floats, level: float) -> Importance:
    if not (math.isfinite(mean) and math.isfinite(level)):
        return Importance(name, mean, math.nan, math.nan)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Importance(name, mean, min(float(low), mean), max(float(high), mean))
