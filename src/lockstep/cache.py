"""What takes long to make and comes out the same in every run, kept for the next one."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
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
    with contextlib.suppress(OSError), whole(cache_folder() / name) as unfinished:
        unfinished.write_bytes(hashlib.sha256(made).digest() + made)
    return made


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to fill that becomes ``path`` when all went well, and is gone otherwise: another process may be making
    the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
