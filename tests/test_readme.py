"""The examples of the README and of the pages in ``docs``: a page's ``python`` blocks run in order in one namespace,
the README's ``bash`` blocks line by line."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_breast_cancer

README = Path(__file__).parents[1] / "README.md"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # networks this small lose by more, tenfold where the cores are busy


def found(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page, as (language, code)."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


BLOCKS = found(README)
DOCS = [page for page in sorted((README.parent / "docs").glob("*.md")) if "python" in dict(found(page))]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the two files that the README speaks of."""
    path = tmp_path_factory.mktemp("readme")
    columns = load_breast_cancer(as_frame=True)
    table = columns.data.iloc[:, :8].assign(outcome=columns.target_names[columns.target])
    table.iloc[:400].to_csv(path / "patients.csv", index=False)
    table.iloc[400:].to_csv(path / "new_patients.csv", index=False)
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(path)
    torch.set_num_threads(1)
    yield path
    torch.set_num_threads(threads)
    os.chdir(before)


def blocks(language: str) -> list[str]:
    return [code for name, code in BLOCKS if name == language]


@pytest.mark.parametrize("line", [line for code in blocks("bash") for line in code.splitlines()])
def test_a_command_of_the_readme_works(line: str, folder: Path) -> None:
    program, *arguments = shlex.split(line)
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    one_thread = os.environ | {
        "OMP_NUM_THREADS": "1"
    }  # tables this small only lose by two, most of all on a busy machine
    done = subprocess.run(command, cwd=folder, env=one_thread, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_the_readme_s_python_works() -> None:
    namespace: dict[str, object] = {"__name__": "readme"}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), namespace)
    assert len(blocks("python")) >= 2


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_the_python_of_a_page_of_the_docs_works(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "docs"}
    for language, code in found(page):
        if language == "python":
            exec(compile(code, page.name, "exec"), namespace)


def test_every_block_of_the_readme_is_of_a_kind_that_is_either_run_or_a_set_up() -> None:
    assert {name for name, _ in BLOCKS} <= {"bash", "python", "sh"}
    assert all(line.startswith("lockstep ") for code in blocks("bash") for line in code.splitlines())
    assert all(re.match(r"git clone|make ", line) for code in blocks("sh") for line in code.splitlines())
