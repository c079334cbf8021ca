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


def commands(page: Path) -> list[str]:
    """The whole commands that the page's prose names, in order."""
    return re.findall(r"`(lockstep [^`]+)`", page.read_text(encoding="utf-8"))


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_runs_and_draws_the_pictures_that_it_shows(page: Path, tmp_path: Path) -> None:
    assert draw.blocks(page)
    assert draw.pictures(page)
    draw.run(page, tmp_path)
    for name in draw.pictures(page):
        assert (tmp_path / name).stat().st_size > 1000, name
        assert (draw.COURSE / "pictures" / name).exists(), f"python docs/course/draw.py {page.stem[:2]}"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_course_is_understood(command: str, tmp_path: Path) -> None:
    """Of what a page fits, ``plan`` says what it would do, without training; what it compares is compared briefly."""
    verb, *arguments = shlex.split(command)[1:]
    match verb:
        case "fit":
            told = CliRunner().invoke(app, ["plan", *arguments])
        case "compare":
            brief = ["--epochs", "1", "--folds", "2", "--set", "model.hidden=8", "--out", str(tmp_path / "run")]
            told = CliRunner().invoke(app, ["compare", *arguments, *brief])
        case _:
            raise AssertionError(f"a verb that this test does not know: {verb}")
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("language", "first", "last"),
    [
        ("en", "What the text says", ["What to conclude", "In Lockstep"]),
        ("ko", "교재의 설명", ["결론", "Lockstep에서"]),
    ],
)
def test_every_page_goes_from_the_text_to_what_to_conclude(language: str, first: str, last: list[str]) -> None:
    for page in draw.pages(language):
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings[0] == first, page
        assert headings[-2:] == last, page


def test_both_languages_hold_the_same_pages_code_pictures_and_commands() -> None:
    """So the code runs once, as the English pages' own."""
    korean = draw.pages("ko")
    assert [page.name for page in korean] == [page.name for page in PAGES]
    for english, other in zip(PAGES, korean, strict=True):
        assert [code.strip() for code in draw.blocks(other)] == [code.strip() for code in draw.blocks(english)], other
        assert draw.pictures(other) == draw.pictures(english), other
        assert commands(other) == commands(english), other


def test_the_index_names_every_page_of_both_languages() -> None:
    index = (draw.COURSE / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\((\w\w/[\w-]+\.md)\)", index)
    assert sorted(linked) == sorted(f"{page.parent.name}/{page.name}" for page in [*PAGES, *draw.pages("ko")])


def test_no_picture_is_kept_that_no_page_shows() -> None:
    shown = {name for page in PAGES for name in draw.pictures(page)}
    assert {path.name for path in (draw.COURSE / "pictures").iterdir()} == shown
