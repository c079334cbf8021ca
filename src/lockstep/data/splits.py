"""Which rows train, validate and test: decided once, from the seed."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lockstep.errors import DataError
from lockstep.spec.data import Task

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Row numbers, sorted."""

    train: Rows
    valid: Rows


@dataclass(frozen=True)
class Splits:
    """Test rows (sorted, maybe none), the folds over the other rows, and in a line how they were drawn."""

    test: Rows
    folds: tuple[Fold, ...]
    how: str


def make_splits(
    target: ArrayLike,
    task: Task,
    *,
    folds: int,
    valid_size: float = 0.2,
    test_size: float = 0.2,
    seed: int = 0,
    groups: ArrayLike | None = None,
    times: ArrayLike | None = None,
    valid_rows: ArrayLike | None = None,
    test_rows: ArrayLike | None = None,
) -> Splits:
    """Test rows first, then ``folds`` folds on the rest (``folds=1``: one holdout of ``valid_size``).

    Classes are stratified in both; regression by tenths of the target in the folds, while its test rows are drawn as
    ``train_test_split`` does. ``groups`` [N] never stand on both sides. With ``times`` [N] the last rows are the test
    rows and the folds chain forward (scikit-learn's ``TimeSeriesSplit``). The user's own ``test_rows`` and
    ``valid_rows`` are taken as they are. Raises ``DataError`` where there are too few rows, groups or times.
    """
    y = np.asarray(target)
    if groups is not None and times is not None:
        raise DataError("Rows are split by group or by time, however both data.group and data.time are set. Unset one.")
    group_codes = None if groups is None else _codes(groups)
    order = None if times is None else _codes(times)
    rest = np.arange(len(y))
    if valid_rows is not None:
        rest = np.setdiff1d(rest, valid_rows)
    if test_rows is not None:
        test, how = np.unique(np.asarray(test_rows, dtype=np.int64)), "test rows given"
    elif test_size == 0:
        test, how = np.array([], dtype=np.int64), "no test rows"
    else:
        test, how = _test_rows(y, task, rest, test_size, seed, group_codes, order)
    rest = np.setdiff1d(rest, test)
    if len(rest) < 2 and valid_rows is None:
        raise DataError(f"Training and validation need at least two rows, however test rows leave {len(rest)}.")
    if valid_rows is not None:
        valid = np.setdiff1d(np.asarray(valid_rows, dtype=np.int64), test)
        return Splits(test, (_fold(rest, valid),), f"{how}; validation rows given")
    made, fold_how = _folds(y, task, rest, folds, valid_size, seed, group_codes, order)
    return Splits(test, tuple(made), f"{how}; {fold_how}")


def _codes(values: ArrayLike) -> Rows:
    """Groups or times as ranks 0, 1, …, in their order; a missing group (None, NaN) is a group of its own."""
    array = np.asarray(values)
    if array.dtype == object:
        missing = np.array([value is None or value != value for value in array.tolist()])
        present = array[~missing]
        try:
            _, inverse = np.unique(present, return_inverse=True)
        except TypeError:
            _, inverse = np.unique(present.astype(str), return_inverse=True)
        codes = np.empty(len(array), dtype=np.int64)
        codes[~missing] = inverse
        codes[missing] = len(present) + np.arange(missing.sum())
        return codes
    return np.unique(array, return_inverse=True, equal_nan=False)[1].astype(np.int64)


def _fold(train: Rows, valid: Rows) -> Fold:
    return Fold(np.sort(train).astype(np.int64), np.sort(valid).astype(np.int64))


def _strata(y: NDArray[Any], task: Task, least: int) -> Rows | None:
    """A stratum per row: its class, or the tenth of the target it is in; strata of fewer than ``least`` rows together.

    None where there is nothing to stratify by.
    """
    if task == "regression":
        bins = max(1, min(10, len(y) // max(5, least)))
        edges = np.unique(np.quantile(y, np.linspace(0, 1, bins + 1)[1:-1]))
        codes = np.searchsorted(edges, y, side="right")
    else:
        codes = y.astype(np.int64)
    _, codes, counts = np.unique(codes, return_inverse=True, return_counts=True)
    rare = counts[codes] < least
    if rare.sum() >= least:
        codes = np.where(rare, len(counts), codes)
    elif rare.any():
        codes = np.where(rare, int(np.argmax(counts)), codes)
    _, codes, counts = np.unique(codes, return_inverse=True, return_counts=True)
    return codes.astype(np.int64) if len(counts) > 1 and counts.min() >= least else None


def _test_rows(
    y: NDArray[Any], task: Task, rest: Rows, size: float, seed: int, groups: Rows | None, order: Rows | None
) -> tuple[Rows, str]:
    share = f"{size:.0%}"
    if order is not None:
        return _latest(order, rest, size), f"test: the last {share} by time"
    if groups is not None:
        return rest[_group_holdout(y[rest], task, groups[rest], size, seed)], f"test: about {share} in whole groups"
    drawn, stratified = _holdout(y[rest], "multiclass" if task != "regression" else None, size, seed)
    kind = "stratified by class" if stratified else "at random"
    return rest[drawn], f"test: {share} {kind}"


def _holdout(y: NDArray[Any], task: Task | None, size: float, seed: int) -> tuple[Rows, bool]:
    """The positions of a random ``size`` of the rows, stratified by ``task``, as ``train_test_split`` draws them.

    A class with a single row stays out, so that something can learn it.
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    if task in ("binary", "multiclass"):
        _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
        many = rows[counts[inverse] > 1]
        rows = many if len(many) > 1 else rows
    strata = None if task is None else _strata(y[rows], task, 2)
    count = int(np.ceil(size * len(rows)))
    if len(rows) - count < 1:
        raise DataError(f"Setting {size:.0%} of {len(rows):,} rows aside leaves none to train on. Give more rows.")
    if strata is not None and min(count, len(rows) - count) < strata.max() + 1:
        strata = None
    chosen = train_test_split(rows, test_size=size, random_state=seed, stratify=strata)[1]
    return np.sort(chosen).astype(np.int64), strata is not None


def _latest(order: Rows, rows: Rows, size: float) -> Rows:
    """The last ``size`` of ``rows`` by time; rows of one time stay together, on the side where more of them fall."""
    ranks = order[rows]
    wanted = int(np.ceil(size * len(rows)))
    cut = np.sort(ranks)[-wanted]
    after, since = int((ranks > cut).sum()), int((ranks >= cut).sum())
    strictly = since == len(rows) or (after > 0 and wanted - after < since - wanted)
    chosen: Rows = rows[ranks > cut] if strictly else rows[ranks >= cut]
    if len(chosen) == 0:
        raise DataError("Splitting by time needs different times, however all rows have the same one. Unset data.time.")
    return chosen


def _group_holdout(y: NDArray[Any], task: Task, groups: Rows, size: float, seed: int) -> Rows:
    """Positions of whole groups, about ``size`` of the rows: of 50 draws the one nearest in rows and in target."""
    from sklearn.model_selection import GroupShuffleSplit

    if len(np.unique(groups)) < 2:
        raise DataError("Splitting by group needs at least two groups, however data.group has one. Unset data.group.")
    onehot = _onehot(y, task)
    overall = onehot.mean(0)
    best: tuple[float, Rows] | None = None
    for _, chosen in GroupShuffleSplit(50, test_size=size, random_state=seed).split(y, groups=groups):
        miss = abs(len(chosen) / len(y) - size) + np.abs(onehot[chosen].mean(0) - overall).sum()
        if best is None or miss < best[0]:
            best = (float(miss), chosen)
    assert best is not None
    return np.sort(best[1]).astype(np.int64)


def _onehot(y: NDArray[Any], task: Task) -> NDArray[np.float64]:
    if task == "regression":
        edges = np.quantile(y, [0.25, 0.5, 0.75])
        return np.asarray(np.eye(4)[np.searchsorted(edges, y)])
    codes = np.unique(y, return_inverse=True)[1]
    return np.asarray(np.eye(codes.max() + 1)[codes])


def _folds(
    y: NDArray[Any],
    task: Task,
    rest: Rows,
    folds: int,
    valid_size: float,
    seed: int,
    groups: Rows | None,
    order: Rows | None,
) -> tuple[list[Fold], str]:
    if folds > 1 and len(rest) < folds:
        raise DataError(f"{folds} folds need at least {folds} rows, however there are {len(rest):,}. Give fewer folds.")
    if order is not None:
        return _time_folds(order, rest, folds, valid_size)
    if folds == 1:
        return _one_fold(y, task, rest, valid_size, seed, groups)
    if groups is not None:
        return _group_folds(y, task, rest, folds, seed, groups)
    from sklearn.model_selection import KFold, StratifiedKFold

    strata = _strata(y[rest], task, folds)
    splitter = KFold(folds, shuffle=True, random_state=seed)
    if strata is None:
        pairs = splitter.split(rest)
    else:
        if task != "regression":
            strata = y[rest].astype(np.int64)
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rare classes: check_rows tells of them
            pairs = list(splitter.split(rest, strata))
    by = "tenths of the target" if task == "regression" else "class"
    kind = f"{folds} folds stratified by {by}" if strata is not None else f"{folds} folds at random"
    return [_fold(rest[train], rest[valid]) for train, valid in pairs], kind


def _one_fold(
    y: NDArray[Any], task: Task, rest: Rows, size: float, seed: int, groups: Rows | None
) -> tuple[list[Fold], str]:
    if groups is not None:
        valid = rest[_group_holdout(y[rest], task, groups[rest], size, seed)]
        kind = "in whole groups"
    else:
        drawn, stratified = _holdout(y[rest], task, size, seed)
        valid = rest[drawn]
        kind = (
            ("stratified by tenths of the target" if task == "regression" else "stratified by class")
            if stratified
            else ""
        )
    how = f"validation: {size:.0%} {kind or 'at random'}"
    return [_fold(np.setdiff1d(rest, valid), valid)], how


def _group_folds(
    y: NDArray[Any], task: Task, rest: Rows, folds: int, seed: int, groups: Rows
) -> tuple[list[Fold], str]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    count = len(np.unique(groups[rest]))
    if count < folds:
        raise DataError(
            f"{folds} folds need {folds} groups, however there are {count} outside the test rows. Give fewer folds."
        )
    strata = _strata(y[rest], task, folds)
    if strata is None:
        pairs = list(GroupKFold(folds).split(rest, groups=groups[rest]))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            pairs = list(splitter.split(rest, strata, groups[rest]))
            if any(len(train) == 0 or len(valid) == 0 for train, valid in pairs):
                pairs = list(GroupKFold(folds).split(rest, groups=groups[rest]))
    return [_fold(rest[train], rest[valid]) for train, valid in pairs], f"{folds} folds of whole groups, stratified"


def _time_folds(order: Rows, rest: Rows, folds: int, valid_size: float) -> tuple[list[Fold], str]:
    """Forward chaining over the distinct times, so that no time stands on both sides."""
    from sklearn.model_selection import TimeSeriesSplit

    if folds == 1:
        valid = _latest(order, rest, valid_size)
        return [_fold(np.setdiff1d(rest, valid), valid)], f"validation: the last {valid_size:.0%} by time before them"
    times = np.unique(order[rest])
    if len(times) <= folds:
        raise DataError(
            f"{folds} folds by time need more than {folds} different times, however there are {len(times)}. "
            f"Give fewer folds."
        )
    made = []
    for before, block in TimeSeriesSplit(folds).split(times):
        made.append(_fold(rest[np.isin(order[rest], times[before])], rest[np.isin(order[rest], times[block])]))
    return made, f"{folds} folds by time, each trained on all rows before its own block (forward chaining)"
