"""``fit`` on real data, at the joints: what the tables are known to hold in store. Small networks, few epochs."""

import polars as pl
import pytest
from patients import FAST

import lockstep
from lockstep.errors import DataError


def test_alive_is_named_and_set_aside_from_titanic(real_data, tmp_path):
    path = real_data("titanic") / "titanic_seaborn.csv"
    run = lockstep.fit(path, target="survived", folds=2, epochs=2, set=FAST, out=tmp_path / "run", quiet=True)
    (leak,) = [finding for finding in run.findings if finding["code"] == "target-leak"]
    assert leak["subject"] == "alive"
    assert "alive" not in {column.name for column in run.schema.used_columns}
    assert list(run.classes) == [0, 1]


def test_adults_test_file_is_refused_for_its_full_stops_and_scored_without_them(real_data, tmp_path):
    folder = real_data("adult")
    run = lockstep.fit(
        folder / "adult_train.csv", target="class", members=[0], epochs=3, set=FAST, out=tmp_path / "run", quiet=True
    )
    with pytest.raises(DataError, match=r"<=50K\., >50K\. here\s+and <=50K, >50K in training.*full stop"):
        lockstep.evaluate(run, folder / "adult_test.csv")
    test = pl.read_csv(folder / "adult_test.csv").with_columns(pl.col("class").str.strip_suffix("."))
    result = lockstep.evaluate(run, test)
    assert result["n_rows"] == 16_281
    assert result["metrics"]["auc"]["low"] > 0.85


def test_a_table_without_header_has_its_target_named_by_place(real_data, tmp_path):
    path = real_data("phoneme") / "phoneme.csv"
    run = lockstep.fit(path, target="-1", header=False, folds=2, epochs=5, set=FAST, out=tmp_path / "run", quiet=True)
    assert run.schema.task == "binary"
    assert run.metrics["auc"]["low"] > 0.7


def test_mnist_is_read_from_its_idx_files_and_scored_on_its_own_test_rows(real_data, tmp_path):
    settings = {"model.hidden": [32], "training.batch_size": 512}
    run = lockstep.fit(real_data("mnist"), folds=1, epochs=2, set=settings, out=tmp_path / "run", quiet=True)
    assert run.evaluation["n_rows"] == 10_000
    assert run.metrics["accuracy"]["low"] > 0.85


def test_california_has_gaps_and_a_capped_target(real_data, tmp_path):
    path = real_data("california_housing") / "housing.csv"
    run = lockstep.fit(
        path, target="median_house_value", members=[0], epochs=8, set=FAST | {"training.batch_size": 64},
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert run.schema.column("total_bedrooms").missing == 207
    assert run.metrics["rmse"]["value"] < 75_000
