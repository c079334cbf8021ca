"""How good predictions are: the metrics of a task, what they are called, and what guessing would have scored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.evaluation.weighted import Floats, evaluator
from lockstep.spec.data import Task


@dataclass(frozen=True)
class Metric:
    """A metric's name in files, its title for people, and which way is better."""

    name: str
    title: str
    larger_is_better: bool


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "Accuracy", True),
        Metric("balanced_accuracy", "Balanced accuracy", True),
        Metric("f1", "F1", True),
        Metric("auc", "ROC AUC", True),
        Metric("average_precision", "Average precision", True),
        Metric("log_loss", "Log loss", False),
        Metric("brier", "Brier score", False),
        Metric("rmse", "RMSE", False),
        Metric("mae", "MAE", False),
        Metric("r2", "R²", True),
        Metric("mse", "MSE", False),
        Metric("pinball", "Pinball loss", False),
    )
}

TASK_METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "brier", "average_precision"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "brier"),
    "regression": ("rmse", "mae", "r2"),
    "forecast": ("mse", "mae"),
}

# The metric that a task is summed up by, and the smooth loss that importance is measured in.
HEADLINE: dict[Task, str] = {"binary": "accuracy", "multiclass": "accuracy", "regression": "rmse", "forecast": "mse"}
LOSS: dict[Task, str] = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse", "forecast": "mse"}


def metrics_of(task: Task, quantile: float | None = None) -> tuple[str, ...]:
    """The names of a task's metrics. Coverage should be near the ``quantile``: neither larger nor smaller is better."""
    return TASK_METRICS[task] if quantile is None else ("pinball", "coverage", *TASK_METRICS[task])


def headline(task: Task, quantile: float | None = None) -> str:
    """The metric that sums a model up: of one that predicts a ``quantile`` the loss whose best answer that is."""
    return HEADLINE[task] if quantile is None else "pinball"


def score(
    task: Task, target: NDArray[Any], prediction: NDArray[Any], quantile: float | None = None
) -> dict[str, float]:
    """Every metric of the task, by name, in the order of ``metrics_of``.

    ``target`` ``[N]`` is class codes or numbers; ``prediction`` is probabilities ``[N, C]`` (binary: C = 2) or ``[N]``.
    Of a forecast both are ``[N, C, H]``, in units in which the C columns can be averaged.
    Definitions and values are scikit-learn's. The predicted class is the most probable one (the first of equals).
    f1 is class 1's for two classes and the mean over classes else (classes that are neither present nor predicted are
    left out), balanced accuracy the mean recall over the classes present, auc for several classes one-against-rest
    averaged over the classes present, log loss in nats.

    NaN is a metric that these rows leave undefined: the AUC of one class, R² of a constant target, everything where
    there are no rows or a prediction isn't finite.
    """
    prediction = np.asarray(prediction)
    if not len(prediction) or not np.isfinite(prediction).all():
        return dict.fromkeys(metrics_of(task, quantile), float("nan"))
    scores = evaluator(task, target, prediction, quantile)(np.ones((len(prediction), 1)))
    return {name: float(scores[name][0]) for name in metrics_of(task, quantile)}


@dataclass(frozen=True)
class Baseline:
    """What knowing only the training target would have scored: ``prediction`` is the same in every row."""

    what: str
    prediction: Floats
    metrics: dict[str, float]


def baseline(
    task: Task, train_target: NDArray[Any], target: NDArray[Any], *, classes: int | None = None,
    quantile: float | None = None,
) -> Baseline:  # fmt: skip
    """The scores on ``target`` ``[N]`` of a constant prediction made from ``train_target``.

    Classification predicts the training rows' class frequencies: as a class that is always the most frequent one, and
    as probabilities the best constant. Regression predicts the training mean, or the training rows' ``quantile``.
    ``classes`` is C, where the training rows may lack a class.
    """
    rows = len(target)
    if task == "regression" and quantile is not None:
        prediction = np.full(rows, np.quantile(np.asarray(train_target, dtype=np.float64), quantile))
        what = f"always the {quantile:g} quantile of the training rows"
        return Baseline(what, prediction, score(task, target, prediction, quantile))
    if task == "regression":
        prediction = np.full(rows, np.mean(train_target, dtype=np.float64))
        return Baseline("always the mean of the training rows", prediction, score(task, target, prediction))
    count = classes or (2 if task == "binary" else int(max(np.max(train_target), np.max(target))) + 1)
    frequency = np.bincount(np.asarray(train_target, dtype=np.int64), minlength=count) / max(len(train_target), 1)
    prediction = np.tile(frequency, (rows, 1))
    return Baseline("always the most frequent class", prediction, score(task, target, prediction))
