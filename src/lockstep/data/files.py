"""Binary files: parquet, npz, IDX; and the tables that scikit-learn ships."""

import difflib
import hashlib
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.arrays import from_arrays
from lockstep.data.raw import Raw, RawArrays, RawSeries, RawTable, hash_bytes, hash_frame, listing
from lockstep.data.text import gunzip, no_rows
from lockstep.errors import DataError
from lockstep.spec.data import DataSpec


def read_parquet(path: Path, origin: str) -> RawTable:
    """A parquet file, its types kept."""
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{origin} is no readable parquet file: {reason}. It may be cut short; fetch it again."
        ) from None
    if frame.height == 0:
        raise no_rows(origin, frame.columns)
    return RawTable(frame, origin, fingerprint)


def read_npz(path: Path, origin: str, spec: DataSpec) -> Raw:
    """``x`` and ``y`` (or x_train and y_train, with x_test and y_test as the test rows). Pickles are refused.

    With ``lengths`` (or lengths_train and lengths_test) ``x`` holds series.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{origin} is no npz file, or it is cut short. Save x and y with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.lower(): archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise DataError(
                f"{origin} holds Python objects, which are not loaded since that can run code. "
                f"Save x and y as arrays of numbers or text."
            ) from None
        raise DataError(f"{origin} is no readable npz file: {error}.") from None
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DataError(f"{origin} is no readable npz file: {error}. It may be cut short; fetch it again.") from None
    stem = "" if "x" in arrays else "_train"
    if f"x{stem}" not in arrays:
        raise DataError(f"{origin} must hold x and y, however it holds: {listing(list(arrays)) or 'nothing'}.")

    def part(stem: str, origin: str) -> Raw:
        x, y, lengths = (arrays.get(f"{name}{stem}") for name in ("x", "y", "lengths"))
        assert x is not None
        return from_arrays(x, y, origin, spec, lengths)

    raw = part(stem, origin)
    test = part("_test", f"{origin} (test)") if "x_test" in arrays else None
    return _with_test(raw, test, hash_bytes(path.read_bytes()))


def _with_test(raw: Raw, test: Raw | None, fingerprint: str) -> Raw:
    match raw, test:
        case (RawTable(), RawTable()) | (RawArrays(), RawArrays()) | (RawSeries(), RawSeries()):
            return replace(raw, test=test, fingerprint=fingerprint)  # type: ignore[arg-type]
    return replace(raw, fingerprint=fingerprint)


_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_idx(data: bytes, origin: str) -> NDArray[Any]:
    """An array in IDX, the format of MNIST: 0, 0, type, axes; the axes' lengths; the values, all big-endian."""
    data = gunzip(data, origin)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 4:
        raise DataError(f"{origin} is no IDX file: its first four bytes are {data[:4].hex(' ') or 'missing'}.")
    dtype, axes = np.dtype(_IDX_TYPES[data[2]]), data[3]
    head = 4 + 4 * axes
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, head, 4))
    expected = head + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(data) != expected:
        state = "cut short" if len(data) < expected else "too long"
        raise DataError(
            f"{origin} is {state}: an IDX file of shape {list(shape)} has {expected:,} bytes, however: {len(data):,}."
        )
    return np.frombuffer(data, dtype=dtype, offset=head).reshape(shape).astype(dtype.newbyteorder("="))


def is_idx(path: Path) -> bool:
    name = path.name.lower()
    return "idx" in name or "ubyte" in name


def read_idx(path: Path, origin: str) -> RawArrays:
    """An images file and the labels file beside it (if there is one); a folder's t10k pair are test rows."""
    if path.is_file():
        return _read_pair(path, origin)
    images = sorted(
        file for file in path.iterdir() if file.is_file() and is_idx(file) and "images" in file.name.lower()
    )
    train = _unpacked_once([file for file in images if not _is_test(file)])
    test = _unpacked_once([file for file in images if _is_test(file)])
    if len(train) > 1 or len(test) > 1:
        names = listing([file.name for file in train + test])
        raise DataError(f"{origin} holds several sets of images: {names}. Give the path of the one to use.")
    if not images:
        inside = listing(sorted(file.name for file in path.iterdir()), 6)
        raise DataError(
            f"A folder of IDX files must hold a pair such as train-images-idx3-ubyte.gz and "
            f"train-labels-idx1-ubyte.gz, however {origin} holds: {inside}. Give the path of a file."
        )
    main = _read_pair((train or test)[0], origin)
    if not train or not test:
        return main
    return RawArrays(main.x, main.y, origin, main.fingerprint, _read_pair(test[0], f"{origin} ({test[0].name})"))


def _is_test(path: Path) -> bool:
    return "t10k" in path.name.lower() or "test" in path.name.lower()


def _unpacked_once(files: list[Path]) -> list[Path]:
    """Without the .gz of a file that is also there unpacked."""
    return [file for file in files if file.suffix != ".gz" or file.with_suffix("") not in files]


def _read_pair(path: Path, origin: str) -> RawArrays:
    content = path.read_bytes()
    if not content:
        raise DataError(f"{path.name} is empty. Give a file with rows.")
    x = parse_idx(content, path.name)
    if x.ndim < 3:
        raise DataError(
            f"{path.name} must hold images (3 axes), however it has {x.ndim}. Give the images file or their folder."
        )
    labels = _labels_of(path)
    if labels is None:
        return RawArrays(x, None, origin, hash_bytes(content))
    label_content = labels.read_bytes()
    y = parse_idx(label_content, labels.name)
    if y.ndim != 1 or len(y) != len(x):
        raise DataError(
            f"There must be a label for each image, however {path.name} has {len(x):,} images "
            f"and {labels.name} has shape {list(y.shape)}."
        )
    return RawArrays(x, y, origin, hash_bytes(content, label_content))


def _labels_of(path: Path) -> Path | None:
    name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    if name == path.name:
        return None
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    return next((found for each in (name, other) if (found := path.with_name(each)).is_file()), None)


SKLEARN_TABLES = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def read_sklearn(name: str) -> RawTable:
    """A table that scikit-learn ships, its target in words where it has them."""
    if name not in SKLEARN_TABLES:
        near = difflib.get_close_matches(name, SKLEARN_TABLES, n=1)
        hint = f"Did you mean sklearn:{near[0]}? " if near else ""
        raise DataError(f"There is no sklearn:{name}. {hint}Known: {', '.join(SKLEARN_TABLES)}.")
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    frame = pl.DataFrame(np.asarray(bunch.data), schema=list(map(str, bunch.feature_names)))
    words = np.asarray(bunch.get("target_names", []))
    target = words[bunch.target].tolist() if words.dtype.kind == "U" else np.asarray(bunch.target)
    frame = frame.with_columns(pl.Series("target", target))
    return RawTable(frame, f"sklearn:{name}", hash_frame(frame), "target")
