"""How results are spelled on the command line."""

import pytest

from lockstep.cli.text import metric_lines, spread


def test_what_one_row_leaves_unknown_is_a_dash() -> None:
    nan = float("nan")
    lines = metric_lines({"metrics": {"auc": {"value": nan, "low": nan, "high": nan}}, "n_rows": 1})
    assert lines[-1].split() == ["auc", "-", "-"]


def test_scores_of_one_class_say_which() -> None:
    f1 = {"value": 0.5, "low": 0.4, "high": 0.6}
    lines = metric_lines({"metrics": {"f1": f1}, "n_rows": 9, "positive": "ill"})
    assert "  f1 and average_precision: of the class ill" in lines


@pytest.mark.parametrize(("std", "text"), [(0.0601, "0.06"), (1.31, "1.3"), (243.4, "243"), (12345.6, "12,346")])
def test_a_spread_has_two_digits_and_no_exponent(std: float, text: str) -> None:
    assert spread(std) == text
