"""Columns that give the target away are found, and nothing else is."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from lockstep.data import RawTable, Schema, encode, find_leaks, infer_schema
from lockstep.errors import DataError
from lockstep.findings import Finding
from lockstep.spec import DataSpec

RNG = np.random.default_rng(0)
N = 400
CLASS = RNG.integers(0, 3, N)
PRICE = RNG.exponential(size=N) * 100
NOISE = RNG.normal(size=N)


def leaks(target: Any, keep: tuple[str, ...] = (), noise: bool = True, **columns: Any) -> tuple[Schema, list[Finding]]:
    frame = pl.DataFrame({**({"noise": NOISE[: len(target)]} if noise else {}), **columns, "y": target})
    raw = RawTable(frame, "t", "")
    schema, _ = infer_schema(raw, DataSpec(target="y"))
    return find_leaks(raw, schema, encode(raw, schema, with_target=True), keep)


WORDS = np.array(["low", "mid", "high"])[CLASS]
EXACT: dict[str, tuple[Any, Any]] = {
    "the class in words": (CLASS, WORDS),
    "the class as another number": (CLASS, np.array([7.5, -1, 3])[CLASS]),
    "a finer code of the class": (CLASS, [f"{w}{i % 4}" for i, w in enumerate(WORDS)]),
    "the class in words, half of it missing": (CLASS, [w if i % 2 else None for i, w in enumerate(WORDS)]),
    "whether it is there": (CLASS == 1, [v if c else None for v, c in zip(NOISE, CLASS == 1, strict=True)]),
    "yes and no": (CLASS == 1, np.where(CLASS == 1, "yes", "no")),
    "the target itself": (PRICE, PRICE),
    "the target in another unit": (PRICE, PRICE * 0.91 + 32),
    "the target turned round": (PRICE, -PRICE),
    "the target, some of it missing": (PRICE, [v if i % 3 else None for i, v in enumerate(PRICE)]),
}


@pytest.mark.parametrize(("target", "column"), EXACT.values(), ids=EXACT.keys())
def test_a_column_that_gives_the_target_away_is_set_aside(target: Any, column: Any) -> None:
    schema, findings = leaks(target, leak=column)
    assert [(f.code, f.severity, f.subject) for f in findings] == [("target-leak", "severe", "leak")]
    assert not schema.column("leak").used
    assert schema.column("noise").used
    schema, findings = leaks(target, ("leak",), leak=column)
    assert schema.column("leak").used
    assert [f.code for f in findings] == ["target-leak-kept"]


NEAR: dict[str, tuple[Any, Any]] = {
    "one row in four hundred is wrong": (CLASS, [WORDS[1] if i == 3 else w for i, w in enumerate(WORDS)]),
    "rounded": (PRICE, PRICE.round()),
    "its logarithm": (PRICE, np.log(PRICE)),
    "a range for each class": (CLASS, CLASS + NOISE / 100),
}


@pytest.mark.parametrize(("target", "column"), NEAR.values(), ids=NEAR.keys())
def test_a_column_that_nearly_does_is_used_with_a_warning(target: Any, column: Any) -> None:
    schema, findings = leaks(target, leak=column)
    assert [(f.code, f.severity, f.subject) for f in findings] == [("near-leak", "warning", "leak")]
    assert schema.column("leak").used


HARMLESS: dict[str, tuple[Any, Any]] = {
    "a strong but honest number": (CLASS, CLASS + NOISE),
    "a strong but honest category": (CLASS, np.where(RNG.random(N) < 0.9, WORDS, "mid")),
    "another number in every row": (CLASS, RNG.permutation(N)),
    "pairs of rows": (np.repeat(CLASS[:200], 2), np.repeat(RNG.permutation(200), 2)),
    "a strong regressor": (PRICE, PRICE + NOISE * 20),
    "few values of a quantity": (PRICE, CLASS),
    "a rare value that happens to be of one class": (CLASS, ["odd" if i == 5 else "even" for i in range(N)]),
    "a rare class": (np.arange(N) < 4, np.where(RNG.random(N) < 0.5, "u", "v")),
}


@pytest.mark.parametrize(("target", "column"), HARMLESS.values(), ids=HARMLESS.keys())
def test_an_honest_column_raises_no_alarm(target: Any, column: Any) -> None:
    schema, findings = leaks(target, column=column)
    assert findings == []
    assert schema.column("column").used


def test_chance_in_a_small_table_raises_no_alarm() -> None:
    assert leaks([0, 1] * 6, column=["a", "b"] * 6)[1] == []


def test_a_table_of_leaks_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"data.keep=leak"):
        leaks(CLASS, noise=False, leak=WORDS)


def test_long_columns_are_judged_as_short_ones() -> None:
    y = RNG.integers(0, 2, 50_000)
    noise = RNG.integers(0, 9, 50_000)
    _, findings = leaks(y, noise=False, leak=np.array(["u", "v"])[y], a=noise, b=noise / 7 + y * 0.1)
    assert [f.subject for f in findings if f.code == "target-leak"] == ["leak", "b"]
