"""Where predictions go wrong: the worst rows, which classes are taken for which, and how errors lie."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.evaluation.importance import sample_rows
from lockstep.evaluation.weighted import Floats, Integers
from lockstep.spec.data import Task


@dataclass(frozen=True)
class Mistakes:
    """The worst rows ``[M]``, the worst first, and how bad each is: 1 - p(true class), or the absolute error."""

    rows: Integers
    error: Floats


def worst_mistakes(task: Task, target: NDArray[Any], prediction: NDArray[Any], most: int = 20) -> Mistakes:
    """At most ``most`` rows that the prediction gets most wrong; shapes are those of ``score``.

    Classification: rows of another class than the most probable, by 1 - p(true class). Regression: rows by absolute
    error, without those predicted exactly. Of equals the earlier row comes first.
    """
    prediction = np.asarray(prediction, dtype=np.float64)
    if task == "regression":
        error = np.abs(prediction - target)
        wrong = error > 0
    else:
        true = np.asarray(target, dtype=np.int64)
        error = 1 - prediction[np.arange(true.size), true]
        wrong = prediction.argmax(axis=1) != true
    order = np.argsort(-error, kind="stable")
    rows = order[wrong[order]][:most]
    return Mistakes(rows, error[rows])


def confusion_matrix(target: NDArray[Any], probability: NDArray[Any]) -> Integers:
    """Counts ``[C, C]``: rows are the actual classes, columns the predicted ones, of probabilities ``[N, C]``."""
    probability = np.asarray(probability)
    C = probability.shape[1]
    actual = np.asarray(target, dtype=np.int64)
    return np.bincount(actual * C + probability.argmax(axis=1), minlength=C * C).reshape(C, C)


def residual_sample(
    target: NDArray[Any], prediction: NDArray[Any], most: int = 2000, seed: int = 0
) -> tuple[Floats, Floats]:
    """Actual and predicted values of at most ``most`` rows, drawn at random, for a plot."""
    rows = sample_rows(len(target), most, seed)
    return np.asarray(target, dtype=np.float64)[rows], np.asarray(prediction, dtype=np.float64)[rows]
