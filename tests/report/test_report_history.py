import polars as pl
import pytest

from lockstep.report import history
from lockstep.report.training_charts import epoch_axis


def frame(members: int = 2, epochs: int = 4, **columns: float) -> pl.DataFrame:
    rows = [
        {
            "member": m,
            "candidate": 0,
            "fold": m,
            "seed": 0,
            "epoch": e,
            "train_loss": 1.0 / e + m,
            "valid_loss": 2.0 / e + m,
            "valid_metric": 0.5,
            "metric": "accuracy",
            "lr": 0.1 / e,
            "grad_norm": 1.0,
            **columns,
        }
        for m in range(members)
        for e in range(1, epochs + 1)
    ]
    return pl.DataFrame(rows)


def test_the_mean_ends_where_the_first_member_stops() -> None:
    stopped = frame().filter((pl.col("member") == 0) | (pl.col("epoch") <= 2))
    curves = history.prepare(stopped, {}, {})
    assert curves.mean["epoch"] == [1, 2]
    assert curves.mean["train_loss"] == [1.5, 1.0]
    assert curves.epochs == 4


def test_a_member_gone_wrong_leaves_gaps_and_does_not_end_the_mean() -> None:
    wrong = frame().with_columns(
        pl.when((pl.col("member") == 1) & (pl.col("epoch") > 1))
        .then(float("nan"))
        .otherwise(pl.col("train_loss"))
        .alias("train_loss")
    )
    curves = history.prepare(wrong, {}, {})
    assert curves.members["train_loss"][-1] is None
    assert curves.mean["epoch"] == [1, 2, 3, 4]
    assert curves.mean["networks"] == [1, 1, 1, 1]


def test_metrics_of_two_kinds_are_not_drawn_on_one_axis() -> None:
    watched = pl.when(pl.col("member") == 0).then(pl.lit("rmse")).otherwise(pl.lit("mae"))
    curves = history.prepare(frame().with_columns(metric=watched), {}, {})
    assert curves.metric == ""
    assert set(curves.members["valid_metric"]) == {None}
    assert curves.mean["valid_loss"] == pytest.approx([2.5, 1.5, 2 / 3 + 0.5, 1.0], rel=1e-3)


@pytest.mark.parametrize(("epochs", "values"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_few_epochs_have_a_tick_each(epochs: int, values: list[int]) -> None:
    assert epoch_axis(epochs)["axis"]["values"] == values
    assert "values" not in epoch_axis(40)["axis"]


def test_a_long_history_is_thinned_and_keeps_first_and_last_epochs() -> None:
    curves = history.prepare(frame(64, 400), {}, {0: 123})
    assert curves.thinned
    assert len(curves.members["epoch"]) <= 1.1 * history.POINTS
    assert set(range(1, 11)) <= set(curves.members["epoch"])
    assert 400 in curves.members["epoch"]
    assert curves.best["epoch"] == [123]


def test_of_very_many_members_an_even_choice_is_drawn() -> None:
    curves = history.prepare(frame(250, 3), {}, {})
    assert (curves.drawn, curves.total) == (history.LINES, 250)
    assert {0, 249} <= set(curves.members["member"])
    assert curves.mean["networks"] == [250, 250, 250]


def test_members_of_one_schedule_share_one_line() -> None:
    rates = history.learning_rates(frame(3), {m: ("", f"candidate {m}") for m in range(3)})
    assert rates is not None
    assert rates["lr"] == [0.1, 0.05, pytest.approx(0.1 / 3, rel=1e-4), 0.025]


def test_a_layers_norm_is_that_of_all_its_parameters() -> None:
    norms = history.layer_norms(frame(1, 1, **{"grad_norm/head.weight": 3.0, "grad_norm/head.bias": 4.0}))
    assert norms is not None
    assert norms[0] == ["head"]
    assert norms[1]["norm"] == [5.0]
    assert history.layer_norms(frame()) is None
