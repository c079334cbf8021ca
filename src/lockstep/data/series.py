"""Series: ``.ts`` files, arrays and lists of arrays to raw series; what they hold, and the arrays a network takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.data.frames import as_array, one_target
from lockstep.data.raw import RawSeries, Rows, hash_arrays, hash_bytes, listing
from lockstep.data.text import gunzip
from lockstep.errors import DataError
from lockstep.findings import Finding, count_of

_MISSING = frozenset({"?", "nan", ""})


@dataclass(frozen=True)
class _Header:
    """What the ``@`` lines of a ``.ts`` file say: whether rows end in a target, and if that is a class."""

    target: bool
    classes: tuple[str, ...]
    lines: int


def read_ts(path: Path, origin: str, encoding: str) -> RawSeries:
    """A ``.ts`` file (the format of the UCR and UEA archive). ``NAME_TRAIN.ts`` takes ``NAME_TEST.ts`` beside it as
    its test rows.

    The archive's series of unequal length are padded with ``?``, so a series ends with the last step at which any
    channel has a value; a ``?`` before that is a value that is missing.
    """
    raw = _parse_ts(path.read_bytes(), origin, encoding)
    beside = _test_beside(path)
    if beside is None:
        return raw
    test = _parse_ts(beside.read_bytes(), beside.name, encoding)
    note = Finding(
        severity="info", code="test-file-beside", subject=beside.name,
        what=f"The rows of {beside.name} are the test rows.",
        evidence=f"it stands beside {path.name} and has {count_of(len(test), 'row', 'rows')}",
        remedy="To draw test rows from the training file instead: --test-size 0.2.",
    )  # fmt: skip
    return replace(raw, test=replace(test, findings=(note,)))  # to be said where these rows are taken


def _test_beside(path: Path) -> Path | None:
    name = path.name
    for train, test in (("_TRAIN.", "_TEST."), ("_train.", "_test.")):
        if train in name and (beside := path.with_name(name.replace(train, test))).is_file():
            return beside
    return None


def is_ts(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".ts")


def read_ts_folder(files: Sequence[Path], origin: str, encoding: str) -> RawSeries:
    """A folder's ``.ts`` files: one, or a pair ``NAME_TRAIN.ts`` and ``NAME_TEST.ts``."""
    tests = {beside for file in files if (beside := _test_beside(file)) is not None}
    mains = [file for file in files if file not in tests]
    if len(mains) > 1:
        raise DataError(
            f"A folder must hold one series file or one pair NAME_TRAIN.ts and NAME_TEST.ts, however {origin} holds: "
            f"{listing([file.name for file in files])}. Give the path of the one to train on."
        )
    return read_ts(mains[0], origin, encoding)


def _parse_ts(content: bytes, origin: str, encoding: str) -> RawSeries:
    data = gunzip(content, origin)
    try:
        lines = data.decode(encoding).splitlines()
    except (UnicodeError, LookupError) as error:
        raise DataError(f"{origin} is not {encoding} text: {error}. Set data.encoding, for example latin-1.") from None
    header = _header(lines, origin)
    rows: list[NDArray[np.float64]] = []
    labels: list[str] = []
    for number, line in enumerate(lines[header.lines :], header.lines + 1):
        text = line.strip()
        if not text or text.startswith(("#", "%")):
            continue
        parts = text.split(":")
        if header.target:
            labels.append(parts.pop().strip())
        rows.append(_channels(parts, origin, number))
        if rows[-1].shape[1] != rows[0].shape[1]:
            raise DataError(
                f"Every row of {origin} must have the {rows[0].shape[1]} channels of the first, however line "
                f"{number:,} has {rows[-1].shape[1]}. Channels are separated by colons, the label comes last."
            )
    if not rows:
        raise DataError(f"{origin} has no rows behind @data. Give a file with series to train on.")
    y = np.array(_targets(labels, header), dtype=object) if header.target else None
    x, lengths = padded(rows)
    return RawSeries(x, lengths, y, origin, hash_bytes(content))


def _header(lines: Sequence[str], origin: str) -> _Header:
    target, classes = False, tuple[str, ...]()
    for number, line in enumerate(lines):
        words = line.split()
        match [words[0].lower(), *words[1:]] if words else []:
            case ["@data", *_]:
                return _Header(target, classes, number + 1)
            case ["@classlabel" | "@targetlabel", "true", *names]:
                target, classes = True, tuple(names)
            case ["@timestamps", "true", *_]:
                raise DataError(
                    f"Series are read without time stamps, however {origin} has them (@timeStamps true). "
                    "Write the values alone, one step after another."
                )
    raise DataError(
        f"A .ts file has a header with a line @data before its rows, however {origin} has none. It may be cut short."
    )


def _channels(parts: Sequence[str], origin: str, line: int) -> NDArray[np.float64]:
    """The channels of one row as [T, C], up to the last step at which one of them has a value."""
    if not parts:
        raise DataError(f"Line {line:,} of {origin} must have values and a label, however it has no colon.")
    channels = [_numbers(part, origin, line) for part in parts]
    lengths = sorted({len(channel) for channel in channels})
    if len(lengths) > 1:
        raise DataError(
            f"The channels of a row must have one length, however line {line:,} of {origin} has channels of "
            f"{listing([f'{n:,}' for n in lengths], 5)} steps. Pad the shorter ones with ? at the end."
        )
    row = np.stack(channels, axis=1)
    return row[: int(last_steps(row[None])[0])]


def _numbers(text: str, origin: str, line: int) -> NDArray[np.float64]:
    values = text.split(",")
    try:
        return np.array(values, dtype=np.float64)
    except ValueError:
        pass
    try:
        return np.array([np.nan if value.strip().lower() in _MISSING else float(value) for value in values])
    except ValueError as error:
        reason = str(error).rpartition(": ")[2]
        raise DataError(
            f"Values of a series must be numbers or ? where missing, however line {line:,} of {origin} has {reason}."
        ) from None


def _targets(labels: Sequence[str], header: _Header) -> list[Any]:
    """Labels as text; of a file that names no classes, as numbers where all are."""
    if header.classes:
        return list(labels)
    try:
        return [float(label) for label in labels]
    except ValueError:
        return list(labels)


def padded(rows: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], Rows]:
    """Rows [T_i, C] as one [N, T, C], NaN behind the end of each, and their lengths [N]."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    x = np.full((len(rows), max(1, int(lengths.max())), rows[0].shape[1]), np.nan)
    for index, row in enumerate(rows):
        x[index, : len(row)] = row
    return x, lengths


def last_steps(x: NDArray[np.float64]) -> Rows:
    """How many steps each series of [N, T, C] has up to the last one at which any channel has a value, [N]."""
    present: NDArray[np.bool_] = ~np.all(np.isnan(x), axis=2)
    return np.where(present.any(1), x.shape[1] - present[:, ::-1].argmax(1), 0)


def is_ragged(source: Any) -> bool:
    """Whether a caller gave a list of arrays [T_i, C] whose lengths differ."""
    if not isinstance(source, list | tuple) or len(source) < 2 or isinstance(source[0], str | int | float):
        return False
    shapes = {tuple(getattr(row, "shape", ())) for row in source}
    return len(shapes) > 1 and all(len(shape) in (1, 2) for shape in shapes)


def series_of_rows(source: Sequence[Any], y: Any, origin: str) -> RawSeries:
    """A list of arrays [T_i, C] (or [T_i], of one channel) as series."""
    rows = [as_array(row) for row in source]
    numeric = [row for row in rows if row is not None and row.dtype.kind in "biuf"]
    steps = [row.reshape(len(row), int(np.prod(row.shape[1:]))).astype(np.float64) for row in numeric]
    widths = sorted({row.shape[1] for row in steps})
    if len(steps) < len(rows) or len(widths) != 1:
        raise DataError(
            "A list of series must hold arrays of numbers [T, C] with the same channels C, however: "
            + (f"C is {listing([str(width) for width in widths], 5)}." if len(steps) == len(rows) else "other things.")
        )
    x, lengths = padded(steps)
    return series_of_array(x, y, origin, lengths)


def series_of_array(x: NDArray[Any], y: Any, origin: str, lengths: Any = None) -> RawSeries:
    """``x`` [N, T, C] (or [N, T], of one channel) as series. Without ``lengths`` a row ends where all that follows is
    NaN."""
    x = x[:, :, None] if x.ndim == 2 else x
    if x.ndim != 3 or 0 in x.shape or x.dtype.kind not in "biuf":
        raise DataError(
            f"Series must be numbers [N, T, C], or [N, T] of one channel, however: {x.dtype} {list(x.shape)}."
        )
    targets = None if y is None else one_target(as_array(y))
    if targets is not None and len(targets) != len(x):
        raise DataError(f"x and y must have as many rows, however x has {len(x):,} and y has {len(targets):,}.")
    x = x.astype(np.float64)
    if lengths is None:
        ends = last_steps(x)
    else:
        ends = np.asarray(lengths)
        if ends.shape != (len(x),) or ends.dtype.kind not in "iu" or ends.min() < 0 or ends.max() > x.shape[1]:
            raise DataError(
                f"lengths must be a whole number from 0 to {x.shape[1]:,} for each of {len(x):,} series, however: "
                f"{ends.dtype} {list(ends.shape)}" + (f" up to {ends.max():g}." if ends.size else ".")
            )
        x = np.where(np.arange(x.shape[1])[None, :, None] < ends[:, None, None], x, np.nan)
    return RawSeries(x, ends.astype(np.int64), targets, origin, hash_arrays(x, targets))
