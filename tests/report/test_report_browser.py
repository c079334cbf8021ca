"""Reports opened in headless Chromium: every chart drawn, nothing on the console, nothing asked of the network."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lockstep.report import render

pytestmark = pytest.mark.browser
Browse = Callable[..., Any]


def test_every_chart_is_drawn_and_the_console_stays_empty(any_run: Path, browse: Browse) -> None:
    page = render(any_run)
    wanted = page.read_text(encoding="utf-8").count('data-chart="')
    opened = browse(page)
    assert opened.console == ()
    assert 'data-charts="drawn"' in opened.dom
    assert len(re.findall(r'data-drawn="yes"', opened.dom)) == wanted
    assert len(re.findall(r'<svg[^>]* class="marks"', opened.dom)) == wanted


def test_the_page_draws_in_the_dark_too(make_run: Callable[[str], Path], browse: Browse) -> None:
    opened = browse(render(make_run("compare")), "--blink-settings=preferredColorScheme=0")
    assert opened.console == ()
    assert 'class="dark"' in opened.dom


def probe(page: Path, script: str) -> Path:
    """A copy of the page that runs a script of the test once its charts are drawn."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    waiting = f"""
      const waiting = setInterval(() => {{
        if (document.documentElement.dataset.charts !== "drawn") return;
        clearInterval(waiting);
        {script}
      }}, 50);"""
    copy = page.with_name("probe.html")
    whole, end, _ = text.rpartition("</body>")  # the last: the charting library has one in a string
    copy.write_text(f"{whole}<script>{waiting}</script>{end}", encoding="utf-8")
    return copy


def test_the_button_switches_the_theme_and_draws_the_charts_again(
    make_run: Callable[[str], Path], browse: Browse
) -> None:
    page = render(make_run("images"))
    click = 'document.getElementById("theme").click();'
    opened = browse(probe(page, f"{click}{click}{click}"))
    assert opened.console == ()
    assert re.search(r'<html[^>]*data-theme="dark"', opened.dom)
    assert 'data-charts="drawn"' in opened.dom
    assert len(re.findall(r'<svg[^>]* class="marks"', opened.dom)) == opened.dom.count('data-chart="')
    assert "rgb(134, 170, 255)" in opened.dom  # the dark theme's colour of the model, in a chart


@pytest.mark.parametrize(
    ("kind", "chart", "x", "y", "told"),
    [("table", "loss", 0.5, 0.5, "networks training"), ("table", "importance", 0.5, 0.1, "column")],
)
def test_charts_tell_their_values_under_the_pointer(
    kind: str, chart: str, x: float, y: float, told: str, make_run: Callable[[str], Path], browse: Browse
) -> None:
    hover = f"""
      const svg = document.querySelector("[data-chart={chart}] svg"), box = svg.getBoundingClientRect();
      const at = {{clientX: box.left + box.width * {x}, clientY: box.top + box.height * {y}, bubbles: true}};
      const under = document.elementFromPoint(at.clientX, at.clientY);
      for (const event of ["pointerover", "mouseover", "pointermove"]) under.dispatchEvent(new PointerEvent(event, at));
    """
    opened = browse(probe(render(make_run(kind)), hover), "--window-size=1280,7000")
    found = re.search(r'id="vg-tooltip-element" class="[^"]*visible[^"]*"[^>]*>(.*?)</div>', opened.dom)
    assert found is not None
    assert told in found[1]
    assert "undefined" not in found[1]


@pytest.mark.parametrize("kind", ["table", "images", "compare", "hostile"])
def test_a_phone_never_scrolls_sideways(kind: str, make_run: Callable[[str], Path], browse: Browse) -> None:
    # A window has at least 500 px, so a frame of 390 px stands for the phone.
    tell = "const root = document.documentElement; parent.postMessage([innerWidth, root.scrollWidth], '*');"
    page = probe(render(make_run(kind)), tell)
    phone = page.with_name("phone.html")
    phone.write_text(
        f"""<script>onmessage = (told) => {{ document.body.dataset.widths = told.data.join(" "); }};</script>
        <body><iframe src="{page.name}" style="width: 390px; height: 844px; border: 0"></iframe></body>"""
    )
    assert 'data-widths="390 390"' in browse(phone, "--hide-scrollbars").dom


@pytest.mark.parametrize(
    "smuggled",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '<img src="http://192.0.2.1/a.png">',
        '<link rel="stylesheet" href="http://192.0.2.1/a.css">',
    ],
)
def test_what_slips_past_the_escaping_is_refused_and_would_be_noticed(
    smuggled: str, make_run: Callable[[str], Path], browse: Browse
) -> None:
    page = render(make_run("bare"))
    page.write_text(page.read_text(encoding="utf-8").replace("<footer>", f"{smuggled}<footer>"), encoding="utf-8")
    opened = browse(page)
    assert any("Content Security Policy" in line for line in opened.console)


@pytest.mark.parametrize("width", [1280, 700])
@pytest.mark.parametrize("kind", ["table", "compare"])
def test_the_scores_are_seen_whole(kind: str, width: int, make_run: Callable[[str], Path], browse: Browse) -> None:
    tell = """
      const box = document.querySelector("[aria-label=Scores]");
      const cut = [...box.querySelectorAll("th, td")].filter((cell) => cell.scrollWidth > cell.clientWidth + 1).length;
      document.body.dataset.scores = `${box.scrollWidth - box.clientWidth} over, ${cut} cut`;
    """
    opened = browse(probe(render(make_run(kind)), tell), f"--window-size={width},3000")
    assert 'data-scores="0 over, 0 cut"' in opened.dom


@pytest.mark.parametrize("kind", ["images", "compare"])
def test_a_single_epoch_is_drawn_as_points(kind: str, make_run: Callable[[str], Path], browse: Browse) -> None:
    folder = make_run(kind)
    history = pl.read_parquet(folder / "history.parquet").filter(pl.col("epoch") == 1)
    history.write_parquet(folder / "history.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    for member in manifest["population"]["members"]:
        member["best_epoch"] = 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    count = """
      const seen = (mark) => Number(getComputedStyle(mark).opacity) > 0.1 && mark.getBoundingClientRect().width > 3;
      const counts = ["loss", "metric", "schedule", "gradient"].map((name) =>
        [...document.querySelectorAll(`[data-chart=${name}] .role-mark.mark-symbol path`)].filter(seen).length);
      document.body.dataset.points = counts.join(" ");
    """
    opened = browse(probe(render(folder), count), "--window-size=1280,7000")
    found = re.search(r'data-points="(.*?)"', opened.dom)
    assert found is not None
    loss, metric, schedule, gradient = map(int, found[1].split())
    best = history["member"].n_unique()  # dots that mark best epochs are drawn anyway
    assert loss > best
    assert metric > best
    assert schedule > 0
    assert gradient > 0
    assert opened.console == ()
