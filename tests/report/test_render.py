import html.parser
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lockstep.errors import RunError
from lockstep.report import render
from lockstep.report.figures import safe_json

MakeRun = Callable[[str], Path]


class Page(html.parser.HTMLParser):
    """A page as a browser's parser sees it: elements with attributes, scripts, text outside of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        del tag
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data


def read(folder: Path) -> Page:
    page = Page(render(folder).read_text(encoding="utf-8"))
    page.text = re.sub(r"\s+", " ", page.text)
    return page


def edit(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_every_kind_of_run_renders_whole(any_run: Path) -> None:
    page = read(any_run)
    figures = json.loads(page.scripts[0])
    drawn = [a["data-chart"] for _, a in page.elements if "data-chart" in a]
    assert sorted(drawn) == sorted(figures["charts"])
    assert "None" not in page.text
    assert "nan" not in page.text.lower().replace("became nan", "").split()


def test_nothing_is_asked_of_the_network(any_run: Path) -> None:
    page = read(any_run)
    links = [a[key] or "" for _, a in page.elements for key in ("src", "href") if key in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_headings_come_in_order(any_run: Path) -> None:
    levels = [int(tag[1]) for tag, _ in read(any_run).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_the_headline_says_score_interval_rows_and_baseline(make_run: MakeRun) -> None:
    text = read(make_run("table")).text
    assert ".858 [.850, .866]" in text
    assert "6,512 test rows that no network saw" in text
    assert "Beside it: .759, always the most frequent class, <=50K." in text
    assert (
        "5 networks (5 folds × 1 seed) were trained, with 94,337 parameters each; their average is the model." in text
    )


def test_out_of_fold_scores_are_labelled_as_flattering(make_run: MakeRun) -> None:
    label = "Each member chose its own best epoch on these rows, so these flatter a little"
    assert label in read(make_run("table")).text
    compare = read(make_run("compare")).text
    assert label in compare
    assert "no network saw" not in compare


def test_severe_findings_come_first(make_run: MakeRun) -> None:
    text = read(make_run("table")).text
    assert text.index("target-leak") < text.index("identifier") < text.index("duplicate-rows")


def test_hostile_names_stay_text(make_run: MakeRun) -> None:
    page = read(make_run("hostile"))
    assert "onerror" not in {name for _, attributes in page.elements for name in attributes}
    assert not [a for tag, a in page.elements if tag == "img"]
    assert len(page.scripts) == 3
    assert "</script><img src=x onerror=alert(1)>" in page.text
    assert "{{ 7*7 }}" in page.text


def test_json_in_the_page_can_neither_end_its_script_nor_open_a_comment() -> None:
    value = {"</script><!-- & \u2028\u2029": ["]]>"]}
    text = safe_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_a_run_still_training_says_how_far_it_is_and_shows_its_curves(make_run: MakeRun) -> None:
    page = read(make_run("unfinished"))
    assert "in training, epoch 23 of 100" in page.text
    assert "No score yet" in page.text
    assert "1 of 5 networks went wrong" in page.text
    assert {"loss", "metric", "schedule", "layers"} <= set(json.loads(page.scripts[0])["charts"])


def test_an_interrupted_run_says_so(make_run: MakeRun) -> None:
    folder = make_run("table")
    edit(folder, "manifest.json", lambda m: m | {"status": "interrupted", "epochs_done": 41})
    assert "This run was interrupted at epoch 41 of 100" in read(folder).text


@pytest.mark.parametrize("piece", ["confusion", "calibration", "residuals", "importance", "mistakes"])
@pytest.mark.parametrize("kind", ["table", "compare"])
def test_any_piece_of_the_analysis_may_be_missing(make_run: MakeRun, kind: str, piece: str) -> None:
    folder = make_run(kind)
    edit(folder, "analysis.json", lambda a: a | {piece: None})
    read(folder)


@pytest.mark.parametrize("name", ["schema.json", "history.parquet", "metrics.json", "analysis.json", "spec.toml"])
def test_any_file_but_the_manifest_may_be_missing(make_run: MakeRun, name: str) -> None:
    folder = make_run("table")
    (folder / name).unlink()
    read(folder)


@pytest.mark.parametrize("name", ["schema.json", "history.parquet", "metrics.json", "analysis.json"])
def test_a_damaged_file_is_told_in_the_findings(make_run: MakeRun, name: str) -> None:
    folder = make_run("table")
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    assert f"{name} cannot be read, so what it held is missing below." in read(folder).text


def test_without_a_readable_manifest_there_is_no_report(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds manifest\.json, however"):
        render(tmp_path)
    folder = make_run("bare")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        render(folder)


def test_a_failed_write_leaves_the_old_report_and_no_scraps(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run("bare")
    before = render(folder).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lockstep.report.os.fsync", full)
    with pytest.raises(RunError, match="however: No space left on device"):
        render(folder)
    assert (folder / "report.html").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "report.html"]


def test_commands_quote_a_folder_with_spaces(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run("table").rename(tmp_path / "my run's")
    assert "lockstep predict '" in read(folder).text


def test_pictures_of_series_say_how_they_are_read(make_run: MakeRun) -> None:
    folder = make_run("images")
    legend = "Pictures have a row each for the 12 channels"
    edit(folder, "analysis.json", lambda a: a | {"mistakes": a["mistakes"] | {"kind": "series", "legend": legend}})
    page = read(folder)
    assert legend in page.text
    assert 'class="pictures series"' in (folder / "report.html").read_text()


def test_what_a_series_is_made_of_is_called_a_channel(make_run: MakeRun) -> None:
    folder = make_run("table")
    edit(folder, "manifest.json", lambda manifest: manifest | {"kind": "series"})
    page = read(folder)
    assert "when one channel is shuffled" in page.text
    assert "column" not in page.text[page.text.index("Importance How") : page.text.index("Worst mistakes The")]
    assert "of the column" not in json.loads(page.scripts[0])["charts"]["importance"]["description"]


@pytest.mark.parametrize(("horizon", "asked"), [(1, "the next row of"), (12, "the next 12 rows of")])
def test_a_forecast_asks_for_a_row_or_for_rows(make_run: MakeRun, horizon: int, asked: str) -> None:
    folder = make_run("table")
    edit(folder, "manifest.json", lambda manifest: manifest | {"kind": "forecast", "task": "forecast"})
    edit(folder, "schema.json", lambda schema: schema | {"forecast": {"horizon": horizon, "context": 4}})
    assert f"Forecast {asked}" in read(folder).text


def test_many_classes_become_a_map_and_many_members_stay_small(make_run: MakeRun) -> None:
    folder = make_run("images")
    classes = [f"class {i}" for i in range(60)]
    counts = [[50 if i == j else (i + j) % 7 == 0 for j in range(60)] for i in range(60)]
    edit(
        folder,
        "analysis.json",
        lambda a: a | {"confusion": {"classes": classes, "counts": [[int(n) for n in r] for r in counts]}},
    )
    page = read(folder)
    assert "confusion" in json.loads(page.scripts[0])["charts"]
    assert (folder / "report.html").stat().st_size < 5_000_000


def test_64_members_of_100_epochs_make_a_page_below_2_megabytes(make_run: MakeRun) -> None:
    folder = make_run("table")
    one = pl.read_parquet(folder / "history.parquet").filter(pl.col("member") == 0)
    pl.concat([one.with_columns(pl.lit(m).cast(pl.Int64).alias("member")) for m in range(64)]).write_parquet(
        folder / "history.parquet"
    )
    assert render(folder).stat().st_size < 2_000_000
