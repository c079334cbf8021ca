"""``fit`` from one end to the other, on small tables and images."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from patients import FAST, patients

import lockstep
from lockstep.errors import DataError, RunError, SpecError
from lockstep.jobs.report import report
from lockstep.runs import RunFolder


def weights(run, member):
    return {name: p.numpy() for name, p in run.model.networks[member].state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_csv_becomes_a_run_folder_with_everything_that_was_promised(run):
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "manifest.json", "spec.toml", "schema.json", "history.parquet", "members", "metrics.json", "analysis.json",
        "report.html", "rows.safetensors",
    }  # fmt: skip
    assert len(list((run.path / "members").iterdir())) == 3
    assert run.metrics["accuracy"]["low"] <= run.metrics["accuracy"]["value"] <= run.metrics["accuracy"]["high"]
    assert run.evaluation["rows"] == "test"
    assert run.evaluation["n_rows"] == 60
    assert set(run.classes) == {"no", "yes"}
    assert run.metrics["auc"]["value"] > 0.8, "the signal is strong: anything less is a defect"
    assert "accuracy" in repr(run)
    assert "<table>" in run._repr_html_()


def test_what_cannot_help_is_set_aside_and_said(run):
    used = {column.name for column in run.schema.used_columns}
    assert used == {"age", "dose", "ward", "seen"}
    codes = {finding["code"] for finding in run.findings}
    assert {"identifier-column", "constant-column"} <= codes


def test_the_same_fit_twice_is_the_same_to_the_bit(run, csv, tmp_path):
    again = lockstep.fit(csv, target="ill", folds=3, epochs=6, set=FAST, out=tmp_path / "again", quiet=True)
    assert all(same(weights(run, member), weights(again, member)) for member in range(3))


def test_a_member_alone_is_trained_as_it_is_among_all(run, csv, tmp_path, table):
    alone = lockstep.fit(
        csv, target="ill", folds=3, epochs=6, set=FAST, members=[2], out=tmp_path / "alone", quiet=True
    )
    assert list(alone.model.networks) == [2]
    inputs = run.inputs(table.drop("cost"))
    among_all = run.model.member_predictions(inputs)[2]
    np.testing.assert_allclose(alone.model.predict(inputs), among_all, atol=2e-3)


def test_the_spec_that_a_run_stores_runs_again(run, csv, tmp_path):
    again = lockstep.fit(csv, spec=run.path / "spec.toml", out=tmp_path / "again", quiet=True)
    assert again.spec == run.spec
    assert same(weights(run, 0), weights(again, 0))


def test_a_loaded_run_predicts_as_the_fresh_one(run, table):
    loaded = lockstep.load(run.path)
    np.testing.assert_array_equal(loaded.predict_proba(table), run.predict_proba(table))
    assert set(loaded.predict(table)) <= {"no", "yes"}
    assert loaded.leaderboard.height == 3


def test_prediction_takes_other_orders_further_columns_gaps_and_unseen_categories(run, table):
    plain = run.predict_proba(table)
    mixed = table.with_columns(extra=pl.lit(1)).select(reversed([*table.columns, "extra"]))
    np.testing.assert_array_equal(run.predict_proba(mixed), plain)
    strange = table.with_columns(ward=pl.lit("west"), age=pl.lit(None, pl.Float64), dose=pl.lit(None, pl.Float64))
    assert np.isfinite(run.predict_proba(strange)).all()


def test_a_missing_column_is_an_error_that_names_it(run, table):
    with pytest.raises(DataError, match="lacks the column dose"):
        run.predict(table.drop("dose"))


def test_predict_writes_a_row_per_row_in_order(run, table, tmp_path):
    assert lockstep.predict(run.path, table, tmp_path / "out.csv") == 300
    written = pl.read_csv(tmp_path / "out.csv")
    assert written.columns == ["prediction", "probability_no", "probability_yes"]
    np.testing.assert_allclose(written["probability_yes"], run.predict_proba(table)[:, 1])
    with pytest.raises(RunError, match=r"csv, \.tsv or \.parquet"):
        lockstep.predict(run.path, table, tmp_path / "out.xlsx")


def test_evaluate_measures_new_rows_with_intervals(run):
    result = lockstep.evaluate(run.path, patients(200, seed=2))
    assert result["n_rows"] == 200
    assert result["metrics"]["auc"]["low"] < result["metrics"]["auc"]["value"] < result["metrics"]["auc"]["high"]
    assert len(result["members"]) == 3


def test_evaluate_refuses_the_rows_that_were_trained_on(run, csv):
    with pytest.raises(DataError, match="did not train on"):
        lockstep.evaluate(run.path, csv)


def test_without_test_rows_the_headline_is_out_of_fold(csv, tmp_path):
    run = lockstep.fit(
        csv, target="ill", folds=3, seeds=2, epochs=3, test_size=0, set=FAST, out=tmp_path / "run", quiet=True
    )
    assert run.evaluation["rows"] == "out-of-fold"
    assert run.evaluation["n_rows"] == 300
    assert all(member["test"] is None for member in run.evaluation["members"])


def test_a_regression_predicts_in_the_units_of_its_target(table, tmp_path):
    data = table.drop("ill")
    run = lockstep.fit(data, target="cost", folds=3, epochs=30, set=FAST, out=tmp_path / "run", quiet=True)
    assert run.metrics["r2"]["value"] > 0.5
    assert abs(run.predict(data).mean() - data["cost"].mean()) < 50
    with pytest.raises(RunError, match="predicts a number"):
        run.predict_proba(data)


def test_frames_arrays_and_tensors_are_data_too(table, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    run = lockstep.fit(x, y, folds=2, epochs=20, set=FAST, out=tmp_path / "arrays", quiet=True)
    assert run.predict(x).dtype.kind == "i"
    assert (run.predict(x) == y).mean() > 0.8
    frame = pd.DataFrame(table.drop("cost").to_dict(as_series=False))
    pandas = lockstep.fit(frame, target="ill", folds=2, epochs=2, set=FAST, out=tmp_path / "pandas", quiet=True)
    assert pandas.predict_proba(frame).shape == (300, 2)


def test_images_are_classified_and_their_mistakes_shown(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    x = rng.integers(0, 60, (150, 6, 6)).astype(np.uint8)
    x[np.arange(150), y * 2] += 120
    run = lockstep.fit(x, y, folds=2, epochs=15, set={"model.hidden": [16]}, out=tmp_path / "run", quiet=True)
    assert run.metrics["accuracy"]["value"] > 0.5
    analysis = json.loads((run.path / "analysis.json").read_text())
    assert all(item["image"].startswith("data:image/png") for item in analysis["mistakes"]["items"])


def test_class_weights_move_predictions_towards_the_rare_class(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=400) > 1.8).astype(int)
    plain = lockstep.fit(x, y, folds=2, epochs=10, set=FAST, out=tmp_path / "plain", quiet=True)
    weighted = FAST | {"loss.class_weights": "balanced"}
    balanced = lockstep.fit(x, y, folds=2, epochs=10, set=weighted, out=tmp_path / "balanced", quiet=True)
    assert balanced.predict(x).sum() > plain.predict(x).sum()


def test_groups_never_stand_on_both_sides(table, tmp_path):
    grouped = table.drop("cost", "patient_id").with_columns(family=pl.Series(np.arange(300) // 5))
    run = lockstep.fit(
        grouped, target="ill", folds=3, epochs=2, set=FAST | {"data.group": "family"}, out=tmp_path / "run", quiet=True
    )
    assert "family" not in {column.name for column in run.schema.used_columns}
    assert "groups" in run.evaluation["interval"]


def test_validation_and_test_files_are_taken_as_they_are(csv, tmp_path):
    run = lockstep.fit(
        csv, target="ill", valid=patients(80, seed=5), test=patients(90, seed=6), epochs=3, set=FAST,
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert run.evaluation["n_rows"] == 90
    (member,) = run.manifest["population"]["members"]
    assert (member["train_rows"], member["valid_rows"]) == (300, 80)


def test_scores_of_one_class_say_which(run):
    assert run.evaluation["positive"] == "yes"
    assert lockstep.evaluate(run, patients(80, seed=9))["positive"] == "yes"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.hiden": 3}, "Did you mean model.hidden"),
        ({"loss.name": "mse"}, "a binary target takes"),
        ({"optimizer.lr": -1}, "optimizer.lr must be > 0"),
        ({"loss.class_weights": [1, 2, 3]}, "one weight per class"),
        ({"population.members": [7]}, "members must be among 0 to 2"),
        ({"recipe": "magic"}, "no recipe 'magic'"),
        ({"data.drop": "ill"}, "The target must be kept"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(csv, tmp_path, settings, message):
    with pytest.raises(SpecError, match=message):
        lockstep.fit(csv, target="ill", folds=3, set=FAST | settings, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_at_the_first_file_is_what_the_error_says(csv, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise RunError("The disk must have room")

    monkeypatch.setattr(RunFolder, "write_checkpoint", full)
    with pytest.raises(RunError, match="The disk must have room"):
        lockstep.fit(csv, target="ill", set=FAST, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_fit_that_comes_to_nothing_leaves_the_run_it_was_to_replace(run, csv, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    wild = FAST | {"optimizer.name": "sgd", "optimizer.lr": 1e30, "training.clip_norm": None}
    with pytest.raises(lockstep.TrainingError):
        lockstep.fit(csv, target="ill", set=wild, out=tmp_path / "run", overwrite=True, quiet=True)
    assert same(weights(lockstep.load(tmp_path / "run"), 1), weights(run, 1))


def test_of_several_candidates_the_best_by_validation_loss_is_the_model(csv, table, tmp_path):
    settings = FAST | {"optimizer.lr": [1e-9, 3e-3], "model.dropout": [0.1, 0.3]}
    run = lockstep.fit(csv, target="ill", folds=2, epochs=15, set=settings, out=tmp_path / "run", quiet=True)
    assert len(run.evaluation["members"]) == 8
    assert len(run.model.networks) == 2
    candidate = {m["member"]: m["choices"] for m in run.evaluation["members"]}[next(iter(run.model.networks))]
    assert candidate["optimizer.lr"] == 3e-3
    assert run.metrics["auc"]["value"] > 0.7
    assert lockstep.load(run.path).predict_proba(table).shape == (300, 2)


def test_a_regression_target_far_from_zero_keeps_its_spread(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = 1e9 + x.sum(axis=1) + 0.01 * rng.normal(size=300)
    settings = FAST | {"training.batch_size": 16}
    run = lockstep.fit(x, y, folds=2, epochs=40, set=settings, out=tmp_path / "run", quiet=True)
    assert run.metrics["r2"]["value"] > 0.8


def test_test_size_0_leaves_out_of_fold_scores_alone_even_beside_a_test_file(csv, tmp_path):
    spec = lockstep.fit(csv, target="ill", test=csv, folds=2, epochs=1, set=FAST, out=tmp_path / "a", quiet=True).spec
    assert spec.data.test == str(csv)
    assert spec.population.folds == 2


def test_given_validation_rows_and_folds_exclude_each_other(csv, table, tmp_path):
    with pytest.raises(SpecError, match="given or made by folds"):
        lockstep.fit(csv, target="ill", valid=table, folds=3, set=FAST, out=tmp_path / "run", quiet=True)


def test_groups_of_a_test_file_that_were_trained_on_are_a_severe_finding(table, tmp_path):
    grouped = table.drop("cost", "patient_id").with_columns(family=pl.Series(np.arange(300) // 5))
    settings = FAST | {"data.group": "family"}
    run = lockstep.fit(
        grouped, target="ill", test=grouped.head(50).with_columns(age=1.0), folds=2, epochs=1, set=settings,
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert "groups-test" in {finding["code"] for finding in run.findings}


def test_a_schedule_longer_than_the_run_is_a_finding(csv, tmp_path):
    settings = FAST | {"schedule.T_max": 50}
    run = lockstep.fit(csv, target="ill", folds=2, epochs=2, set=settings, out=tmp_path / "run", quiet=True)
    assert "schedule-unfinished" in {finding["code"] for finding in run.findings}


def test_a_spec_file_gives_way_to_another_optimiser(run, csv, tmp_path):
    settings = {"optimizer.name": "sgd", "optimizer.lr": 0.1}
    other = lockstep.fit(csv, spec=run.path / "spec.toml", set=settings, out=tmp_path / "run", quiet=True)
    assert (other.spec.optimizer.name, other.spec.model) == ("sgd", run.spec.model)


def test_a_run_that_diverges_at_once_says_so_and_leaves_nothing(csv, tmp_path):
    wild = FAST | {"optimizer.name": "sgd", "optimizer.lr": 1e30, "training.clip_norm": None}
    with pytest.raises(lockstep.TrainingError, match=r"Lower the rate"):
        lockstep.fit(csv, target="ill", folds=2, epochs=3, set=wild, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def start(csv, out, *more):
    command = [sys.executable, "-m", "lockstep", "fit", str(csv), "--target", "ill", "--folds", "2", "--out", str(out)]
    options = ["--set", "model.hidden=16", "--set", "training.patience=none", "--epochs", "100000", *more]
    return subprocess.Popen(
        command + options, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_an_epoch(process, out):
    for _ in range(600):
        if list(out.glob("checkpoint/*/progress.json")):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no checkpoint within 30 s")


def test_a_killed_run_loads_predicts_and_says_how_far_it_got(csv, table, tmp_path):
    rng = np.random.default_rng()
    for attempt in range(3):
        out = tmp_path / f"run{attempt}"
        process = start(csv, out)
        wait_for_an_epoch(process, out)
        time.sleep(rng.random() * 0.5)
        process.kill()
        process.communicate()
        run = lockstep.load(out)
        assert run.predict_proba(table).shape == (300, 2)
        assert "Not finished" in run.progress()
        assert report(out).exists()


def test_ctrl_c_ends_cleanly_with_the_best_so_far(csv, table, tmp_path):
    process = start(csv, tmp_path / "run")
    wait_for_an_epoch(process, tmp_path / "run")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    run = lockstep.load(tmp_path / "run")
    assert run.manifest["status"] == "interrupted"
    assert run.metrics["accuracy"]["value"] > 0.5
    assert run.predict(table).shape == (300,)
    assert run.report_path.exists()
