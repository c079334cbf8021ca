import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.report import format as fmt


@pytest.mark.parametrize(
    ("metric", "value", "low", "high", "shown"),
    [
        ("accuracy", 0.8742, 0.869, 0.8791, ".874 [.869, .879]"),
        ("accuracy", 0.99412, 0.9921, 0.9957, ".9941 [.9921, .9957]"),
        ("r2", -0.0312, -0.08, 0.02, "−.031 [−.080, .020]"),
        ("accuracy", 1.0, 1.0, 1.0, "1.000 [1.000, 1.000]"),
        ("r2", -0.0004, -0.02, 0.03, ".000 [−.020, .030]"),
        ("rmse", 51874.3, 50702.0, 53104.9, "51,874 [50,702, 53,105]"),
        ("rmse", 0.4512, 0.441, 0.4609, "0.451 [0.441, 0.461]"),
        ("log_loss", 1.2345, 1.1, 1.4, "1.23 [1.10, 1.40]"),
    ],
)
def test_a_score_has_the_digits_that_its_interval_supports(
    metric: str, value: float, low: float, high: float, shown: str
) -> None:
    places = fmt.places_for(metric, low, high, value)
    assert f"{fmt.score(metric, value, places)} {fmt.interval(metric, low, high, places)}" == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (51234.5, "51,234"),
        (0, "0"),
        (0.012346, "0.01235"),
        (1.2e-7, "1.2e−7"),
        (-3.0, "−3"),
        (1e20, "1e20"),
        (None, "–"),
        (float("nan"), "–"),
        (1000, "1,000"),
        (99999, "99,999"),
    ],
)
def test_a_number_is_short_and_thousands_are_separated(value: float | None, shown: str) -> None:
    assert fmt.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.042, "0.04 s"), (0.4, "0.4 s"), (72.3, "1 min 12 s"), (59.7, "1 min"), (3725, "1 h 2 min"), (None, "–")],
)
def test_a_duration_reads_as_a_person_says_it(seconds: float | None, shown: str) -> None:
    assert fmt.duration(seconds).replace(fmt.NARROW, " ") == shown


def test_shares_get_a_decimal_where_it_matters() -> None:
    shown = [fmt.percent(x).replace(fmt.NARROW, " ") for x in (0, 0.0652, 0.5, 0.991, 1)]
    assert shown == ["0 %", "6.5 %", "50 %", "99.1 %", "100 %"]


def test_a_list_of_words_ends_in_and() -> None:
    assert [fmt.words(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["accuracy", "rmse", "r2"]))
def test_any_float_at_all_can_be_shown(value: float, metric: str) -> None:
    for text in (fmt.number(value), fmt.score(metric, value), fmt.percent(value), fmt.count(value)):
        assert text
        assert "nan" not in text
        assert math.isfinite(value) or text == fmt.DASH


@given(st.text())
def test_a_chart_label_is_one_printable_line(text: str) -> None:
    label = fmt.label(text)
    assert label.isprintable()
    assert len(label) <= 80
