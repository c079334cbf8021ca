"""Rows by a schema: any order of columns, unseen categories, labels that training did not have."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.data import RawTable, encode, infer_schema, read
from lockstep.errors import DataError
from lockstep.spec import DataSpec

N = 40
RNG = np.random.default_rng(1)
FRAME = pl.DataFrame(
    {
        "n": RNG.normal(size=N),
        "i": [i % 7 for i in range(N)],
        "c": ["uvw"[i % 3] for i in range(N)],
        "k": ["red" if i % 5 else None for i in range(N)],
        "b": [i % 4 == 0 for i in range(N)],
        "d": pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 12, 1), "1d", eager=True).head(N),
        "y": [["no", "yes"][i // 2 % 2] for i in range(N)],
    }
)
SPEC = DataSpec(target="y")


def raw(frame: pl.DataFrame, origin: str = "new.csv") -> RawTable:
    return RawTable(frame, origin, "")


SCHEMA, _ = infer_schema(raw(FRAME), SPEC)
WANT = encode(raw(FRAME), SCHEMA, with_target=True)


def test_the_arrays_are_of_the_agreed_types_and_codes() -> None:
    numbers, categories = WANT.inputs
    assert SCHEMA.number_names == ("n", "i", "b", "d.days", "d.month", "d.day", "d.weekday")
    assert (numbers.dtype, categories.dtype) == (np.float32, np.int64)
    assert SCHEMA.cardinalities == (5, 3)
    assert categories[:3, 0].tolist() == [2, 3, 4]
    assert categories[:2, 1].tolist() == [1, 2]
    assert WANT.target is not None
    assert WANT.target.dtype == np.int64
    assert WANT.target[:4].tolist() == [0, 0, 1, 1]
    assert len(WANT) == N


@given(st.permutations(FRAME.columns))
def test_the_order_of_columns_and_further_ones_do_not_matter(order: list[str]) -> None:
    frame = FRAME.select(order).with_columns(extra=pl.lit("anything"))
    got = encode(raw(frame), SCHEMA, with_target=True)
    np.testing.assert_array_equal(got.inputs[0], WANT.inputs[0])
    np.testing.assert_array_equal(got.inputs[1], WANT.inputs[1])
    np.testing.assert_array_equal(got.target, WANT.target)


def test_a_frame_and_its_csv_are_encoded_alike(tmp_path: Any) -> None:
    FRAME.write_csv(tmp_path / "t.csv")
    text = read(tmp_path / "t.csv")
    got = encode(text, SCHEMA, with_target=True)
    np.testing.assert_allclose(got.inputs[0], WANT.inputs[0], rtol=1e-6)
    np.testing.assert_array_equal(got.inputs[1], WANT.inputs[1])
    schema, _ = infer_schema(text, SPEC)
    np.testing.assert_allclose(encode(raw(FRAME), schema, with_target=True).inputs[0], WANT.inputs[0], rtol=1e-6)


@given(st.text("abcäßж☃ -", min_size=1).map(lambda tail: f"new{tail}"))
def test_an_unseen_category_is_0_and_a_missing_one_is_1(word: str) -> None:
    frame = FRAME.head(2).with_columns(c=pl.Series([word, "NA"]))
    assert encode(raw(frame), SCHEMA, with_target=False).inputs[1][:, 0].tolist() == [0, 1]


def test_missing_values_of_every_kind_are_encoded() -> None:
    frame = pl.DataFrame({name: ["NA", ""] for name in FRAME.columns if name != "y"})
    encoded = encode(raw(frame), SCHEMA, with_target=False)
    assert np.isnan(encoded.inputs[0]).all()
    assert (encoded.inputs[1] == 1).all()
    assert encoded.target is None


def test_missing_columns_are_named() -> None:
    with pytest.raises(DataError, match=r"new.csv must have .* lacks the columns n, c\. It has: i, k"):
        encode(raw(FRAME.drop("n", "c")), SCHEMA, with_target=False)
    with pytest.raises(DataError, match="lacks the column y"):
        encode(raw(FRAME.drop("y")), SCHEMA, with_target=True)


def test_columns_that_were_set_aside_need_not_be_there() -> None:
    schema, _ = infer_schema(raw(FRAME.with_columns(same=pl.lit(1))), SPEC)
    encode(raw(FRAME), schema, with_target=True)


def test_a_word_or_an_infinite_value_in_a_number_column_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match=r"n must hold numbers as in training, however new.csv has 'word' in row 2"):
        encode(raw(FRAME.head(2).with_columns(n=pl.Series(["1", "word"]))), SCHEMA, with_target=False)
    with pytest.raises(DataError, match="infinite value inf in row 1"):
        encode(raw(FRAME.head(2).with_columns(n=pl.Series([np.inf, 1.0]))), SCHEMA, with_target=False)
    with pytest.raises(DataError, match="d must hold dates"):
        encode(raw(FRAME.head(2).with_columns(d=pl.Series(["2024-01-01", "word"]))), SCHEMA, with_target=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["no.", "yes."], r"no\., yes\. here and no, yes in training\. They differ by a full stop at the end"),
        (["No", "YES"], "in case or spaces alone"),
        (["no", "maybe"], "maybe, no here and no, yes in training. Training had no maybe"),
    ],
)
def test_labels_spelled_otherwise_are_refused_with_both_sets(labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode(raw(FRAME.head(2).with_columns(y=pl.Series(labels))), SCHEMA, with_target=True)


def test_integer_labels_match_however_they_are_stored() -> None:
    frame = FRAME.with_columns(y=pl.Series([i // 2 % 2 for i in range(N)]))
    schema, _ = infer_schema(raw(frame), SPEC)
    for dtype in (pl.Int8, pl.Float64, pl.String):
        got = encode(raw(frame.with_columns(pl.col("y").cast(dtype))), schema, with_target=True)
        np.testing.assert_array_equal(got.target, frame["y"].to_numpy())


def test_a_regression_target_is_float64() -> None:
    schema, _ = infer_schema(raw(FRAME), spec := DataSpec(target="n"))
    target = encode(raw(FRAME), schema, with_target=True).target
    assert target is not None
    assert target.dtype == np.float64
    np.testing.assert_array_equal(target, FRAME["n"].to_numpy())
    assert spec.target == "n"


def test_a_file_without_header_may_lack_the_target_wherever_it_stood(tmp_path: Any) -> None:
    rows = [f"{i // 2 % 2},{v:.3f},{'uvw'[i % 3]}" for i, v in enumerate(RNG.normal(size=N))]
    (tmp_path / "train.csv").write_text("\n".join(rows))
    (tmp_path / "new.csv").write_text("\n".join(row[2:] for row in rows))
    spec = DataSpec(target="0", header=False)
    train = read(tmp_path / "train.csv", spec)
    schema, _ = infer_schema(train, spec)
    want, got = (
        encode(train, schema, with_target=True),
        encode(read(tmp_path / "new.csv", spec), schema, with_target=False),
    )
    np.testing.assert_array_equal(got.inputs[0], want.inputs[0])
    np.testing.assert_array_equal(got.inputs[1], want.inputs[1])


def test_an_array_is_matched_to_named_columns_by_order() -> None:
    frame = pl.DataFrame(RNG.normal(size=(N, 2)), schema=["p", "q"]).with_columns(y=FRAME["y"])
    schema, _ = infer_schema(raw(frame), SPEC)
    x = frame.select("p", "q").to_numpy()
    np.testing.assert_array_equal(encode(read(x), schema, with_target=False).inputs[0], x.astype(np.float32))
    pair = encode(read((x, FRAME["y"].to_list())), schema, with_target=True)
    np.testing.assert_array_equal(pair.inputs[0], x.astype(np.float32))


def test_a_frame_of_inputs_and_a_target_apart_are_matched_too() -> None:
    got = encode(read((FRAME.drop("y"), FRAME["y"].alias("other"))), SCHEMA, with_target=True)
    np.testing.assert_array_equal(got.target, WANT.target)


def test_tables_and_images_are_not_mixed_up() -> None:
    images = read((RNG.normal(size=(4, 2, 2)), [0, 1, 0, 1]))
    image_schema, _ = infer_schema(images)
    with pytest.raises(DataError, match="trained on a table"):
        encode(images, SCHEMA, with_target=True)
    with pytest.raises(DataError, match=r"trained on images \[2, 2\]"):
        encode(raw(FRAME), image_schema, with_target=True)
    with pytest.raises(DataError, match=r"shape of those in training, \[2, 2\]"):
        encode(read(RNG.normal(size=(4, 3, 3))), image_schema, with_target=False)
