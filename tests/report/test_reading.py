from typing import Any

import pytest

from lockstep.report import reading
from lockstep.report.reading import Path


def path(valid: list[float], train: list[float] | None = None, *, best: int, planned: int) -> Path:
    return Path(valid=tuple(valid), train=tuple(train or valid), best_epoch=best, epochs=len(valid), planned=planned)


FALLING = [1.0 / (1 + 0.1 * i) for i in range(40)]
FLAT = FALLING[:20] + [FALLING[19]] * 20


@pytest.mark.parametrize(
    ("metric", "low", "high", "baseline", "tone", "says"),
    [
        ("accuracy", 0.85, 0.87, 0.76, "good", "is better than"),
        ("accuracy", 0.74, 0.80, 0.76, "caution", "includes"),
        ("accuracy", 0.60, 0.70, 0.76, "caution", "is worse than"),
        ("rmse", 50.0, 52.0, 115.0, "good", "is better than"),
        ("rmse", 120.0, 130.0, 115.0, "caution", "is worse than"),
    ],
)
def test_the_interval_is_held_against_the_baseline(
    metric: str, low: float, high: float, baseline: float, tone: str, says: str
) -> None:
    estimate = {"value": (low + high) / 2, "low": low, "high": high}
    remark = reading.against_baseline(metric, estimate, baseline, "the mean")
    assert remark is not None
    assert remark.tone == tone
    assert says in remark.text


def test_without_a_baseline_nothing_is_said() -> None:
    assert reading.against_baseline("accuracy", {"value": 0.9, "low": 0.8, "high": 0.95}, None, "") is None


def test_without_an_interval_nothing_is_claimed() -> None:
    remark = reading.against_baseline("accuracy", {"value": 0.9}, 0.5, "a guess")
    assert remark is not None
    assert remark.tone == "note"
    assert "chance is not excluded" in remark.text


def test_averaging_is_praised_only_where_it_helped() -> None:
    helped = reading.averaging("accuracy", 0.88, [0.86, 0.87], "test rows")
    did_not = reading.averaging("accuracy", 0.85, [0.86, 0.87], "test rows")
    assert helped is not None
    assert helped.tone == "good"
    assert did_not is not None
    assert "did not help" in did_not.text
    assert reading.averaging("accuracy", 0.88, [0.88], "test rows") is None


def test_a_network_that_still_falls_at_the_end_is_told_to_train_longer() -> None:
    remark = reading.still_improving([path(FALLING, best=40, planned=40)])
    assert remark is not None
    assert "--epochs 80" in remark.text


def test_a_flat_end_or_an_early_stop_is_not_told_to_train_longer() -> None:
    assert reading.still_improving([path(FLAT, best=40, planned=40)]) is None
    assert reading.still_improving([path(FALLING, best=40, planned=100)]) is None
    assert reading.still_improving([]) is None


def test_overfitting_is_a_validation_loss_that_turns_while_training_loss_falls() -> None:
    turned = path([0.5, 0.4, 0.45, 0.5], [0.5, 0.4, 0.3, 0.2], best=2, planned=4)
    both_rise = path([0.5, 0.4, 0.45, 0.5], [0.5, 0.4, 0.5, 0.6], best=2, planned=4)
    remark = reading.overfitting([turned])
    assert remark is not None
    assert "by 25" in remark.text
    assert reading.overfitting([both_rise]) is None


def test_a_wide_gap_between_the_losses_is_a_caution_and_a_narrow_one_is_not() -> None:
    wide = reading.loss_gap([path([0.4], [0.1], best=1, planned=1)])
    narrow = reading.loss_gap([path([0.41], [0.4], best=1, planned=1)])
    assert wide is not None
    assert wide.tone == "caution"
    assert narrow is not None
    assert narrow.tone == "good"
    between = reading.loss_gap([path([0.44], [0.32], best=1, planned=1)])
    assert between is not None
    assert "better than what is new" in between.text


def test_members_that_went_wrong_are_counted() -> None:
    (remark,) = reading.endings([{"ended": "NaN loss"}, {"ended": "patience"}, {}])
    assert remark.text.startswith("1 of 3 networks went wrong")


def test_a_short_reason_is_not_mistaken_for_a_failure() -> None:
    assert reading.endings([{"ended": "no better in 16 epochs"}, {"ended": "finished"}, {"ended": "length"}]) == []


def bins(*rows: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [{"predicted": p, "observed": (lo + hi) / 2, "low": lo, "high": hi, "count": 10} for p, lo, hi in rows]


def test_calibration_is_trusted_only_where_every_interval_includes_the_prediction() -> None:
    good = reading.calibration({"bins": bins((0.2, 0.1, 0.3), (0.8, 0.7, 0.9)), "error": 0.01})
    bad = reading.calibration({"bins": bins((0.2, 0.1, 0.3), (0.8, 0.5, 0.6)), "error": 0.12})
    chance = reading.calibration({"bins": bins(*[(0.2, 0.1, 0.3)] * 9, (0.8, 0.5, 0.6)), "error": 0.12})
    assert good is not None
    assert good.tone == "good"
    assert bad is not None
    assert bad.tone == "caution"
    assert "in 1 of 2 bins" in bad.text
    assert chance is not None
    assert chance.tone == "note"
    assert "chance" in chance.text
    few = reading.calibration({"bins": bins((0.2, 0, 0.6), (0.8, 0.4, 1)), "error": 0.12})
    assert few is not None
    assert few.tone == "note"
    assert "at their word" not in few.text
    assert reading.calibration(None) is None
    assert reading.calibration({"bins": [], "error": None}) is None


def test_importance_names_what_matters_and_counts_what_is_noise() -> None:
    features = [
        {"name": n, "mean": m, "low": m - 0.01, "high": m + 0.01} for n, m in [("a", 0.005), ("b", 0.2), ("c", 0.1)]
    ]
    remark = reading.importance({"metric": "accuracy", "features": features})
    assert remark is not None
    assert remark.text == (
        "Shuffling b costs most: it lowers the accuracy by .200; then comes c. 1 column of 3 cannot be told from noise."
    )


def test_class_scores_are_those_of_the_textbook() -> None:
    cat, dog = reading.class_scores(["cat", "dog"], [[8, 2], [4, 6]])
    assert (cat.rows, cat.precision, cat.recall) == (10, 8 / 12, 0.8)
    assert dog.f1 == pytest.approx(2 * (6 / 8) * 0.6 / (6 / 8 + 0.6))


def test_a_class_without_rows_or_predictions_has_no_scores() -> None:
    (_, empty) = reading.class_scores(["a", "b"], [[3, 0], [0, 0]])
    assert (empty.precision, empty.recall, empty.f1) == (None, None, None)


def test_the_most_frequent_confusion_and_the_worst_class_are_named() -> None:
    remarks = reading.confusion(["cat", "dog"], [[95, 5], [60, 40]])
    assert remarks[0].text.startswith("The most frequent mistake is dog taken for cat (60 rows")
    assert remarks[1].tone == "caution"
    assert reading.confusion(["a", "b"], [[5, 0], [0, 5]])[0].tone == "good"


def test_residuals_tell_a_bias_beyond_chance_and_a_cap() -> None:
    points = [{"actual": float(min(i, 80)), "predicted": min(i, 80) + 5.0 + (-1) ** i} for i in range(100)]
    said = " ".join(r.text for r in reading.residuals(points))
    assert "5 too high on average" in said
    assert "may be a cap" in said
    assert reading.residuals(points[:5]) == []


def test_clipping_is_told_as_a_share_of_epochs() -> None:
    remark = reading.clipping([0.5, 2.0, None, 3.0, 0.1], 1.0)
    assert remark is not None
    assert "in 50" in remark.text
    assert reading.clipping([2.0], None) is None


def test_coverage_is_held_against_the_quantile_that_was_asked_for() -> None:
    inside = reading.coverage({"value": 0.88, "low": 0.85, "high": 0.92}, 0.9)
    assert inside is not None
    assert inside.tone == "good"
    outside = reading.coverage({"value": 0.7, "low": 0.65, "high": 0.75}, 0.9)
    assert outside is not None
    assert outside.tone == "caution"
    assert outside.text.endswith("the predictions are too low.")
    assert reading.coverage({}, 0.9) is None


def test_a_quantile_may_lie_to_one_side() -> None:
    points = [{"actual": float(i % 7), "predicted": i % 7 + 5.0 + i % 3} for i in range(100)]
    assert any("too high" in remark.text for remark in reading.residuals(points))
    assert not any("too high" in remark.text for remark in reading.residuals(points, 0.9))
