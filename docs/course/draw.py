"""Run the pages of the course and keep the pictures that they draw: ``python docs/course/draw.py [06 …]``.

A page's ``python`` blocks run in order in one namespace, in an empty folder, and must draw every picture that the page
shows. ``tests/test_course.py`` does the same, so a page that no longer runs is noticed.
"""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import matplotlib
import matplotlib.pyplot as plt
import torch

COURSE = Path(__file__).parent
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\(\.\./pictures/([^)]+)\)")


def pages(language: str = "en") -> list[Path]:
    return sorted((COURSE / language).glob("*.md"))


def blocks(page: Path) -> list[str]:
    """The page's Python, each block behind as many empty lines as it stands below the top: errors name the page's."""
    text = page.read_text(encoding="utf-8")
    return ["\n" * text.count("\n", 0, found.start(1)) + found.group(1) for found in BLOCK.finditer(text)]


def pictures(page: Path) -> list[str]:
    """The file names of the pictures that the page shows, in order."""
    return PICTURE.findall(page.read_text(encoding="utf-8"))


def run(page: Path, folder: Path) -> None:
    """Run the page's blocks in ``folder``, on one thread and without a screen."""
    with setting(folder):
        namespace: dict[str, object] = {"__name__": page.stem}
        for code in blocks(page):
            exec(compile(code, str(page), "exec"), namespace)


@contextmanager
def setting(folder: Path) -> Iterator[None]:
    """What a page finds: its folder, matplotlib without a screen and in the course's style, one thread."""
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(folder)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    matplotlib.use("Agg")
    undated = mock.patch.dict(os.environ, {"SOURCE_DATE_EPOCH": "0"})  # the same picture is the same file
    try:
        with plt.rc_context(), undated:
            plt.style.use(COURSE / "course.mplstyle")
            yield
    finally:
        plt.close("all")
        torch.set_num_threads(threads)
        os.chdir(before)


def main(wanted: list[str]) -> None:
    for page in pages():
        if wanted and page.stem[:2] not in wanted:
            continue
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            run(page, Path(folder))
            for name in pictures(page):
                shutil.copy(Path(folder) / name, COURSE / "pictures" / name)
        print(f"{page.stem}: {time.process_time() - began:.1f} s of processor time, {', '.join(pictures(page))}")


if __name__ == "__main__":
    main(sys.argv[1:])
