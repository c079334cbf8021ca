"""Where a new run goes, and what has to give way for it."""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lockstep.errors import RunError
from lockstep.runs.files import explain_write
from lockstep.runs.folder import RunFolder, delete_run_files, is_run


def create(path: str | Path, *, overwrite: bool = False) -> RunFolder:
    """Make an empty run folder.

    A folder that exists is an error; with ``overwrite`` it is taken if it is empty or a run, and of a run only the
    files that a run is made of are deleted. Raises ``RunError``.
    """
    path = Path(path)
    try:
        if path.exists() or path.is_symlink():
            _clear(path, overwrite)
            return RunFolder(path)
        path.mkdir(parents=True)
    except OSError as error:
        raise explain_write(path, error) from error
    return RunFolder(path)


def _clear(path: Path, overwrite: bool) -> None:
    if not path.is_dir():
        raise RunError(f"A run is a folder, however {path} is a file. Choose another place with --out.")
    empty = not any(path.iterdir())
    if not overwrite:
        what = "an empty folder" if empty else "a run" if is_run(path) else "a folder with other files"
        remedy = (
            "Choose another with --out." if what.endswith("files") else "Add --overwrite, or choose another with --out."
        )
        raise RunError(f"The run folder must not exist yet, however {path} is {what}. {remedy}")
    if not empty and not is_run(path):
        raise RunError(
            f"--overwrite replaces only a run or an empty folder, however {path} holds other files and no manifest "
            "of a run. Choose another with --out."
        )
    with claimed(path):
        delete_run_files(path)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keep the run folder ``path`` to this training: two that write into one would report each other's scores.

    The lock is the system's own, on the folder itself, so a kill frees it and no file stays behind. A system without
    such locks goes without. Raises ``RunError`` if another training has it.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover  (Windows)
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise explain_write(path, error) from error
    try:
        with contextlib.suppress(OSError):  # a file system that cannot lock a folder
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"A run folder belongs to one training at a time, however another is writing {path} now. "
                    "Wait for it, or choose another with --out."
                ) from None
        yield
    finally:
        os.close(descriptor)


def default_folder(origin: str, root: str | Path = "runs") -> Path:
    """``runs/<stem>-<YYYYmmdd-HHMMSS>`` for data that came from ``origin``, with a number behind where that exists."""
    name = re.split(r"[/\\:]", origin.rstrip("/\\:"))[-1]
    stem = re.sub(r"[^\w-]+", "-", name.removesuffix(".gz").rsplit(".", 1)[0]).strip("-") or "run"
    base = Path(root) / f"{stem[:60]}-{datetime.now():%Y%m%d-%H%M%S}"
    path, again = base, 1
    while path.exists():
        again += 1
        path = base.with_name(f"{base.name}-{again}")
    return path
