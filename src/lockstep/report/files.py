"""What a run folder holds, read once and tolerantly: a report must come out of a run that was cut off, too."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from lockstep.errors import RunError
from lockstep.findings import Finding

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """A run folder's files. A piece that is absent (the run has not come that far) is empty or None.

    ``history`` is long: a row per member and epoch, sorted by both. ``damaged`` tells of pieces that exist and cannot
    be read.
    """

    folder: Path
    manifest: Json
    schema: Json = field(default_factory=dict)
    metrics: Json = field(default_factory=dict)
    analysis: Json = field(default_factory=dict)
    comparison: Json = field(default_factory=dict)
    history: pl.DataFrame | None = None
    spec: str = ""
    damaged: tuple[Finding, ...] = ()


def read_run(folder: Path) -> RunFiles:
    """The files of the run at ``folder``.

    Raises ``RunError`` where there is no readable manifest; any other piece may be missing or damaged.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise RunError(
            f"A run folder holds manifest.json, however there is none in {folder}. Name the folder of a run."
        )
    damaged: list[Finding] = []
    manifest = _read_json(path, damaged)
    if damaged:
        raise RunError(f"The manifest of a run must be readable JSON, however: {path} is damaged. Train again.")
    return RunFiles(
        folder=folder,
        manifest=manifest,
        schema=_read_json(folder / "schema.json", damaged),
        metrics=_read_json(folder / "metrics.json", damaged),
        analysis=_read_json(folder / "analysis.json", damaged),
        comparison=_read_json(folder / "comparison.json", damaged),
        history=_read_history(folder / "history.parquet", damaged),
        spec=_read_text(folder / "spec.toml"),
        damaged=tuple(damaged),
    )


def _read_json(path: Path, damaged: list[Finding]) -> Json:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        damaged.append(_damage(path, str(error)))
        return {}
    if not isinstance(content, dict):
        damaged.append(_damage(path, f"it holds {type(content).__name__} where a JSON object belongs"))
        return {}
    return content


def _read_history(path: Path, damaged: list[Finding]) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    try:
        history = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        damaged.append(_damage(path, str(error)))
        return None
    if not {"member", "epoch"} <= set(history.columns) or history.is_empty():
        return None
    return history.sort("member", "epoch")


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _damage(path: Path, reason: str) -> Finding:
    return Finding(
        severity="warning",
        code="file-damaged",
        subject=path.name,
        what=f"{path.name} cannot be read, so what it held is missing below.",
        evidence=" ".join(reason.split())[:200],
        remedy="Make the report again from a whole copy of the run folder, or train again.",
    )
