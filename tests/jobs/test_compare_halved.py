"""Candidates that are left behind on the way: what is ranked, what is listed apart, what is kept and said."""

import json
import re
import shutil
import tomllib
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from patients import FAST
from torch import nn

import lockstep
from lockstep.errors import SpecError
from lockstep.evaluation import rank
from lockstep.jobs.keep import Keeper
from lockstep.jobs.model import best_candidate
from lockstep.jobs.verdict import verdict
from lockstep.runs import RunFolder

SETTINGS: dict[str, Any] = {"target": "ill", "folds": 2, "epochs": 9, "set": FAST, "quiet": True}
VARY = {"activation": ["relu", "tanh", "gelu"], "lr": [1e-5, 1e-3, 1e-2]}
RUNGS = {1: 6, 3: 2}  # 9 candidates: so many are left behind after that epoch, one is left


@pytest.fixture(scope="module")
def halved(csv, tmp_path_factory):
    return lockstep.compare(csv, vary=VARY, halve=3, out=tmp_path_factory.mktemp("runs") / "halved", **SETTINGS)


def test_who_trained_to_the_end_is_ranked_and_who_was_left_behind_is_listed_with_epoch_and_score(halved):
    found = halved.comparison
    assert [one["rank"] for one in found["candidates"]] == [1]
    assert [one["epoch"] for one in found["halved"]] == [3] * 2 + [1] * 6
    both = [one["candidate"] for one in [*found["candidates"], *found["halved"]]]
    assert sorted(both) == list(range(9))
    assert found["left_out"] == 0
    assert (found["networks"], found["stacks"]) == (18, 3)
    best = halved.history.group_by("candidate", "member").agg(pl.min("valid_loss")).group_by("candidate")
    scores = dict(best.agg(pl.mean("valid_loss")).iter_rows())
    for one in found["halved"]:
        assert one["measure"] == "validation loss"
        assert one["score"] == pytest.approx(scores[one["candidate"]])
        assert set(one) == {"candidate", "label", "choices", "epoch", "measure", "score"}, "no rank, no difference"
    for epoch in RUNGS:
        own = [one["score"] for one in found["halved"] if one["epoch"] == epoch]
        assert own == sorted(own)
    assert found["factors"] == []
    assert json.loads((halved.path / "comparison.json").read_text()) == json.loads(json.dumps(found))


def test_one_that_is_left_is_called_no_more_than_that(halved):
    found = halved.comparison
    (one,) = found["candidates"]
    assert found["verdict"].startswith(f"{one['label']} is the one candidate that trained to the end (accuracy ")
    assert found["verdict"].endswith("8 others were left behind on the way, and not compared.")
    assert one["probability_best"] is None
    assert "the best of 9 flatters" in found["caution"]
    assert found["how"].startswith("Candidates were left behind by successive halving")


def test_model_scores_and_leaderboard_are_of_those_that_trained_to_the_end(halved):
    winner = halved.comparison["winner"]
    assert winner == halved.manifest["winner"]
    assert halved.leaderboard["candidate"].unique().to_list() == [winner]
    members = [2 * winner, 2 * winner + 1]
    assert list(lockstep.load(halved.path).model.networks) == members
    assert halved.manifest["ensemble"] == {"method": "mean", "members": members}


def test_history_and_manifest_say_who_was_halved_when(halved):
    last = halved.history.filter(pl.col("ended").is_not_null())
    assert last.height == 18
    assert last["member"].n_unique() == 18
    ends = last.group_by("ended", "epoch").len().sort("epoch").rows()
    assert ends == [("halved", 1, 12), ("halved", 3, 4), ("finished", 9, 2)]
    told = {m["member"]: (m["ended"], m["epochs"]) for m in halved.manifest["population"]["members"]}
    assert told == {member: (why, epoch) for member, why, epoch in last.select("member", "ended", "epoch").iter_rows()}
    assert (halved.history["ended"].is_not_null() == halved.history["member"].is_last_distinct()).all()


def test_the_weights_of_those_left_behind_are_kept_too(halved):
    assert len(list((halved.path / "members").iterdir())) == 18


def test_a_survivor_trains_as_it_would_without_and_the_spec_says_that_it_was_halved(halved, csv, tmp_path):
    assert tomllib.loads((halved.path / "spec.toml").read_text())["population"]["halve"] == 3
    member = 2 * halved.comparison["winner"]
    alone = lockstep.fit(csv, spec=halved.path / "spec.toml", members=[member], out=tmp_path / "run", quiet=True)
    assert alone.comparison is None
    assert [finding["code"] for finding in alone.findings if finding["code"] == "not-halved"] == ["not-halved"]
    own, among = (run.history.filter(pl.col("member") == member) for run in (alone, halved))
    np.testing.assert_allclose(own["train_loss"], among["train_loss"], rtol=2e-3)
    assert own["ended"].to_list()[-1] == "finished"


def test_fit_with_axes_halves_as_well_and_a_stored_spec_halves_again(halved, csv, tmp_path):
    settings = SETTINGS | {"set": FAST | {"model.activation": lockstep.Vary(*VARY["activation"]),
                                          "optimizer.lr": VARY["lr"], "population.halve": 3}}  # fmt: skip
    fitted = lockstep.fit(csv, out=tmp_path / "fit", **settings)
    again = lockstep.fit(csv, spec=halved.path / "spec.toml", out=tmp_path / "again", quiet=True)
    for run in (fitted, again):
        assert {one["label"] for one in run.comparison["halved"]} | {run.comparison["label"]} == {
            one["label"] for one in halved.comparison["halved"]
        } | {halved.comparison["label"]}
        assert [one["epoch"] for one in run.comparison["halved"]] == [3] * 2 + [1] * 6
    assert again.comparison["label"] == halved.comparison["label"]


def test_several_that_trained_to_the_end_are_compared_among_themselves(csv, tmp_path):
    run = lockstep.compare(csv, vary=VARY, halve=4, out=tmp_path / "run", **SETTINGS)
    found = run.comparison
    assert len(found["candidates"]) == 2
    assert [one["epoch"] for one in found["halved"]] == [2] * 7
    assert sum(one["probability_best"] for one in found["candidates"]) == pytest.approx(1)
    assert found["verdict"].endswith("7 others were left behind on the way, and not compared.")
    assert found["how"].startswith("Paired over 2 folds; ")
    assert found["how"].endswith("it cannot be set against what others have after more.")


def test_another_measure_is_named_and_shown_as_it_is(csv, tmp_path):
    settings = SETTINGS | {"set": FAST | {"training.monitor": "valid_metric"}}
    run = lockstep.compare(csv, vary={"lr": [1e-5, 1e-2]}, halve=2, out=tmp_path / "run", **settings)
    (one,) = run.comparison["halved"]
    assert one["measure"] == "validation accuracy"
    assert 0 < one["score"] <= 1
    seen = run.history.filter(pl.col("candidate") == one["candidate"]).group_by("member").agg(pl.max("valid_metric"))
    assert one["score"] == pytest.approx(seen["valid_metric"].mean())


def test_a_combination_is_of_those_that_trained_to_the_end(csv, tmp_path):
    settings = SETTINGS | {"set": FAST | {"ensemble.method": "greedy"}, "seeds": 2}
    run = lockstep.compare(csv, vary=VARY, halve=4, out=tmp_path / "run", **settings)
    ranked = {one["candidate"] for one in run.comparison["candidates"]}
    assert {model["candidate"] for model in run.manifest["ensemble"]["models"]} == ranked
    with pytest.raises(SpecError, match=r"there is one of each at the end\. Give --seeds 5, or leave halve out\."):
        lockstep.compare(csv, vary=VARY, halve=3, out=tmp_path / "other", **settings | {"seeds": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"halve": 1}, "population.halve must be >= 2, however: 1."),
        ({"halve": 10}, "halve must be at most the number of candidates, however: halve=10 with 9 candidates."),
        (
            {"halve": 3, "epochs": 8},
            "epochs must be at least 9 to halve 9 candidates 2 times with halve=3, however: 8",
        ),
    ],
)
def test_what_cannot_be_halved_is_refused_before_anything_is_written(csv, tmp_path, changes, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        lockstep.compare(csv, vary=VARY, out=tmp_path / "run", **SETTINGS | changes)
    assert not (tmp_path / "run").exists()
    with pytest.raises(SpecError, match=r"halve=2 with 1 candidate\. Vary more, or leave halve out"):
        lockstep.fit(csv, halve=2, out=tmp_path / "run", **SETTINGS)


def test_a_run_that_is_cut_off_after_any_epoch_loads_with_one_that_was_not_left_behind(csv, tmp_path, monkeypatch):
    monkeypatch.setattr(Keeper, "SHARE", 1e9)
    write, copies = RunFolder.write_checkpoint, []

    def and_copy(self, *arguments):
        write(self, *arguments)
        if self.path.name != ".next":
            copies.append(shutil.copytree(self.path, tmp_path / "copies" / str(len(copies))))

    monkeypatch.setattr(RunFolder, "write_checkpoint", and_copy)
    lockstep.compare(csv, vary=VARY, halve=3, out=tmp_path / "run", **SETTINGS)
    assert len(copies) >= 2 + 2 * 1 + 6, "one for each stack that trains in an epoch, but for the very first"
    for copy in copies:
        run = lockstep.load(copy)
        gone = run.history.filter(pl.col("ended") == "halved")["candidate"].unique().to_list()
        (chosen,) = {member // 2 for member in run.model.networks}
        assert chosen not in gone
        assert run.predict(csv).shape == (300,)
    assert len(gone) == 8


def test_of_a_history_the_best_that_was_not_halved_counts():
    history = pl.DataFrame(
        {"candidate": [0, 0, 1, 1], "member": [0, 0, 1, 1], "valid_loss": [0.5, 0.4, 0.3, 0.2],
         "ended": [None, None, None, "halved"]}
    )  # fmt: skip
    assert best_candidate(history) == 0
    assert best_candidate(history.drop("ended")) == 1


def test_a_verdict_counts_one_left_behind_as_one():
    scores = np.random.default_rng().normal(size=(2, 3, 1))
    ranked = rank(scores, larger_is_better=True, test_over_train=0.5)
    assert verdict(ranked, ["a", "b"], "accuracy", halved=1).endswith(
        " 1 other was left behind on the way, and not compared."
    )
    assert "left behind" not in verdict(ranked, ["a", "b"], "accuracy")


def test_your_own_module_is_halved_and_its_leaderboard_puts_those_left_behind_last(rng, capsys):
    x = torch.from_numpy(rng.normal(size=(80, 3))).float()
    y = x.sum(1)
    train, valid = (x[:60], y[:60]), (x[60:], y[60:])
    result = lockstep.train(
        lambda: nn.Linear(3, 1), train, valid, loss="mse", epochs=9, seeds=2, halve=3, schedule=None,
        optimizer=lockstep.AdamW(lr=list(np.geomspace(1e-4, 1e-1, 9))),
    )  # fmt: skip
    assert result.leaderboard["ended"].to_list() == ["finished"] * 2 + ["halved"] * 16
    assert result.history.filter(pl.col("ended") == "halved")["epoch"].value_counts().sort("epoch").rows() == [
        (1, 12), (3, 4),
    ]  # fmt: skip
    assert result.predict(x).shape == (18, 80, 1)
    said = capsys.readouterr().err.splitlines()
    assert "epoch 1: 3 of 9 candidates go on" in said
    assert "epoch 3: 1 of 3 candidates goes on" in said
    assert said[-1].startswith("Trained 18 networks in ")
    assert ": 2 finished, 16 halved. At the end: " in said[-1]


def test_named_members_of_your_own_module_train_to_the_end_and_that_is_said(rng):
    x = torch.from_numpy(rng.normal(size=(80, 3))).float()
    data = (x, x.sum(1))
    settings: dict[str, Any] = {"loss": "mse", "epochs": 4, "halve": 2, "quiet": True, "batch_size": 8, "folds": 2}
    rates = lockstep.AdamW(lr=[1e-3, 1e-1])
    both = lockstep.train(lambda: nn.Linear(3, 1), data, optimizer=rates, **settings)
    one = lockstep.train(lambda: nn.Linear(3, 1), data, optimizer=rates, members=[3], **settings)
    assert [finding.code for finding in one.findings if finding.code == "not-halved"] == ["not-halved"]
    assert not [finding for finding in both.findings if finding.code == "not-halved"]
    assert one.leaderboard["ended"].to_list() == ["finished"]
    assert torch.allclose(one.member(3).weight, both.member(3).weight, atol=1e-5)
    assert set(both.leaderboard["ended"]) == {"finished", "halved"}


def test_a_plan_says_after_which_epochs_how_many_go_on(csv):
    choices = {one["choice"]: one for one in lockstep.plan(
        csv, target="ill", folds=2, epochs=9, quiet=True, halve=3,
        set=FAST | {"optimizer.lr": list(np.geomspace(1e-4, 1e-1, 9))},
    )}  # fmt: skip
    assert choices["candidates"]["value"] == "9, then 3 after epoch 1, 1 after epoch 3"
    assert choices["candidates"]["reason"] == "the best go on, and take 26 % of the epochs of all"
