"""Columns that give the target away, found before a network is trained to repeat them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.encode import MISSING
from lockstep.data.encoded import Encoded
from lockstep.data.raw import Raw, RawTable, listing
from lockstep.data.schema import Column, Schema
from lockstep.data.values import as_number, clean
from lockstep.errors import DataError
from lockstep.findings import Finding

# Chance alone may not do it: the odds that every value of a column falls into one class, were they unrelated.
_LOG_ODDS = float(np.log(1e-6))
_FEWEST_ROWS = 10
_SAMPLE = 2000


@dataclass(frozen=True)
class _Target:
    """The target called ``name``: its values [N], their ``codes`` [N], and whether it is a quantity."""

    name: str
    values: NDArray[Any]
    codes: NDArray[np.int64]
    quantity: bool

    def where(self, rows: NDArray[np.bool_]) -> "_Target":
        return _Target(self.name, self.values[rows], self.codes[rows], self.quantity)


def find_leaks(raw: Raw, schema: Schema, encoded: Encoded, keep: Sequence[str] = ()) -> tuple[Schema, list[Finding]]:
    """``schema`` with the columns set aside that give the target away exactly, unless ``keep`` names them.

    Exactly means: every value of the column stands for one class (or one target value), or a number column is the
    target times a constant plus another. Nearly so is a warning. A column that has another value in (almost) every row
    determines anything, so only values that recur count as evidence. ``raw`` and ``encoded`` hold the same rows.
    Raises ``DataError`` where this leaves no column.
    """
    if not isinstance(raw, RawTable) or encoded.target is None or len(encoded) < _FEWEST_ROWS:
        return schema, []
    codes = np.unique(encoded.target, return_inverse=True)[1].astype(np.int64)
    target = _Target(str(schema.target), encoded.target, codes, schema.task == "regression")
    places = {name: index for index, name in enumerate(schema.number_names)}
    places |= {name: index for index, name in enumerate(schema.category_columns)}
    findings, columns = [], []
    for column in schema.columns:
        finding = None
        if column.used and column.kind == "category":
            finding = _leak_of_category(column, encoded.inputs[1][:, places[column.name]], target)
        elif column.used and column.kind in ("number", "boolean"):
            finding = _leak_of_number(column, encoded.inputs[0][:, places[column.name]], target, raw, schema.missing)
        if finding is not None and finding.code == "target-leak":
            if column.name in keep:
                finding = _kept(finding)
            else:
                column = column.model_copy(update={"used": False, "why": "gives the target away"})
        columns.append(column)
        findings += [finding] if finding else []
    if not any(column.used for column in columns):
        leaks = [finding.subject for finding in findings]
        raise DataError(
            f"A column must be left to learn from, however all columns of {raw.origin} give {schema.target} away "
            f"exactly: {listing(leaks)}. If known when you predict, keep them: --set data.keep={','.join(leaks)}."
        )
    return schema.model_copy(update={"columns": tuple(columns)}), findings


def _leak_of_category(column: Column, codes: NDArray[np.int64], target: _Target) -> Finding | None:
    return _determined_somewhere(column, codes, codes == MISSING, target)


def _leak_of_number(
    column: Column, values: NDArray[np.float32], target: _Target, raw: RawTable, missing: Sequence[str]
) -> Finding | None:
    finding = None
    if target.quantity and column.kind == "number":
        numbers = as_number(clean(raw.frame[column.name], missing), column.number_style).to_numpy()
        finding = _affine(column, numbers, target)
    if finding is None:
        absent = np.isnan(values)
        finding = _determined_somewhere(column, np.where(absent, np.float32(np.inf), values), absent, target)
    if finding is None and not target.quantity:
        finding = _separated(column, values, target)
    return finding


def _determined_somewhere(
    column: Column, values: NDArray[Any], absent: NDArray[np.bool_], target: _Target
) -> Finding | None:
    """In all rows, by being missing or not, or in the rows (a tenth at least) where the column is present."""
    finding = _determined(column, values, target)
    share = float(absent.mean())
    if finding is None and 0 < share < 1:
        finding = _determined(column, absent.astype(np.int64), target, " (missing or not)")
    if finding is None and 0 < share <= 0.9:
        finding = _determined(column, values[~absent], target.where(~absent), " (where it is not missing)")
    return finding


def _determined(column: Column, values: NDArray[Any], target: _Target, part: str = "") -> Finding | None:
    """Whether each value of a column that recurs stands for one target value, exactly or nearly."""
    rows = len(values)
    # Each value must recur ten times on average: what differs from row to row determines anything.
    if pl.Series(values).n_unique() > 0.1 * rows or not _promising(values, target.codes):
        return None
    different, codes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    classes, y = np.unique(target.codes, return_inverse=True)
    # Nor can values that recur determine a target that hardly does.
    if len(different) < 2 or len(classes) < 2 or (target.quantity and len(classes) > 0.1 * rows):
        return None
    counts = np.bincount(y)
    wrong, base = rows - _told(codes, y), rows - int(counts.max())
    if wrong == 0 and _log_odds(sizes, counts / rows) < _LOG_ODDS:
        return _leak(
            column, target.name, f"each of its {len(different):,} values{part} stands for one {target.name}", rows
        )
    if base >= 20 and wrong <= 0.02 * base:
        right = 1 - wrong / rows
        return _near(column, target.name, f"its values{part} alone tell {target.name} in {right:.2%} of {rows:,} rows")
    return None


def _told(codes: NDArray[np.int64], y: NDArray[np.int64]) -> int:
    """The rows that are right when each value says its most frequent class."""
    width = int(y.max()) + 1
    pairs, counts = np.unique(codes * width + y, return_counts=True)
    likely = np.zeros(int(codes.max()) + 1, dtype=np.int64)
    np.maximum.at(likely, pairs // width, counts)
    return int(likely.sum())


def _promising(values: NDArray[Any], y: NDArray[np.int64]) -> bool:
    """A quick look at some rows: whether the values tell most of the target there. They must if they do everywhere."""
    if len(values) <= 2 * _SAMPLE:
        return True
    some = np.linspace(0, len(values) - 1, _SAMPLE).astype(np.int64)
    codes, classes = (np.unique(each[some], return_inverse=True)[1] for each in (values, y))
    return _SAMPLE - _told(codes, classes) <= 0.1 * (_SAMPLE - int(np.bincount(classes).max()))


def _log_odds(sizes: NDArray[np.int64], share: NDArray[np.float64]) -> float:
    """log of the chance that in groups of these sizes all rows are of one class: Σ log Σ_c share_c^size."""
    powers = sizes[:, None] * np.log(share)[None, :]
    peak = powers.max(1)
    return float((peak + np.log(np.exp(powers - peak[:, None]).sum(1))).sum())


def _affine(column: Column, numbers: NDArray[np.float64], target: _Target) -> Finding | None:
    """Whether target = a · column + b, exactly or nearly, in the rows that have both."""
    there, values, name = ~np.isnan(numbers), target.values, target.name
    if there.sum() < max(_FEWEST_ROWS, 0.1 * len(values)):
        return None
    x, y = numbers[there] - numbers[there].mean(), values[there] - values[there].mean()
    scale_x, scale_y = np.abs(x).max(), np.abs(y).max()
    if scale_x == 0 or scale_y == 0:
        return None
    x, y = x / scale_x, y / scale_y
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    if np.abs(left).max() <= 1e-6 and len(np.unique(x)) > 2:
        return _leak(
            column, name, f"{name} = {_line(slope * scale_y / scale_x, numbers[there], values[there])}", len(y)
        )
    explained = 1 - float(left @ left / (y @ y))
    if explained > 0.999 and len(np.unique(x)) > 2:
        return _near(column, name, f"a straight line through it explains {explained:.4%} of the variance of {name}")
    some = slice(None, None, max(1, len(x) // _SAMPLE))
    if not _monotone(x[some], y[some]) or len(y) < 30 or not _monotone(x, y):
        return None
    return _near(column, name, f"{name} {'rises' if slope > 0 else 'falls'} with it without exception")


def _monotone(x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    """Whether y never falls, or never rises, with x, has one value for each x, and hardly recurs."""
    order = np.lexsort((y, x))
    steps = np.diff(y[order])
    recurs = np.diff(x[order]) == 0
    one_value_each = bool((steps[recurs] == 0).all()) and len(np.unique(y)) > 0.5 * len(y)
    return one_value_each and bool((steps >= 0).all() or (steps <= 0).all())


def _line(slope: float, numbers: NDArray[np.float64], target: NDArray[np.float64]) -> str:
    constant = float(target.mean() - slope * numbers.mean())
    sign = "+" if constant >= 0 else "−"
    tiny = abs(constant) <= 1e-6 * float(np.abs(target).max())
    return f"{slope:.6g} × column" + ("" if tiny else f" {sign} {abs(constant):.6g}")


def _separated(column: Column, values: NDArray[np.float32], target: _Target) -> Finding | None:
    """Whether each class has a range of the numbers to itself."""
    if np.isnan(values).any() or len(values) < 30 or np.bincount(target.codes).min() < 5:
        return None
    some = slice(None, None, max(1, len(values) // _SAMPLE))
    if not (_ranges_apart(values[some], target.codes[some]) and _ranges_apart(values, target.codes)):
        return None
    return _near(column, target.name, f"each {target.name} has a range of it to itself, in all {len(values):,} rows")


def _ranges_apart(values: NDArray[np.float32], codes: NDArray[np.int64]) -> bool:
    count = int(codes.max()) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, codes, values)
    np.maximum.at(high, codes, values)
    order = np.argsort(low)
    return bool((high[order][:-1] < low[order][1:]).all())


def _leak(column: Column, target: str, evidence: str, rows: int) -> Finding:
    return Finding(
        severity="severe",
        code="target-leak",
        subject=column.name,
        what=f"{column.name} gives {target} away exactly, so it is set aside.",
        evidence=f"{evidence}, in {rows:,} rows without exception",
        remedy=f"If it is known when you predict, keep it: --set data.keep={column.name}.",
    )


def _kept(finding: Finding) -> Finding:
    target = finding.what.removeprefix(f"{finding.subject} gives ").removesuffix(" away exactly, so it is set aside.")
    return Finding(
        severity="warning",
        code="target-leak-kept",
        subject=finding.subject,
        what=f"{finding.subject} gives {target} away exactly; it is kept because data.keep names it.",
        evidence=finding.evidence,
        remedy="Scores mean little unless it is known when you predict.",
    )


def _near(column: Column, target: str, evidence: str) -> Finding:
    return Finding(
        severity="warning",
        code="near-leak",
        subject=column.name,
        what=f"{column.name} gives {target} away almost exactly; it is used.",
        evidence=evidence,
        remedy=f"If it is not known when you predict, leave it out: --set data.drop={column.name}.",
    )
