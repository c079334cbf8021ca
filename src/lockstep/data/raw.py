"""What was read, before anything is understood: a table or arrays, where it came from and what it hashes to."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.errors import DataError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class RawTable:
    """A table as it was read. Text of a file stays text; frames keep their types.

    ``target`` is the target column where the source itself says which it is (``y``, scikit-learn's tables). ``named``
    is false where columns have no names of their own (arrays, a file without header), so that only their order counts.
    ``test`` holds the source's own test rows.
    """

    frame: pl.DataFrame
    origin: str
    fingerprint: str
    target: str | None = None
    named: bool = True
    test: "RawTable | None" = None

    def __len__(self) -> int:
        return self.frame.height


@dataclass(frozen=True)
class RawArrays:
    """Images ``x`` [N, H, W], [N, H, W, C] or [N, C, H, W], their labels ``y`` [N], and the source's own test rows."""

    x: NDArray[Any]
    y: NDArray[Any] | None
    origin: str
    fingerprint: str
    test: "RawArrays | None" = None

    def __len__(self) -> int:
        return len(self.x)


Raw = RawTable | RawArrays


@overload
def take(raw: RawTable, rows: Rows) -> RawTable: ...
@overload
def take(raw: RawArrays, rows: Rows) -> RawArrays: ...
def take(raw: Raw, rows: Rows) -> Raw:
    """The given rows of ``raw``, in the order given. The fingerprint stays that of the source."""
    if isinstance(raw, RawTable):
        return replace(raw, frame=raw.frame[np.asarray(rows, dtype=np.int64)], test=None)
    return replace(raw, x=raw.x[rows], y=None if raw.y is None else raw.y[rows], test=None)


@overload
def concat(first: RawTable, second: RawTable) -> RawTable: ...
@overload
def concat(first: RawArrays, second: RawArrays) -> RawArrays: ...
@overload
def concat(first: Raw, second: Raw) -> Raw: ...
def concat(first: Raw, second: Raw) -> Raw:
    """The rows of ``first``, then those of ``second``; columns are those of ``first``, matched by name.

    Raises ``DataError`` where ``second`` lacks a column or is another kind of data.
    """
    origin = f"{first.origin} + {second.origin}"
    fingerprint = hashlib.sha256(f"{first.fingerprint} {second.fingerprint}".encode()).hexdigest()
    if isinstance(first, RawTable) and isinstance(second, RawTable):
        return RawTable(_stack(first, second), origin, fingerprint, first.target, named=first.named and second.named)
    if isinstance(first, RawArrays) and isinstance(second, RawArrays):
        if first.x.shape[1:] != second.x.shape[1:]:
            raise DataError(
                f"The images of {second.origin} must have the shape of those of {first.origin}, "
                f"{list(first.x.shape[1:])}, however: {list(second.x.shape[1:])}."
            )
        y = None if first.y is None or second.y is None else np.concatenate([first.y, second.y])
        return RawArrays(np.concatenate([first.x, second.x]), y, origin, fingerprint)
    raise DataError(f"{first.origin} and {second.origin} must both be tables or both be images; give two of one kind.")


def _stack(first: RawTable, second: RawTable) -> pl.DataFrame:
    names = first.frame.columns
    lacking = [name for name in names if name not in second.frame.columns]
    if lacking:
        raise DataError(
            f"{second.origin} must have the columns of {first.origin}, however it lacks {listing(lacking)}. "
            f"It has: {listing(second.frame.columns)}."
        )
    above, below = first.frame, second.frame.select(names)
    for name in names:
        if above[name].dtype != below[name].dtype:
            numeric = above[name].dtype.is_numeric() and below[name].dtype.is_numeric()
            common = pl.Float64 if numeric else pl.String
            above = above.with_columns(pl.col(name).cast(common))
            below = below.with_columns(pl.col(name).cast(common))
    return pl.concat([above, below], how="vertical")


def listing(names: "list[str] | tuple[str, ...]", most: int = 12) -> str:
    """Names in a row for a sentence, cut after ``most`` of them."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names) - most:,} more)"


def hash_arrays(*arrays: NDArray[Any] | None) -> str:
    """The sha256 of arrays' types, shapes and contents."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update("\0".join(map(str, array.ravel())).encode() if array.dtype.hasobject else array.tobytes())
    return digest.hexdigest()


def hash_frame(frame: pl.DataFrame) -> str:
    """The sha256 of a frame's column names, types and contents."""
    digest = hashlib.sha256(repr([(name, str(dtype)) for name, dtype in frame.schema.items()]).encode())
    for series in frame.iter_columns():
        if series.dtype.is_temporal():
            series = series.to_physical()
        if series.dtype.is_numeric() and not series.dtype.is_decimal():
            digest.update(np.packbits(series.is_null().to_numpy()).tobytes())
            digest.update(series.fill_null(0).to_numpy().tobytes())
        elif series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary):
            digest.update(repr(series.to_list()).encode())
        else:
            digest.update(series.to_frame().write_csv().encode())
    return digest.hexdigest()
