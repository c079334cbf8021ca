"""What there is to say about a column: its findings, and the error where numbers and words cannot be told apart."""

from collections import defaultdict

import numpy as np
import polars as pl

from lockstep.data.kinds import Cells
from lockstep.data.raw import listing
from lockstep.data.schema import Column
from lockstep.data.values import as_text
from lockstep.errors import DataError
from lockstep.findings import Finding, Severity


def spelling_variants(labels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Groups of labels that differ only in case, inner spaces, or a full stop at the end."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[" ".join(label.lower().rstrip(".").split())].append(label)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def variants_finding(name: str, variants: list[tuple[str, ...]], severity: Severity, what: str) -> Finding:
    shown = "; ".join(" and ".join(group) for group in variants[:3])
    return Finding(
        severity=severity,
        code="spelling-variants",
        subject=name,
        what=f"{name} has {what} that differ only in case, spaces or a full stop; they count as different.",
        evidence=shown,
        remedy="Spell them alike in the file if they mean the same.",
    )


def class_variants(name: str, classes: tuple[str, ...]) -> list[Finding]:
    variants = spelling_variants(classes)
    return [variants_finding(name, variants, "warning", "classes")] if variants else []


def _count_of(values: pl.Series, words: tuple[str, ...]) -> int:
    return int(as_text(values).is_in(list(words)).sum())


def odd_spellings(cells: Cells, odd: tuple[str, ...], surprising: bool) -> Finding:
    declare = ",".join(odd[:3])
    return Finding(
        severity="warning" if surprising else "info",
        code="odd-values",
        subject=cells.name,
        what=f"{cells.name} holds values that cannot be read like the others; they count as missing.",
        evidence=f"{_count_of(cells.values, odd):,} of {len(cells.values):,} rows: {listing(odd, 10)}",
        remedy=f"Mend them, or say that they mean missing: --set data.missing={declare}; "
        f"or take the column as categories: --set data.category={cells.name}.",
    )


def mixed_types(cells: Cells, numbers: pl.Series, words: list[str]) -> DataError:
    unread = cells.values.is_not_null() & numbers.is_null()
    first = cells.rows[np.flatnonzero(unread.to_numpy())[0]] + 1 if unread.any() else 1
    return DataError(
        f"Column {cells.name} of {cells.origin} mixes numbers and words, however a column must be one of them: "
        f"{len(numbers) - numbers.null_count():,} rows are numbers, {unread.sum():,} are not ({listing(words, 5)}; "
        f"the first in row {first:,}). Mend them, declare them missing (--set data.missing=…), "
        f"or give --set data.category={cells.name} or data.drop={cells.name}."
    )


def mixed_words(cells: Cells, column: Column) -> Finding:
    text = as_text(cells.values)
    numeric = text.cast(pl.Float64, strict=False).is_not_null()
    words = text.filter(~numeric).drop_nulls().unique().sort().to_list()
    declare = f"If the words mean missing: --set data.missing={','.join(words)}. " if len(words) <= 3 else ""
    taken = "read as categories" if column.used else "set aside"
    return Finding(
        severity="warning",
        code="mixed-column",
        subject=cells.name,
        what=f"{cells.name} mixes numbers and words, so it is {taken}.",
        evidence=f"{numeric.sum():,} of {len(text):,} rows are numbers; words: {listing(words, 5)}",
        remedy=f"{declare}To count what is no number as missing: --set data.number={cells.name}.",
    )


def number_style_finding(cells: Cells, column: Column) -> Finding:
    words = {
        "thousands": "1,234.5 (a comma between thousands; also $ and %)",
        "decimal-comma": "1.234,5 (a decimal comma)",
    }
    return Finding(
        severity="info",
        code="number-style",
        subject=cells.name,
        what=f"{cells.name} is read as numbers spelled like {words[column.number_style]}.",
        evidence=f"values such as {listing(column.examples, 3)}; read as {column.low:g} to {column.high:g}",
        remedy=f"If they are no numbers, give --set data.category={cells.name}.",
    )


def ambiguous_date(cells: Cells, forms: list[str]) -> Finding:
    order = "month/day" if forms[0].startswith("%m") else "day-month"
    return Finding(
        severity="warning",
        code="ambiguous-date",
        subject=cells.name,
        what=f"{cells.name} can be read with the day or the month first; it is read as {order}.",
        evidence=f"both {forms[0]} and {forms[1]} fit every value",
        remedy="Spell dates year first (2024-03-31) if that is wrong.",
    )


def many_categories(column: Column) -> Finding:
    return Finding(
        severity="info",
        code="many-categories",
        subject=column.name,
        what=f"{column.name} has {column.distinct:,} categories; the most frequent are kept.",
        evidence=f"{len(column.categories):,} are kept, and {column.rare:,} more taken as never seen",
        remedy=f"Group them in the source, or leave the column out: --set data.drop={column.name}.",
    )


def mostly_missing(column: Column, rows: int) -> Finding:
    return Finding(
        severity="info",
        code="mostly-missing",
        subject=column.name,
        what=f"{column.name} is missing in most rows; it is used, with missing as a value of its own.",
        evidence=f"{column.missing:,} of {rows:,} rows ({column.missing / rows:.0%})",
        remedy=f"Leave it out with --set data.drop={column.name} if it is not there when you predict.",
    )
