"""What was read, before anything is understood: a table or arrays, where it came from and what it hashes to."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.findings import Finding

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class RawTable:
    """A table as it was read. Text of a file stays text; frames keep their types.

    ``target`` is the target column where the source itself says which it is (``y``, scikit-learn's tables). ``named``
    is false where columns have no names of their own (arrays, a file without header), so that only their order counts.
    ``test`` holds the source's own test rows; ``findings`` are what was noticed while reading.
    """

    frame: pl.DataFrame
    origin: str
    fingerprint: str
    target: str | None = None
    named: bool = True
    test: "RawTable | None" = None
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return self.frame.height


@dataclass(frozen=True)
class RawArrays:
    """Images ``x`` [N, H, W], [N, H, W, C] or [N, C, H, W], their labels ``y`` [N], and the source's own test rows.

    ``names`` [N] are the files they came from, where each has its own.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None
    origin: str
    fingerprint: str
    test: "RawArrays | None" = None
    names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class RawSeries:
    """Series ``x`` float64 [N, T, C]: ``lengths`` [N] steps of C channels each, NaN where a value is missing and behind
    the last step; their targets ``y`` [N], and the source's own test rows."""

    x: NDArray[np.float64]
    lengths: Rows
    y: NDArray[Any] | None
    origin: str
    fingerprint: str
    test: "RawSeries | None" = None
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.x)


Raw = RawTable | RawArrays | RawSeries


@overload
def take(raw: RawTable, rows: Rows) -> RawTable: ...
@overload
def take(raw: RawArrays, rows: Rows) -> RawArrays: ...
@overload
def take(raw: RawSeries, rows: Rows) -> RawSeries: ...
def take(raw: Raw, rows: Rows) -> Raw:
    """The given rows of ``raw``, in the order given. The fingerprint stays that of the source."""
    if isinstance(raw, RawTable):
        return replace(raw, frame=raw.frame[np.asarray(rows, dtype=np.int64)], test=None)
    y = None if raw.y is None else raw.y[rows]
    if isinstance(raw, RawSeries):
        return replace(raw, x=raw.x[rows], lengths=raw.lengths[rows], y=y, test=None)
    names = tuple(raw.names[row] for row in rows) if raw.names else ()
    return replace(raw, x=raw.x[rows], y=y, names=names, test=None)


def with_steps(x: NDArray[Any], steps: int) -> NDArray[Any]:
    """Series [N, T, C] cut or padded with NaN to ``steps``."""
    if steps <= x.shape[1]:
        return x[:, :steps]
    return np.pad(x, ((0, 0), (0, steps - x.shape[1]), (0, 0)), constant_values=np.nan)


def listing(names: "list[str] | tuple[str, ...]", most: int = 12) -> str:
    """Names in a row for a sentence, cut after ``most`` of them."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names) - most:,} more)"


def hash_bytes(*contents: bytes) -> str:
    """The sha256 of contents, one after another."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


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
