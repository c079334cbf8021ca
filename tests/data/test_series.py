"""Series: what is read from .ts files, arrays and lists, and the arrays that come of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockstep.data import RawArrays, RawSeries, Schema, cut_rows, encode, infer_schema, read, take
from lockstep.errors import DataError
from lockstep.spec import DataSpec

Rng = np.random.Generator
SERIES = DataSpec(kind="series")


def ragged(rng: Rng, rows: int = 12, channels: int = 2) -> list[np.ndarray]:
    return [rng.normal(size=(length, channels)) for length in rng.permutation(rows) + 3]


def write_ts(path: Path, rows: list[np.ndarray], labels: list[Any], head: str = "@classLabel true a b") -> Path:
    def text(row: np.ndarray) -> str:
        return ":".join(",".join("?" if np.isnan(v) else repr(float(v)) for v in channel) for channel in row.T)

    lines = [f"{text(row)}:{label}" for row, label in zip(rows, labels, strict=True)]
    path.write_text("\n".join(["#comment", "@problemName p", "@univariate false", head, "@data", *lines]) + "\n")
    return path


def series(source: Any, spec: DataSpec | None = None, y: Any = None) -> RawSeries:
    raw = read(source, spec, y)
    assert isinstance(raw, RawSeries)
    return raw


def labels_of(rows: int) -> list[str]:
    return ["ab"[row % 2] for row in range(rows)]


def same(raw: RawSeries, rows: list[np.ndarray]) -> None:
    assert raw.lengths.tolist() == [len(row) for row in rows]
    for got, row in zip(raw.x, rows, strict=True):
        np.testing.assert_array_equal(got[: len(row)], row)
        assert np.isnan(got[len(row) :]).all()


def test_a_ts_file_gives_channels_lengths_missing_values_and_labels(tmp_path: Path, rng: Rng) -> None:
    rows = ragged(rng)
    rows[3][1, 0] = np.nan
    raw = series(write_ts(tmp_path / "p.ts", rows, labels_of(12)))
    same(raw, rows)
    assert raw.y is not None
    assert raw.y.tolist() == labels_of(12)
    schema, findings = infer_schema(raw)
    assert (schema.kind, schema.task, schema.classes) == ("series", "binary", ("a", "b"))
    assert (schema.steps, [column.missing for column in schema.columns]) == (14, [1, 0])
    assert findings == []
    assert Schema.model_validate_json(schema.model_dump_json()) == schema


def test_a_series_of_a_ts_file_ends_with_its_last_value_in_any_channel(tmp_path: Path, rng: Rng) -> None:
    """The archive pads with ``?``: what is behind the last value is the end, and not a step that is missing."""
    rows = ragged(rng)
    for row in rows:
        row[:-1, 1][rng.random(len(row) - 1) < 0.3] = np.nan  # gaps inside, and the other channel may end earlier
    rows[2][-2:, 1] = np.nan
    padded = [np.pad(row, ((0, 4), (0, 0)), constant_values=np.nan) for row in rows]
    raw = series(write_ts(tmp_path / "p.ts", padded, labels_of(12)))
    same(raw, rows)
    schema, findings = infer_schema(raw)
    assert (schema.steps, schema.columns[0].missing, findings) == (14, 0, [])
    assert schema.columns[1].missing == sum(int(np.isnan(row[:, 1]).sum()) for row in rows)


def test_a_series_of_a_ts_file_without_any_value_is_empty(tmp_path: Path, rng: Rng) -> None:
    rows = ragged(rng)
    rows[3] = np.full((3, 2), np.nan)
    raw = series(write_ts(tmp_path / "p.ts", rows, labels_of(12)))
    assert raw.lengths[3] == 0
    assert [finding.code for finding in infer_schema(raw)[1]] == ["empty-series"]


def test_classes_that_a_ts_file_names_are_classes_however_many_and_targets_without_are_numbers(
    tmp_path: Path, rng: Rng
) -> None:
    many = [str(row % 30) for row in range(90)]
    rows = ragged(rng, 90)
    raw = series(write_ts(tmp_path / "p.ts", rows, many, f"@classLabel true {' '.join(sorted(set(many)))}"))
    assert infer_schema(raw)[0].task == "multiclass"
    values = rng.normal(size=90)
    raw = series(write_ts(tmp_path / "q.ts", rows, values.tolist(), "@targetlabel true"))
    schema, _ = infer_schema(raw)
    assert schema.task == "regression"
    np.testing.assert_allclose(encode(raw, schema, with_target=True).target, values)  # type: ignore[arg-type]


def test_the_test_file_beside_holds_the_test_rows_by_file_and_by_folder(tmp_path: Path, rng: Rng) -> None:
    train, test = ragged(rng), ragged(rng, 20)
    write_ts(tmp_path / "p_TRAIN.ts", train, labels_of(12))
    write_ts(tmp_path / "p_TEST.ts", test, labels_of(20))
    for source in (tmp_path / "p_TRAIN.ts", tmp_path):
        raw = series(source)
        same(raw, train)
        assert raw.test is not None
        same(raw.test, test)
        schema, findings = infer_schema(raw)
        assert findings == []  # it is said of the test rows, where these are taken
        assert [finding.code for finding in raw.test.findings] == ["test-file-beside"]
        (cut,) = cut_rows(raw.test, schema)
        assert "8 of the 20" in cut.evidence
    assert series(tmp_path / "p_TEST.ts").test is None
    write_ts(tmp_path / "q_TRAIN.ts", train, labels_of(12))
    with pytest.raises(DataError, match="one pair"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2:a\n", "no line|has none"),
        ("@classLabel true a\n@data\n", "no rows behind @data"),
        ("@classLabel true a\n@data\n1,2:3:a\n", "line 3 of p.ts has channels of 1, 2 steps"),
        ("@classLabel true a\n@data\n1,2:a\n1:2:a\n", "line 4 has 2"),
        ("@classLabel true a\n@data\n1,x:a\n", "line 3 of p.ts has 'x'"),
        ("@timeStamps true\n@data\n(0,1):a\n", "without time stamps"),
        ("@classLabel true a\n@data\n1\n", "it has no colon"),
        ("", "is empty"),
    ],
)
def test_a_damaged_ts_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.ts").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "p.ts")


def test_an_array_of_three_axes_is_images_unless_kind_or_lengths_say_series(tmp_path: Path, rng: Rng) -> None:
    x, y = rng.normal(size=(12, 6, 2)), np.arange(12) % 2
    lengths = rng.integers(1, 7, 12)
    assert isinstance(read((x, y)), RawArrays)
    same(series((x, y), SERIES), list(x))
    np.savez(tmp_path / "images.npz", x=x, y=y)
    np.savez(tmp_path / "series.npz", x=x, y=y, lengths=lengths, x_test=x, y_test=y, lengths_test=lengths)
    assert isinstance(read(tmp_path / "images.npz"), RawArrays)
    same(series(tmp_path / "images.npz", SERIES), list(x))
    raw = series(tmp_path / "series.npz")
    for part in (raw, raw.test):
        assert part is not None
        same(part, [row[:length] for row, length in zip(x, lengths, strict=True)])


def test_rows_of_one_channel_may_be_a_table_of_steps(rng: Rng) -> None:
    x, y = rng.normal(size=(12, 6)), np.arange(12) % 2
    same(series((x, y), SERIES), [row[:, None] for row in x])


def test_a_list_of_series_and_nan_behind_the_end_say_the_same(rng: Rng) -> None:
    rows, y = ragged(rng), np.arange(12) % 2
    listed = series(rows, None, y)
    same(listed, rows)
    same(series((listed.x, y), SERIES), rows)


def test_a_list_may_hold_a_series_without_any_step(rng: Rng) -> None:
    rows = [np.zeros((0, 2)), *ragged(rng)]
    same(series(rows, None, np.arange(13) % 2), rows)


@pytest.mark.parametrize("lengths", [np.full(12, 7), np.full(11, 3), np.full(12, 2.5), np.full(12, -1)])
def test_lengths_that_do_not_fit_are_refused(tmp_path: Path, lengths: np.ndarray) -> None:
    np.savez(tmp_path / "s.npz", x=np.zeros((12, 6, 2)), y=np.arange(12) % 2, lengths=lengths)
    with pytest.raises(DataError, match="lengths must be a whole number from 0 to 6 for each of 12"):
        read(tmp_path / "s.npz")


def test_series_are_encoded_with_their_lengths_and_what_is_longer_is_cut_at_its_end(rng: Rng) -> None:
    rows = ragged(rng)
    raw = series(rows, None, [len(row) % 2 for row in rows])
    schema, _ = infer_schema(raw)
    values, lengths = encode(raw, schema, with_target=True).inputs
    assert (values.dtype, values.shape, lengths.dtype) == (np.float32, (12, 14, 2), np.int64)
    np.testing.assert_array_equal(values, raw.x.astype(np.float32))
    np.testing.assert_array_equal(lengths, raw.lengths)
    short = take(raw, np.flatnonzero(raw.lengths <= 6))
    schema, _ = infer_schema(short)
    values, lengths = encode(raw, schema, with_target=False).inputs
    np.testing.assert_array_equal(values, raw.x[:, :6].astype(np.float32))
    np.testing.assert_array_equal(lengths, np.minimum(raw.lengths, 6))
    short = RawSeries(raw.x[:, :4], np.minimum(raw.lengths, 4), None, "short", "")
    values, _ = encode(short, schema, with_target=False).inputs
    assert values.shape == (12, 6, 2)
    assert np.isnan(values[:, 4:]).all()


def test_a_channel_far_from_zero_keeps_its_spread_and_one_without_any_is_set_aside(rng: Rng) -> None:
    x = np.stack([1e9 + rng.normal(size=(20, 5)), np.full((20, 5), 3.0)], axis=2)
    raw = series((x, np.arange(20) % 2), SERIES)
    schema, findings = infer_schema(raw)
    assert [finding.code for finding in findings] == ["constant-column"]
    values, _ = encode(raw, schema, with_target=True).inputs
    assert values.shape == (20, 5, 1)
    np.testing.assert_allclose(np.diff(values[..., 0], axis=1), np.diff(x[..., 0], axis=1), atol=1e-5)


def test_series_that_a_network_cannot_take_are_refused_with_the_place(rng: Rng) -> None:
    x, y = rng.normal(size=(12, 5, 2)), np.arange(12) % 2
    raw = series((x, y), SERIES)
    schema, _ = infer_schema(raw)
    with pytest.raises(DataError, match="2 channels of those in training, however numpy array has 1"):
        encode(series((x[..., :1]), SERIES), schema, with_target=False)
    with pytest.raises(DataError, match="trained on series of 2 channels, however numpy array is a table"):
        encode(read(x[..., 0]), schema, with_target=False)
    x[7, 3, 1] = np.inf
    for act in (lambda raw: infer_schema(raw), lambda raw: encode(raw, schema, with_target=True)):
        with pytest.raises(DataError, match="series 8 of numpy arrays has inf at step 4 of channel 1"):
            act(series((x, y), SERIES))
    with pytest.raises(DataError, match="labels, however numpy array has series alone"):
        infer_schema(series(x[:5], SERIES))
    with pytest.raises(DataError, match="all 12"):
        infer_schema(series((x[..., :1], np.zeros(12)), SERIES))
    with pytest.raises(DataError, match=r"data.kind must be.*it is series and .* holds a table"):
        infer_schema(read({"a": [1, 2, 3], "y": [0, 1, 0]}, SERIES), SERIES)


def test_an_empty_series_is_one_missing_step_and_a_finding(rng: Rng) -> None:
    x = rng.normal(size=(12, 5, 2))
    x[4] = np.nan
    raw = series((x, np.arange(12) % 2), SERIES)
    schema, findings = infer_schema(raw)
    assert [finding.code for finding in findings] == ["empty-series"]
    assert encode(raw, schema, with_target=True).inputs[1][4] == 1


@pytest.mark.parametrize(
    ("name", "rows", "channels", "classes"), [("JapaneseVowels", 270, 12, 9), ("GunPoint", 50, 1, 2)]
)
def test_real_series(real_data, name: str, rows: int, channels: int, classes: int) -> None:
    raw = series(real_data("ucr") / f"{name}_TRAIN.ts")
    schema, _ = infer_schema(raw)
    assert (len(raw), raw.x.shape[2], len(schema.classes)) == (rows, channels, classes)
    assert raw.test is not None
    assert encode(raw.test, schema, with_target=True).inputs[0].shape == (len(raw.test), schema.steps, channels)
