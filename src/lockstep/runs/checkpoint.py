"""The state of a training that still goes on: one folder per checkpoint, complete as soon as it has its name.

``checkpoint/000007-epoch-000012/`` (the seventh, after epoch 12) holds ``state.safetensors``, ``progress.json`` and
``history.parquet``. It is written under another name and then renamed, which is atomic; only then is the one before it
deleted. So the newest is always whole.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from numpy.typing import NDArray

from lockstep.errors import RunError
from lockstep.runs.files import (
    explain_write,
    is_temporary,
    read_bytes,
    read_json,
    sync_folder,
    temporary,
    to_json,
    write_new,
)
from lockstep.runs.weights import Arrays, read_arrays, to_bytes

_NAME = re.compile(r"(\d+)-epoch-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A complete state: the ``epoch`` it was taken after, its arrays by name, the job's notes, the history so far."""

    epoch: int
    arrays: Arrays
    progress: dict[str, Any]
    history: pl.DataFrame | None


def write_checkpoint(
    folder: Path,
    epoch: int,
    arrays: Mapping[str, NDArray[Any]],
    progress: Mapping[str, Any],
    history: pl.DataFrame | None = None,
) -> Path:
    """Put a complete state into ``folder`` in place of the last one; a kill at any moment leaves one of the two."""
    number = max((number for number, _, _ in _complete(folder)), default=0) + 1
    target = folder / f"{number:06d}-epoch-{epoch:06d}"
    temp = temporary(target)
    try:
        temp.mkdir(parents=True)
        state = to_bytes(arrays)
        write_new(temp / "state.safetensors", state)
        if history is not None:
            write_new(temp / "history.parquet", frame_bytes(history))
        note = {"epoch": epoch, "sha256": hashlib.sha256(state).hexdigest(), "progress": dict(progress)}
        write_new(temp / "progress.json", to_json(note).encode())
        sync_folder(temp)
        os.rename(temp, target)
        sync_folder(folder)
    except BaseException as error:
        shutil.rmtree(temp, ignore_errors=True)
        if isinstance(error, OSError):
            raise explain_write(target, error) from error
        raise
    _sweep(folder, keep=target)
    return target


def newest_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """The epoch and the folder of the last complete state, None where there is none."""
    found = _complete(folder)
    return (found[-1][1], found[-1][2]) if found else None


def read_checkpoint(folder: Path) -> Checkpoint:
    """The last complete state in ``folder``; ``RunError`` where there is none or it is damaged."""
    for _ in range(10):
        newest = newest_checkpoint(folder)
        if newest is None:
            break
        try:
            return _read(newest[1])
        except RunError:
            # A run that is still going may have put a newer state in this one's place meanwhile: look again.
            if newest[1].exists():
                raise
    raise RunError(f"There is no complete checkpoint in {folder}: the run was cut off before its first. Train again.")


def _read(path: Path) -> Checkpoint:
    note = read_json(path / "progress.json")
    arrays = read_arrays(path / "state.safetensors", str(note.get("sha256")))
    history = path / "history.parquet"
    return Checkpoint(
        epoch=int(note["epoch"]),
        arrays=arrays,
        progress=note["progress"],
        history=read_frame(history) if history.exists() else None,
    )


def frame_bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def read_frame(path: Path) -> pl.DataFrame:
    data = read_bytes(path)
    try:
        return pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"The run is damaged: {path} is not a whole parquet file ({reason}). Copy it again.") from None


def _complete(folder: Path) -> list[tuple[int, int, Path]]:
    """The complete states in ``folder`` as (number, epoch, path), oldest first.

    The number and not the epoch orders them, for a second stack of a population starts at epoch 1 again.
    """
    if not folder.is_dir():
        return []
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), int(match[2]), path) for match, path in matches if match)


def _sweep(folder: Path, keep: Path) -> None:
    """Delete the older states and what earlier writes left. Nothing is lost if a kill leaves this half done."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path != keep and (_NAME.fullmatch(path.name) or is_temporary(path)):
                shutil.rmtree(path, ignore_errors=True)
