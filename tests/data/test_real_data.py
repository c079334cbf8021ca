"""Well-known tables are understood as anyone who knows them would say. Needs $LOCKSTEP_DATA."""

import os
import time
from pathlib import Path

import pytest

from lockstep.data import RawArrays, Schema, encode, find_leaks, infer_schema, read
from lockstep.errors import DataError
from lockstep.findings import Finding
from lockstep.spec import DataSpec

FOLDER = os.environ.get("LOCKSTEP_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="the real data sets are not here: set LOCKSTEP_DATA to their folder")


def understand(path: str, spec: DataSpec) -> tuple[Schema, list[Finding]]:
    raw = read(Path(str(FOLDER)) / path, spec)
    schema, findings = infer_schema(raw, spec)
    schema, leaks = find_leaks(raw, schema, encode(raw, schema, with_target=True), spec.keep)
    return schema, findings + leaks


CASES = [
    ("adult/adult_train.csv", "class", "binary", {"number": 6, "category": 8}, []),
    ("california_housing/housing.csv", "median_house_value", "regression", {"number": 8, "category": 1}, []),
    ("diamonds/diamonds.csv", "price", "regression", {"number": 6, "category": 3}, []),
    ("phoneme/phoneme.csv", "-1", "binary", {"number": 5}, []),
    ("insurance/insurance.csv", "charges", "regression", {"number": 3, "category": 2, "boolean": 1}, []),
    ("ett/ETTh1.csv", "OT", "regression", {"number": 6, "date": 1}, []),
    (
        "titanic/titanic_seaborn.csv",
        "survived",
        "binary",
        {"number": 5, "category": 6, "boolean": 3},
        [("mostly-missing", "deck"), ("target-leak", "alive")],
    ),
]


@pytest.mark.parametrize(("path", "target", "task", "kinds", "findings"), CASES, ids=[case[0] for case in CASES])
def test_a_known_table_is_understood(
    path: str, target: str, task: str, kinds: dict[str, int], findings: list[tuple[str, str]]
) -> None:
    schema, found = understand(path, DataSpec(target=target, header="phoneme" not in path))
    assert schema.task == task
    counted: dict[str, int] = {}
    for column in schema.columns:
        counted[column.kind] = counted.get(column.kind, 0) + 1
    assert counted == kinds
    assert [(f.code, f.subject) for f in found] == findings


def test_the_full_stops_of_the_adult_test_file_are_refused_with_both_label_sets() -> None:
    spec = DataSpec(target="class")
    schema, _ = understand("adult/adult_train.csv", spec)
    with pytest.raises(DataError, match=r"<=50K\., >50K\. here and <=50K, >50K in training\. .* a full stop"):
        encode(read(Path(str(FOLDER)) / "adult/adult_test.csv", spec), schema, with_target=True)


def test_messages_alone_are_text() -> None:
    schema, findings = understand("sms_spam/sms_spam.csv", DataSpec(target="type"))
    assert (schema.kind, [column.name for column in schema.used_columns], findings) == ("text", ["text"], [])


def test_mnist_is_images_with_test_rows() -> None:
    raw = read(Path(str(FOLDER)) / "mnist")
    assert isinstance(raw, RawArrays)
    assert raw.x.shape == (60000, 28, 28)
    assert raw.test is not None
    assert len(raw.test) == 10000
    schema, findings = infer_schema(raw)
    assert schema.classes == tuple("0123456789")
    assert findings == []


def test_adult_takes_about_a_second_at_most() -> None:
    spec = DataSpec(target="class")
    understand("insurance/insurance.csv", DataSpec(target="charges"))
    start = time.perf_counter()
    raw = read(Path(str(FOLDER)) / "adult/adult_train.csv", spec)
    encode(raw, infer_schema(raw, spec)[0], with_target=True)
    assert time.perf_counter() - start < 5  # 0.4 s on an idle machine
