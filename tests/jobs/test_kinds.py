"""Pictures, series, text and columns as tokens: from a file through fit to the file of predictions and the report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import lockstep

Rng = np.random.Generator
QUICK = {"optimizer.lr": 0.01}
SMALL: dict[str, dict[str, Any]] = {
    "perceptron": {},
    "mlp": {"model.hidden": [8]},
    "cnn": {},
    "rnn": {"model.hidden": 4},
    "transformer": {"model.width": 8, "model.heads": 2, "model.layers": 1},
}


def pictures(folder: Path, rng: Rng) -> tuple[Path, Path]:
    """A folder of dark and of bright pictures, and a folder of further ones."""
    for part, rows in (("train", 12), ("test", 5)):
        for label, low in (("dark", 0), ("bright", 128)):
            (folder / part / label).mkdir(parents=True)
            for row in range(rows):
                pixels = rng.integers(low, low + 128, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{row}.png")
    return folder, folder / "test"


def series(folder: Path, rng: Rng) -> tuple[Path, Path]:
    """Series of two channels that rise or fall, of unequal length, with values missing; the test file beside."""
    folder.mkdir()
    for part, rows in (("TRAIN", 30), ("TEST", 14)):
        lines = ["@problemName slopes", "@classLabel true up down", "@data"]
        for row in range(rows):
            steps = np.arange(rng.integers(4, 9)) * (1 if row % 2 else -1) + rng.normal(0, 0.3)
            other = ["?" if rng.random() < 0.2 else f"{v:.3f}" for v in rng.normal(size=len(steps))]
            lines.append(f"{','.join(f'{v:.3f}' for v in steps)}:{','.join(other)}:{'up' if row % 2 else 'down'}")
        (folder / f"slopes_{part}.ts").write_text("\n".join(lines) + "\n")
    return folder / "slopes_TRAIN.ts", folder / "slopes_TEST.ts"


def text(folder: Path, rng: Rng) -> tuple[Path, Path]:
    """Sentences about the sea or about the town, each of them twice; and further ones with words never seen."""
    folder.mkdir()
    about = {
        "sea": ["wave", "boat", "sand", "shell", "gull", "tide"],
        "town": ["street", "tower", "tram", "square", "market", "bell"],
    }
    common = ["the", "a", "over", "under", "near", "with", "long", "old"]

    def sentence(label: str) -> str:
        return " ".join(rng.permutation([*rng.choice(about[label], 3), *rng.choice(common, 4)]))

    labels = ["sea", "town"] * 20
    known = pl.DataFrame({"about": labels, "line": [sentence(label) for label in labels]})
    pl.concat([known, known.with_columns(pl.col("line").str.to_uppercase())]).write_csv(folder / "known.csv")
    lines = [f"{sentence(label)} zyzzyva" for label in labels]
    pl.DataFrame({"about": labels, "line": lines}).write_csv(folder / "new.csv")
    return folder / "known.csv", folder / "new.csv"


def table(folder: Path, rng: Rng) -> tuple[Path, Path]:
    folder.mkdir()
    for name in ("known", "new"):
        size, colour = rng.normal(size=60), rng.choice(["red", "green"], 60)
        y = np.where(size + (colour == "red") > 0.5, "yes", "no")
        gaps = [None if rng.random() < 0.2 else float(v) for v in rng.normal(size=60)]
        pl.DataFrame({"size": size, "colour": colour, "gaps": gaps, "y": y}).write_csv(folder / f"{name}.csv")
    return folder / "known.csv", folder / "new.csv"


MAKERS: dict[str, tuple[Callable[[Path, Rng], tuple[Path, Path]], str | None]] = {
    "images": (pictures, None),
    "series": (series, None),
    "text": (text, "about"),
    "table": (table, "y"),
}
PAIRS = [
    ("images", "mlp"), ("images", "cnn"), ("images", "perceptron"),
    ("series", None), ("series", "mlp"), ("series", "rnn"), ("series", "transformer"), ("series", "perceptron"),
    ("text", None), ("text", "mlp"), ("text", "rnn"), ("text", "transformer"), ("text", "perceptron"),
    ("table", "transformer"),
]  # fmt: skip


def fitted(
    source: Path, target: str | None, recipe: str | None, out: Path, **keywords: Any
) -> "tuple[lockstep.Run, dict[str, Any]]":
    settings = SMALL[recipe or "cnn"] | {"training.batch_size": 8, "preprocess.token_size": 4} | keywords.pop("set", {})
    keywords = {"folds": 2, "epochs": 2} | keywords
    run = lockstep.fit(source, target=target, recipe=recipe, set=settings, out=out, quiet=True, **keywords)
    return run, json.loads((out / "analysis.json").read_text())


@pytest.mark.parametrize(("kind", "recipe"), PAIRS)
def test_a_run_on_every_kind_of_data_predicts_and_is_evaluated_by_file(
    tmp_path: Path, rng: Rng, kind: str, recipe: str | None
) -> None:
    maker, target = MAKERS[kind]
    source, new = maker(tmp_path / "data", rng)
    run, _ = fitted(source, target, recipe, tmp_path / "run")
    assert run.schema.kind == kind
    assert run.spec.recipe == (recipe or "cnn")
    loaded = lockstep.load(tmp_path / "run")
    assert loaded.schema == run.schema
    rows = lockstep.predict(tmp_path / "run", new, tmp_path / "p.csv")
    written = pl.read_csv(tmp_path / "p.csv")
    expected = {"images": 10, "series": 14, "text": 40, "table": 60}[kind]
    assert rows == written.height == expected
    probabilities = loaded.predict_proba(new)
    np.testing.assert_allclose(written.select(pl.col("^probability_.*$")).to_numpy(), probabilities)
    np.testing.assert_array_equal(written["prediction"].to_numpy(), loaded.classes[probabilities.argmax(1)])
    assert lockstep.evaluate(loaded, new)["n_rows"] == expected
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_own_test_rows_of_pictures_and_series_are_those_that_are_scored(tmp_path: Path, rng: Rng) -> None:
    for kind, rows in (("images", 10), ("series", 14)):
        maker, target = MAKERS[kind]
        run, _ = fitted(maker(tmp_path / kind, rng)[0], target, "mlp", tmp_path / f"{kind}-run")
        assert (run.evaluation["rows"], run.evaluation["n_rows"]) == ("test", rows)


def test_the_test_file_beside_is_told_of_where_its_rows_are_the_test_rows(tmp_path: Path, rng: Rng) -> None:
    source, beside = series(tmp_path / "data", rng)
    own = tmp_path / "own.ts"
    own.write_text("\n".join(beside.read_text().splitlines()[:-4]) + "\n")
    told = {}
    for number, settings in enumerate(({}, {"test": own}, {"test_size": 0.2}, {"test": source})):
        run, _ = fitted(source, None, "mlp", tmp_path / f"run{number}", **settings)
        told[number] = ("test-file-beside" in {finding["code"] for finding in run.findings}, run.evaluation["n_rows"])
    assert told == {0: (True, 14), 1: (False, 10), 2: (False, 6), 3: (False, 30)}


@pytest.mark.parametrize("kind", ["images", "series"])
def test_a_target_column_of_what_has_no_columns_is_refused(tmp_path: Path, rng: Rng, kind: str) -> None:
    source, _ = MAKERS[kind][0](tmp_path / "data", rng)
    with pytest.raises(lockstep.SpecError) as caught:
        fitted(source, "label", "mlp", tmp_path / "run")
    assert str(caught.value) == (
        f"data.target names a column of a table, however: label, and {source.name} holds {kind}, which bring their "
        "labels along. Leave --target out."
    )
    assert not (tmp_path / "run").exists()


def test_what_can_be_learned_is_learned(tmp_path: Path, rng: Rng) -> None:
    for kind in ("images", "series", "text"):
        maker, target = MAKERS[kind]
        source, new = maker(tmp_path / kind, rng)
        settings = {"model.hidden": [16], "optimizer.lr": 0.02, "model.dropout": 0}
        run, _ = fitted(source, target, "mlp", tmp_path / f"{kind}-run", epochs=30, set=settings)
        assert lockstep.evaluate(run, new)["metrics"]["accuracy"]["value"] > 0.85


def test_the_worst_mistakes_of_pictures_and_series_are_drawn_and_of_text_are_read(tmp_path: Path, rng: Rng) -> None:
    shown = {}
    for kind in ("images", "series", "text"):
        maker, target = MAKERS[kind]
        source, _ = maker(tmp_path / kind, rng)
        settings = {"optimizer.lr": 1e-6}  # learns nothing, so there are mistakes
        _, analysis = fitted(source, target, "mlp", tmp_path / f"{kind}-run", epochs=1, test_size=0, set=settings)
        shown[kind] = analysis["mistakes"]["items"][0]
    assert shown["images"]["image"].startswith("data:image/png")
    assert shown["images"]["values"]["file"].endswith(".png")
    assert shown["series"]["image"].startswith("data:image/svg+xml")
    assert len(shown["text"]["values"]["line"].split()) == 7


def test_the_importance_of_a_series_channel_is_what_shuffling_it_costs(tmp_path: Path, rng: Rng) -> None:
    source, _ = series(tmp_path / "data", rng)
    settings = {"model.hidden": [16], "optimizer.lr": 0.02, "model.dropout": 0}
    _, analysis = fitted(source, None, "mlp", tmp_path / "run", epochs=30, set=settings)
    worth = {feature["name"]: feature["mean"] for feature in analysis["importance"]["features"]}
    assert worth["channel 0"] > worth["channel 1"]


def test_rows_of_one_text_stand_on_one_side_and_the_vocabulary_knows_no_test_row(tmp_path: Path, rng: Rng) -> None:
    source, _ = text(tmp_path / "data", rng)
    frame = pl.read_csv(source)
    words = ["".join(rng.choice(list("abcdefgh"), 7)) for _ in range(40)] * 2
    frame = frame.with_columns(line=pl.col("line").str.to_lowercase() + " " + pl.Series(words))
    frame.write_csv(source)
    run, _ = fitted(source, "about", "mlp", tmp_path / "run", set={"preprocess.tokens": "word"})
    assert run.schema.vocabulary is not None
    codes = {finding["code"] for finding in run.findings}
    assert "duplicate-texts" in codes
    assert not codes & {"duplicates-test", "duplicates-validation"}
    known = set(words) & set(run.schema.vocabulary.entries)
    assert len(known) == 40 - run.manifest["splits"]["test_rows"] // 2


def test_intervals_draw_rows_of_one_text_together(tmp_path: Path, rng: Rng) -> None:
    source, beside = text(tmp_path / "data", rng)
    run, _ = fitted(source, "about", "mlp", tmp_path / "run")
    assert "bootstrap over different texts," in run.evaluation["interval"]
    once = lockstep.evaluate(run, pl.read_csv(beside))
    frame = pl.read_csv(beside)
    often = lockstep.evaluate(run, pl.concat([frame] * 5))
    assert ("bootstrap over rows," in once["interval"], "different texts" in often["interval"]) == (True, True)
    widths = [found["metrics"]["log_loss"]["high"] - found["metrics"]["log_loss"]["low"] for found in (once, often)]
    assert widths[1] > 0.75 * widths[0], "five copies of a row say no more than the row"


def test_texts_that_differ_in_unknown_words_alone_are_no_duplicates(tmp_path: Path, rng: Rng) -> None:
    words = ["".join(rng.choice(list("abcdefgh"), 7)) for _ in range(120)]
    frame = pl.DataFrame({"line": [f"this line ends with {word}" for word in words], "about": ["a", "b"] * 60})
    frame.write_csv(tmp_path / "known.csv")
    run, _ = fitted(tmp_path / "known.csv", "about", "mlp", tmp_path / "run", set={"preprocess.tokens": "word"})
    assert len(run.schema.vocabulary.entries) < 120  # type: ignore[union-attr]
    assert not {finding["code"] for finding in run.findings} & {"duplicates-test", "contradictory-rows"}


def test_texts_that_differ_in_unknown_words_alone_were_not_trained_on(tmp_path: Path, rng: Rng) -> None:
    """By its tokens each of the new texts is one of training: most of their words are unknown."""

    def lines(count: int) -> list[str]:
        return [f"this line ends with {''.join(rng.choice(list('abcdefgh'), 9))}" for _ in range(count)]

    known, new = lines(120), lines(60)
    pl.DataFrame({"line": known, "about": ["a", "b"] * 60}).write_csv(tmp_path / "known.csv")
    again = [f" {line.upper()}" for line in known[:20]]
    pl.DataFrame({"line": new + again + [""] * 2, "about": ["a", "b"] * 41}).write_csv(tmp_path / "new.csv")
    settings = {"preprocess.tokens": "word", "preprocess.vocabulary": 5}
    run, _ = fitted(tmp_path / "known.csv", "about", "mlp", tmp_path / "run", test_size=0, set=settings)
    tokens = {row.tobytes() for row in run.inputs(known)[0]}
    assert all(row.tobytes() in tokens for row in run.inputs(new)[0])
    assert lockstep.evaluate(run, tmp_path / "new.csv")["seen"] == 20
    with pytest.raises(lockstep.DataError, match=r"however 120 of the 120 rows of known\.csv are such rows"):
        lockstep.evaluate(run, tmp_path / "known.csv")


@pytest.mark.parametrize("kind", ["series", "text"])
def test_rows_longer_than_what_is_read_are_told_of_once(
    tmp_path: Path, rng: Rng, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    maker, target = MAKERS[kind]
    source, new = maker(tmp_path / "data", rng)
    run, _ = fitted(source, target, "mlp", tmp_path / "run", set={"preprocess.max_tokens": 6})
    said = {finding["code"] for finding in run.findings}
    capsys.readouterr()
    if kind == "series":
        head, rows = new.read_text().split("@data\n")
        channels = [",".join(f"{v:.3f}" for v in rng.normal(size=11)) for _ in range(2)]
        new.write_text(f"{head}@data\n{rows}{':'.join(channels)}:up\n")
        expected = f" of the 15 in slopes_TEST.ts: more than {run.schema.steps} steps, up to 11"
    else:
        assert "texts-cut" in said
        expected = "40 of the 40 rows of new.csv, the longest of "
    lockstep.predict(run.path, new, tmp_path / "p.csv")
    assert capsys.readouterr().err.count(expected) == 1
    lockstep.predict(run.path, new, tmp_path / "p.csv", quiet=True)
    assert capsys.readouterr().err == ""
    (finding,) = lockstep.evaluate(run, new)["findings"]
    assert expected in finding["evidence"]
    assert lockstep.evaluate(run, new)["metrics"]  # a finding is no error


def test_rows_that_fit_are_not_told_of(tmp_path: Path, rng: Rng, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = text(tmp_path / "data", rng)
    run, _ = fitted(source, "about", "mlp", tmp_path / "run", set={"preprocess.max_tokens": 100})
    lockstep.predict(run.path, source, tmp_path / "p.csv")
    assert "texts-cut" not in {finding["code"] for finding in run.findings}
    assert capsys.readouterr().err == ""


def test_series_given_in_python_are_predicted_as_they_were_given(tmp_path: Path, rng: Rng) -> None:
    rows = [np.cumsum(rng.normal(row % 2, 1, (rng.integers(3, 9), 2)), axis=0) for row in range(30)]
    run = lockstep.fit(
        rows, [row % 2 for row in range(30)], recipe="mlp", folds=2, epochs=2, set={"training.batch_size": 8},
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    padded = np.full((30, max(map(len, rows)), 2), np.nan)
    for row, steps in enumerate(rows):
        padded[row, : len(steps)] = steps
    np.testing.assert_allclose(run.predict_proba(rows), run.predict_proba(padded))
    assert run.predict(padded[:1, :3]).shape == (1,)


def test_a_list_of_texts_is_predicted_as_a_column_of_them_is(tmp_path: Path, rng: Rng) -> None:
    source, new = text(tmp_path / "data", rng)
    run, _ = fitted(source, "about", "mlp", tmp_path / "run")
    lines = pl.read_csv(new)["line"].to_list()
    np.testing.assert_allclose(run.predict_proba(lines), run.predict_proba(new))


def test_the_plan_names_the_recipe_that_fits_the_kind(tmp_path: Path, rng: Rng) -> None:
    source, _ = text(tmp_path / "data", rng)
    choices = lockstep.plan(source, target="about", folds=2, quiet=True)
    assert {choice["choice"]: choice["value"] for choice in choices}["recipe"] == "cnn"


@pytest.mark.parametrize("name", ["GunPoint", "JapaneseVowels"])
def test_real_series_beat_guessing_in_a_few_epochs(tmp_path: Path, real_data: Any, name: str) -> None:
    run = lockstep.fit(real_data("ucr") / f"{name}_TRAIN.ts", recipe="mlp", folds=2, epochs=20, out=tmp_path / "run",
                       set={"training.batch_size": 16}, quiet=True)  # fmt: skip
    assert run.metrics["accuracy"]["value"] > {"GunPoint": 0.7, "JapaneseVowels": 0.9}[name]


def test_real_messages_are_told_apart_in_a_few_epochs(tmp_path: Path, real_data: Any) -> None:
    settings = QUICK | {"preprocess.vocabulary": 2000}
    run = lockstep.fit(real_data("sms_spam") / "sms_spam.csv", target="type", recipe="mlp", folds=2, epochs=3,
                       members=[0], out=tmp_path / "run", set=settings, quiet=True)  # fmt: skip
    assert run.metrics["f1"]["value"] > 0.8
    assert "duplicates-test" not in {finding["code"] for finding in run.findings}


def test_real_questions_are_read_once_their_label_is_a_column(tmp_path: Path, real_data: Any) -> None:
    lines = (real_data("trec") / "TREC.train.all").read_bytes().removesuffix(b"\n").split(b"\n")
    (tmp_path / "trec.tsv").write_bytes(b"\n".join(line.replace(b" ", b"\t", 1) for line in lines))
    with pytest.raises(lockstep.DataError, match=r"data\.encoding=latin-1"):
        lockstep.fit(tmp_path / "trec.tsv", target="0", header=False, quiet=True)
    run = lockstep.fit(tmp_path / "trec.tsv", target="0", header=False, recipe="mlp", folds=2, epochs=3, members=[0],
                       out=tmp_path / "run", set=QUICK | {"data.encoding": "latin-1"}, quiet=True)  # fmt: skip
    assert run.schema.rows == 5452
    assert len(run.classes) == 6
    assert run.metrics["accuracy"]["value"] > 0.6
