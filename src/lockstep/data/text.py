"""Delimited text (csv, tsv and their kin) to a table of text columns, refusing what would be read wrongly."""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.raw import listing
from lockstep.data.scan import Records, scan, sniff_delimiter
from lockstep.errors import DataError

_GZIP, _ZIP, _UTF8_BOM = b"\x1f\x8b", b"PK\x03\x04", b"\xef\xbb\xbf"


def gunzip(data: bytes, origin: str) -> bytes:
    """``data`` as it is, or unpacked where it is gzip."""
    if not data.startswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{origin} is a gzip file that cannot be unpacked: {error}. It is cut short or damaged; fetch it again."
        ) from None


def read_text(data: bytes, origin: str, *, header: bool, encoding: str) -> pl.DataFrame:
    """The table in ``data``: every column is text, an empty field is null or "".

    The delimiter is the one among comma, semicolon, tab and bar that fits. Blank lines are skipped (in a table of one
    column they are missing values). Raises ``DataError`` for anything that is no table, with the line where it breaks.
    """
    text = _utf8(gunzip(data, origin), origin, encoding)
    if not text.strip():
        raise DataError(f"{origin} is empty. A table has a line of column names and a line for each row.")
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    text = text if text.endswith(b"\n") else text + b"\n"
    delimiter = "\t" if Path(origin).suffix == ".tsv" and b"\t" in text.split(b"\n", 1)[0] else sniff_delimiter(text)
    records = scan(text, delimiter)
    if not records.tidy or not records.closed:
        return _read_untidy(text, origin, delimiter, header, records.closed)
    text, records, lines = _without_blank(text, records)
    _check_fields(records, lines, text, origin, header)
    first = text[: records.ends[0]].decode()
    names = column_names(next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter)), origin, header)
    body = text[records.ends[0] :] if header else text
    if not body:
        raise no_rows(origin, names)
    schema = dict.fromkeys(names, pl.String)
    try:
        return pl.read_csv(io.BytesIO(body), has_header=False, schema=schema, separator=delimiter)
    except pl.exceptions.PolarsError:
        return _read_untidy(text, origin, delimiter, header, closed=True)


def _utf8(data: bytes, origin: str, encoding: str) -> bytes:
    if data.startswith(_ZIP):
        raise DataError(f"{origin} is a zip or spreadsheet file, not text. Save it as csv or parquet.")
    try:
        text = data.decode(encoding)
    except LookupError:
        raise DataError(
            f"There is no encoding {encoding!r}. Set data.encoding to one such as utf-8 or latin-1."
        ) from None
    except UnicodeError as error:
        raise _wrong_encoding(data, origin, encoding, error) from None
    if "\0" in text:
        hint = " It looks like UTF-16: give --set data.encoding=utf-16." if _looks_utf16(data) else ""
        raise DataError(f"{origin} must be text, however it holds null bytes.{hint}")
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii"):
        return data.removeprefix(_UTF8_BOM)
    return text.removeprefix("\ufeff").encode()


def _looks_utf16(data: bytes) -> bool:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    sample = np.frombuffer(data[:4096], dtype=np.uint8)
    return len(sample) > 3 and max((sample[::2] == 0).mean(), (sample[1::2] == 0).mean()) > 0.4


def _looks_binary(data: bytes) -> bool:
    control = sum(data[:4096].count(byte) for byte in range(32) if byte not in b"\t\n\r\f\x1b")
    return not _looks_utf16(data) and control > 0.02 * len(data[:4096])


def _wrong_encoding(data: bytes, origin: str, encoding: str, error: UnicodeError) -> DataError:
    where = ""
    if isinstance(error, UnicodeDecodeError):
        line = data.count(b"\n", 0, error.start) + 1
        where = f": line {line:,} holds the byte 0x{data[error.start]:02x}"
    if _looks_binary(data):
        return DataError(
            f"{origin} is not text: it looks like a binary file. Give a csv, tsv, parquet, npz or IDX file."
        )
    if _looks_utf16(data):
        remedy = "It looks like UTF-16: give --set data.encoding=utf-16."
    elif any(0x80 <= byte < 0xA0 for byte in data[:1_000_000]):
        remedy = "It reads as Windows text: give --set data.encoding=cp1252, or latin-1."
    else:
        remedy = "It reads as latin-1: give --set data.encoding=latin-1 if that is what it is."
    return DataError(f"{origin} is not {encoding} text{where}. {remedy}")


def column_names(first: Sequence[str], origin: str, header: bool) -> list[str]:
    """Names from the first record: its fields, stripped, or c0, c1, … without a header."""
    if not header:
        return [f"c{index}" for index in range(len(first))]
    names = [field.strip() or f"unnamed_{index}" for index, field in enumerate(first)]
    check_names(names, origin)
    return names


def check_names(names: Sequence[str], origin: str) -> None:
    """Raise ``DataError`` if a column name occurs twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        hint = " If the file has no line of column names, give --no-header." if all(map(is_number, twice)) else ""
        raise DataError(
            f"Column names must differ, however {origin} has more than one column named {listing(twice)}. "
            f"Rename them in the source.{hint}"
        )


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def no_rows(origin: str, names: Sequence[str]) -> DataError:
    return DataError(
        f"{origin} has column names ({listing(list(names))}) but no rows. Give a table with rows to train on."
    )


def _without_blank(text: bytes, records: Records) -> tuple[bytes, Records, NDArray[np.int64]]:
    """Text and records without blank lines, and the record number (from 0) each one had."""
    starts = records.starts()
    numbers = np.arange(len(starts))
    many = records.fields.max() > 1
    blank = [i for i in np.flatnonzero(records.fields == 1) if many and not text[starts[i] : records.ends[i]].strip()]
    if not blank:
        return text, records, numbers
    keep = np.delete(numbers, blank)
    edges = [0, *(edge for i in blank for edge in (int(starts[i]), int(records.ends[i]))), len(text)]
    text = b"".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    ends = np.cumsum((records.ends - starts)[keep])
    return text, Records(ends, records.fields[keep], True, True), keep


def _check_fields(records: Records, numbers: NDArray[np.int64], text: bytes, origin: str, header: bool) -> None:
    expected = records.fields[0]
    ragged = np.flatnonzero(records.fields != expected)
    if not len(ragged):
        return
    at = int(ragged[0])
    start = int(records.ends[at - 1])
    # Blank lines before it were cut out, and a quoted field may hold newlines.
    line = text.count(b"\n", 0, start) + int(numbers[at]) - at + 1
    raise _ragged(origin, line, int(records.fields[at]), int(expected), header, len(ragged))


def _ragged(origin: str, line: int, fields: int, expected: int, header: bool, count: int) -> DataError:
    first = "column names" if header else "the first line"
    others = f", and {count - 1:,} more lines differ too" if count > 1 else ""
    return DataError(
        f"Every line of {origin} must have the {expected:,} fields of {'its ' if header else ''}{first}, "
        f"however: line {line:,} has {fields:,}{others}. Mend the line; a field that holds the delimiter needs quotes."
    )


def _read_untidy(text: bytes, origin: str, delimiter: str, header: bool, closed: bool) -> pl.DataFrame:
    """The slow and forgiving way, for quotes that stand inside fields or after a space."""
    reader = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{origin} cannot be read: {error} in the row that starts at line {line:,}.") from None
    if not closed and rows[-1][-1].endswith("\n"):
        raise DataError(f"{origin}: a quote opened in line {lines[-1]:,} is never closed. Close or remove it.")
    ragged = [i for i, row in enumerate(rows) if len(row) != len(rows[0])]
    if ragged:
        raise _ragged(origin, lines[ragged[0]], len(rows[ragged[0]]), len(rows[0]), header, len(ragged))
    names = column_names(rows[0], origin, header)
    body = rows[1:] if header else rows
    if not body:
        raise no_rows(origin, names)
    return pl.DataFrame(body, schema=dict.fromkeys(names, pl.String), orient="row")
