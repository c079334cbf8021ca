"""Named arrays as safetensors: read by offset, so that loading never runs code; known by their SHA-256."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lockstep.errors import RunError
from lockstep.runs.files import read_bytes, write_bytes

Arrays = dict[str, NDArray[Any]]


def to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    data: bytes = save({name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()})
    return data


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write ``arrays`` by name, whole or not at all, and return the file's SHA-256."""
    return write_bytes(path, to_bytes(arrays))


def read_arrays(path: Path, sha256: str | None = None) -> Arrays:
    """The arrays in ``path``, refused where a ``sha256`` was kept and the file is not to the byte that one."""
    data = read_bytes(path)
    check_unchanged(path, data, sha256)
    try:
        arrays: Arrays = load(data)
    except SafetensorError as error:
        raise RunError(
            f"{path} is not a whole safetensors file: {error}. Copy the run again, or train again."
        ) from None
    return arrays


def check_unchanged(path: Path, data: bytes, sha256: str | None) -> None:
    """Raise ``RunError`` where a hash was kept and ``data`` has another."""
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise RunError(
            f"{path} must be the file that was written (SHA-256 {sha256[:12]}…), however: it was changed or cut short "
            f"(SHA-256 {found[:12]}…, {len(data):,} bytes). Copy the run again, or train again."
        )
