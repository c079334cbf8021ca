"""``compare`` from one end to the other, on a small table."""

import json
import math

import numpy as np
import polars as pl
import pytest
from patients import FAST, patients

import lockstep
from lockstep.errors import SpecError
from lockstep.jobs.comparison import caution
from lockstep.spec import SGD, AdamW, Vary

SETTINGS = {"target": "ill", "folds": 3, "seeds": 2, "epochs": 4, "set": FAST, "quiet": True}
VARY = {"activation": ["relu", "tanh"], "optimizer": ["sgd", "momentum", "adamw"], "dropout": [0.0, 0.3]}


@pytest.fixture(scope="module")
def compared(csv, tmp_path_factory):
    return lockstep.compare(csv, vary=VARY, out=tmp_path_factory.mktemp("runs") / "compared", **SETTINGS)


def test_every_combination_is_trained_on_all_folds_and_seeds_and_ranked(compared):
    found = compared.comparison
    assert (found["networks"], found["folds"], found["seeds"]) == (72, 3, 2)
    assert found["stacks"] == 4, "numbers share a stack: two activations × (SGD with any momentum, AdamW)"
    assert sorted(one["candidate"] for one in found["candidates"]) == list(range(12))
    assert [one["rank"] for one in found["candidates"]] == list(range(1, 13))
    means = [one["mean"] for one in found["candidates"]]
    assert means == sorted(means, reverse=True)
    assert all(np.shape(one["scores"]) == (3, 2) for one in found["candidates"])
    assert sum(one["probability_best"] for one in found["candidates"]) == pytest.approx(1)
    assert json.loads((compared.path / "comparison.json").read_text())["winner"] == found["winner"]


def test_scores_are_those_of_the_networks_own_validation_rows(compared):
    board = compared.leaderboard.group_by("candidate").agg(pl.mean("out_of_fold_accuracy"))
    expected = dict(board.iter_rows())
    for one in compared.comparison["candidates"]:
        assert one["mean"] == pytest.approx(expected[one["candidate"]])
        assert np.mean(one["scores"]) == pytest.approx(one["mean"])


def test_the_winner_is_the_runs_model_here_and_loaded_and_what_the_test_rows_judge(compared):
    winner = compared.comparison["winner"]
    assert winner == compared.comparison["candidates"][0]["candidate"] == compared.manifest["winner"]
    again = lockstep.load(compared.path)
    assert list(again.model.networks) == list(range(6 * winner, 6 * winner + 6))
    assert compared.evaluation["rows"] == "test"
    own = [m["out_of_fold"]["accuracy"] for m in compared.evaluation["members"] if m["candidate"] == winner]
    assert compared.evaluation["out_of_fold"]["accuracy"]["mean"] == pytest.approx(np.mean(own))


def test_the_caution_speaks_of_no_test_rows_that_may_not_be_there():
    said = caution("accuracy", 3)
    assert said.endswith("flatters, for it was chosen by it; a score on test rows, where there are some, does not.")


def test_each_factor_is_averaged_over_the_others(compared):
    found = compared.comparison
    factors = {factor["name"]: factor for factor in found["factors"]}
    assert set(factors) == {"activation", "optimizer", "dropout"}
    assert factors["dropout"]["numeric"]
    assert not factors["optimizer"]["numeric"]
    for level in factors["optimizer"]["levels"]:
        own = [one["mean"] for one in found["candidates"] if one["choices"]["optimizer"] == level["level"]]
        assert level["mean"] == pytest.approx(np.mean(own))
    (rates,) = [finding for finding in compared.findings if finding["code"] == "own-rates"]
    assert rates["evidence"] == "sgd 0.3, momentum 0.1, adamw 0.001"


def test_a_member_alone_is_trained_as_it_is_among_all_candidates(compared, csv, tmp_path, table):
    inputs = compared.inputs(table.drop("cost"))
    rng = np.random.default_rng()
    for member in rng.choice(72, 3, replace=False).tolist():
        print("member", member)
        alone = lockstep.compare(csv, vary=VARY, members=[member], out=tmp_path / str(member), **SETTINGS)
        assert list(alone.model.networks) == [member]
        assert alone.comparison is None, "one network is nothing to compare"
        among_all = history(compared, member)
        own = history(alone, member)
        np.testing.assert_allclose(own["train_loss"], among_all["train_loss"], rtol=2e-3)
        np.testing.assert_allclose(own["valid_loss"], among_all["valid_loss"], rtol=2e-2)
    assert np.isfinite(compared.model.predict(inputs)).all()


def history(run, member):
    return run.history.filter(pl.col("member") == member).sort("epoch")


def test_fit_with_axes_writes_the_same_comparison(csv, tmp_path):
    settings = SETTINGS | {"set": FAST | {"optimizer.lr": [1e-3, 1e-2]}}
    one = lockstep.fit(csv, out=tmp_path / "fit", **settings)
    two = lockstep.compare(csv, vary=["lr=1e-3,1e-2"], out=tmp_path / "compare", **SETTINGS)
    drop = {"seconds"}
    assert {k: v for k, v in one.comparison.items() if k not in drop} == {
        k: v for k, v in two.comparison.items() if k not in drop
    }
    assert one.comparison["stacks"] == 1


def test_the_spec_that_a_comparison_stores_compares_again(compared, csv, tmp_path):
    again = lockstep.fit(csv, spec=compared.path / "spec.toml", out=tmp_path / "again", quiet=True)
    assert again.comparison["candidates"] == compared.comparison["candidates"]


def test_pieces_that_differ_in_structure_and_loss_are_compared_and_load(tmp_path):
    data = patients(120, 5).drop("ill")
    run = lockstep.compare(
        data, target="cost", folds=2, epochs=3, out=tmp_path / "run", quiet=True, set=FAST,
        vary={"hidden": ["8x8", 4], "loss": ["mse", "mae"], "batch_size": [16, 32], "norm": ["none", "layer"]},
    )  # fmt: skip
    assert run.comparison["metric"] == "rmse"
    assert run.comparison["stacks"] == 16
    means = [one["mean"] for one in run.comparison["candidates"]]
    assert means == sorted(means)
    assert np.isfinite(lockstep.load(run.path).predict(data)).all()


def test_losses_with_heads_of_different_shapes_are_one_population(csv, tmp_path):
    settings = SETTINGS | {"seeds": 1, "epochs": 12, "set": FAST | {"optimizer.lr": 1e-2}}
    run = lockstep.compare(
        csv, vary={"loss": ["binary_cross_entropy", "cross_entropy"]}, out=tmp_path / "run", **settings
    )
    assert len(run.leaderboard) == 6
    assert all(one["mean"] > 0.65 for one in run.comparison["candidates"])
    assert lockstep.load(run.path).predict_proba(patients(10, 1)).shape == (10, 2)


def test_a_candidate_that_diverges_is_ranked_last_and_said(csv, tmp_path):
    settings = SETTINGS | {"seeds": 1, "set": FAST | {"training.clip_norm": "none", "model.norm": "none"}}
    pieces = Vary(AdamW(), SGD(lr=1e30))
    run = lockstep.compare(csv, vary={"optimizer": pieces}, out=tmp_path / "run", **settings)
    last = run.comparison["candidates"][-1]
    assert (last["choices"], last["mean"], last["failed"]) == ({"optimizer": "sgd"}, None, 3)
    assert run.comparison["verdict"].startswith("adamw (accuracy ")
    assert "is the only one whose networks all stayed finite. 1 had networks" in run.comparison["verdict"]
    assert run.manifest["winner"] == 0


def test_one_network_each_says_that_it_cannot_tell(csv, tmp_path):
    settings = SETTINGS | {"folds": 1, "seeds": 1}
    run = lockstep.compare(csv, vary={"activation": ["relu", "tanh"]}, out=tmp_path / "run", **settings)
    assert "cannot tell that from chance" in run.comparison["verdict"]
    assert run.comparison["candidates"][1]["low"] is None


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "compare needs two candidates at least, however: 1. Give settings several values: --vary"),
        (["activation=relu"], "compare needs two candidates at least, however: 1."),
        (["activaton=relu,gelu"], "There is no setting activaton to vary. Did you mean activation?"),
        (["folds=2,3"], "folds must be one for all candidates"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(csv, tmp_path, vary, message):
    with pytest.raises(SpecError) as caught:
        lockstep.compare(csv, vary=vary, out=tmp_path / "run", **SETTINGS)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_nothing_in_a_comparison_is_nan_in_its_file(compared):
    text = (compared.path / "comparison.json").read_text()
    assert "NaN" not in text
    assert math.isfinite(compared.comparison["seconds"])
