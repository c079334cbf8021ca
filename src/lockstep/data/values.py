"""One column's values: what counts as missing, and text turned into numbers, booleans, dates and tidy text.

Every function is applied alike when a schema is inferred and when rows are encoded with it.
"""

import re
from collections.abc import Sequence
from typing import Literal

import polars as pl

NumberStyle = Literal["plain", "thousands", "decimal-comma"]

# Compared without regard to case and to spaces around.
USUAL_MISSING = ("", "NA", "N/A", "N.A.", "#N/A", "#NA", "<NA>", "NaN", "-NaN", "NaT", "null", "None", "nil", "?")
# Among numbers these say that there is none; among words they may well be a category.
NO_NUMBER = frozenset(
    {
        "-",
        "--",
        "---",
        "–",
        "—",
        ".",
        "..",
        "…",
        "*",
        "unknown",
        "missing",
        "undefined",
        "unavailable",
        "n/d",
        "nd",
        "n.d.",
        "not_available",
        "not available",
        "not applicable",
        "no data",
        "#value!",
        "#div/0!",
        "#ref!",
    }
)

_TRUE = ("true", "yes", "t", "y", "1")
_FALSE = ("false", "no", "f", "n", "0")
_PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))
_THOUSANDS = r"^[-+]?[$€£¥]?[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?%?$"
_UNIT = r"^[-+]?[$€£¥]\s?[-+]?\d*\.?\d+$|^[-+]?\d*\.?\d+\s?[%€]$"
_DECIMAL_COMMA = r"^[-+]?[$€£¥]?\d+(?:\.\d{3})*,\d+\s?[%€]?$"


def clean(series: pl.Series, missing: Sequence[str]) -> pl.Series:
    """``series`` with every spelling in ``missing`` as null and, in text, no spaces around.

    Categoricals become text and decimals floats. A spelling that is a number also counts among numbers (-999, inf).
    """
    dtype = series.dtype
    if isinstance(dtype, pl.Categorical | pl.Enum):
        series, dtype = series.cast(pl.String), pl.String()
    if dtype == pl.String:
        text = series.str.strip_chars()
        words = sorted({word.strip().lower() for word in missing})
        absent = text.str.to_lowercase().is_in(words)
        if numbers := missing_numbers(missing):
            absent |= text.cast(pl.Float64, strict=False).is_in(numbers).fill_null(False)
        return text.set(absent.fill_null(False), None)
    if isinstance(dtype, pl.Decimal) or dtype in (pl.Float32, pl.Float16):
        series = series.cast(pl.Float64)
    if series.dtype == pl.Float64:
        series = series.fill_nan(None)
    if series.dtype.is_numeric() and (numbers := missing_numbers(missing)):
        series = series.set(series.cast(pl.Float64).is_in(numbers).fill_null(False), None)
    return series


def missing_numbers(missing: Sequence[str]) -> list[float]:
    """The spellings of a missing value that are numbers, such as -999."""
    found = []
    for word in missing:
        try:
            found.append(float(word))
        except ValueError:
            continue
    return [value for value in found if value == value]


def as_text(series: pl.Series) -> pl.Series:
    """Cleaned values as text, the same for a value however it is stored: 1, 1.0 and "1" are all "1"."""
    dtype = series.dtype
    if dtype == pl.Boolean:
        return series.replace_strict({True: "True", False: "False"}, return_dtype=pl.String)
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary, pl.Duration):
        return pl.Series(series.name, [None if v is None else str(v) for v in series.to_list()], dtype=pl.String)
    text = series if dtype == pl.String else series.cast(pl.String)
    return text.str.replace(r"^(-?\d+)\.0+$", "$1")


def as_number(series: pl.Series, style: NumberStyle = "plain") -> pl.Series:
    """Cleaned values as Float64; what is no number is null."""
    if series.dtype == pl.String:
        series = _plain_spelling(series, style).cast(pl.Float64, strict=False).fill_nan(None)
    elif series.dtype == pl.Time:
        series = series.cast(pl.Int64).cast(pl.Float64) / 1e9
    elif series.dtype == pl.Duration:
        series = series.dt.total_microseconds().cast(pl.Float64) / 1e6
    return series.cast(pl.Float64, strict=False)


def _plain_spelling(text: pl.Series, style: NumberStyle) -> pl.Series:
    match style:
        case "thousands":
            return text.str.replace_all(r"[$€£¥,%\s]", "")
        case "decimal-comma":
            return text.str.replace_all(r"[$€£¥%.\s]", "").str.replace(",", ".", literal=True)
    return text


def number_style(text: pl.Series) -> NumberStyle:
    """How the numbers in cleaned, distinct text values are spelled: 1234.5, 1,234.5 (also $ and %), or 1.234,5.

    What reads both ways (1,234) is taken for thousands.
    """
    plain = text.cast(pl.Float64, strict=False).is_not_null()
    if plain.all():
        return "plain"
    odd = text.filter(~plain & ~text.str.to_lowercase().is_in(list(NO_NUMBER)))
    if odd.is_empty():
        return "plain"
    thousands = float((odd.str.contains(_THOUSANDS) | odd.str.contains(_UNIT)).mean())  # type: ignore[arg-type]
    comma = float(odd.str.contains(_DECIMAL_COMMA).mean())  # type: ignore[arg-type]
    if thousands >= 0.5 and thousands >= comma:
        return "thousands"
    if comma >= 0.5 and not text.filter(plain).str.contains(".", literal=True).any():
        return "decimal-comma"
    return "plain"


def is_boolean(distinct: pl.Series) -> bool:
    """Whether cleaned, distinct text values are both sides of one pair such as yes and no."""
    words = set(distinct.head(20).str.to_lowercase().to_list())
    return len(distinct) < 20 and any(words == set(pair) for pair in _PAIRS)


def as_boolean(series: pl.Series) -> pl.Series:
    """Cleaned values as 1.0 (true, yes, t, y, 1), 0.0 (false, no, f, n, 0) or null."""
    if series.dtype == pl.Boolean:
        return series.cast(pl.Float64)
    words = as_text(series).str.to_lowercase()
    meaning = dict.fromkeys(_TRUE, 1.0) | dict.fromkeys(_FALSE, 0.0)
    return words.replace_strict(meaning, default=None, return_dtype=pl.Float64)


DATE_PARTS = ("days", "month", "day", "weekday", "hour", "minute")


def as_date(series: pl.Series, form: str | None) -> pl.Series:
    """Cleaned values as Datetime[μs] (UTC where a zone is given), null where they are no date in ``form``.

    ``form`` is a strptime format; None finds it from the values.
    """
    if series.dtype == pl.Date:
        return series.cast(pl.Datetime("us"))
    if isinstance(series.dtype, pl.Datetime):
        return (
            series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if series.dtype.time_zone else series
        ).cast(pl.Datetime("us"))
    text = as_text(series)
    if form is None:
        form = next(iter(date_formats(text)), None)
    if form is None:
        return pl.Series(series.name, [None] * len(series), dtype=pl.Datetime("us"))
    return _parse(text, form)


def _parse(text: pl.Series, form: str) -> pl.Series:
    if "%z" in form:
        zoned = text.str.replace("Z$", "+0000")
        return zoned.str.to_datetime(form, strict=False, time_zone="UTC", time_unit="us").dt.replace_time_zone(None)
    if "%H" not in form and "%I" not in form:
        return text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(form, strict=False, time_unit="us")


_DAY_SHAPES = (
    (r"\d{4}([-/.])\d{1,2}\1\d{1,2}", ("%Y{s}%m{s}%d",)),
    (r"\d{1,2}(\.)\d{1,2}\.\d{4}", ("%d{s}%m{s}%Y",)),
    (r"\d{1,2}(/)\d{1,2}/\d{4}", ("%m{s}%d{s}%Y", "%d{s}%m{s}%Y")),
    (r"\d{1,2}(-)\d{1,2}-\d{4}", ("%d{s}%m{s}%Y", "%m{s}%d{s}%Y")),
    (r"\d{1,2}(\.)\d{1,2}\.\d{2}", ("%d{s}%m{s}%y",)),
    (r"\d{1,2}([-/])\d{1,2}\1\d{2}", ("%m{s}%d{s}%y", "%d{s}%m{s}%y")),
    (r"\d{1,2}([- ])[A-Za-z]{3,9}\1\d{4}", ("%d{s}%b{s}%Y", "%d{s}%B{s}%Y")),
    (r"\d{1,2}([- ])[A-Za-z]{3}\1\d{2}", ("%d{s}%b{s}%y",)),
    (r"[A-Za-z]{3,9}( )\d{1,2}, \d{4}", ("%b{s}%d, %Y", "%B{s}%d, %Y")),
)
_TIME_SHAPES = (
    (r"", ""),
    (r"\d{1,2}:\d{2}", "%H:%M"),
    (r"\d{1,2}:\d{2}:\d{2}(?:\.\d+)?", "%H:%M:%S%.f"),
    (r"\d{1,2}:\d{2} ?[AaPp][Mm]", "%I:%M %p"),
    (r"\d{1,2}:\d{2}:\d{2} ?[AaPp][Mm]", "%I:%M:%S %p"),
)


def date_formats(text: pl.Series) -> list[str]:
    """The strptime formats in which nearly all (95 %) of cleaned text values are dates; several if day and month
    may swap. Those that read the most values come first.
    """
    present = text.drop_nulls().unique(maintain_order=True)
    if present.is_empty():
        return []
    sample = present.head(1000)
    readable = {}
    for form in dict.fromkeys(form for value in sample.head(20) for form in _forms_like(value)):
        if _parse(sample, form).is_not_null().sum() >= 0.95 * len(sample):
            share = _parse(present, form).is_not_null().sum() / len(present)
            if share >= 0.95:
                readable[form] = share
    best = max(readable.values(), default=0.0)
    return [form for form, share in readable.items() if share == best]


def _forms_like(value: str) -> list[str]:
    for day_shape, day_forms in _DAY_SHAPES:
        for time_shape, time_form in _TIME_SHAPES:
            zone = r"(?P<zone>Z|[+-]\d{2}:?\d{2})?" if time_shape else ""
            gap = r"(?P<gap>[T ])" if time_shape else ""
            found = re.fullmatch(day_shape + gap + time_shape + zone, value)
            if found:
                tail = f"{found['gap']}{time_form}{'%z' if found['zone'] else ''}" if time_shape else ""
                return [form.format(s=found[1]) + tail for form in day_forms]
    return (
        ["%Y%m%d"] if re.fullmatch(r"(19|20)\d{6}", value) else ["%Y"] if re.fullmatch(r"(19|20)\d{2}", value) else []
    )


def date_part(dates: pl.Series, part: str) -> pl.Series:
    """One number out of Datetime[μs]: ``days`` since 1970 with the time as a fraction, or a calendar part."""
    match part:
        case "days":
            return dates.cast(pl.Int64).cast(pl.Float64) / 86_400e6
        case "month":
            return dates.dt.month().cast(pl.Float64)
        case "day":
            return dates.dt.day().cast(pl.Float64)
        case "weekday":
            return dates.dt.weekday().cast(pl.Float64)
        case "hour":
            return dates.dt.hour().cast(pl.Float64)
    return dates.dt.minute().cast(pl.Float64)
