"""The course's pages: their Python runs and draws what they show, and both languages hold the same code."""

import re
import shlex
from pathlib import Path

import draw
import pytest
from typer.testing import CliRunner

from lockstep.cli.app import app

PAGES = draw.pages()
NAMES = [page.stem for page in PAGES]
COMMAND = re.compile(r"`(lockstep [^`]+)`")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_runs_and_draws_the_pictures_that_it_shows(page: Path, tmp_path: Path) -> None:
    assert draw.blocks(page)
    assert draw.pictures(page)
    draw.run(page, tmp_path)
    for name in draw.pictures(page):
        assert (tmp_path / name).stat().st_size > 1000, name
        assert (draw.COURSE / "pictures" / name).exists(), f"python docs/course/draw.py {page.stem[:2]}"


@pytest.mark.parametrize("command", sorted({c for page in PAGES for c in COMMAND.findall(page.read_text())}))
def test_a_command_of_the_course_is_understood(command: str) -> None:
    """What a page fits, ``plan`` says what it would do: settings, data and recipe are checked, nothing is trained."""
    verb, *arguments = shlex.split(command)[1:]
    assert verb == "fit"
    told = CliRunner().invoke(app, ["plan", *arguments])
    assert told.exit_code == 0, told.output


def test_every_page_ends_with_what_to_conclude_and_how_lockstep_does_it() -> None:
    for page in PAGES:
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings[0] == "What the text says"
        assert headings[-2:] == ["What to conclude", "In Lockstep"], page.name


def test_no_picture_is_kept_that_no_page_shows() -> None:
    shown = {name for page in PAGES for name in draw.pictures(page)}
    assert {path.name for path in (draw.COURSE / "pictures").iterdir()} == shown
