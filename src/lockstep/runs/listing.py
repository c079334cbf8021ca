"""The runs in a folder at a glance, whole or not."""

from dataclasses import dataclass
from pathlib import Path

from lockstep.errors import RunError
from lockstep.runs.folder import RunFolder, is_run


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One line of ``lockstep runs``. ``value``, ``low`` and ``high`` are the headline ``metric``'s, None without.

    ``problem`` says why a run can't be read, and is empty where it can.
    """

    path: Path
    created: str = ""
    status: str = ""
    origin: str = ""
    target: str | None = None
    task: str = ""
    members: int = 0
    epochs_done: int = 0
    epochs: int = 0
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str = ""


def list_runs(folder: str | Path = "runs") -> list[RunSummary]:
    """Every run directly in ``folder`` (or ``folder`` itself, if it is one), the newest first.

    Raises ``RunError`` where the folder does not exist.
    """
    root = Path(folder)
    if not root.is_dir():
        raise RunError(f"There is no folder {root}. Give the folder that holds the runs: lockstep runs FOLDER.")
    paths = [root] if is_run(root) else [path for path in sorted(root.iterdir()) if (path / "manifest.json").is_file()]
    return sorted(map(summarise, paths), key=lambda run: run.created, reverse=True)


def summarise(path: Path) -> RunSummary:
    """The run at ``path`` in a line. Never raises for a damaged run: ``problem`` then says what is wrong."""
    try:
        return _read(path)
    except RunError as error:
        return RunSummary(path=path, problem=str(error))
    except (TypeError, ValueError, AttributeError) as error:
        return RunSummary(path=path, problem=f"The run is damaged: its manifest holds something else ({error}).")


def _read(path: Path) -> RunSummary:
    run = RunFolder(path)
    manifest = run.manifest()
    headline = _headline(run)
    data, population = manifest.get("data") or {}, manifest.get("population") or {}
    return RunSummary(
        path=path,
        created=str(manifest.get("created", "")),
        status=manifest["status"],
        origin=str(data.get("origin", "")),
        target=manifest.get("target"),
        task=str(manifest.get("task", "")),
        members=len(population.get("members", ())),
        epochs_done=run.epochs_done,
        epochs=int(manifest.get("epochs") or 0),
        metric=headline[0],
        value=headline[1].get("value"),
        low=headline[1].get("low"),
        high=headline[1].get("high"),
    )


def _headline(run: RunFolder) -> tuple[str | None, dict[str, float | None]]:
    try:
        metrics = run.metrics()
    except RunError:
        return None, {}
    name = metrics.get("headline")
    return name, metrics.get("metrics", {}).get(name, {})
