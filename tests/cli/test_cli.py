import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lockstep.cli import main
from lockstep.cli.text import number
from lockstep.errors import DataError
from lockstep.runs import RunFolder

EVALUATION: dict[str, Any] = {
    "metrics": {
        "log_loss": {"value": 0.31234, "low": 0.3, "high": 0.32},
        "accuracy": {"value": 0.87412, "low": 0.869, "high": 0.879},
    },
    "rows": "test",
    "n_rows": 6513,
    "headline": "accuracy",
    "baseline": {"what": "always the most frequent class", "metrics": {"accuracy": 0.759}},
    "out_of_fold": {"accuracy": {"mean": 0.871, "std": 0.0042}},
}
FINDING = {
    "severity": "warning",
    "code": "duplicates",
    "subject": "rows",
    "what": "52 rows stand twice",
    "evidence": "52 of 32,561",
    "remedy": "Drop them.",
}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """Put a function in a job's place: ``jobs("fit", fake)``."""

    def replace(name: str, fake: Callable[..., Any]) -> None:
        module = ModuleType(f"lockstep.jobs.{name}")
        setattr(module, name, fake)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return replace


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def finished_run(**changes: Any) -> SimpleNamespace:
    fields = {
        "path": Path("runs/a b"),
        "report_path": Path("runs/a b/report.html"),
        "evaluation": EVALUATION,
        "findings": [FINDING],
        "manifest": {"status": "finished"},
        "progress": lambda: "Interrupted by its user after 3 of 9 epochs.",
    }
    return SimpleNamespace(**fields | changes)


def test_fit_passes_every_flag_on_under_its_own_name(jobs: Any) -> None:
    seen: dict[str, Any] = {}
    jobs("fit", lambda data, **flags: (seen.update(flags, data=data), finished_run())[1])
    flags = "--target y --recipe mlp --spec s.toml --set optimizer.lr=3e-3 --set model.hidden=64,64 --folds 3 --seeds 2"
    flags += " --seed 5 --members 3,7 --epochs 9 --valid v.csv --test t.csv --test-size 0.1 --device cpu"
    flags += " --halve 4 --executor eager --precision float32 --threads 2 --at-once 4 --out o"
    assert run("fit", "d.csv", *flags.split(), "--overwrite", "--quiet", "--no-header") == 0
    assert seen == {
        "data": "d.csv",
        "target": "y",
        "recipe": "mlp",
        "spec": Path("s.toml"),
        "set": ["optimizer.lr=3e-3", "model.hidden=64,64"],
        "folds": 3,
        "seeds": 2,
        "seed": 5,
        "members": (3, 7),
        "halve": 4,
        "epochs": 9,
        "valid": "v.csv",
        "test": "t.csv",
        "test_size": 0.1,
        "header": False,
        "device": "cpu",
        "executor": "eager",
        "precision": "float32",
        "threads": 2,
        "at_once": 4,
        "out": Path("o"),
        "overwrite": True,
        "quiet": True,
    }


def test_fit_without_flags_leaves_everything_to_recipe_and_spec(jobs: Any) -> None:
    seen: dict[str, Any] = {}
    jobs("fit", lambda _, **flags: (seen.update(flags), finished_run())[1])
    assert run("fit", "d.csv") == 0
    given = {name for name, value in seen.items() if value is not None}
    assert given == {"set", "device", "executor", "precision", "overwrite", "quiet"}
    assert (seen["set"], seen["device"], seen["executor"]) == ([], "auto", "auto")


def test_fit_prints_scores_with_intervals_and_rows_the_report_and_what_comes_next(
    jobs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs("fit", lambda *_, **__: finished_run())
    assert run("fit", "d.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        "The ensemble on 6,513 test rows:",
        "            value   95 % interval     baseline",
        "  accuracy  0.8741  0.8690 to 0.8790  0.7590",
        "  log_loss  0.3123  0.3000 to 0.3200  -",
        "  baseline: always the most frequent class",
        "One network alone, out of fold: accuracy 0.8710 ± 0.0042 "
        "(flatters a little: each chose its own best epoch on these rows)",
        "1 finding, said above and in the report",
        "report: runs/a b/report.html",
        "next:   lockstep predict 'runs/a b' NEW_DATA --out predictions.csv",
    ]


def test_quiet_fit_still_says_its_findings_with_the_result(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("fit", lambda *_, **__: finished_run())
    assert run("fit", "d.csv", "--quiet") == 0
    assert "warning: 52 rows stand twice (52 of 32,561). Drop them." in capsys.readouterr().out


def test_a_fit_that_its_user_ended_early_says_so_and_exits_as_interrupted(
    jobs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs("fit", lambda *_, **__: finished_run(manifest={"status": "interrupted"}))
    assert run("fit", "d.csv") == 130
    out = capsys.readouterr().out
    assert "Interrupted by its user after 3 of 9 epochs." in out
    assert "report: " in out


def test_what_a_user_can_cure_is_one_line_on_stderr_and_exit_code_2(
    jobs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("The target must be a column, however: z. Columns: x, y.")

    jobs("fit", fail)
    assert run("fit", "d.csv", "--target", "z") == 2
    assert capsys.readouterr() == ("", "error: The target must be a column, however: z. Columns: x, y.\n")


def test_a_defect_names_its_type_and_how_to_report_it(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("fit", lambda *_, **__: {}["nothing"])
    assert run("fit", "d.csv") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: KeyError: 'nothing'\nThis is a defect of Lockstep")
    assert "Traceback" not in err


def test_the_debug_variable_adds_the_traceback(
    jobs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKSTEP_DEBUG", "1")
    jobs("fit", lambda *_, **__: {}["nothing"])
    assert run("fit", "d.csv") == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_outside_training_is_a_line_and_exit_code_130(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    jobs("fit", interrupt)
    assert run("fit", "d.csv") == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit"], "Missing argument 'DATA'. See: lockstep fit --help"),
        (["fit", "d", "--fold", "3"], "No such option"),
        (["fit", "d", "--folds", "x"], "Invalid value for '--folds'"),
        (["fit", "d", "--members", "3-7"], "--members is numbers with commas between, as in 3,7, however: '3-7'."),
        (["fot"], "No such command 'fot'. Did you mean 'fit'? See: lockstep --help"),
        (["predict", "r", "d"], "Missing option '--out'"),
    ],
)
def test_a_wrong_command_line_is_an_error_like_any_other(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


def test_lockstep_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("fit", "predict", "evaluate", "report", "plan", "recipes", "runs"))


def test_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_predict_says_how_many_rows_went_where(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("predict", lambda run, data, out: 16281 if (str(run), data, str(out)) == ("r", "d.csv", "p.csv") else 0)
    assert run("predict", "r", "d.csv", "--out", "p.csv") == 0
    assert capsys.readouterr().out == "16,281 rows written to p.csv\n"


def test_evaluate_json_prints_json_and_nothing_else(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("evaluate", lambda *_: EVALUATION | {"odd": float("nan")})
    assert run("evaluate", "r", "d.csv", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == EVALUATION | {"odd": None}
    assert err == ""


def test_evaluate_prints_a_table(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("evaluate", lambda *_: {"metrics": {"rmse": {"value": 45896.2, "low": 45000, "high": 47000}}, "n_rows": 10})
    assert run("evaluate", "r", "d.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        "The ensemble on 10 rows:",
        "        value   95 % interval",
        "  rmse  45,896  45,000 to 47,000",
    ]


def test_evaluate_says_what_was_noticed_about_the_rows(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("evaluate", lambda *_: EVALUATION | {"findings": [FINDING]})
    assert run("evaluate", "r", "d.csv") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "warning: 52 rows stand twice (52 of 32,561). Drop them."


def test_report_prints_where_it_is(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("report", lambda path: path / "report.html")
    assert run("report", "runs/a") == 0
    assert capsys.readouterr().out == "report: runs/a/report.html\n"


def test_plan_prints_each_choice_with_its_reason(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs("plan", lambda *_, **__: [{"choice": "device", "value": "cpu", "reason": "no GPU"}])
    assert run("plan", "d.csv", "--target", "y") == 0
    assert capsys.readouterr().out.splitlines() == ["choice  value  reason", "device  cpu    no GPU"]


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["perceptron", "mlp", "cnn", "rnn", "transformer"]
    assert lines[1].split("  ")[-1].startswith("multi-layer perceptron")


def test_runs_are_listed_with_how_far_they_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("runs") == 0
    assert "There are no runs in runs" in capsys.readouterr().out
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    manifest = {"status": "training", "epochs": 9, "created": "2026-05-01T10:00:00+00:00"}
    RunFolder(tmp_path / "runs/a").write_manifest(manifest)
    (tmp_path / "runs/b/manifest.json").write_text("{")
    assert run("runs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "created", "status", "epochs", "networks", "score"]
    assert lines[1].split() == ["runs/a", "2026-05-01", "10:00", "training", "0/9", "0"]
    assert lines[2].startswith("runs/b: The run is damaged")
    assert run("runs", "elsewhere") == 2


def test_a_reader_that_has_enough_ends_the_program_quietly() -> None:
    code = "from lockstep.cli import main; main(['recipes'])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.87412, "0.8741"),
        (0.0, "0.0000"),
        (12.3456, "12.35"),
        (-45896.2, "-45,896"),
        (0.0001234, "0.0001234"),
        (None, "-"),
    ],
)
def test_a_number_has_the_digits_that_matter(value: float | None, text: str) -> None:
    assert number(value) == text
