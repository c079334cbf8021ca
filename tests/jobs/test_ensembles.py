"""How the networks of a run become one model."""

import json
import tomllib

import numpy as np
import polars as pl
import pytest
from patients import patients

import lockstep
from lockstep.data import encode
from lockstep.errors import SpecError
from lockstep.evaluation import combine, out_of_fold, score
from lockstep.jobs.prepare import prepare, settings_of
from lockstep.jobs.progress import progress

SMALL = {"model.hidden": [8], "training.batch_size": 32}


def some_patients(rows: int) -> pl.DataFrame:
    return patients(rows, int(np.random.default_rng().integers(2**31)))


def fitted(tmp_path, table, **settings):
    extra = settings.pop("set", {})
    return lockstep.fit(
        table, target="ill", epochs=4, folds=2, set=SMALL | extra, out=tmp_path / "run", quiet=True, **settings
    )


@pytest.mark.parametrize("method", ["weighted", "greedy", "stacked"])
def test_what_a_run_predicts_is_the_combination_of_its_candidates_and_seeds(tmp_path, method):
    table = some_patients(300)
    run = fitted(tmp_path, table, seeds=2, set={"ensemble.method": method, "optimizer.lr": [1e-2, 1e-4]})
    kept = run.manifest["ensemble"]
    assert kept["method"] == method
    assert [(m["candidate"], m["seed"], len(m["members"])) for m in kept["models"]] == [
        (0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2),
    ]  # fmt: skip
    said = run.predict_proba(table)
    each = run.model.member_predictions(run.inputs(table))
    place = {member: k for k, member in enumerate(run.model.networks)}
    models = np.stack([each[[place[m] for m in model["members"]]].mean(axis=0) for model in kept["models"]])
    if method == "stacked":
        assert not np.allclose(said, models.mean(axis=0))
    else:
        weights = np.array(kept["combination"]["weights"])
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(said, np.tensordot(weights, models, axes=1), rtol=1e-6)
    np.testing.assert_allclose(lockstep.load(run.path).predict_proba(table), said)


def test_a_candidate_that_cannot_learn_gets_no_say(tmp_path):
    run = fitted(tmp_path, some_patients(300), set={"ensemble.method": "greedy", "optimizer.lr": [1e-2, 1e-9]})
    assert run.manifest["ensemble"]["combination"]["weights"] == [1.0, 0.0]


def test_without_test_rows_the_combination_is_judged_by_what_other_folds_chose(tmp_path):
    run = fitted(tmp_path, some_patients(300), seeds=2, test_size=0, set={"ensemble.method": "weighted"})
    assert run.evaluation["rows"] == "out-of-fold"
    kept = run.manifest["ensemble"]["out_of_fold"]
    assert run.metrics["log_loss"]["value"] == pytest.approx(kept["log_loss"])


def test_each_averaged_network_says_what_it_adds(tmp_path):
    run = fitted(tmp_path, some_patients(300), seeds=2)
    adds = [member["adds"] for member in run.evaluation["members"]]
    assert len(adds) == 4
    assert all(isinstance(one, float) for one in adds)
    assert json.dumps(run.manifest["ensemble"]) == '{"method": "mean", "members": [0, 1, 2, 3]}'


def test_bagging_is_kept_in_the_spec_and_trains_on_as_many_rows(tmp_path):
    run = fitted(tmp_path, some_patients(300), set={"population.bagging": True})
    assert tomllib.loads((run.path / "spec.toml").read_text())["population"]["bagging"] is True
    assert {m["train_rows"] for m in run.manifest["population"]["members"]} == {120}


def test_one_model_alone_has_nothing_to_be_combined_with(tmp_path):
    with pytest.raises(SpecError, match=r"ensemble\.method=greedy combines candidates and seeds.*--seeds 5"):
        fitted(tmp_path, some_patients(60), set={"ensemble.method": "greedy"})


def test_the_weights_are_those_of_the_out_of_fold_predictions(tmp_path):
    """Worked out again from the run's own networks: no model's weight rests on rows that it trained on."""
    table = some_patients(300)
    run = fitted(tmp_path, table, seeds=3, test_size=0, set={"ensemble.method": "greedy"})
    with progress(quiet=True) as show:
        again = prepare(table, None, settings_of(run.spec, ()), valid=None, test=None, show=show)
    target = encode(run.read(table), run.schema, with_target=True).target
    each = run.model.member_predictions(run.inputs(table))
    models = []
    for model in run.manifest["ensemble"]["models"]:
        rows = [again.splits.folds[m // 3].valid for m in model["members"]]
        own = [each[list(run.model.networks).index(m)][r] for m, r in zip(model["members"], rows, strict=True)]
        models.append(out_of_fold(own, rows, 300).prediction)
    expected = combine("greedy", "binary", target, np.stack(models))
    assert list(expected.weights) == pytest.approx(run.manifest["ensemble"]["combination"]["weights"])
    assert np.isfinite(score("binary", target, expected(np.stack(models)))["log_loss"])


def test_a_candidate_that_lacks_a_network_is_left_out_of_the_combination(tmp_path):
    """Of three candidates one was trained on a single fold: the two others are combined all the same."""
    table = some_patients(300)
    settings = {"ensemble.method": "weighted", "optimizer.lr": [1e-2, 1e-3, 1e-4]}
    run = fitted(tmp_path, table, members=[0, 1, 2, 3, 4], set=settings)
    kept = run.manifest["ensemble"]
    assert [model["members"] for model in kept["models"]] == [[0, 1], [2, 3]]
    assert list(run.model.networks) == [0, 1, 2, 3]
    weights = np.array(kept["combination"]["weights"])
    each = run.model.member_predictions(run.inputs(table))
    models = np.stack([each[:2].mean(axis=0), each[2:].mean(axis=0)])
    np.testing.assert_allclose(run.predict_proba(table), np.tensordot(weights, models, axes=1), rtol=1e-6)
    assert len(run.evaluation["members"]) == 5


@pytest.mark.parametrize(
    ("members", "evidence"),
    [
        ([0, 1, 2], "1 of 2 has one for each of 2 folds"),
        ([0, 3], "0 of 2 have one for each of 2 folds"),
        ([0, 1], "1 of 1 has one for each of 2 folds"),
    ],
)
def test_what_cannot_be_combined_is_averaged_and_said(tmp_path, capsys, members, evidence):
    settings = {"ensemble.method": "stacked", "optimizer.lr": [1e-2, 1e-3]}
    run = lockstep.fit(
        some_patients(200), target="ill", epochs=2, folds=2, members=members, set=SMALL | settings, out=tmp_path / "run"
    )
    assert run.manifest["ensemble"]["method"] == "mean"
    (finding,) = [finding for finding in run.findings if finding["code"] == "not-combined"]
    assert finding["evidence"] == evidence
    assert finding["subject"] == "ensemble.method=stacked"
    said = " ".join(capsys.readouterr().err.split())
    assert "The networks are averaged: stacked needs two candidates or seeds" in said


def test_what_is_combined_or_averaged_by_wish_needs_no_word(tmp_path):
    run = fitted(tmp_path, some_patients(200), seeds=2, set={"ensemble.method": "greedy"})
    assert "not-combined" not in {finding["code"] for finding in run.findings}


def test_without_test_rows_the_importance_of_a_column_is_what_shuffling_it_costs_the_combination(tmp_path):
    """Not what the mean is worse than the combination: a column of noise costs nothing."""
    rng = np.random.default_rng()
    x = rng.normal(size=(400, 2))
    ill = (x[:, 0] + 0.3 * rng.normal(size=400) > 0).astype(int)
    run = lockstep.fit(
        x, ill, epochs=6, folds=2, test_size=0, out=tmp_path / "run", quiet=True,
        set=SMALL | {"ensemble.method": "greedy", "optimizer.lr": [1e-2, 1e-9]},
    )  # fmt: skip
    found = json.loads((run.path / "analysis.json").read_text())["importance"]["features"]
    worth = {feature["name"]: feature["mean"] for feature in found}
    assert abs(worth["x1"]) < 0.05 < 0.2 < worth["x0"]
