"""Columns that give the target away, found before a network is trained to repeat them."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.encode import MISSING, Encoded
from lockstep.data.raw import Raw, RawArrays, RawTable
from lockstep.data.schema import Column, Schema
from lockstep.data.values import as_number, clean
from lockstep.findings import Finding

# Chance alone may not do it: the odds that every value of a column falls into one class, were they unrelated.
_LOG_ODDS = float(np.log(1e-6))
_FEWEST_ROWS = 10


def find_leaks(raw: Raw, schema: Schema, encoded: Encoded, keep: Sequence[str] = ()) -> tuple[Schema, list[Finding]]:
    """``schema`` with the columns set aside that give the target away exactly, unless ``keep`` names them.

    Exactly means: every value of the column stands for one class (or one target value), or a number column is the
    target times a constant plus another. Nearly so is a warning. A column that has another value in (almost) every row
    determines anything, so only values that recur count as evidence. ``raw`` and ``encoded`` hold the same rows.
    """
    if isinstance(raw, RawArrays) or encoded.target is None or len(encoded) < _FEWEST_ROWS:
        return schema, []
    findings, columns = [], []
    for column in schema.columns:
        finding = _leak_of(column, raw, schema, encoded) if column.used else None
        if finding is not None and finding.code == "target-leak":
            if column.name in keep:
                finding = _kept(finding)
            else:
                column = column.model_copy(update={"used": False, "why": "gives the target away"})
        columns.append(column)
        findings += [finding] if finding else []
    return schema.model_copy(update={"columns": tuple(columns)}), findings


def _leak_of(column: Column, raw: RawTable, schema: Schema, encoded: Encoded) -> Finding | None:
    assert encoded.target is not None
    target, name, regression = encoded.target, str(schema.target), schema.task == "regression"
    if column.kind == "category":
        codes = encoded.inputs[1][:, schema.category_columns.index(column.name)]
        return _determined_somewhere(column, codes, codes == MISSING, target, name, regression)
    if column.kind not in ("number", "boolean"):
        return None
    values = encoded.inputs[0][:, schema.number_names.index(column.name)]
    finding = None
    if regression and column.kind == "number":
        numbers = as_number(clean(raw.frame[column.name], schema.missing), column.number_style).to_numpy()
        finding = _affine(column, numbers, target, name)
    if finding is None:
        absent = np.isnan(values)
        codes = np.unique(np.where(absent, np.float32(np.inf), values), return_inverse=True)[1]
        finding = _determined_somewhere(column, codes, absent, target, name, regression)
    if finding is None and not regression:
        finding = _separated(column, values, target, name)
    return finding


def _determined_somewhere(
    column: Column,
    codes: NDArray[np.int64],
    absent: NDArray[np.bool_],
    target: NDArray[np.int64],
    name: str,
    regression: bool,
) -> Finding | None:
    """In all rows, by being missing or not, or in the rows (a tenth at least) where the column is present."""
    finding = _determined(column, codes, target, name, regression)
    share = float(absent.mean())
    if finding is None and 0 < share < 1:
        finding = _determined(column, absent.astype(np.int64), target, name, regression, " (missing or not)")
    if finding is None and 0 < share <= 0.9:
        finding = _determined(column, codes[~absent], target[~absent], name, regression, " (where it is not missing)")
    return finding


def _determined(
    column: Column, codes: NDArray[np.int64], target: NDArray[np.int64], name: str, regression: bool, part: str = ""
) -> Finding | None:
    """Whether each value of a column that recurs stands for one target value, exactly or nearly."""
    values, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    # Each value must recur ten times on average: what differs from row to row determines anything.
    if len(values) < 2 or len(values) > 0.1 * len(codes):
        return None
    classes, y = np.unique(target, return_inverse=True)
    if len(classes) < 2:
        return None
    if regression and len(classes) > 0.1 * len(codes):
        return None  # a target that hardly recurs cannot be determined by values that do
    pairs = pl.DataFrame({"value": codes, "class": y}).group_by("value", "class").len().sort("value", "class")
    share = np.bincount(y) / len(y)
    likely = pl.DataFrame({"value": pairs["value"], "len": pairs["len"]}).group_by("value").max().sort("value")
    wrong = len(y) - int(likely["len"].sum())
    base = len(y) - int(np.bincount(y).max())
    if wrong == 0 and _log_odds(sizes, share) < _LOG_ODDS:
        return _leak(column, name, f"each of its {len(values):,} values{part} stands for one {name}", len(y))
    if base >= 20 and wrong <= 0.02 * base:
        right = 1 - wrong / len(y)
        return _near(column, name, f"its values{part} alone tell {name} in {right:.2%} of {len(y):,} rows")
    return None


def _log_odds(sizes: NDArray[np.int64], share: NDArray[np.float64]) -> float:
    """log of the chance that in groups of these sizes all rows are of one class: Σ log Σ_c share_c^size."""
    powers = sizes[:, None] * np.log(share)[None, :]
    peak = powers.max(1)
    return float((peak + np.log(np.exp(powers - peak[:, None]).sum(1))).sum())


def _affine(column: Column, numbers: NDArray[np.float64], target: NDArray[np.float64], name: str) -> Finding | None:
    """Whether target = a · column + b, exactly or nearly, in the rows that have both."""
    there = ~np.isnan(numbers)
    if there.sum() < max(_FEWEST_ROWS, 0.1 * len(target)):
        return None
    x, y = numbers[there] - numbers[there].mean(), target[there] - target[there].mean()
    scale_x, scale_y = np.abs(x).max(), np.abs(y).max()
    if scale_x == 0 or scale_y == 0:
        return None
    x, y = x / scale_x, y / scale_y
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    if np.abs(left).max() <= 1e-6 and len(np.unique(x)) > 2:
        return _leak(
            column, name, f"{name} = {_line(slope * scale_y / scale_x, numbers[there], target[there])}", len(y)
        )
    explained = 1 - float(left @ left / (y @ y))
    if explained > 0.999 and len(np.unique(x)) > 2:
        return _near(column, name, f"a straight line through it explains {explained:.4%} of the variance of {name}")
    order = np.lexsort((y, x))
    steps = np.diff(y[order])
    recurs = np.diff(x[order]) == 0
    one_value_each = bool((steps[recurs] == 0).all()) and len(np.unique(y)) > 0.5 * len(y)
    if one_value_each and ((steps >= 0).all() or (steps <= 0).all()) and len(y) >= 30:
        return _near(column, name, f"{name} {'rises' if steps.max() > 0 else 'falls'} with it without exception")
    return None


def _line(slope: float, numbers: NDArray[np.float64], target: NDArray[np.float64]) -> str:
    constant = float(target.mean() - slope * numbers.mean())
    sign = "+" if constant >= 0 else "−"
    tiny = abs(constant) <= 1e-6 * float(np.abs(target).max())
    return f"{slope:.6g} × column" + ("" if tiny else f" {sign} {abs(constant):.6g}")


def _separated(column: Column, values: NDArray[np.float32], target: NDArray[np.int64], name: str) -> Finding | None:
    """Whether each class has a range of the numbers to itself."""
    if np.isnan(values).any() or len(values) < 30:
        return None
    _, y = np.unique(target, return_inverse=True)
    count = int(y.max()) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, y, values)
    np.maximum.at(high, y, values)
    order = np.argsort(low)
    if (high[order][:-1] < low[order][1:]).all() and np.bincount(y).min() >= 5:
        return _near(column, name, f"each {name} has a range of it to itself, in all {len(y):,} rows")
    return None


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
