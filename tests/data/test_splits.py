"""Which rows train, validate and test: laws that hold for every target, seed and number of folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from lockstep.data import Splits, make_splits
from lockstep.errors import DataError
from lockstep.spec import Task

RNG = np.random.default_rng(0)


def check_partition(splits: Splits, rows: int, chained: bool = False) -> None:
    """Test and validation rows are each row once, and no fold trains on rows it scores."""
    for fold in splits.folds:
        parts = np.concatenate([splits.test, fold.train, fold.valid])
        assert len(np.unique(parts)) == len(parts)
        assert len(fold.train)
        assert len(fold.valid)
        assert chained or len(parts) == rows
        assert (np.diff(fold.train) > 0).all()
    if len(splits.folds) > 1 and not chained:
        everything = np.concatenate([splits.test, *(fold.valid for fold in splits.folds)])
        assert np.sort(everything).tolist() == list(range(rows))


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 3), min_size=20, max_size=80),
    st.sampled_from([1, 2, 5]),
    st.sampled_from([0, 0.2, 0.5]),
    st.integers(0, 5),
    st.booleans(),
)
def test_rows_are_partitioned_whatever_the_classes(
    target: list[int], folds: int, test_size: float, seed: int, regression: bool
) -> None:
    task: Task = "regression" if regression else "multiclass"
    splits = make_splits(target, task, folds=folds, valid_size=0.25, test_size=test_size, seed=seed)
    check_partition(splits, len(target))
    assert len(splits.folds) == folds
    again = make_splits(target, task, folds=folds, valid_size=0.25, test_size=test_size, seed=seed)
    assert all((a.valid == b.valid).all() for a, b in zip(splits.folds, again.folds, strict=True))


@settings(max_examples=60)
@given(st.data(), st.sampled_from([1, 2, 4]), st.sampled_from([0, 0.2]), st.booleans())
def test_groups_never_stand_on_both_sides(data: st.DataObject, folds: int, test_size: float, regression: bool) -> None:
    groups = np.array(data.draw(st.lists(st.sampled_from("abcdefghij"), min_size=60, max_size=90)))
    target = RNG.integers(0, 3, len(groups))
    if len(np.unique(groups)) < 7:
        return
    splits = make_splits(
        target, "regression" if regression else "multiclass", folds=folds, test_size=test_size, seed=1, groups=groups
    )
    check_partition(splits, len(groups))
    for fold in splits.folds:
        sides = [set(groups[rows]) for rows in (splits.test, fold.train, fold.valid)]
        assert sum(map(len, sides)) == len(set.union(*sides))


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 50), min_size=30, max_size=90).filter(lambda t: len(set(t)) > 12),
    st.sampled_from([1, 2, 5]),
)
def test_by_time_every_row_is_scored_by_what_came_before(times: list[int], folds: int) -> None:
    when = np.array([*times, *range(0, 51, 4)])
    splits = make_splits(np.arange(len(when)), "regression", folds=folds, test_size=0.2, seed=0, times=when)
    check_partition(splits, len(when), chained=True)
    for fold in splits.folds:
        assert when[fold.train].max() < when[fold.valid].min()
        assert when[fold.valid].max() < when[splits.test].min()
    assert "time" in splits.how


def test_the_test_rows_are_those_of_train_test_split() -> None:
    y = RNG.integers(0, 3, 200)
    ours = make_splits(y, "multiclass", folds=5, test_size=0.2, seed=7).test
    theirs = train_test_split(np.arange(200), test_size=0.2, random_state=7, stratify=y)[1]
    assert ours.tolist() == sorted(theirs.tolist())
    ours = make_splits(y * 1.5, "regression", folds=5, test_size=0.2, seed=0).test
    theirs = train_test_split(np.arange(200), test_size=0.2, random_state=0)[1]
    assert ours.tolist() == sorted(theirs.tolist())


def test_classes_and_tenths_of_a_quantity_are_stratified() -> None:
    y = np.repeat([0, 1], [900, 100])
    splits = make_splits(y, "binary", folds=5, test_size=0.2, seed=0)
    assert y[splits.test].mean() == pytest.approx(0.1)
    assert all(y[fold.valid].mean() == pytest.approx(0.1) for fold in splits.folds)
    skewed = RNG.exponential(size=1000) ** 3
    top = skewed > np.quantile(skewed, 0.9)
    shares = [top[fold.valid].mean() for fold in make_splits(skewed, "regression", folds=5, test_size=0, seed=0).folds]
    assert max(shares) - min(shares) < 0.02


def test_rare_classes_do_not_crash_and_a_single_row_is_trained_on() -> None:
    y = np.array([0] * 40 + [1] * 30 + [2] * 2 + [3])
    for folds in (1, 5):
        splits = make_splits(y, "multiclass", folds=folds, valid_size=0.2, test_size=0.2, seed=0)
        check_partition(splits, len(y))
        assert 72 not in splits.test
    check_partition(make_splits(np.arange(12), "multiclass", folds=3, test_size=0.25, seed=0), 12)


def test_rows_of_the_users_own_are_taken() -> None:
    y = np.arange(50) % 2
    splits = make_splits(y, "binary", folds=5, seed=0, test_rows=range(40, 50), valid_rows=range(30, 40))
    assert splits.test.tolist() == list(range(40, 50))
    assert len(splits.folds) == 1
    assert splits.folds[0].train.tolist() == list(range(30))
    assert splits.folds[0].valid.tolist() == list(range(30, 40))
    assert splits.how == "test rows given; validation rows given"
    drawn = make_splits(y, "binary", folds=5, test_size=0.2, seed=0, valid_rows=range(30, 40))
    assert len(drawn.test) == 8
    assert not set(drawn.test) & set(range(30, 40))
    given_test = make_splits(y, "binary", folds=5, seed=0, test_rows=range(40, 50))
    assert sorted(np.concatenate([fold.valid for fold in given_test.folds])) == list(range(40))


def test_a_missing_group_is_a_group_of_its_own() -> None:
    groups = np.array(["a", None, "b", None] * 10, dtype=object)
    splits = make_splits(np.arange(40) % 2, "binary", folds=2, test_size=0, seed=0, groups=groups)
    check_partition(splits, 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 9}, "9 folds need at least 9 rows"),
        ({"folds": 2, "groups": ["a"] * 8}, "at least two groups"),
        ({"folds": 5, "groups": list("aabbccdd"), "test_size": 0}, "5 folds need 5 groups"),
        ({"folds": 2, "times": [1] * 8}, "different times"),
        ({"folds": 5, "times": [1, 1, 2, 2, 3, 3, 4, 4]}, "5 folds by time"),
        ({"folds": 2, "times": [1] * 8, "groups": [1] * 8}, "data.group and data.time"),
        ({"folds": 1, "test_size": 0.95}, "leaves none"),
    ],
)
def test_too_few_rows_groups_or_times_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_splits(np.arange(8) % 2, "binary", seed=0, **arguments)  # type: ignore[arg-type]
