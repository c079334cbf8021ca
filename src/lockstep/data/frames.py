"""Frames and arrays that a Python caller hands over, to a raw table or an array. Imports none of their packages."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.raw import RawTable, hash_frame
from lockstep.data.text import check_names
from lockstep.errors import DataError


def as_frame(source: Any) -> pl.DataFrame | None:
    """``source`` as a polars frame if it is one, or a pandas or arrow one, or a dictionary of columns; else None."""
    package = type(source).__module__.partition(".")[0]
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, pl.DataFrame):
        return source
    if package == "pandas" and hasattr(source, "columns"):
        return _from_pandas(source)
    if isinstance(source, dict):
        return pl.DataFrame(source, strict=False)
    if package == "pyarrow" and hasattr(source, "schema"):
        check_names([str(name) for name in source.schema.names], "the arrow table")
        return pl.DataFrame(source)
    if hasattr(source, "__arrow_c_stream__") and not isinstance(source, pl.Series) and package != "pandas":
        return pl.DataFrame(source)
    return None


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Column by column, since polars' own conversion needs pyarrow, which is no dependency of ours."""
    names = ["_".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
    check_names(names, "the pandas frame")
    return pl.DataFrame([_series(name, frame.iloc[:, index]) for index, name in enumerate(names)])


def _series(name: str, column: Any) -> pl.Series:
    kind = getattr(column.dtype, "kind", "O")
    if isinstance(column.dtype, np.dtype) and kind in "biufM":
        return pl.Series(name, column.to_numpy())
    present = column.notna().to_numpy()
    values = [value if there else None for value, there in zip(column.astype(object), present, strict=True)]
    return pl.Series(name, values, strict=False)


def as_array(source: Any) -> NDArray[Any] | None:
    """A numpy array, torch tensor, pandas or polars series or (nested) list as an array; else None."""
    package = type(source).__module__.partition(".")[0]
    if package == "torch" and hasattr(source, "detach"):
        tensor = source.detach().cpu()
        return np.asarray(
            tensor.float().numpy() if str(tensor.dtype) in ("torch.bfloat16", "torch.float16") else tensor
        )
    if isinstance(source, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(source.astype(np.float64), np.nan))
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, pl.Series):
        return _series_array(source)
    if package == "pandas":
        return _series_array(_series("y", source))
    if isinstance(source, list | tuple) or hasattr(source, "__array__"):
        try:
            return np.asarray(source)
        except ValueError:
            raise DataError(
                "A list of rows must have rows of one length, however they differ. Even them out."
            ) from None
    return None


def _series_array(series: pl.Series) -> NDArray[Any]:
    if series.dtype == pl.String or series.dtype == pl.Boolean:
        return np.array(series.to_list(), dtype=object)
    return series.to_numpy()


def as_target(y: Any, rows: int, name: str) -> pl.Series:
    """``y`` [N] or [N, 1] as a column called ``name``; raises ``DataError`` where it does not fit ``rows``."""
    if isinstance(y, pl.Series):
        series = y.alias(name)
    elif isinstance(frame := as_frame(y), pl.DataFrame):
        if frame.width != 1:
            raise DataError(f"y must be one column, however it has {frame.width}. Give the target alone.")
        series = frame.to_series(0).alias(name)
    elif type(y).__module__.partition(".")[0] == "pandas":
        series = _series(name, y)
    else:
        series = column_of(name, one_target(as_array(y)))
    if len(series) != rows:
        raise DataError(f"x and y must have as many rows, however x has {rows:,} and y has {len(series):,}.")
    return series


def one_target(y: NDArray[Any] | None) -> NDArray[Any]:
    """``y`` as [N], or a ``DataError`` that says why it cannot be."""
    if y is None:
        raise DataError("y must be an array, a tensor, a series or a list of labels or numbers.")
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim != 1:
        one_hot = y.ndim == 2 and y.dtype.kind in "biuf" and bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all())
        remedy = "It is one-hot: give y.argmax(1)." if one_hot else "Train on one target at a time."
        raise DataError(f"y must be [N], one target for each row, however its shape is {list(y.shape)}. {remedy}")
    return y


def column_of(name: str, values: NDArray[Any]) -> pl.Series:
    if values.dtype.kind in "c":
        raise DataError(f"{name} holds complex numbers. Give their real and imaginary parts as columns.")
    if values.dtype.kind in "OUS":
        values_list = [
            None if v is None or v != v else v.decode() if isinstance(v, bytes) else v for v in values.tolist()
        ]
        return pl.Series(name, values_list, strict=False)
    return pl.Series(name, np.ascontiguousarray(values))


def from_frame(frame: pl.DataFrame, y: Any, origin: str, target: str | None, *, named: bool = True) -> RawTable:
    """A table, with ``y`` (if any) as a further column called ``target``, its own name, or "target"."""
    if y is not None:
        own = getattr(y, "name", None)
        name = target or (own if isinstance(own, str) and own else "target")
        if name in frame.columns:
            raise DataError(
                f"y is called {name}, and so is a column of x. Rename one, or give target={name!r} and no y."
            )
        frame = frame.with_columns(as_target(y, frame.height, name))
        target = name
    else:
        target = None
    if frame.width == 0 or frame.height == 0:
        raise DataError(f"{origin} must have rows and columns, however it has {frame.height:,} and {frame.width:,}.")
    return RawTable(frame, origin, hash_frame(frame), target, named)


def is_pair(source: Any) -> bool:
    return isinstance(source, tuple) and len(source) == 2 and not all(isinstance(part, int | float) for part in source)


def describe(parts: Iterable[Any]) -> str:
    """What a caller gave, in words: "pandas frame", "numpy array"."""
    short = {"ndarray": "array", "DataFrame": "frame", "Tensor": "tensor", "Series": "series", "Table": "table"}
    words = []
    for part in parts:
        package, name = type(part).__module__.partition(".")[0], type(part).__name__
        words.append({"builtins": "Python"}.get(package, package) + f" {short.get(name, name)}")
    return f"{words[0]}s" if len(words) > 1 and len(set(words)) == 1 else " and ".join(words)
