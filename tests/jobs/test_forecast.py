"""Forecasts, from a table in time to what comes after it."""

import json
import re

import numpy as np
import polars as pl
import pytest

import lockstep
from lockstep.cli.text import metric_lines
from lockstep.errors import DataError, SpecError
from lockstep.jobs.forecast import SCALE

HORIZON, CONTEXT = 6, 24
SETTINGS = {"data.horizon": HORIZON, "data.context": CONTEXT}
SMALL = SETTINGS | {"training.batch_size": 32}


def hourly(rows: int = 600) -> pl.DataFrame:
    """Two columns with a day's rhythm, one of them on a slope, and a column of words."""
    rng = np.random.default_rng()
    hours = np.arange(rows)
    wave = np.sin(2 * np.pi * hours / 24)
    return pl.DataFrame(
        {
            "when": pl.datetime_range(
                pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(hours=rows - 1), "1h", eager=True
            ),
            "load": 100 + 10 * wave + rng.normal(size=rows),
            "heat": 0.1 * hours + 3 * np.roll(wave, 6) + 0.3 * rng.normal(size=rows),
            "note": ["x"] * rows,
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    table = hourly()
    folder = tmp_path_factory.mktemp("forecast") / "run"
    made = lockstep.fit(
        table, recipe="perceptron", set=SMALL | {"optimizer.lr": 0.01}, epochs=12, seeds=2, out=folder, quiet=True
    )
    return table, made


def test_a_forecast_beats_repeating_the_season_before_and_says_by_how_much(run):
    _, made = run
    found = made.evaluation
    assert made.metrics["mse"]["value"] < found["baseline"]["metrics"]["mse"]
    assert "24 values, repeated" in found["baseline"]["what"]
    assert found["rows"] == "test"
    assert found["n_rows"] == 120 - HORIZON + 1
    assert len(made.leaderboard) == 2


def test_what_is_counted_are_windows_and_the_units_of_scores_are_said(run, tmp_path, capsys):
    table, made = run
    assert (made.evaluation["unit"], made.evaluation["scale"]) == ("windows", SCALE)
    text = "\n".join(metric_lines(made.evaluation))
    assert "on 115 test windows:" in text
    assert SCALE in text
    assert "115 test windows" in repr(made)
    page = " ".join(re.sub("<[^>]*>", "", made.report_path.read_text().partition('id="figures"')[0]).split())
    assert "115 test windows that no network saw" in page
    assert not re.search(r"(test|training|validation|their own) rows|out-of-fold rows", page, re.IGNORECASE)
    lockstep.fit(table, recipe="perceptron", set=SMALL, epochs=1, out=tmp_path / "run")
    assert "(rmse, mae) are in the columns' own units" in capsys.readouterr().err


def test_scores_are_in_units_of_each_columns_spread_while_training(run):
    """The report's number is what anyone works out from the last rows by hand."""
    table, made = run
    values = table.select("load", "heat").to_numpy().astype(np.float32)
    centre = np.array([[c.mean] for c in made.schema.columns])
    spread = np.array([[c.std] for c in made.schema.columns])
    test = 600 - 120
    errors = []
    for start in range(test, 600 - HORIZON + 1):
        ahead = made.predict(table[:start]).T
        errors.append(np.square((ahead - values[start : start + HORIZON].T) / spread).mean())
    assert made.metrics["mse"]["value"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert np.isfinite(centre).all()


def test_predict_writes_the_rows_that_come_next_with_their_times(run, tmp_path):
    table, made = run
    table.write_csv(tmp_path / "load.csv")
    assert lockstep.predict(made.path, tmp_path / "load.csv", tmp_path / "ahead.csv") == HORIZON
    ahead = pl.read_csv(tmp_path / "ahead.csv", try_parse_dates=True)
    assert ahead.columns == ["when", "load", "heat"]
    assert ahead["when"].to_list()[0] == table["when"].to_list()[-1] + (table["when"][1] - table["when"][0])
    np.testing.assert_allclose(ahead.select("load", "heat").to_numpy(), made.predict(table), rtol=1e-5)


def test_a_loaded_run_forecasts_the_same_and_evaluates_on_rows_to_come(run):
    _table, made = run
    again = lockstep.load(made.path)
    later = hourly(200)
    np.testing.assert_array_equal(again.predict(later), made.predict(later))
    found = lockstep.evaluate(again, later)
    assert json.dumps(found)
    assert set(found["metrics"]) == {"mse", "mae"}


def test_the_forecast_of_a_window_that_is_higher_by_a_constant_is_higher_by_it(run):
    table, made = run
    shifted = table.with_columns(pl.col("load") + 1000.0)
    difference = made.predict(shifted)[:, 0] - made.predict(table)[:, 0]
    np.testing.assert_allclose(difference, 1000, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["mlp", "cnn", "rnn", "transformer"])
def test_every_family_forecasts(recipe, tmp_path):
    made = lockstep.fit(
        hourly(200),
        target="load",
        recipe=recipe,
        set=SMALL,
        epochs=1,
        seeds=1,
        folds=1,
        out=tmp_path / "run",
        quiet=True,
    )
    assert made.predict(hourly(100)).shape == (HORIZON, 1)


def test_folds_chain_forward(tmp_path):
    made = lockstep.fit(
        hourly(300), recipe="perceptron", set=SMALL, epochs=1, seeds=1, folds=3, out=tmp_path / "run", quiet=True
    )
    sizes = [m["train_rows"] for m in made.manifest["population"]["members"]]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_a_file_too_short_to_look_back_on_is_an_error_with_the_count(run):
    _, made = run
    with pytest.raises(DataError, match=r"last 24 rows.*has 10"):
        made.predict(hourly(10))


def test_test_rows_of_their_own_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(SpecError, match=r"last rows of its own table.*data\.parts"):
        lockstep.fit(hourly(100), set=SMALL | {"data.group": "note"}, out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize("side", ["valid", "test"])
def test_rows_in_memory_to_be_judged_on_are_refused_as_files_are(tmp_path, side):
    with pytest.raises(SpecError, match=r"last rows of its own table.*data\.parts"):
        lockstep.fit(hourly(100), set=SMALL, out=tmp_path / "run", quiet=True, **{side: hourly(50)})


def test_parts_are_one_split_within_the_table(tmp_path):
    with pytest.raises(SpecError, match=r"data\.parts are one split.*folds=3"):
        lockstep.fit(hourly(200), set=SMALL | {"data.parts": [100, 50, 50]}, folds=3, out=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match=r"at most the 200 rows.*however: 210"):
        lockstep.fit(hourly(200), set=SMALL | {"data.parts": [100, 50, 60]}, out=tmp_path / "run", quiet=True)


def test_a_target_without_any_value_is_said_to_be_empty(tmp_path):
    table = hourly(100).with_columns(nothing=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(DataError, match=r"nothing of .* is empty"):
        lockstep.fit(table, target="nothing", set=SMALL, out=tmp_path / "run", quiet=True)


def test_columns_far_from_zero_are_forecast_as_those_near_it(tmp_path):
    """float32 tells numbers about 1e9 apart by 64, many times the spread here."""
    table, far = hourly(300), 1e9
    made = [
        lockstep.fit(
            table.with_columns(pl.col("load") + level), target="load", recipe="perceptron", epochs=3, set=SMALL,
            out=tmp_path / f"{level:.0f}", quiet=True,
        )
        for level in (0.0, far)
    ]  # fmt: skip
    near, away = made
    assert away.metrics["mse"]["value"] == pytest.approx(near.metrics["mse"]["value"], rel=1e-3)
    moved = table.with_columns(pl.col("load") + far)
    np.testing.assert_allclose(away.predict(moved) - far, near.predict(table), atol=0.05)
    assert lockstep.evaluate(away, moved.tail(60))["metrics"]["mse"]["value"] == pytest.approx(
        lockstep.evaluate(near, table.tail(60))["metrics"]["mse"]["value"], rel=1e-3
    )
    lockstep.predict(away.path, moved, tmp_path / "next.parquet")
    np.testing.assert_allclose(pl.read_parquet(tmp_path / "next.parquet")["load"], away.predict(moved)[:, 0])
    shown = json.loads((away.path / "analysis.json").read_text())["forecast"]["examples"][0]
    assert np.abs(np.array(shown["before"] + shown["actual"] + shown["forecast"]) - far - 100).max() < 30


def test_numbers_that_are_infinite_are_refused_with_their_row(tmp_path):
    table = hourly(100).with_columns(load=pl.when(pl.col("load") == pl.col("load").max()).then(np.inf).otherwise(0.0))
    row = int(table["load"].arg_max()) + 1
    with pytest.raises(DataError, match=rf"column load .* infinite value inf in row {row}\b"):
        lockstep.fit(table, set=SMALL, out=tmp_path / "run", quiet=True)
