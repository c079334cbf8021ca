"""What a population predicts together: the mean of its members, and each row by the members that never saw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import TrainingError
from lockstep.evaluation.weighted import Floats


def average(predictions: NDArray[Any] | Sequence[NDArray[Any]], ok: Sequence[bool] | None = None) -> Floats:
    """The mean over members: ``[K, N, C]`` probabilities -> ``[N, C]``, ``[K, N]`` numbers -> ``[N]``, in float64.

    ``ok`` ``[K]`` is False for members set aside; members that predict anything not finite are left out as well.
    Raises ``TrainingError`` where none is left.
    """
    kept = usable(predictions, ok)
    if not kept.any():
        raise TrainingError(
            f"An ensemble needs at least one member with finite predictions, however: all {len(predictions)} failed. "
            "Lower optimizer.lr, or look for enormous values in the data."
        )
    total: Floats = np.zeros(np.shape(predictions[0]), dtype=np.float64)
    for k in np.flatnonzero(kept).tolist():  # one by one: no float64 copy of the whole [K, N, C]
        total += predictions[k]
    return total / float(kept.sum())


def usable(predictions: NDArray[Any] | Sequence[NDArray[Any]], ok: Sequence[bool] | None = None) -> NDArray[np.bool_]:
    """``[K]``: the members that were not set aside and whose predictions are all finite."""
    wanted = np.ones(len(predictions), dtype=bool) if ok is None else np.asarray(ok, dtype=bool)
    return np.array([bool(w) and bool(np.isfinite(p).all()) for w, p in zip(wanted, predictions, strict=True)], bool)


@dataclass(frozen=True)
class OutOfFold:
    """``prediction`` ``[N, C]`` or ``[N]``, NaN where no member may speak; ``covered`` ``[N]`` says where one does.

    ``members`` ``[N]`` is how many were averaged.
    """

    prediction: Floats
    covered: NDArray[np.bool_]
    members: NDArray[np.int64]


def out_of_fold(
    predictions: Sequence[NDArray[Any]],
    rows: Sequence[NDArray[Any]],
    n_rows: int,
    ok: Sequence[bool] | None = None,
) -> OutOfFold:
    """One prediction for each of ``n_rows`` rows, by the members that did not train on it, averaged (over seeds).

    ``predictions[k]`` is member k's ``[N_k, C]`` or ``[N_k]`` on its own validation rows, whose numbers are ``rows[k]``
    ``[N_k]`` (each at most once per member). Give one candidate's members. ``ok`` is as in ``average``.
    """
    assert len(predictions) == len(rows), f"predictions of {len(predictions)} members, rows of {len(rows)}"
    assert len(predictions), "out_of_fold needs at least one member"
    total = np.zeros((n_rows, *np.shape(predictions[0])[1:]))
    members = np.zeros(n_rows, dtype=np.int64)
    for k in np.flatnonzero(usable(predictions, ok)).tolist():
        assert len(predictions[k]) == len(rows[k]), f"member {k}: {len(predictions[k])} for {len(rows[k])} rows"
        total[rows[k]] += predictions[k]
        members[rows[k]] += 1
    covered = members > 0
    total[~covered] = np.nan
    divisor = np.maximum(members, 1).reshape(-1, *[1] * (total.ndim - 1))
    return OutOfFold(total / divisor, covered, members)
