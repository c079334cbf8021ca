"""What a table is understood to hold, and what is refused."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.data import RawTable, Schema, encode, infer_schema
from lockstep.data.schema import Column
from lockstep.errors import DataError
from lockstep.findings import Finding
from lockstep.spec import DataSpec

RNG = np.random.default_rng(0)
N = 60


def table(**columns: Any) -> RawTable:
    """A table as a csv gives it: all text; ``y`` is 0 and 1 unless given."""
    columns = {"y": [i // 3 % 2 for i in range(N)], **columns}
    return RawTable(
        pl.DataFrame({k: [None if v is None else str(v) for v in vs] for k, vs in columns.items()}), "t.csv", ""
    )


def infer(target: str | None = "y", spec: dict[str, Any] | None = None, **columns: Any) -> tuple[Schema, list[Finding]]:
    return infer_schema(table(**columns), DataSpec(target=target, **(spec or {})))


def understood(values: list[Any], name: str = "a", **spec: Any) -> Column:
    schema, _ = infer(spec=spec, **{name: values, "other": [f"u{i % 2}" for i in range(N)]})
    return schema.column(name)


floats = [f"{v:.4f}" for v in RNG.normal(size=N)]

KINDS: list[tuple[str, list[Any], str]] = [
    ("floats", floats, "number"),
    ("few whole numbers", [i % 3 for i in range(N)], "number"),
    ("many whole numbers", RNG.permutation(10_000)[:N].tolist(), "number"),
    ("exponents and signs", [f"+{i}e-3" for i in range(N)], "number"),
    ("thousands", [f"{i + 1},{100 + i}" for i in range(N)], "number"),
    ("money", [f"${i}.50" for i in range(N)], "number"),
    ("percent", [f"{i}%" for i in range(N)], "number"),
    ("decimal commas", [f"{i},5" for i in range(N)], "number"),
    ("numbers and dashes", ["-" if i % 3 else v for i, v in enumerate(floats)], "number"),
    ("row numbers", range(1, N + 1), "identifier"),
    ("codes with zeros in front", [f"0{i % 5}123" for i in range(N)], "category"),
    ("words", ["uvw"[i % 3] for i in range(N)], "category"),
    ("numbers up to and over", [["0", "1", "2", "3+"][i % 4] for i in range(N)], "category"),
    ("yes and no", [["yes", "No"][i % 2] for i in range(N)], "boolean"),
    ("true and false", [["True", "False", None][i % 3] for i in range(N)], "boolean"),
    ("days", [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(N)], "date"),
    ("moments", [f"2024-01-{i % 28 + 1:02d}T{i % 24:02d}:30:00Z" for i in range(N)], "date"),
    ("days as in Germany", [f"{i % 28 + 1}.{i % 12 + 1}.2024" for i in range(N)], "date"),
    ("days in words", [f"{['Jan', 'May', 'Dec'][i % 3]} {i % 28 + 1}, 2024" for i in range(N)], "date"),
    ("hashes", [RNG.bytes(6).hex() + "x" for _ in range(N)], "identifier"),
    ("sentences", [f"this is the sentence number {i} of them" for i in range(N)], "text"),
    ("one value", ["same"] * N, "constant"),
    ("nothing", [None] * N, "constant"),
    ("one value or none", ["yes" if i % 2 else "" for i in range(N)], "category"),
]


@pytest.mark.parametrize(("name", "values", "kind"), KINDS, ids=[name for name, _, _ in KINDS])
def test_a_column_is_of_the_kind_a_person_would_say(name: str, values: list[Any], kind: str) -> None:
    column = understood(list(values))
    assert column.kind == kind, name
    assert column.used == (kind in ("number", "category", "boolean", "date"))
    assert column.used or column.why


def test_whole_numbers_are_identifiers_by_their_name_only_if_each_is_another() -> None:
    shuffled = RNG.permutation(1000)[:N].tolist()
    assert understood(shuffled, "customer_id").kind == "identifier"
    assert understood(shuffled, "customerID").kind == "identifier"
    assert understood(shuffled, "fnlwgt").kind == "number"
    assert understood([v // 9 for v in shuffled], "customer_id").kind == "number"
    assert understood(list(range(1960, 1960 + N)), "year").kind == "number"
    assert understood(floats, "id").kind == "number"


@pytest.mark.parametrize(
    "word", ["", "NA", "n/a", "N/A", "NaN", "nan", "null", "NULL", "None", "?", " ? ", "<NA>", "#N/A"]
)
def test_the_usual_spellings_of_a_missing_value_are_known(word: str) -> None:
    assert understood([word if i % 4 == 0 else v for i, v in enumerate(floats)]).missing == N // 4
    assert understood([word if i % 4 == 0 else "uv"[i % 2] for i in range(N)]).missing == N // 4


def test_further_spellings_are_added_by_the_user() -> None:
    values = ["-999" if i % 4 == 0 else "-999.00" if i % 4 == 1 else v for i, v in enumerate(floats)]
    assert understood(values).missing == 0
    assert understood(values, missing="-999").missing == N // 2
    typed = RawTable(pl.DataFrame({"a": [-999.0, 1.5, 2.5, np.nan] * 5, "y": [0, 1] * 10}), "t", "")
    schema, _ = infer_schema(typed, DataSpec(target="y", missing=("-999",)))
    assert schema.column("a").missing == 10
    assert understood(["inf", *floats[1:]], missing="inf").missing == 1


def test_a_few_words_among_numbers_are_missing_and_a_finding_names_them() -> None:
    schema, findings = infer(a=["oops", *floats[1:]], b=["unknown", *floats[1:]])
    assert [(f.code, f.severity, f.subject) for f in findings] == [
        ("odd-values", "warning", "a"),
        ("odd-values", "info", "b"),
    ]
    assert "oops" in findings[0].evidence
    assert "data.missing=oops" in findings[0].remedy
    assert schema.column("a").odd == ("oops",)
    encoded = encode(table(a=["oops", *floats[1:]], b=floats), schema, with_target=False)
    assert np.isnan(encoded.inputs[0][0, 0])
    with pytest.raises(DataError, match=r"'other' in row 2"):
        encode(table(a=["oops", "other", *floats[2:]], b=floats), schema, with_target=False)


def test_numbers_and_words_that_cannot_be_told_apart_are_refused() -> None:
    mixed = [f"w{i}" if i % 3 == 0 else v for i, v in enumerate(floats)]
    with pytest.raises(DataError, match=r"a of t.csv mixes numbers and words.*40 rows are numbers, 20 are not.*row 1"):
        infer(a=mixed)
    assert understood(mixed, drop="a").used is False
    assert understood(mixed, category="a").kind == "category"


@pytest.mark.parametrize(("a", "y"), [([1.0], ["x"]), ([1.0, 2.0, 3.0], [None, "x", None])])
def test_one_row_is_too_few_to_train_on(a: list[Any], y: list[Any]) -> None:
    with pytest.raises(DataError, match=r"at least two rows.*, however t.csv has (1|one)\. Give more rows\."):
        infer(a=a, y=y)


def test_codes_of_digits_or_letters_are_words_and_a_finding_says_so() -> None:
    _, findings = infer(a=[f"A{i}" if i % 4 == 0 else str(i * 37) for i in range(N)], b=floats)
    assert [f.code for f in findings] == ["mixed-column", "identifier-column"]


def test_the_remedy_for_an_identifier_is_a_kind_that_its_values_can_be() -> None:
    words = infer(a=[f"pat-{i}" for i in range(N)], b=floats)[1]
    numbers = infer(a=[i + 1 for i in range(N)], b=floats)[1]
    assert [f.remedy for f in words] == ["To use one all the same: --set data.category=a."]
    assert [f.remedy for f in numbers] == ["To use one all the same: --set data.number=a."]


def test_kinds_can_be_overridden_by_name_and_by_number() -> None:
    assert understood([i % 3 for i in range(N)], category="a").categories == ("0", "1", "2")
    assert understood(list(range(N)), number="a").kind == "number"
    assert understood(["1", "0"] * (N // 2), boolean="a").kind == "boolean"
    assert understood([20240101 + i % 28 for i in range(N)], date="a").date_parts == ("days", "day", "weekday")
    assert understood(floats, identifier="a").used is False
    assert understood(["uv"[i % 2] for i in range(N)], text="a").used is False
    assert understood(floats, drop="1").why == "dropped by data.drop"
    sentences = [f"this is the sentence number {i} of them" for i in range(N)]
    assert len(understood(sentences, category="a").categories) == N


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"number": "zz"}, "data.number must name a column.*zz"),
        ({"number": "b", "category": "b"}, "data.number and data.category"),
        ({"boolean": "b"}, "true/false"),
        ({"date": "b"}, "no known format"),
        ({"number": "b"}, "mixes numbers and words"),
    ],
)
def test_an_override_that_cannot_be_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer(spec=spec, a=floats, b=["uvw"[i % 3] for i in range(N)])


def test_numbers_far_from_zero_keep_their_spread_in_float32() -> None:
    values = [1.7e9 + i * 0.25 for i in range(N)]
    raw = table(a=values)
    schema, _ = infer_schema(raw, DataSpec(target="y"))
    got = encode(raw, schema, with_target=False).inputs[0][:, 0]
    np.testing.assert_allclose(got.astype(np.float64) + schema.column("a").offset, values, rtol=0, atol=1e-6)
    tiny = table(a=[v * 1e-30 for v in range(N)])
    schema, _ = infer_schema(tiny, DataSpec(target="y"))
    assert encode(tiny, schema, with_target=False).inputs[0].std() > 0.1


def test_dates_become_their_parts() -> None:
    raw = table(a=[f"2024-01-{i % 28 + 1:02d} {i % 24:02d}:00:00" for i in range(N)])
    schema, _ = infer_schema(raw, DataSpec(target="y"))
    assert schema.number_names == ("a.days", "a.day", "a.weekday", "a.hour")
    assert schema.number_columns == ("a",) * 4
    first = encode(raw, schema, with_target=False).inputs[0][0]
    assert first[0] + schema.column("a").offset == 19723
    assert first[1:].tolist() == [1, 1, 0]
    _, findings = infer(a=[f"{i % 12 + 1}/{i % 9 + 1}/2024" for i in range(N)])
    assert [f.code for f in findings] == ["ambiguous-date"]
    _, findings = infer(a=[f"{i % 28 + 1}/{i % 9 + 1}/2024" for i in range(N)])
    assert not findings


def test_only_the_most_frequent_of_very_many_categories_are_kept() -> None:
    values = [f"c{i % 1500}" for i in range(4000)] + ["c7"] * 5
    raw = table(a=values, y=[i % 2 for i in range(4005)])
    schema, findings = infer_schema(raw, DataSpec(target="y"))
    assert len(schema.column("a").categories) == 1000
    assert schema.column("a").rare == 500
    assert "c7" in schema.column("a").categories
    assert [f.code for f in findings] == ["many-categories"]


def test_a_mostly_missing_column_stays_usable() -> None:
    schema, findings = infer(a=["A" if i % 10 == 0 else "B" if i % 10 == 1 else None for i in range(N)])
    assert schema.column("a").used
    assert [f.code for f in findings] == ["mostly-missing"]


TARGETS: list[tuple[list[Any], str, tuple[str, ...]]] = [
    (["no", "yes"], "binary", ("no", "yes")),
    (["True", "False"], "binary", ("False", "True")),
    ([1, 0], "binary", ("0", "1")),
    (["1.0", "2.0"], "binary", ("1", "2")),
    ([10, 9, 2], "multiclass", ("2", "9", "10")),
    (["b", "a", "c"], "multiclass", ("a", "b", "c")),
    (["007", "008", "010"], "multiclass", ("007", "008", "010")),
    ([0.5, 1.5, 2.5], "regression", ()),
    (list(range(30)), "regression", ()),
    (["1,000.5", "2,000.5", "3,000.5"], "regression", ()),
]


@pytest.mark.parametrize(("values", "task", "classes"), TARGETS)
def test_the_task_follows_from_the_target(values: list[Any], task: str, classes: tuple[str, ...]) -> None:
    schema, _ = infer(a=floats, y=[values[i % len(values)] for i in range(N)])
    assert (schema.task, schema.classes) == (task, classes)


def test_the_task_can_be_set() -> None:
    assert infer(spec={"task": "regression"}, a=floats)[0].task == "regression"
    assert infer(spec={"task": "multiclass"}, a=floats)[0].classes == ("0", "1")
    assert len(infer(spec={"task": "multiclass"}, a=floats, y=[i % 30 for i in range(N)])[0].classes) == 30
    with pytest.raises(DataError, match="binary target has two classes, however y has 3"):
        infer(spec={"task": "binary"}, a=floats, y=[i % 3 for i in range(N)])
    with pytest.raises(DataError, match="must hold numbers, however: u, v"):
        infer(spec={"task": "regression"}, a=floats, y=["uv"[i % 2] for i in range(N)])


def test_predictions_go_back_to_labels_of_the_type_they_came_in() -> None:
    def labels(values: list[Any]) -> np.ndarray:
        raw = RawTable(pl.DataFrame({"a": RNG.normal(size=20), "y": values * 10}), "t", "")
        return infer_schema(raw, DataSpec(target="y"))[0].labels([1, 0])

    assert labels([3, 7]).dtype.kind == "i"
    assert labels([3, 7]).tolist() == [7, 3]
    assert labels([3.0, 7.0]).tolist() == [7, 3]
    assert labels([False, True]).tolist() == [True, False]
    assert labels(["a", "b"]).tolist() == ["b", "a"]
    assert labels([0.5, 1.5]).tolist() == [1.5, 0.5]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": floats, "y": [1] * N}, "must differ between rows, however y is 1 in all 60"),
        ({"a": floats, "y": ["NA"] * N}, "y of t.csv is missing in all"),
        ({"a": floats, "y": ["NA"] * (N - 1) + ["1"]}, "two rows with a target"),
        ({"a": ["1.5"], "y": ["1"]}, "two rows, however t.csv has 1"),
        ({"a": [1] * N}, "a column to learn from.*a has the same value"),
        ({}, "t.csv has y alone"),
        ({"a": floats, "y": [f"name{i}" for i in range(N)]}, "classes of a target must recur"),
        ({"a": floats, "y": ["oops", *floats[1:]]}, "'oops' in row 1"),
        ({"a": floats, "y": ["inf", *floats[1:]]}, "column y of t.csv holds the infinite value inf in row 1"),
        ({"a": ["inf", *floats[1:]]}, "column a of t.csv holds the infinite value inf in row 1"),
        ({"a": [*floats[1:], "1e30"]}, r"enormous value 1e\+30 in row 60"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_sentence(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer(**columns)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Y", "Did you mean y"),
        (None, "none is given for t.csv.*y, age"),
        ("agee", "Did you mean age"),
        ("9", "Columns: y, age"),
    ],
)
def test_a_target_that_is_not_there_is_refused_with_the_columns(target: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer(target=target, age=floats)


def test_a_target_can_be_given_by_number() -> None:
    assert infer(target="0", a=floats)[0].target == "y"
    assert infer(target="-1", a=floats)[0].target == "a"


def test_a_forgotten_no_header_is_suspected() -> None:
    with pytest.raises(DataError, match="--no-header"):
        infer_schema(RawTable(pl.DataFrame({"0.5": ["1"], "7": ["2"]}), "t", ""), DataSpec(target="y"))


def test_classes_that_differ_in_spelling_alone_are_pointed_out() -> None:
    _, findings = infer(a=floats, y=[["yes", "no", "Yes"][i % 3] for i in range(N)])
    assert [(f.code, f.severity) for f in findings] == [("spelling-variants", "warning")]


def test_missing_targets_are_dropped_with_their_spelling() -> None:
    schema, findings = infer(a=floats, y=[["NA", "x", "z"][i % 3] for i in range(N)])
    assert schema.rows == 40
    assert [f.code for f in findings] == ["missing-target"]
    assert "NA (20 rows)" in findings[0].evidence


def test_columns_by_which_rows_are_split_are_no_inputs() -> None:
    days = [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(N)]
    schema, _ = infer(spec={"group": "g"}, a=floats, g=[i % 9 for i in range(N)])
    assert not schema.column("g").used
    assert "days" not in infer(spec={"time": "d"}, a=floats, d=days)[0].column("d").date_parts
    assert not infer(spec={"time": "t"}, a=floats, t=[i // 2 for i in range(N)])[0].column("t").used
    assert infer(spec={"time": "t", "keep": "t"}, a=floats, t=[i // 2 for i in range(N)])[0].column("t").used


def test_a_schema_survives_json() -> None:
    schema, _ = infer(**{f"c{i}": list(values) for i, (_, values, _) in enumerate(KINDS)})
    assert Schema.model_validate_json(schema.model_dump_json()) == schema
    assert hash(schema) == hash(Schema.model_validate_json(schema.model_dump_json()))


ODD = ["1", "2.5", "x", "", "NA", "yes", "no", "2024-01-01", "1e30", "-", "a b c d e f"]


@given(st.lists(st.sampled_from(ODD), min_size=4, max_size=40))
def test_any_column_is_understood_or_refused(values: list[str]) -> None:
    rows = range(len(values))
    raw = table(a=values, b=[str(i * 1.5) for i in rows], y=[i % 2 for i in rows])
    try:
        schema, _ = infer_schema(raw, DataSpec(target="y"))
    except DataError:
        return
    encoded = encode(raw, schema, with_target=True)
    numbers, categories = encoded.inputs
    assert numbers.shape == (len(values), len(schema.number_names))
    assert categories.shape == (len(values), len(schema.category_columns))
    assert not np.isinf(numbers).any()
    assert ((categories >= 1) & (categories < np.array(schema.cardinalities))).all()
