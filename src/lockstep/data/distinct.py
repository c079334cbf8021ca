"""Splits that keep rows of one content on one side."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lockstep.data.splits import Fold, Splits, make_splits
from lockstep.spec.data import Task

Rows = NDArray[np.int64]


def split_distinct(
    target: ArrayLike,
    task: Task,
    content: Rows,
    *,
    valid_rows: Rows | None = None,
    test_rows: Rows | None = None,
    **settings: Any,
) -> Splits:
    """``make_splits`` on one row of each content [N] (a number, the same for the same content); the others go along.

    So the sides are stratified as ever, and nothing stands on both. Rows that the user gives stay as they are given.
    """
    y = np.asarray(target)
    given = [np.asarray(rows, dtype=np.int64) for rows in (valid_rows, test_rows) if rows is not None]
    free = np.setdiff1d(np.arange(len(y)), np.concatenate([*given, np.zeros(0, dtype=np.int64)]))
    kept = np.sort(np.concatenate([free[np.unique(content[free], return_index=True)[1]], *given]))
    places: dict[str, Any] = {
        name: None if rows is None else np.searchsorted(kept, rows)
        for name, rows in (("valid_rows", valid_rows), ("test_rows", test_rows))
    }
    splits = make_splits(y[kept], task, **settings, **places)

    def whole(rows: Rows) -> Rows:
        chosen = kept[rows]
        ours = np.intersect1d(chosen, free)
        return np.union1d(chosen, free[np.isin(content[free], content[ours])])

    folds = tuple(Fold(whole(fold.train), whole(fold.valid)) for fold in splits.folds)
    return Splits(whole(splits.test), folds, f"{splits.how}; rows of one text together")
