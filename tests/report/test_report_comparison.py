"""The comparison in the report says what ``comparison.json`` says, whatever candidates are called or failed at."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockstep.evaluation import METRICS
from lockstep.jobs.comparison import compared
from lockstep.report import render
from lockstep.report.files import read_run
from lockstep.runs.files import write_json

Make = Callable[[str], Path]


def with_comparison(folder: Path, values: Any, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Put a comparison of these scores ``[C, F, S]`` into a run folder of as many candidates."""
    halved = more.pop("halved", ())
    found = compared(
        np.asarray(values, dtype=float), choices, METRICS["rmse"], candidates=range(len(choices)),
        test_over_train=1 / 3, halved=halved,
    )  # fmt: skip
    found |= {"left_out": 0, "networks": 32, "stacks": 2, "seconds": 75.0} | more
    write_json(folder / "comparison.json", found)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"winner": found["winner"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return found


def figures(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    start = text.index('id="figures">') + len('id="figures">')
    return json.loads(text[start : text.index("</script>", start)])


def four(
    names: tuple[Any, Any] = ("relu", "gelu"), numbers: tuple[float, float] = (1e-3, 1e-1)
) -> list[dict[str, Any]]:
    return [{"model.activation": name, "optimizer.lr": lr} for name in names for lr in numbers]


def test_ranking_factors_curves_and_verdict_are_shown(make_run: Make) -> None:
    folder = make_run("compare")
    scores = 52_000 + 500 * np.random.default_rng().normal(size=(4, 4, 2)) + 9000 * np.arange(4)[:, None, None]
    found = with_comparison(folder, scores, four())
    page = render(folder)
    text = page.read_text(encoding="utf-8")
    assert found["verdict"] in text
    assert "32 networks in 2 stacks" in text
    assert text.count('data-chart="factor') == 2
    drawn = figures(page)
    assert {"ranking", "factor0", "factor1", "together", "candidates"} <= set(drawn["charts"])
    rows = drawn["charts"]["ranking"]["data"]["values"]
    assert [row["label"] for row in rows] == [one["label"] for one in found["candidates"]]
    assert [row["kind"] for row in rows] == ["best", "worse", "worse", "worse"]
    assert set(drawn["tables"]["candidate_curves"]["candidate"]) == {one["label"] for one in found["candidates"]}
    assert drawn["charts"]["factor1"]["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    assert drawn["charts"]["factor0"]["layer"][0]["encoding"]["x"]["type"] == "nominal"
    assert "average of the 8 of the best candidate, relu + lr 0.001, is the model" in text


def test_no_difference_is_said_where_there_is_none(make_run: Make) -> None:
    folder = make_run("compare")
    noise = np.random.default_rng(0).normal(size=(1, 4, 2)) + 0.01 * np.random.default_rng(1).normal(size=(4, 4, 2))
    with_comparison(folder, 52_000 + 500 * noise, four())
    text = render(folder).read_text(encoding="utf-8")
    assert "No difference that this data can show" in text


def test_names_from_the_data_cannot_break_the_page(make_run: Make) -> None:
    folder = make_run("compare")
    with_comparison(folder, np.random.default_rng(0).normal(size=(4, 4, 2)), four(("</script><b>x", "@model")))
    text = render(folder).read_text(encoding="utf-8")
    assert "</script><b>" not in text
    assert "&lt;/script&gt;&lt;b&gt;x" in text


@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 1, 3), (4, 4, 1)])
def test_candidates_that_failed_and_intervals_that_are_unknown_are_dashes(
    make_run: Make, shape: tuple[int, ...]
) -> None:
    folder = make_run("compare")
    scores = np.random.default_rng(0).normal(5, 1, size=shape)
    scores[3, 0, 0] = np.nan
    with_comparison(folder, scores, four())
    page = render(folder)
    text = page.read_text(encoding="utf-8")
    assert "went to NaN or infinity" in text
    assert "(1 failed)" in text
    assert "ranking" in figures(page)["charts"] or shape == (4, 1, 1)


def test_a_comparison_where_all_failed_still_renders(make_run: Make) -> None:
    folder = make_run("compare")
    with_comparison(folder, np.full((4, 2, 1), np.nan), four())
    assert "none can be called the best" in render(folder).read_text(encoding="utf-8")


def test_twenty_candidates_are_drawn_with_the_best_few_in_colour(make_run: Make) -> None:
    folder = make_run("compare")
    choices = [{"optimizer.lr": 10.0**-k} for k in range(20)]
    with_comparison(folder, np.random.default_rng(0).normal(size=(20, 4, 2)), choices)
    chart = figures(render(folder))["charts"]["candidates"]
    assert len(chart["layer"]) == 4
    assert len(chart["layer"][2]["encoding"]["color"]["scale"]["domain"]) == 5


@pytest.mark.parametrize("left", [1, 2])
def test_those_left_behind_stand_in_a_table_of_their_own(make_run: Make, left: int) -> None:
    folder = make_run("compare")
    choices = four()
    halved = [
        {"candidate": left + place, "label": f"behind {place}", "choices": chosen, "epoch": 11,
         "measure": "validation loss", "score": 0.4321 if place else None}
        for place, chosen in enumerate(choices[left:])
    ]  # fmt: skip
    with_comparison(folder, np.random.default_rng().normal(5, 1, (left, 4, 2)), choices[:left], halved=halved)
    page = render(folder)
    text = page.read_text(encoding="utf-8")
    assert (
        f"{left} of 4 candidates trained to the end. Ranked by out-of-fold RMSE, on the same folds and seeds." in text
    )
    own = text[text.index("Left behind on the way") :]
    table = own[: own.index("</table>")]
    assert table.count("<tr>") == 1 + 4 - left
    assert "0.4321" in table
    assert "–" in table, "one that diverged has no score"
    assert "rank" not in table.lower()
    assert f"{4 - left} others were left behind" in text
    drawn = figures(page)
    assert ("ranking" in drawn["charts"]) == (left > 1)
    assert not any(name.startswith("factor") for name in drawn["charts"])
    assert {"behind 0", "behind 1"} <= set(drawn["tables"]["candidate_curves"]["candidate"])


def test_a_run_without_a_comparison_has_no_such_section(make_run: Make) -> None:
    folder = make_run("table")
    assert read_run(folder).comparison == {}
    assert 'id="comparison"' not in render(folder).read_text(encoding="utf-8")
