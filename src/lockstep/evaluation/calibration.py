"""Whether probabilities mean what they say: of rows predicted at 80 %, do 80 % turn out so?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from lockstep.evaluation.weighted import Floats, Integers
from lockstep.spec.data import Task


@dataclass(frozen=True)
class Bin:
    """Rows of similar predicted probability: its mean, the share that turned out so with its interval, the count."""

    predicted: float
    observed: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """A reliability curve and the expected calibration error: the mean over rows of their bin's |observed - predicted|.

    The error is of these bins (equal counts), and grows a little with their number even for perfect probabilities.
    """

    bins: tuple[Bin, ...]
    error: float

    def to_dict(self) -> dict[str, Any]:
        return {"bins": [asdict(one) for one in self.bins], "error": self.error}


def reliability(
    task: Task, target: NDArray[Any], probability: NDArray[Any], *, bins: int = 10, level: float = 0.95
) -> Calibration | None:
    """The reliability curve of probabilities ``[N, C]`` against codes ``[N]``; None for regression or without rows.

    Two classes: the probability of class 1 against how often it is class 1. More: the confidence in the predicted
    class against how often it is right. Bins hold equally many rows, except that equal probabilities share a bin; there
    are at most ``bins``. The intervals are Wilson's (1927).
    """
    if task == "regression" or not len(target):
        return None
    probability = np.asarray(probability, dtype=np.float64)
    stated = probability[:, 1] if task == "binary" else probability.max(axis=1)
    came_true = np.asarray(target) == (1 if task == "binary" else probability.argmax(axis=1))
    order = np.argsort(stated, kind="stable")
    stated, came_true = stated[order], came_true[order]
    starts = _bin_starts(stated, bins)
    counts = np.diff(np.r_[starts, stated.size])
    predicted = np.add.reduceat(stated, starts) / counts
    hits = np.add.reduceat(came_true.astype(np.int64), starts)
    low, high = wilson(hits, counts, level=level)
    error = float(np.abs(hits - predicted * counts).sum() / stated.size)
    columns = zip(predicted, hits / counts, low, high, counts, strict=True)
    return Calibration(tuple(Bin(float(p), float(o), float(a), float(b), int(n)) for p, o, a, b, n in columns), error)


def _bin_starts(stated: Floats, bins: int) -> Integers:
    """Where bins of equal count begin among rising values, moved to the first of equal ones."""
    even = np.arange(bins) * stated.size // bins
    return np.unique(np.searchsorted(stated, stated[even], side="left"))


def wilson(hits: NDArray[Any], counts: NDArray[Any], *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of shares: the p with ``|p - hits/n| <= z sqrt(p (1 - p) / n)``; counts are above 0."""
    z = float(ndtri((1 + level) / 2))
    share, n = hits / counts, np.asarray(counts, dtype=np.float64)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
