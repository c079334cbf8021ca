"""What takes long to make and comes out the same in every run, kept for the next one."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/lockstep``, or in ``~/.cache``; it may not be there yet. Raises ``OSError`` without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstep"
    except RuntimeError as error:
        raise OSError(str(error)) from None


def writable(folder: Path) -> Path:
    """``folder``, made if it was not there. Raises ``OSError`` where nothing can be written in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, probe = tempfile.mkstemp(dir=folder)
    os.close(handle)
    os.unlink(probe)
    return folder


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """What ``make`` returns, from the file ``name`` of an earlier run where it is there and whole.

    ``name`` must name all that the result depends on. Where nothing can be kept it is made anew every time.
    """
    with contextlib.suppress(OSError):
        held = (cache_folder() / name).read_bytes()
        if hashlib.sha256(held[_DIGEST:]).digest() == held[:_DIGEST]:
            return held[_DIGEST:]
    made = make()
    with contextlib.suppress(OSError):
        keep(writable(cache_folder()) / name, hashlib.sha256(made).digest() + made)
    return made


def keep(path: Path, data: bytes) -> None:
    """Write ``path`` as a whole or not at all: another process may be doing the same."""
    handle, unfinished = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
