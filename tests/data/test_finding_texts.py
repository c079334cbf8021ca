"""What findings say reads right of one thing and of several, and their remedies are something to do."""

import ast
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import lockstep
from lockstep.data import infer_schema
from lockstep.data.free_text import check_texts, cut_texts
from lockstep.data.raw import RawSeries, RawTable
from lockstep.data.schema import Schema, Vocabulary
from lockstep.data.splits import Fold, Splits
from lockstep.data.steps import cut_series, empty_series
from lockstep.data.timeline import check_times
from lockstep.errors import DataError
from lockstep.findings import Finding
from lockstep.jobs.prepare import check_groups
from lockstep.spec.data import DataSpec


def texts(n: int) -> list[Finding]:
    return check_texts(np.array([""] * n + ["a"] * (n + 1), dtype=object), "line")


def cut(n: int) -> list[Finding]:
    counts = np.array([9] * n + [1] * 10)
    return cut_texts(counts, Vocabulary(kind="word", entries=("a",), steps=5), "line", "a.csv")


def series(n: int) -> list[Finding]:
    raw = RawSeries(np.zeros((10, 9, 1)), np.array([9] * n + [3] * (10 - n)), None, "a.ts", "")
    return [
        *empty_series(np.array([0] * n + [3] * 5), "a.ts"),
        *cut_series(raw, Schema(kind="series", task="regression", steps=5)),
    ]


def times(n: int) -> list[Finding]:
    gaps = np.array([0.0] + [1.0] * 10 + [2.0] * n)
    return check_times(np.cumsum(gaps), "t", False, "a.csv")


def unlabelled(n: int) -> list[Finding]:
    frame = pl.DataFrame(
        {"x": np.random.default_rng().normal(size=30), "y": [None] * n + ["a", "b"] * 10 + ["a"] * (10 - n)}
    )
    findings = infer_schema(RawTable(frame, "a.csv", ""), DataSpec(target="y"))[1]
    return [finding for finding in findings if finding.code == "missing-target"]


def groups(n: int) -> list[Finding]:
    fold = Fold(np.arange(n), np.array([9]))
    return check_groups(np.array([*range(5), *range(n), 20]), Splits(np.arange(5, 5 + n), (fold, fold), ""), "who")


@pytest.mark.parametrize(
    ("make", "one", "several"),
    [
        (texts, ["1 row has no text", "1 row repeats the text"], ["3 rows have no text", "3 rows repeat the text"]),
        (cut, ["1 text has more"], ["3 texts have more"]),
        (series, ["1 series has no step", "1 of the 10 in a.ts: more"], ["3 series have", "3 of the 10 in a.ts: more"]),
        (times, ["1 of 11 steps differs from"], ["3 of 13 steps differ from"]),
        (unlabelled, ["1 row has no target and is", "empty (1 row)"], ["3 rows have no target and are", "(3 rows)"]),
        (groups, ["1 group is on"], ["3 groups are on"]),
    ],
)
def test_one_is_told_as_one_and_several_as_several(make, one, several):
    for n, parts in ((1, one), (3, several)):
        said = " ".join(f"{finding.what} {finding.evidence}" for finding in make(n))
        for part in parts:
            assert part in said


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ([1.0], "1 time of t in a.csv stands more"),
        ([1.0, 1.0], "1 time of t in a.csv stands more"),
        ([1.0, 2.0], "2 times of t in a.csv stand more"),
    ],
)
def test_times_that_stand_twice_are_counted_once_each(again, said):
    with pytest.raises(DataError, match=said):
        check_times(np.sort(np.array([0.0, 1.0, 2.0, *again])), "t", False, "a.csv")


def remedies():
    """The first words of every remedy written in the source."""
    for path in Path(lockstep.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "remedy":
                value = node.value.values[0] if isinstance(node.value, ast.JoinedStr) else node.value
                if isinstance(value, ast.Constant):
                    yield path.name, value.value


def test_no_remedy_begins_with_nothing():
    found = list(remedies())
    assert len(found) > 15
    assert [text for _, text in found if text.startswith("Nothing")] == []
