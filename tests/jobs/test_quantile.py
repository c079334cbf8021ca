"""A run that predicts a quantile is judged as one, and no other run is."""

import json

import numpy as np
import polars as pl
import pytest

import lockstep
from lockstep.cli.text import metric_lines

QUICK = {"training.batch_size": 32, "model.hidden": [8], "optimizer.lr": 0.01}


def table(rows: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng()
    x = rng.normal(size=rows)
    return pl.DataFrame({"x": x, "z": rng.normal(size=rows), "y": 5 * x + rng.exponential(3.0, rows)})


def fit(data: pl.DataFrame, folder, **settings) -> lockstep.Run:
    return lockstep.fit(data, target="y", folds=2, epochs=6, set=QUICK | settings, out=folder, quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(table(), tmp_path_factory.mktemp("q") / "run", **{"loss.name": "quantile", "loss.quantile": 0.9})


def test_pinball_loss_and_coverage_lead_with_the_training_quantile_as_their_baseline(run):
    found = run.evaluation
    assert (found["headline"], found["quantile"]) == ("pinball", 0.9)
    assert list(found["metrics"])[:2] == ["pinball", "coverage"]
    assert found["baseline"]["what"] == "always the 0.9 quantile of the training rows"
    assert found["baseline"]["metrics"]["coverage"] == pytest.approx(0.9, abs=0.15)
    assert all("coverage" in member["out_of_fold"] for member in found["members"])
    assert "0.9 was asked for" in "\n".join(metric_lines(found))
    page = run.report_path.read_text().partition('id="figures"')[0]
    assert "of the targets lie at or below the prediction; 90" in page
    assert "too high on average" not in page


def test_new_rows_are_judged_in_the_same_way(run):
    new = table(90)
    found = lockstep.evaluate(run, new)
    below = np.mean(new["y"].to_numpy() <= run.predict(new.drop("y")))
    assert found["metrics"]["coverage"]["value"] == pytest.approx(below)


def test_other_losses_gain_no_metric(tmp_path):
    plain = fit(table(), tmp_path / "run", **{"loss.name": "mae"})
    assert list(plain.metrics) == ["rmse", "mae", "r2"]
    assert "quantile" not in json.loads((plain.path / "metrics.json").read_text())


def test_candidates_of_a_quantile_are_ranked_by_its_loss(tmp_path):
    settings = QUICK | {"loss.name": "quantile", "loss.quantile": 0.2}
    made = lockstep.compare(
        table(), target="y", vary={"lr": [0.01, 0.003]}, folds=2, epochs=2, set=settings, out=tmp_path / "run",
        quiet=True,
    )  # fmt: skip
    assert made.comparison["metric"] == "pinball"
