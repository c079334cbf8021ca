"""Frames, arrays and tensors from Python."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from lockstep.data import RawArrays, RawTable, drop_unlabelled, encode, infer_schema, read, take
from lockstep.errors import DataError
from lockstep.spec import DataSpec

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), np.arange(30) % 3


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "n": [1.5, None, 3.0] * 10,
            "i": [1, 2, None] * 10,
            "c": pl.Series(["a", "b", "a"] * 10, dtype=pl.Categorical),
            "s": ["x", "y", None] * 10,
            "b": [True, False, True] * 10,
            "d": pd.date_range("2020-01-01", periods=30).to_list(),
            "y": [0, 1] * 15,
        }
    )


def as_pandas() -> pd.DataFrame:
    source = frame()
    return pd.DataFrame(
        {
            "n": source["n"].to_numpy(),
            "i": pd.array(source["i"].to_list(), dtype="Int64"),
            "c": pd.Categorical(source["c"].to_list()),
            "s": source["s"].to_list(),
            "b": source["b"].to_list(),
            "d": pd.date_range("2020-01-01", periods=30),
            "y": source["y"].to_list(),
        }
    )


@pytest.mark.parametrize(
    "source", [frame(), frame().lazy(), frame().to_arrow(), as_pandas()], ids=["polars", "lazy", "arrow", "pandas"]
)
def test_every_kind_of_frame_is_understood_alike(source: Any) -> None:
    spec = DataSpec(target="y")
    raw = read(source, spec)
    schema, _ = infer_schema(raw, spec)
    expected = {"n": "number", "i": "number", "c": "category", "s": "category", "b": "boolean", "d": "date"}
    assert {column.name: column.kind for column in schema.columns} == expected
    want = encode(read(frame(), spec), infer_schema(read(frame(), spec), spec)[0], with_target=True)
    got = encode(raw, schema, with_target=True)
    np.testing.assert_array_equal(got.inputs[0], want.inputs[0])
    np.testing.assert_array_equal(got.inputs[1], want.inputs[1])
    assert got.target is not None
    assert got.target.tolist() == [0, 1] * 15


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (X.tolist(), Y.tolist()),
        (torch.tensor(X), torch.tensor(Y)),
        (torch.tensor(X, requires_grad=True), torch.tensor(Y)[:, None]),
        (pd.DataFrame(X, columns=["x0", "x1", "x2"]), pd.Series(Y, name="y")),
        (pl.DataFrame(X, schema=["x0", "x1", "x2"]), pl.Series("y", Y)),
        (X, pd.Series(Y)),
    ],
)
def test_pairs_of_anything_are_a_table_and_its_target(x: Any, y: Any) -> None:
    for raw in (read((x, y)), read(x, y=y)):
        assert isinstance(raw, RawTable)
        schema, findings = infer_schema(raw)
        encoded = encode(raw, schema, with_target=True)
        assert schema.number_names == ("x0", "x1", "x2")
        assert schema.task == "multiclass"
        np.testing.assert_array_equal(encoded.inputs[0], X.astype(np.float32))
        assert (encoded.target == Y).all()
        assert not findings


def test_a_low_precision_tensor_is_read() -> None:
    raw = read((torch.ones(4, 1, 2, 2, dtype=torch.bfloat16), torch.tensor([0, 1, 0, 1])))
    assert isinstance(raw, RawArrays)
    assert raw.x.dtype == np.float32


@pytest.mark.parametrize("shape", [(30, 4, 4), (30, 4, 4, 3), (30, 1, 4, 4)])
def test_arrays_of_three_and_four_axes_are_images(shape: tuple[int, ...]) -> None:
    raw = read((RNG.normal(size=shape), Y))
    schema, _ = infer_schema(raw)
    assert schema.image_shape == shape[1:]
    encoded = encode(raw, schema, with_target=True)
    assert encoded.inputs[0].dtype == np.float32
    assert encoded.inputs[0].shape == shape


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((X, Y[:-1]), "x has 30 and y has 29"),
        ((np.zeros((30, 2, 2)), Y[:-1]), "x has 30 and y has 29"),
        ((X, np.eye(3)[Y]), r"one-hot: give y.argmax\(1\)"),
        ((X, X), "one target at a time"),
        ((X[:, 0], Y), r"x.reshape\(-1, 1\)"),
        ((X[:0], Y[:0]), "must have rows"),
        ((np.zeros((2, 2, 2, 2, 2)), Y[:2]), "shape is"),
        ((X * 1j, Y), "complex"),
        (object(), "must be a path"),
        (([[1, 2], [3]], [0, 1]), "rows of one length"),
        (pd.DataFrame(X, columns=["a", "a", "b"]), "more than one column named a"),
        ((pd.DataFrame({"y": Y}), pd.Series(Y, name="y")), "y is called y"),
    ],
)
def test_what_does_not_fit_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer_schema(read(source))


def test_infinite_and_missing_values_in_arrays() -> None:
    holes = np.where(X > 1, np.nan, X)
    schema, _ = infer_schema(raw := read((holes, Y)))
    assert np.isnan(encode(raw, schema, with_target=False).inputs[0]).sum() == (X > 1).sum()
    with pytest.raises(DataError, match="infinite value inf in row"):
        infer_schema(read((np.where(X > 1, np.inf, X), Y)))
    images = np.full((4, 2, 2), np.nan)
    images[2:] = 1
    pair = read((images, [0, 1, 0, 1]))
    schema, _ = infer_schema(pair)
    with pytest.raises(DataError, match="image 1 of"):
        encode(pair, schema, with_target=True)


def test_the_fingerprint_follows_the_contents() -> None:
    assert read((X, Y)).fingerprint == read((X.copy(), Y.copy())).fingerprint
    assert read((X, Y)).fingerprint != read((X + 1e-9, Y)).fingerprint
    assert read(frame()).fingerprint == read(frame()).fingerprint
    assert read(frame()).fingerprint != read(frame().reverse()).fingerprint


def test_take_gives_rows_in_the_order_asked_for() -> None:
    rows = RNG.permutation(30)[:10]
    raw = read(frame())
    assert isinstance(raw, RawTable)
    assert take(raw, rows).frame.rows() == [raw.frame.row(row) for row in rows]
    images = read((X.reshape(30, 3, 1), Y))
    assert isinstance(images, RawArrays)
    np.testing.assert_array_equal(take(images, rows).x, images.x[rows])
    np.testing.assert_array_equal(take(images, rows).y, Y[rows])


def test_rows_without_a_label_are_dropped_and_said_so() -> None:
    y = np.where(Y == 2, np.nan, Y)
    for raw in (read((X, y)), read((RNG.normal(size=(30, 2, 2)), y))):
        schema, findings = infer_schema(raw)
        assert [f.code for f in findings] == ["missing-target"]
        assert schema.rows == len(drop_unlabelled(raw, schema)) == 20
        with pytest.raises(DataError, match="row 3"):
            encode(raw, schema, with_target=True)


def test_the_rarer_types_of_a_frame_are_understood_and_may_be_missing_altogether_later() -> None:
    rows = range(40)
    source = pl.DataFrame(
        {
            "time": [dt.time(i % 24, i) for i in rows],
            "duration": [dt.timedelta(minutes=i * i) for i in rows],
            "null": [None for _ in rows],
            "decimal": pl.Series([f"{i}.25" for i in rows]).cast(pl.Decimal(10, 2)),
            "enum": pl.Series(["ab"[i % 2] for i in rows], dtype=pl.Enum(["a", "b"])),
            "date": [dt.date(2020, 1, 1 + i % 28) for i in rows],
            "list": [[i] for i in rows],
            "y": [i // 2 % 2 for i in rows],
        }
    )
    spec = DataSpec(target="y")
    raw = read(source, spec)
    schema, _ = infer_schema(raw, spec)
    kinds = ["number", "number", "constant", "number", "category", "date", "text"]
    assert [column.kind for column in schema.columns] == kinds
    encoded = encode(raw, schema, with_target=True)
    assert encoded.inputs[0][1, :3].tolist() == [3660, 60, 1.25]
    empty = source.head(3).with_columns(pl.lit(None).alias(name) for name in source.columns)
    encoded = encode(read(empty), schema, with_target=False)
    assert np.isnan(encoded.inputs[0]).all()
    assert (encoded.inputs[1] == 1).all()
