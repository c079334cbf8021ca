"""The run folder: everything a training left behind, as files that are whole at every moment."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.errors import RunError, SpecError
from lockstep.runs import checkpoint
from lockstep.runs.checkpoint import Checkpoint
from lockstep.runs.files import explain_write, is_temporary, read_bytes, read_json, write_bytes, write_json
from lockstep.runs.weights import Arrays, check_unchanged, read_arrays, write_arrays
from lockstep.spec import FitSpec, read_settings

SCHEMA_VERSION = 1
STATUSES = ("training", "finished", "interrupted")
FILES = (
    "rows.safetensors", "spec.toml", "schema.json", "history.parquet", "metrics.json", "analysis.json",
    "comparison.json", "report.html",
)  # fmt: skip
NEXT = ".next"
FOLDERS = ("members", "checkpoint", NEXT)


@dataclass(frozen=True)
class RunFolder:
    """A run's files by name. It holds no state but the path: what is read is what the disk has at that moment.

    While a training goes on, the manifest's status is ``training`` and the weights are in the last checkpoint;
    ``finish`` puts them into ``members/`` and then, last of all, says so in the manifest.
    """

    path: Path

    # -- what is written ----------------------------------------------------------------------------------------

    def begin(
        self,
        spec: FitSpec,
        schema_json: str,
        trained_on: NDArray[np.uint64],
        manifest: Mapping[str, Any],
        first: Callable[["RunFolder"], None],
    ) -> None:
        """Make this the folder of a new training. ``first`` writes its first checkpoint.

        All of it is written beside a run that is here already, which goes only then: a full disk leaves the old one.
        """
        new = RunFolder(self.path / NEXT)
        try:
            shutil.rmtree(new.path, ignore_errors=True)
            try:
                new.path.mkdir()
            except OSError as error:
                raise explain_write(new.path, error) from error
            files = {
                "spec.toml": write_bytes(new.path / "spec.toml", spec.to_toml().encode()),
                "schema.json": write_bytes(new.path / "schema.json", schema_json.encode()),
                "rows.safetensors": write_arrays(new.path / "rows.safetensors", {"hashes": trained_on}),
            }
            new.write_manifest(dict(manifest) | {"status": "training", "files": files})
            first(new)
            delete_run_files(self.path, keep=NEXT)
            for path in sorted(new.path.iterdir(), key=lambda path: path.name == "manifest.json"):
                os.replace(path, self.path / path.name)
        finally:
            shutil.rmtree(new.path, ignore_errors=True)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest. ``schema_version``, ``lockstep`` and ``created`` are put in where they are not."""
        head = {"schema_version": SCHEMA_VERSION, "lockstep": version("lockstep-nn"), "created": now()}
        write_json(self.path / "manifest.json", head | dict(manifest))

    def write_history(self, history: pl.DataFrame) -> None:
        write_bytes(self.path / "history.parquet", checkpoint.frame_bytes(history))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_json(self.path / "metrics.json", metrics)

    def write_analysis(self, analysis: Mapping[str, Any]) -> None:
        write_json(self.path / "analysis.json", analysis)

    def write_comparison(self, comparison: Mapping[str, Any]) -> None:
        write_json(self.path / "comparison.json", comparison)

    def write_checkpoint(
        self,
        epoch: int,
        arrays: Mapping[str, NDArray[Any]],
        progress: Mapping[str, Any],
        history: pl.DataFrame | None = None,
    ) -> None:
        """Put a complete state in place of the last one, as one unit: after a kill the folder has one of the two.

        ``arrays`` and ``progress`` (JSON) are the job's own; ``read_checkpoint`` gives them back as they are. Each
        call waits for the disk, so take one every few seconds and not after every epoch of a fast run.
        """
        checkpoint.write_checkpoint(self.path / "checkpoint", epoch, arrays, progress, history)

    def finish(self, manifest: Mapping[str, Any], weights: Mapping[int, Mapping[str, NDArray[Any]]]) -> None:
        """End a training: each member's ``weights``, then the manifest with their SHA-256, then no checkpoint.

        Write history, metrics and analysis before. ``manifest["status"]`` is ``finished`` or ``interrupted``.
        """
        assert manifest["status"] in ("finished", "interrupted"), manifest["status"]
        try:
            (self.path / "members").mkdir(exist_ok=True)
        except OSError as error:
            raise explain_write(self.path / "members", error) from error
        files = {
            _member(member): write_arrays(self.path / _member(member), arrays) for member, arrays in weights.items()
        }
        self.write_manifest(dict(manifest) | {"files": self.manifest()["files"] | files})
        shutil.rmtree(self.path / "checkpoint", ignore_errors=True)

    # -- what is read -------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        return _read_manifest(self.path)

    def spec(self) -> FitSpec:
        """What was trained; the same file runs again with ``lockstep fit --spec``."""
        path = self.path / "spec.toml"
        self._unchanged("spec.toml")
        try:
            return FitSpec.parse(read_settings(path))
        except SpecError as error:
            raise RunError(f"The run is damaged: {path} is not a spec of this version. {error}") from None

    def schema_json(self) -> str:
        """The data as it was understood, for ``Schema.model_validate_json``."""
        return self._unchanged("schema.json").decode()

    def trained_on(self) -> NDArray[np.uint64]:
        """The hashes of the rows that the run trained or stopped on."""
        return read_arrays(self.path / "rows.safetensors", self.manifest()["files"].get("rows.safetensors"))["hashes"]

    def _unchanged(self, name: str) -> bytes:
        """A file that the weights mean nothing without, refused unless it is to the byte the one that was written."""
        data = read_bytes(self.path / name)
        check_unchanged(self.path / name, data, self.manifest()["files"].get(name))
        return data

    def metrics(self) -> dict[str, Any]:
        return read_json(self.path / "metrics.json")

    def analysis(self) -> dict[str, Any]:
        return read_json(self.path / "analysis.json")

    def comparison(self) -> dict[str, Any]:
        return read_json(self.path / "comparison.json")

    def history(self) -> pl.DataFrame:
        """The history; of a run that was cut off, up to its last checkpoint."""
        path = self.path / "history.parquet"
        if not path.exists() and not self.complete and (saved := self.read_checkpoint().history) is not None:
            return saved
        return checkpoint.read_frame(path)

    def members(self) -> list[int]:
        """The members whose weights are in ``members/``, in order; none while the training goes on."""
        return sorted(int(Path(name).stem) for name in self.manifest().get("files", {}) if Path(name).stem.isdigit())

    def weights(self, member: int) -> Arrays:
        """A member's parameters and buffers by name. A file that is not to the byte the one written is refused."""
        files = self.manifest().get("files", {})
        name = _member(member)
        if name not in files:
            raise RunError(f"There is no member {member} in {self.path}. It has: {_ranges(self.members())}.")
        return read_arrays(self.path / name, files[name])

    def read_checkpoint(self) -> Checkpoint:
        """The last complete state of a run that has not ended."""
        return checkpoint.read_checkpoint(self.path / "checkpoint")

    # -- how far it got -----------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """``training`` (still going, or cut off), ``finished``, or ``interrupted`` (ended early by its user)."""
        return str(self.manifest()["status"])

    @property
    def complete(self) -> bool:
        return self.status != "training"

    @property
    def epochs_done(self) -> int:
        """How many epochs the weights that can be loaded have had at most; 0 where there are none."""
        manifest = self.manifest()
        if manifest["status"] != "training":
            return int(manifest.get("epochs_done") or 0)
        newest = checkpoint.newest_checkpoint(self.path / "checkpoint")
        return newest[0] if newest else 0

    def progress(self) -> str:
        """How far the run got, in a sentence."""
        manifest = self.manifest()
        count = f"{self.epochs_done} of {manifest.get('epochs', '?')} epochs"
        match manifest["status"]:
            case "finished":
                return f"Finished after {count}."
            case "interrupted":
                return f"Interrupted by its user after {count}; the best weights up to there were kept."
        if self.epochs_done == 0:
            return f"Not finished, {count}: no complete state was kept yet."
        return f"Not finished, {count}: still training, or cut off. The last complete state is used."


def delete_run_files(path: Path, keep: str | None = None) -> None:
    """Delete what a run is made of and nothing else; the manifest last, so that it stays a run if this is cut short."""
    try:
        for name in FOLDERS:
            if name != keep and (path / name).is_dir():
                shutil.rmtree(path / name)
        for name in (*FILES, *(left.name for left in path.iterdir() if is_temporary(left)), "manifest.json"):
            (path / name).unlink(missing_ok=True)
    except OSError as error:
        raise explain_write(path / (error.filename or "manifest.json"), error) from error


def is_run(path: str | Path) -> bool:
    """Whether the folder holds a run: a manifest of ours, not just any ``manifest.json``."""
    try:
        manifest = read_json(Path(path) / "manifest.json")
    except RunError:
        return False
    return "schema_version" in manifest and "lockstep" in manifest


def open_run(path: str | Path) -> RunFolder:
    """The run at ``path``, checked: nothing of it is missing, and there are weights to load.

    A training that was cut off opens if it has a complete checkpoint (``RunFolder.progress`` says how far it got).
    Weight files are checked to the byte when they are read. Raises ``RunError`` that says what is missing or damaged.
    """
    folder = RunFolder(Path(path))
    manifest = folder.manifest()
    needed = dict.fromkeys(["spec.toml", "schema.json", *manifest.get("files", {})])
    missing = [name for name in needed if not (folder.path / name).is_file()]
    if missing:
        raise RunError(
            f"The run at {folder.path} is incomplete: {_some(missing)} missing. "
            "Copy the whole folder again, or train again."
        )
    if manifest["status"] == "training" and folder.epochs_done == 0:
        raise RunError(
            f"The run at {folder.path} has nothing to load yet: it is still before its first checkpoint, or was cut "
            f"off there (0 of {manifest.get('epochs', '?')} epochs). Train again with --overwrite."
        )
    return folder


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise RunError(f"There is no run at {path}. See which there are: lockstep runs.")
    if not (path / "manifest.json").is_file():
        raise RunError(f"{path} is not a run: it has no manifest.json. See which there are: lockstep runs.")
    manifest = read_json(path / "manifest.json")
    found = manifest.get("schema_version")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise RunError(
            f"The run at {path} must have a schema version up to {SCHEMA_VERSION}, however: {found}, written by "
            f"lockstep {manifest.get('lockstep', '?')}. Update lockstep: pip install -U lockstep-nn."
        )
    if (
        not isinstance(found, int)
        or manifest.get("status") not in STATUSES
        or not isinstance(manifest.get("files", {}), dict)
    ):
        raise RunError(
            f"{path} is not a run, or its manifest.json is damaged: it lacks a schema version or a status "
            f"({', '.join(STATUSES)}). Copy the folder again, or train again."
        )
    return manifest


def now() -> str:
    """This moment as ISO 8601 with the zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _member(member: int) -> str:
    return f"members/{member:04d}.safetensors"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"


def _ranges(members: Iterable[int]) -> str:
    numbers = list(members)
    if not numbers:
        return "none, its training has not ended"
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
