"""Raw rows to the arrays a network takes, by a schema: the same for training rows and for rows to come."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.columns import check_finite
from lockstep.data.encoded import Encoded
from lockstep.data.frames import column_of
from lockstep.data.free_text import cut_texts, texts_of
from lockstep.data.notes import spelling_variants
from lockstep.data.raw import Raw, RawArrays, RawSeries, RawTable, listing
from lockstep.data.schema import Column, Schema
from lockstep.data.steps import cut_series, encode_series
from lockstep.data.timeline import encode_timeline
from lockstep.data.values import as_boolean, as_date, as_number, as_text, clean, date_part, number_style
from lockstep.data.vocabulary import encode_texts, token_counts
from lockstep.errors import DataError
from lockstep.findings import Finding
from lockstep.spec.data import Kind

UNSEEN, MISSING = 0, 1


def encode(raw: Raw, schema: Schema, *, with_target: bool) -> Encoded:
    """``raw`` by ``schema``: columns by name in any order, further ones ignored, unseen categories as 0.

    A table without names of its own is matched by order where it has just the schema's columns. Raises ``DataError``
    for missing columns, numbers that cannot be read, labels that training did not have, and rows without a target.
    """
    _check_kind(raw, schema)
    match raw:
        case RawArrays():
            return Encoded((_pixels(raw, schema),), _labels(raw, schema) if with_target else None)
        case RawSeries():
            return Encoded(encode_series(raw, schema), _labels(raw, schema) if with_target else None)
        case RawTable() if schema.kind == "forecast":
            return encode_timeline(raw, schema, with_target=with_target)
    frame = _by_name(raw, schema, with_target)
    if schema.kind == "text":
        texts = texts_of(frame[schema.used_columns[0].name])
        inputs = (texts,) if schema.vocabulary is None else encode_texts(texts, schema.vocabulary)
        return Encoded(inputs, _target(frame[str(schema.target)], schema, raw.origin) if with_target else None)
    numbers, categories = [], []
    rows = np.arange(frame.height)
    for column in schema.used_columns:
        values = clean(frame[column.name], schema.missing)
        if column.kind == "category":
            categories.append(_codes(values, column))
        else:
            numbers += _numbers(values, column, rows, raw.origin)
    target = _target(frame[str(schema.target)], schema, raw.origin) if with_target else None
    return Encoded(
        (_columns(numbers, frame.height, np.float32), _columns(categories, frame.height, np.int64)),
        target,
    )


def _columns(arrays: list[NDArray[Any]], rows: int, dtype: Any) -> NDArray[Any]:
    table = np.empty((rows, len(arrays)), dtype=dtype)
    for index, array in enumerate(arrays):
        table[:, index] = array
    return table


def _by_name(raw: RawTable, schema: Schema, with_target: bool) -> pl.DataFrame:
    frame = raw.frame
    needed = [column.name for column in schema.used_columns]
    if with_target:
        needed.append(str(schema.target))
    lacking = [name for name in needed if name not in frame.columns]
    if not raw.named and not with_target and frame.width == len(schema.columns):
        return frame.rename(dict(zip(frame.columns, [column.name for column in schema.columns], strict=True)))
    if not raw.named and with_target and lacking and frame.width == len(schema.columns) + 1:
        order = [name for name in frame.columns if name != raw.target]
        if raw.target is not None:
            names = dict(zip(order, [column.name for column in schema.columns], strict=True))
            return frame.rename(names | {raw.target: str(schema.target)})
    if lacking == [schema.target] and raw.target is not None and raw.target not in needed:
        return frame.rename({raw.target: str(schema.target)})
    if lacking:
        plural = "columns" if len(lacking) > 1 else "column"
        raise DataError(
            f"{raw.origin} must have the columns that the model was trained on, however it lacks the {plural} "
            f"{listing(lacking)}. It has: {listing(frame.columns)}."
        )
    return frame


def _codes(values: pl.Series, column: Column) -> NDArray[Any]:
    meaning = {category: 2 + index for index, category in enumerate(column.categories)}
    codes = as_text(values).replace_strict(meaning, default=UNSEEN, return_dtype=pl.Int64)
    return codes.set(values.is_null(), MISSING).to_numpy()


def _numbers(values: pl.Series, column: Column, rows: NDArray[np.int64], origin: str) -> list[NDArray[Any]]:
    """The float32 columns that a number, boolean or date column gives, NaN where missing."""
    if column.kind == "boolean":
        return [as_boolean(values).to_numpy().astype(np.float32)]
    if column.kind == "date":
        dates = _dates(values, column)
        _check_read(values, dates, column, rows, origin, "date")
        return [
            _float32(date_part(dates, part), column.offset if part == "days" else 0.0) for part in column.date_parts
        ]
    numbers = as_number(values, column.number_style)
    _check_read(values, numbers, column, rows, origin, "number")
    check_finite(numbers, rows, origin)
    return [_float32(numbers, column.offset, column.scale)]


def _dates(values: pl.Series, column: Column) -> pl.Series:
    dates = as_date(values, column.date_format)
    if column.date_format is not None and dates.null_count() > values.null_count():
        other = as_date(values, None)  # another spelling, throughout the file
        dates = other if other.null_count() < dates.null_count() else dates
    return dates


def _float32(numbers: pl.Series, offset: float, scale: float = 1.0) -> NDArray[Any]:
    # The offset goes in float64: afterwards there would be nothing left of the spread.
    values = numbers.cast(pl.Float64).to_numpy()
    return ((values - offset) * scale).astype(np.float32)


def _check_read(
    values: pl.Series, read: pl.Series, column: Column, rows: NDArray[np.int64], origin: str, what: str
) -> None:
    unread = values.is_not_null() & read.is_null()
    if not unread.any():
        return
    text = as_text(values)
    unread &= ~text.is_in(list(column.odd)).fill_null(False)
    if not unread.any():
        return
    at = int(np.flatnonzero(unread.to_numpy())[0])
    more = f" ({unread.sum():,} such values in all)" if unread.sum() > 1 else ""
    raise DataError(
        f"Column {column.name} must hold {what}s as in training, however {origin} has {text[at]!r} "
        f"in row {rows[at] + 1:,}{more}. Mend it, or leave the field empty if it is missing."
    )


def _target(series: pl.Series, schema: Schema, origin: str) -> NDArray[Any]:
    values = clean(series, schema.missing)
    if values.null_count():
        at = int(np.flatnonzero(values.is_null().to_numpy())[0])
        raise DataError(
            f"Every row must have a target here, however {series.name} of {origin} is missing in "
            f"{values.null_count():,} rows, the first being row {at + 1:,}. Leave them out."
        )
    if schema.task != "regression":
        return _class_codes(values, schema, origin)
    style = number_style(values.unique()) if values.dtype == pl.String else "plain"
    numbers = as_number(values, style)
    column = schema.target_column or Column(name=series.name, kind="number")
    _check_read(
        values, numbers, column.model_copy(update={"name": series.name}), np.arange(len(values)), origin, "number"
    )
    check_finite(numbers, np.arange(len(values)), origin)
    return numbers.to_numpy().astype(np.float64)


def _class_codes(values: pl.Series, schema: Schema, origin: str) -> NDArray[Any]:
    text = as_text(values)
    codes = text.replace_strict({label: i for i, label in enumerate(schema.classes)}, default=-1, return_dtype=pl.Int64)
    if (codes < 0).any():
        raise _other_labels(sorted(text.unique().to_list()), schema, origin)
    return codes.to_numpy()


def _other_labels(labels: list[str], schema: Schema, origin: str) -> DataError:
    unknown = [label for label in labels if label not in schema.classes]
    alike = spelling_variants((*schema.classes, *unknown))
    cause = ""
    if len(alike) == len(unknown):
        dotted = all(label.rstrip(".") in schema.classes for label in unknown)
        cause = " by a full stop at the end" if dotted else " in case or spaces alone"
        cause = f" They differ{cause}: spell them as in training."
    else:
        cause = f" Training had no {listing(unknown, 6)}: correct the labels, leave these rows out, or train with them."
    return DataError(
        f"The labels of {origin} must be those of training, however they are {listing(labels)} here "
        f"and {listing(schema.classes)} in training.{cause}"
    )


def raw_texts(raw: RawTable, schema: Schema, *, with_target: bool) -> NDArray[np.object_]:
    """The texts [N] of a table by the schema of a text, as they are written."""
    return texts_of(_by_name(raw, schema, with_target)[schema.used_columns[0].name])


def cut_rows(raw: Raw, schema: Schema, *, with_target: bool = True) -> list[Finding]:
    """A finding where rows are longer than what a network takes, so that their end is cut off."""
    match raw:
        case RawSeries():
            return cut_series(raw, schema)
        case RawTable() if schema.vocabulary is not None:
            texts, name = raw_texts(raw, schema, with_target=with_target), schema.used_columns[0].name
            return cut_texts(token_counts(texts, schema.vocabulary), schema.vocabulary, name, raw.origin)
    return []


def blank(schema: Schema) -> tuple[NDArray[Any], ...]:
    """The inputs of one row that says nothing, in the form that ``encode`` gives."""
    match schema.kind:
        case "images":
            return (np.zeros((1, *(schema.image_shape or ())), dtype=np.float32),)
        case "text":
            assert schema.vocabulary is not None, "texts are blank once there is a vocabulary"
            return encode_texts([""], schema.vocabulary)
        case "series":
            values = np.zeros((1, schema.steps, len(schema.used_columns)), dtype=np.float32)
            return values, np.ones(1, dtype=np.int64)
        case "forecast":
            context = schema.forecast.context if schema.forecast else 1
            return (np.zeros((1, len(schema.columns), context), dtype=np.float32),)
    numbers = np.zeros((1, len(schema.number_names)), dtype=np.float32)
    return numbers, np.zeros((1, len(schema.cardinalities)), dtype=np.int64)


def shuffled(
    inputs: tuple[NDArray[Any], ...], schema: Schema, name: str, order: NDArray[np.int64]
) -> tuple[NDArray[Any], ...]:
    """``inputs`` with one column of a table, or one channel of series, in another order of the rows."""
    if schema.kind == "series":
        values, lengths = inputs[0].copy(), inputs[1]
        place = [column.name for column in schema.used_columns].index(name)
        values[:, :, place] = values[order][:, :, place]
        return values, lengths
    moved = tuple(part.copy() for part in inputs)
    for part, columns in zip(moved, (schema.number_columns, schema.category_columns), strict=True):
        places = [place for place, column in enumerate(columns) if column == name]
        part[:, places] = part[order][:, places]
    return moved


def _check_kind(raw: Raw, schema: Schema) -> None:
    kinds: tuple[Kind, ...]
    match raw:
        case RawTable():
            kinds, what = ("table", "text", "forecast"), "is a table"
        case RawArrays():
            kinds, what = ("images",), f"holds images {list(raw.x.shape)}"
        case RawSeries():
            kinds, what = ("series",), f"holds series {list(raw.x.shape)}"
    if schema.kind in kinds:
        return
    trained = {
        "table": "a table",
        "images": f"images {list(schema.image_shape or ())}",
        "series": f"series of {len(schema.columns)} channels",
        "text": "a column of text",
        "forecast": "a table of rows in time",
    }[schema.kind]
    raise DataError(f"The model was trained on {trained}, however {raw.origin} {what}.")


def _labels(raw: RawArrays | RawSeries, schema: Schema) -> NDArray[Any]:
    if raw.y is None:
        raise DataError(f"{raw.origin} must have labels here, however it holds {schema.kind} alone.")
    return _target(column_of("y", raw.y), schema, raw.origin)


def _pixels(raw: RawArrays, schema: Schema) -> NDArray[Any]:
    x, shape = raw.x, schema.image_shape or ()
    if x.ndim == 3 and shape == (*x.shape[1:], 3):  # grey pictures for a model that was trained on coloured ones
        x = np.repeat(x[..., None], 3, axis=3)
    if x.shape[1:] != schema.image_shape:
        raise DataError(
            f"Images must have the shape of those in training, {list(schema.image_shape or ())}, "
            f"however {raw.origin} has {list(x.shape[1:])}."
        )
    if x.dtype == np.uint8:
        return x
    if x.dtype == np.bool_:
        return x.astype(np.uint8)
    with np.errstate(over="ignore"):
        pixels = x.astype(np.float32)
    if x.dtype.kind == "f":
        at = np.flatnonzero(~(np.abs(pixels) <= 1e18).reshape(len(pixels), -1).all(1))
        if len(at):
            more = f" ({len(at):,} such images in all)" if len(at) > 1 else ""
            raise DataError(
                f"Pixels must be finite numbers up to 1e18, however image {at[0] + 1:,} of {raw.origin} has one that "
                f"is not{more}. Mend or leave such images out."
            )
    return pixels
