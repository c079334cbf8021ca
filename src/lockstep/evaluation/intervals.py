"""How far a score could be off: bootstrap intervals over the rows that it was measured on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.evaluation.metrics import metrics_of, score
from lockstep.evaluation.weighted import Floats, Integers, evaluator
from lockstep.spec.data import Task

# Weights are drawn in chunks of at most so many numbers (8 bytes each; a few arrays of that size live at once).
_CHUNK = 500_000
# Rows x resamples x rankings that a bootstrap may cost, a few seconds at most; and the fewest resamples.
_BUDGET = 120_000_000
_FEWEST = 100


@dataclass(frozen=True)
class Interval:
    """A score and the interval around it. ``low`` and ``high`` are NaN where no interval can be had.

    ``resamples`` is how many bootstrap resamples the interval rests on: those in which the metric was defined.
    """

    value: float
    low: float
    high: float
    resamples: int = 0

    def to_dict(self) -> dict[str, float | None]:
        """``value``, ``low`` and ``high`` for a JSON file, which has no NaN: null instead."""
        return {
            name: value if math.isfinite(value) else None
            for name, value in (("value", self.value), ("low", self.low), ("high", self.high))
        }


def resamples_used(task: Task, rows: int, *, classes: int = 2, resamples: int = 1000) -> int:
    """How many resamples ``bootstrap`` draws: as asked, fewer (never under 100) where many rows would make it slow."""
    rankings = classes if task == "multiclass" else 1
    affordable = _BUDGET // max(rows * rankings, 1)
    return min(resamples, max(affordable, _FEWEST))


def bootstrap(
    task: Task,
    target: NDArray[Any],
    prediction: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    quantile: float | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every metric of ``score`` with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Rows are drawn with replacement; with ``groups`` ``[N]`` (any labels) whole groups are, since rows of one group are
    alike. A resample in which a metric is undefined is left out for that metric. The interval is widened where needed
    to hold the value itself. One row or one group gives no interval: NaN. Large ``N`` gets fewer resamples, see
    ``resamples_used``; each ``Interval`` says how many it rests on. With few rows a percentile interval is a little
    narrow: of intervals for the RMSE of normal errors 92 % held the true value at 150 rows, 94 % at 1,000.
    """
    values = score(task, target, prediction, quantile)
    units, unit_of_row = _units(len(target), groups)
    if units < 2 or not np.isfinite(prediction).all():
        return {name: Interval(value, math.nan, math.nan) for name, value in values.items()}
    count = resamples_used(task, len(target), classes=int(np.shape(prediction)[-1]), resamples=resamples)
    evaluate = evaluator(task, target, prediction, quantile)
    drawn = [evaluate(weights) for weights in _draws(units, unit_of_row, count, np.random.default_rng(seed))]
    return {
        name: _percentile(values[name], np.concatenate([chunk[name] for chunk in drawn]), level)
        for name in metrics_of(task, quantile)
    }


def _units(rows: int, groups: NDArray[Any] | None) -> tuple[int, Integers | None]:
    """How many things are drawn, and which of them each row belongs to (None: the rows themselves)."""
    if groups is None:
        return rows, None
    assert len(groups) == rows, f"{len(groups)} groups for {rows} rows"
    names, unit_of_row = np.unique(np.asarray(groups), return_inverse=True)
    return len(names), unit_of_row.reshape(-1)


def _draws(
    units: int, unit_of_row: Integers | None, resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Chunks of weights ``[N, R]``: how often each row was drawn in each of R resamples."""
    rows = units if unit_of_row is None else len(unit_of_row)
    size = max(1, min(resamples, _CHUNK // max(rows, units)))
    for start in range(0, resamples, size):
        R = min(size, resamples - start)
        counts_NR = draw_counts(units, R, rng)
        yield counts_NR if unit_of_row is None else counts_NR[unit_of_row]


def draw_counts(units: int, resamples: int, rng: np.random.Generator) -> Floats:
    """``[N, R]``: how often each of N units is drawn by N draws with replacement, R times over."""
    counts_NR = np.empty((units, resamples))
    for r in range(resamples):
        counts_NR[:, r] = np.bincount(rng.integers(0, units, units), minlength=units)
    return counts_NR


def _percentile(value: float, drawn: Floats, level: float) -> Interval:
    defined = drawn[np.isfinite(drawn)]
    if not defined.size or not math.isfinite(value):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(float(low), value), max(float(high), value), defined.size)
