"""Files that are there whole or not at all: written beside their place, flushed to the disk, then renamed into it."""

import contextlib
import errno
import hashlib
import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

from lockstep.errors import RunError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_counter = itertools.count()


def explain_write(path: Path, error: OSError) -> RunError:
    """The error of a failed write as the rule, what was met and the remedy."""
    if error.errno in _FULL:
        return RunError(
            f"The disk must have room for {path}, however: {_reason(error)}. "
            "Free some space, or choose another with --out."
        )
    if error.errno in _FORBIDDEN:
        return RunError(
            f"{path.parent} must be writable, however: {_reason(error)}. "
            "Change its permissions, or choose another folder with --out."
        )
    return RunError(f"{path} could not be written: {_reason(error)}. Choose another place with --out.")


def explain_read(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} could not be read: {_reason(error)}.")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def temporary(path: Path) -> Path:
    """A name beside ``path`` that no other write uses; recognised and swept up by ``is_temporary``."""
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_counter)}.tmp")


def is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def write_bytes(path: Path, data: bytes) -> str:
    """Write ``data`` to ``path`` so that a kill, a full disk or an error leaves the old file or the new, never half.

    Returns its SHA-256. Raises ``RunError`` where the disk is full or the folder cannot be written to.
    """
    temp = temporary(path)
    try:
        write_new(temp, data)
        os.replace(temp, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain_write(path, error) from error
        raise
    return hashlib.sha256(data).hexdigest()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that nobody looks at yet, down to the disk."""
    # os.open and not tempfile, whose files only their owner may read: a run can be shared as the umask says.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make a rename in ``path`` outlast a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def to_json(value: Any) -> str:
    """``value`` as JSON text. Numpy's numbers and arrays become plain; NaN and infinity, which JSON lacks, null."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)


def write_json(path: Path, value: Any) -> str:
    return write_bytes(path, to_json(value).encode())


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"The run is incomplete: {path} is missing. Copy the whole folder again, or train again."
        ) from None
    except OSError as error:
        raise explain_read(path, error) from error


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise _damaged(path, "it is not UTF-8 text") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; ``RunError`` where it is missing or damaged."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise _damaged(path, f"it is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise _damaged(path, f"it holds {type(value).__name__} and not an object")
    return value


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"The run is damaged: {path} cannot be read, {why}. Copy the folder again, or train again.")
