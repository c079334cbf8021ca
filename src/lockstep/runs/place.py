"""Where a new run goes, and what has to give way for it."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lockstep.errors import RunError
from lockstep.runs.files import explain_write
from lockstep.runs.folder import RunFolder, is_run


@contextlib.contextmanager
def reserved(path: str | Path, *, overwrite: bool = False) -> Iterator[RunFolder]:
    """The folder of a new run, kept to this training while it lasts. ``RunFolder.begin`` makes the run.

    A run that is there already stays whole until then; a folder that was made for nothing is removed. What
    ``check_place`` refuses is refused.
    """
    path = Path(path)
    check_place(path, overwrite=overwrite)
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(path / "manifest.json"))
    except OSError as error:
        raise explain_write(path / "manifest.json" if path.exists() else path, error) from error
    with claimed(path):
        try:
            yield RunFolder(path)
        finally:
            if made:
                with contextlib.suppress(OSError):  # it is not empty: a run has begun
                    path.rmdir()


def check_place(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise ``RunError`` unless a run can go to ``path``: nothing is there, or with ``overwrite`` a run or no file.

    Somebody else's files are never in question.
    """
    path = Path(path)
    try:
        if not (path.exists() or path.is_symlink()):
            return
        if not path.is_dir():
            raise RunError(f"A run is a folder, however {path} is a file. Choose another place with --out.")
        empty = not any(path.iterdir())
    except OSError as error:
        raise explain_write(path, error) from error
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
