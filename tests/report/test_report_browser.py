"""Reports opened in headless Chromium: every chart drawn, nothing on the console, nothing asked of the network."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
