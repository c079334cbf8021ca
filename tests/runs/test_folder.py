import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lockstep.errors import RunError
from lockstep.runs import RunFolder, check_place, default_folder, list_runs, open_run, reserved
from lockstep.spec import FitSpec

MANIFEST: dict[str, Any] = {"status": "training", "epochs_done": 0, "epochs": 10, "target": "y", "task": "binary"}
HASHES = np.array([1, 2, 2**63], dtype=np.uint64)
WEIGHTS = {3: {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, 12: {"0.weight": np.ones((2, 3), np.float32)}}


def started(path: Path) -> RunFolder:
    with reserved(path) as run:
        run.begin(FitSpec(), "{}", HASHES, MANIFEST, lambda _: None)
    return run


def finished(path: Path) -> RunFolder:
    run = started(path)
    run.write_checkpoint(10, {"w": np.ones(1)}, {})
    run.write_history(pl.DataFrame({"epoch": [1, 2]}))
    metrics = {"metrics": {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}}, "headline": "auc"}
    run.write_metrics(metrics)
    run.finish(MANIFEST | {"status": "finished", "epochs_done": 10}, WEIGHTS)
    return run


def test_a_finished_run_gives_everything_back(tmp_path: Path) -> None:
    run = open_run(finished(tmp_path / "r").path)
    assert run.members() == [3, 12]
    for member, arrays in WEIGHTS.items():
        np.testing.assert_array_equal(run.weights(member)["0.weight"], arrays["0.weight"])
    assert run.spec() == FitSpec()
    assert run.history()["epoch"].to_list() == [1, 2]
    assert run.metrics()["headline"] == "auc"
    assert run.manifest()["schema_version"] == 1
    assert not (run.path / "checkpoint").exists()
    assert run.trained_on().tolist() == HASHES.tolist()
    assert run.progress() == "Finished after 10 of 10 epochs."


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "swap"])
def test_a_weight_file_that_is_not_the_one_written_is_refused(tmp_path: Path, harm: str) -> None:
    run = finished(tmp_path / "r")
    file = run.path / "members" / "0003.safetensors"
    data = bytearray(file.read_bytes())
    match harm:
        case "flip":
            data[-1] ^= 1
        case "truncate":
            del data[-4:]
        case "empty":
            data.clear()
        case "swap":
            data[:] = (run.path / "members" / "0012.safetensors").read_bytes()
    file.write_bytes(data)
    with pytest.raises(RunError, match=r"0003\.safetensors must be the file that was written.*changed or cut short"):
        open_run(run.path).weights(3)


def test_a_member_that_is_not_there_is_an_error_that_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no member 4 .* It has: 3, 12\."):
        finished(tmp_path / "r").weights(4)


@pytest.mark.parametrize("name", ["spec.toml", "schema.json", "members/0012.safetensors"])
def test_a_run_that_lacks_a_file_does_not_open_and_says_which(tmp_path: Path, name: str) -> None:
    run = finished(tmp_path / "r")
    (run.path / name).unlink()
    with pytest.raises(RunError, match=f"incomplete: {name} is missing"):
        open_run(run.path)


def test_a_run_that_was_cut_off_opens_at_its_last_checkpoint_and_says_how_far_it_got(tmp_path: Path) -> None:
    run = started(tmp_path / "r")
    run.write_checkpoint(4, {"w": np.ones(2)}, {"note": 1}, pl.DataFrame({"epoch": [4]}))
    opened = open_run(run.path)
    assert (opened.epochs_done, opened.complete) == (4, False)
    assert opened.progress().startswith("Not finished, 4 of 10 epochs")
    assert opened.read_checkpoint().progress == {"note": 1}
    assert opened.history()["epoch"].to_list() == [4]


def test_a_kill_between_weights_and_manifest_leaves_the_checkpoint_in_charge(tmp_path: Path) -> None:
    run = started(tmp_path / "r")
    run.write_checkpoint(10, {"w": np.ones(1)}, {})
    (run.path / "members").mkdir()
    (run.path / "members" / ".0000.safetensors.1-0.tmp").write_bytes(b"half")
    assert open_run(run.path).epochs_done == 10
    assert run.members() == []


def test_a_run_without_a_complete_state_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nothing to load yet.*0 of 10 epochs"):
        open_run(started(tmp_path / "r").path)


def test_what_is_no_run_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run at"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run: it has no manifest\.json"):
        open_run(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(RunError, match="not a run, or its"):
        open_run(tmp_path)


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    run.write_manifest(run.manifest() | {"schema_version": 2, "lockstep": "9.1"})
    with pytest.raises(RunError, match=r"up to 1, however: 2, written by lockstep 9\.1\. Update lockstep"):
        open_run(run.path)


def test_create_refuses_what_exists(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    with pytest.raises(RunError, match=r"is a run\. Add --overwrite"):
        check_place(run.path)
    with pytest.raises(RunError, match="is a file"):
        check_place(run.path / "spec.toml", overwrite=True)
    assert open_run(run.path)


def test_overwrite_takes_a_run_s_place_but_leaves_the_user_s_files(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    (run.path / "notes.txt").write_text("mine")
    with reserved(run.path, overwrite=True) as again:
        again.begin(FitSpec(), "{}", HASHES, MANIFEST, lambda _: None)
    assert (run.path / "notes.txt").exists()
    assert open_manifest(run) == "training"
    assert not (run.path / "members").exists()


def open_manifest(run: RunFolder) -> str:
    return str(run.manifest()["status"])


def test_a_run_stays_whole_until_the_one_that_takes_its_place_has_something_to_keep(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")

    def fails(_: RunFolder) -> None:
        raise RunError("the disk is full")

    with reserved(run.path, overwrite=True) as again:
        assert open_run(run.path).members() == [3, 12]
        with pytest.raises(RunError, match="full"):
            again.begin(FitSpec(), "{}", HASHES, MANIFEST, fails)
    assert open_run(run.path).members() == [3, 12]
    assert not (run.path / ".next").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "manifest.json"])
def test_overwrite_never_touches_a_folder_that_is_no_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"name": "a web app"}')
    with pytest.raises(RunError, match="--overwrite replaces only a run"):
        check_place(tmp_path, overwrite=True)
    assert (tmp_path / name).exists()


def test_overwrite_takes_an_empty_folder(tmp_path: Path) -> None:
    with reserved(tmp_path, overwrite=True) as run:
        assert run.path == tmp_path


def test_a_place_that_cannot_hold_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Choose another place with --out"), reserved(tmp_path / "file" / "run"):
        pass


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with reserved(tmp_path / "r"):
        assert (tmp_path / "r").is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("origin", "stem"),
    [
        ("/data/adult.csv", "adult"),
        ("a b.tar.csv.gz", "a-b-tar"),
        ("sklearn:digits", "digits"),
        ("mnist/", "mnist"),
        ("", "run"),
    ],
)
def test_the_default_folder_is_named_after_the_data_and_new(tmp_path: Path, origin: str, stem: str) -> None:
    first = default_folder(origin, tmp_path)
    assert first.name.rsplit("-", 2)[0] == stem
    first.mkdir()
    assert not default_folder(origin, tmp_path).exists()


def test_runs_are_listed_newest_first_the_damaged_with_their_problem(tmp_path: Path) -> None:
    old = finished(tmp_path / "old")
    old.write_manifest(old.manifest() | {"created": "2020-01-01T00:00:00+00:00"})
    started(tmp_path / "new")
    broken = started(tmp_path / "broken")
    (broken.path / "manifest.json").write_text("{")
    odd = started(tmp_path / "odd")
    (odd.path / "manifest.json").write_text(json.dumps(old.manifest() | {"epochs": "many", "created": ""}))
    (tmp_path / "other").mkdir()
    runs = {run.path.name: run for run in list_runs(tmp_path)}
    assert list(runs)[:2] == ["new", "old"]
    assert "damaged" in runs["broken"].problem
    assert "damaged" in runs["odd"].problem
    assert (runs["old"].metric, runs["old"].value, runs["old"].status) == ("auc", 0.9, "finished")
    assert (runs["new"].epochs_done, runs["new"].epochs, runs["new"].metric) == (0, 10, None)


def test_loading_a_run_never_runs_code(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    sources = Path(__file__).parents[2].joinpath("src/lockstep/runs").glob("*.py")
    assert not any("import pickle" in text or "torch.load" in text for text in (p.read_text() for p in sources))
    assert {path.suffix for path in run.path.rglob("*") if path.is_file()} <= {
        ".json",
        ".toml",
        ".parquet",
        ".safetensors",
    }


def test_a_folder_that_a_training_is_writing_is_not_overwritten_by_another(tmp_path: Path) -> None:
    run = finished(tmp_path / "r")
    refused = pytest.raises(RunError, match=r"one training at a time.*another is writing.*--out")
    with reserved(run.path, overwrite=True), refused, reserved(run.path, overwrite=True):
        pass
    assert open_run(run.path).members() == [3, 12]
    with reserved(run.path, overwrite=True):
        pass


def test_a_name_that_no_disk_takes_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="could not be written: file name too long"):
        check_place(tmp_path / ("x" * 300))
