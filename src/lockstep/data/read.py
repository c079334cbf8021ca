"""The one door for data: a path, a name, a frame or arrays come in, a raw table or raw arrays go out."""

from pathlib import Path
from typing import Any

import polars as pl
from numpy.typing import NDArray

from lockstep.data.arrays import from_arrays
from lockstep.data.files import is_idx, read_idx, read_npz, read_parquet, read_sklearn
from lockstep.data.frames import as_array, as_frame, describe, from_frame, is_pair
from lockstep.data.pictures import is_picture, read_picture, read_pictures
from lockstep.data.raw import Raw, RawArrays, RawTable, hash_bytes
from lockstep.data.schema import Schema
from lockstep.data.series import is_ragged, is_ts, read_ts, read_ts_folder, series_of_array, series_of_rows
from lockstep.data.text import read_text
from lockstep.errors import DataError
from lockstep.spec.data import DataSpec

_NOT_TEXT = {
    ".xlsx": "an Excel file; save it as csv or parquet",
    ".xls": "an Excel file; save it as csv or parquet",
    ".ods": "a spreadsheet; save it as csv",
    ".json": "JSON; save it as csv or parquet",
    ".jsonl": "JSON; save it as csv or parquet",
    ".feather": "a feather file; save it as parquet",
    ".arrow": "an arrow file; save it as parquet",
    ".pkl": "a pickle, which is never loaded since that can run code; save it as parquet",
    ".pickle": "a pickle, which is never loaded since that can run code; save it as parquet",
    ".pt": "a torch file, which is not loaded; save x and y in an npz",
    ".npy": "a single array; save x and y in one npz",
    ".zip": "a zip file; unpack it",
    ".tar": "a tar file; unpack it",
}


def read(source: Any, spec: DataSpec | None = None, y: Any = None) -> Raw:
    """Read ``source``, with ``y`` as its target if given.

    ``source`` is a path (csv, tsv and other delimited text, gz too; parquet; npz; an IDX images file or its folder; a
    folder with one subfolder of pictures per class; series as .ts), ``sklearn:NAME``, a pandas, polars or arrow
    frame, a numpy array, a torch tensor, a list of series [T_i, C], or a pair (x, y) of those.
    Raises ``DataError`` for anything that is missing, damaged or none of these.
    """
    spec = spec or DataSpec()
    if y is None and is_pair(source):
        source, y = source
    if isinstance(source, str | Path):
        raw = _read_path(str(source), spec)
        if y is None:
            return raw
        if isinstance(raw, RawTable):
            return from_frame(raw.frame, y, raw.origin, spec.target, named=raw.named)
        if isinstance(raw, RawArrays):
            return from_arrays(raw.x, y, raw.origin, spec)
        return series_of_array(raw.x, y, raw.origin, raw.lengths)
    origin = describe([source] if y is None else [source, y])
    frame = as_frame(source)
    if frame is not None:
        return from_frame(frame, y, origin, spec.target)
    if is_ragged(source):
        return series_of_rows(source, y, origin)
    array = as_array(source)
    if array is not None and array.ndim == 1 and _all_text(array):
        return from_frame(pl.DataFrame({"text": array.tolist()}), y, origin, spec.target, named=False)
    if array is None or array.dtype.names:
        raise DataError(
            f"Data must be a path, sklearn:NAME, a frame, an array, a tensor or a pair (x, y), however: {origin}."
        )
    return from_arrays(array, y, origin, spec)


def _all_text(array: NDArray[Any]) -> bool:
    return bool(array.dtype.kind == "U" or (array.dtype == object and all(isinstance(item, str) for item in array)))


def reading(spec: DataSpec, schema: Schema) -> DataSpec:
    """The settings by which further rows are read, so that they are taken for what ``schema`` says."""
    return spec.model_copy(update={"kind": "series"}) if schema.kind == "series" else spec


def _read_path(text: str, spec: DataSpec) -> Raw:
    if text.startswith("sklearn:"):
        return read_sklearn(text.removeprefix("sklearn:"))
    path, origin = Path(text).expanduser(), Path(text).name or text
    if not path.exists():
        raise DataError(f"There is no file {text}. {_neighbours(path)}".rstrip())
    try:
        return _read_file(path, origin, spec)
    except PermissionError:
        raise DataError(f"{text} must be readable, however its permissions forbid it.") from None
    except OSError as error:
        raise DataError(f"{text} cannot be read: {error.strerror or error}.") from None


def _read_file(path: Path, origin: str, spec: DataSpec) -> Raw:
    if path.is_dir():
        return _read_folder(path, origin, spec)
    if path.stat().st_size == 0:
        raise DataError(f"{origin} is empty (0 bytes). Give a file with rows.")
    suffix = path.suffix.lower()
    if suffix in _NOT_TEXT:
        raise DataError(f"{origin} is {_NOT_TEXT[suffix]}.")
    if suffix in (".parquet", ".pq"):
        return read_parquet(path, origin)
    if suffix == ".npz":
        return read_npz(path, origin, spec)
    if is_picture(path):
        return read_picture(path, origin, spec.image_size)
    if is_ts(path):
        return read_ts(path, origin, spec.encoding)
    if is_idx(path):
        return read_idx(path, origin)
    data = path.read_bytes()
    if data.startswith(b"PAR1"):
        return read_parquet(path, origin)
    frame = read_text(data, origin, header=spec.header, encoding=spec.encoding)
    return RawTable(frame, origin, hash_bytes(data), named=spec.header)


def _read_folder(path: Path, origin: str, spec: DataSpec) -> Raw:
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    if any(is_idx(file) for file in files):
        return read_idx(path, origin)
    if series := [file for file in files if is_ts(file)]:
        return read_ts_folder(series, origin, spec.encoding)
    return read_pictures(path, origin, spec.image_size)


def _neighbours(path: Path) -> str:
    """The nearest name in the folder, if it looks like a slip of the pen."""
    import difflib

    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either."
    near = difflib.get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    return f"Did you mean {path.with_name(near[0])}?" if near else ""
