"""``lockstep compare`` on the command line: what it hands on, and what it prints of the ranking."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lockstep.cli import main
from lockstep.evaluation import METRICS
from lockstep.jobs.comparison import compared

CHOICES = [{"model.activation": name, "optimizer.lr": lr} for name in ("relu", "tanh") for lr in (1e-3, 1e-2)]
METRICS_JSON = {"metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}, "headline": "accuracy",
                "n_rows": 60, "rows": "test"}  # fmt: skip


def a_run(found: dict[str, Any] | None, status: str = "finished") -> SimpleNamespace:
    return SimpleNamespace(
        path=Path("runs/a"), report_path=Path("runs/a/report.html"), evaluation=METRICS_JSON, findings=[],
        manifest={"status": status}, progress=lambda: "Interrupted after 3 of 9 epochs.", comparison=found,
    )  # fmt: skip


def a_comparison(scores: Any, choices: list[dict[str, Any]] = CHOICES, **more: Any) -> dict[str, Any]:
    found = compared(
        np.asarray(scores, dtype=float), choices, METRICS["accuracy"], candidates=range(len(choices)),
        test_over_train=0.25, **more,
    )  # fmt: skip
    return found | {"left_out": 0, "networks": 40, "stacks": 2, "seconds": 90.0}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a function in the job's place; returns what it was called with."""

    def replace(run: SimpleNamespace) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        module = ModuleType("lockstep.jobs.compare")
        module.compare = lambda data, **flags: (seen.update(flags, data=data), run)[1]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return seen

    return replace


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def scores(*means: float) -> Any:
    noise = 0.001 * np.random.default_rng(3).normal(size=(len(means), 5, 1))
    return np.array(means)[:, None, None] + noise


def test_the_axes_and_all_flags_of_fit_are_handed_on(job: Any) -> None:
    seen = job(a_run(a_comparison(scores(0.9, 0.8, 0.7, 0.6))))
    flags = "--target y --vary activation=relu,tanh --vary lr=log:1e-3:1e-2:2 --folds 3 --seeds 2 --epochs 9 --out o"
    assert run("compare", "d.csv", *flags.split(), "--quiet") == 0
    assert seen["vary"] == {"activation": ["relu", "tanh"], "lr": [1e-3, 1e-2]}
    assert (seen["data"], seen["target"], seen["folds"], seen["seeds"], seen["epochs"]) == ("d.csv", "y", 3, 2, 9)
    assert (seen["out"], seen["quiet"], seen["header"]) == (Path("o"), True, None)


def test_the_ranking_each_factor_the_verdict_and_the_winners_scores_are_printed(
    job: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job(a_run(a_comparison(scores(0.9, 0.8, 0.7, 0.6))))
    assert run("compare", "d.csv", "--vary", "activation=relu,tanh") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 candidates, 5 folds × 1 seeds, out-of-fold:"
    assert lines[1].split() == ["activation", "lr", "accuracy", "to", "the", "best,", "95", "%", "best?"]
    assert lines[2].split()[:3] == ["1", "relu", "0.001"]
    assert lines[5].split()[:3] == ["4", "tanh", "0.01"]
    text = "\n".join(lines)
    assert "activation: relu 0.8" in text
    assert "relu + lr 0.001 is best (accuracy" in text
    assert "3 others are worse by more than chance" in text or "are worse by more than chance" in text
    assert "40 networks in 2 stacks, 1 min 30 s." in text
    assert "The winner is relu + lr 0.001." in text
    assert lines[-2:] == [
        "report: runs/a/report.html",
        "next:   lockstep predict runs/a NEW_DATA --out predictions.csv",
    ]


def test_what_the_data_cannot_show_is_said(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    job(a_run(a_comparison(scores(0.9, 0.9, 0.9, 0.9))))
    assert run("compare", "d.csv") == 0
    assert "No difference that this data can show: " in capsys.readouterr().out


def test_a_failed_candidate_and_a_long_ranking_are_printed(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    many = scores(*np.linspace(0.9, 0.5, 25))
    many[24, 0, 0] = np.nan
    job(a_run(a_comparison(many, [{"optimizer.lr": 10.0**-k} for k in range(25)])))
    assert run("compare", "d.csv") == 0
    text = capsys.readouterr().out
    assert "… 5 more in comparison.json and the report" in text
    assert "1 had networks that went to NaN or infinity." in text


def behind(*epochs: int, score: float | None = 0.5) -> list[dict[str, Any]]:
    return [
        {"candidate": 9 + place, "label": "x", "choices": {"model.activation": "elu", "optimizer.lr": 10.0**place},
         "epoch": epoch, "measure": "validation loss", "score": score}
        for place, epoch in enumerate(epochs)
    ]  # fmt: skip


def test_those_left_behind_are_listed_apart_with_epoch_and_score(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    job(a_run(a_comparison(scores(0.9, 0.8), CHOICES[:2], halved=behind(33, 11, 11))))
    assert run("compare", "d.csv", "--halve", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 5 candidates, trained to the end, 5 folds × 1 seeds, out-of-fold:"
    assert lines[4] == "Left behind on the way, each by its score at that epoch:"
    assert lines[5].split() == ["activation", "lr", "after", "epoch", "validation", "loss"]
    assert [line.split() for line in lines[6:9]] == [
        ["elu", "1", "33", "0.5000"], ["elu", "10", "11", "0.5000"], ["elu", "100", "11", "0.5000"],
    ]  # fmt: skip
    text = "\n".join(lines)
    assert "the best of 5 flatters" in text
    assert "3 others were left behind on the way, and not compared." in text
    assert "lr: " not in text


def test_one_that_is_left_of_many_is_printed_alone(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen = job(a_run(a_comparison(scores(0.9), CHOICES[:1], halved=behind(*[3] * 25, score=None))))
    assert run("compare", "d.csv", "--halve", "26") == 0
    assert seen["halve"] == 26
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 of 26 candidates, trained to the end, 5 folds × 1 seeds, out-of-fold:"
    assert lines[2].split()[::4] == ["1", "-"]
    assert lines[5].split() == ["elu", "1", "3", "-"]
    assert "  … 5 more in comparison.json and the report" in lines
    assert "relu + lr 0.001 is the one candidate that trained to the end" in "\n".join(lines)


def test_an_interrupted_comparison_ends_with_its_own_code(job: Any, capsys: pytest.CaptureFixture[str]) -> None:
    job(a_run(None, "interrupted"))
    assert run("compare", "d.csv") == 130
    assert "Interrupted after 3 of 9 epochs." in capsys.readouterr().out


def test_a_wrong_axis_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "no-such-file.csv", "--vary", "activation") == 2
    assert "An axis is key=value,value, however: 'activation'." in capsys.readouterr().err
