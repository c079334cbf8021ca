"""What rows show once they are split, and what they are split by."""

import numpy as np
import polars as pl
import pytest

from lockstep.data import Encoded, Fold, RawTable, Schema, Splits, check_rows, make_splits, read, split_keys
from lockstep.data.rows import hash_rows
from lockstep.errors import DataError
from lockstep.spec import DataSpec

RNG = np.random.default_rng(0)


def table(numbers: np.ndarray, target: np.ndarray) -> Encoded:
    return Encoded((numbers.astype(np.float32), np.zeros((len(numbers), 0), dtype=np.int64)), target)


def schema(classes: int) -> Schema:
    names = tuple(f"k{i}" for i in range(classes))
    return Schema(kind="table", task="multiclass", target="y", classes=names)


def test_duplicates_across_a_split_are_counted_with_and_without_the_target() -> None:
    x = RNG.normal(size=(40, 3))
    y = np.arange(40) % 2
    x[30], x[31], x[20] = x[0], x[3], x[10]  # 30 repeats 0 with its class, 31 repeats 3; both stand in test
    y[31] = 1 - y[3]
    splits = Splits(
        np.arange(30, 40), (Fold(np.arange(15), np.arange(15, 30)), Fold(np.arange(15, 30), np.arange(15))), ""
    )
    findings = {f.code: f for f in check_rows(table(x, y), splits, schema(2))}
    assert set(findings) == {"duplicates-test", "duplicates-validation", "contradictory-rows"}
    assert findings["duplicates-test"].what.startswith("2 of the 10 test rows")
    assert "20.0% have the same inputs, 10.0% (1)" in findings["duplicates-test"].evidence
    assert findings["duplicates-validation"].what.startswith("2 of the 30 validation rows")
    assert findings["contradictory-rows"].what.startswith("2 rows")


def test_distinct_rows_raise_nothing() -> None:
    y = np.arange(60) % 2
    assert check_rows(table(RNG.normal(size=(60, 2)), y), make_splits(y, "binary", folds=3), schema(2)) == []


def test_rare_classes_are_named_with_their_rows() -> None:
    y = np.array([0] * 30 + [1] * 30 + [2] * 3 + [3])
    splits = make_splits(y, "multiclass", folds=5, test_size=0.2)
    (finding,) = check_rows(table(RNG.normal(size=(64, 2)), y), splits, schema(4))
    assert finding.code == "rare-classes"
    assert finding.subject == "k2, k3"
    assert "k2 (3), k3 (1)" in finding.evidence


def test_rows_hash_alike_if_and_only_if_their_inputs_are_alike() -> None:
    numbers = RNG.integers(0, 3, (500, 4)).astype(np.float32)
    numbers[RNG.random(numbers.shape) < 0.2] = np.nan
    numbers[0, 0], numbers[1, 0] = 0.0, -0.0
    categories = RNG.integers(0, 3, (500, 2))
    hashes = hash_rows(Encoded((numbers, categories), None))
    rows = [(*np.nan_to_num(n, nan=9).tolist(), *c.tolist()) for n, c in zip(numbers, categories, strict=True)]
    assert len(np.unique(hashes)) == len(set(rows))
    images = RNG.integers(0, 2, (300, 3, 3)).astype(np.uint8)
    assert len(np.unique(hash_rows(Encoded((images,), None)))) == len({image.tobytes() for image in images})


def test_a_row_hashes_alike_whatever_rows_are_hashed_with_it() -> None:
    images = RNG.integers(0, 256, (6_000, 29, 27), dtype=np.uint8)  # more than go at once, and no whole words
    numbers = RNG.normal(size=(6_000, 5)).astype(np.float32)
    together = hash_rows(Encoded((images, numbers), None))
    for row in (0, 17, 5_999):
        assert hash_rows(Encoded((images[row : row + 1], numbers[row : row + 1]), None))[0] == together[row]


def test_groups_and_times_come_from_the_named_columns() -> None:
    raw = RawTable(
        pl.DataFrame({"g": ["a", "NA", "b"], "t": ["2024-01-02", "2024-01-01", "2025-01-01"], "n": [3, 1, 2]}),
        "t.csv",
        "",
    )
    groups, times = split_keys(raw, DataSpec(group="g", time="t"))
    assert groups is not None
    assert groups.tolist() == ["a", None, "b"]
    assert times is not None
    assert np.argsort(times).tolist() == [1, 0, 2]
    assert split_keys(raw, DataSpec(time="n"))[1] is not None
    assert split_keys(raw, DataSpec()) == (None, None)
    with pytest.raises(DataError, match=r"data.group must name a column"):
        split_keys(raw, DataSpec(group="zz"))
    with pytest.raises(DataError, match="missing in row 2"):
        split_keys(RawTable(raw.frame.with_columns(t=pl.Series(["1", "", "2"])), "t", ""), DataSpec(time="t"))
    with pytest.raises(DataError, match="'a' in row 1"):
        split_keys(raw, DataSpec(time="g"))
    with pytest.raises(DataError, match="Only a table has columns"):
        split_keys(read(np.zeros((3, 2, 2))), DataSpec(time="g"))
