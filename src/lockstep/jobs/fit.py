"""``lockstep fit``: a data file in; a trained, evaluated, reusable population of networks out."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep.engine.train import Trained, train_population
from lockstep.errors import TrainingError
from lockstep.jobs import assess
from lockstep.jobs.interrupt import stop_on_interrupt
from lockstep.jobs.job import Job, make_job
from lockstep.jobs.keep import Keeper, to_arrays
from lockstep.jobs.manifest import manifest
from lockstep.jobs.model import Model
from lockstep.jobs.prepare import prepare, settings_of
from lockstep.jobs.progress import Display, progress
from lockstep.jobs.run import Run
from lockstep.report import render
from lockstep.runs import History, RunFolder, claimed, create, default_folder, is_run
from lockstep.spec import FitSpec


def fit(
    x: Any,
    y: Any = None,
    *,
    target: str | None = None,
    recipe: str | None = None,
    spec: FitSpec | str | Path | None = None,
    set: Sequence[str] | Mapping[str, Any] = (),
    folds: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    members: Sequence[int] | str | None = None,
    epochs: int | None = None,
    valid: Any = None,
    test: Any = None,
    test_size: float | None = None,
    header: bool | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Train, evaluate and keep a population of networks on a table or on images.

    ``x`` is a path (csv, tsv, parquet, npz, a folder with an IDX pair), ``sklearn:NAME``, a frame (pandas, polars,
    arrow), or arrays with ``y``. ``spec`` (a file or a ``FitSpec``), ``set`` and the keywords say the same settings;
    the later of these wins. ``out`` is the run folder (``runs/<name>-<time>`` unless given). Ctrl-C ends training
    with the best so far.

    Raises ``DataError``, ``SpecError``, ``TrainingError`` and ``RunError``, each with the remedy.
    """
    began = time.perf_counter()
    if isinstance(members, Sequence) and not isinstance(members, str):
        members = list(members)
    flags = {
        "recipe": recipe, "data.target": target, "data.header": header, "data.test_size": test_size,
        "population.folds": folds, "population.seeds": seeds, "population.seed": seed,
        "population.members": members,
        "training.epochs": epochs,
    }  # fmt: skip
    settings = settings_of(spec, set, flags)
    with progress(quiet) as show, stop_on_interrupt(show.say) as stop:
        prepared = prepare(x, y, settings, valid=valid, test=test, show=show)
        job = make_job(prepared, device)
        folder = create(out or default_folder(prepared.sources[0].origin), overwrite=overwrite)
        with claimed(folder.path), taken_back_if_empty(folder):
            read_seconds = time.perf_counter() - began
            trained, history = train(job, folder, show, stop)
            train_seconds = time.perf_counter() - began - read_seconds
            show.phase("Measuring")
            finish(job, folder, trained, history, read_seconds, train_seconds)
            show.phase("Writing the report")
            render(folder.path)
    return Run(folder)


@contextlib.contextmanager
def taken_back_if_empty(folder: RunFolder) -> Iterator[None]:
    """Whatever ends a training before there is anything to load takes its folder with it."""
    try:
        yield
    except BaseException:
        if not is_run(folder.path) or folder.epochs_done == 0:  # a full disk can end it before there is a manifest
            folder.discard()
        raise


def train(job: Job, folder: RunFolder, show: Display, stop: Callable[[], bool]) -> tuple[Trained, History]:
    """Train the population; after an epoch the folder holds the best weights so far."""
    folder.write_spec(job.prepared.spec)
    folder.write_schema(job.prepared.schema.model_dump_json(indent=1))
    folder.write_manifest(manifest(job) | {"status": "training"})
    history = History(job.population.identities)
    keep = Keeper(folder, history)
    count = len(job.networks)
    show.phase(f"Training {count:,} network{'s' if count > 1 else ''}")
    trained = train_population(
        job.population,
        job.networks,
        job.problem,
        job.device,
        observers=[history, show, keep],
        keep=keep.hold,
        stop=stop,
    )  # fmt: skip
    if all(done.best_epoch == 0 for done in trained.finished):
        raise TrainingError(nothing_learned(trained))
    return trained, history


def nothing_learned(trained: Trained) -> str:
    if any(done.ended == "interrupted" for done in trained.finished):
        return "Interrupted before the first step was taken: there is nothing to keep."
    return (
        "Every network went to NaN or infinity in its first epoch, so there is nothing to keep. "
        "Lower the rate: --set optimizer.lr=1e-4."
    )


def finish(
    job: Job, folder: RunFolder, trained: Trained, history: History, read_seconds: float, train_seconds: float
) -> None:
    """Measure what was trained and write everything down; the manifest last."""
    began = time.perf_counter()
    good = [position for position, done in enumerate(trained.finished) if done.best_epoch > 0]
    members = [trained.members[position] for position in good]
    networks = {trained.members[position].index: trained.module(position) for position in good}
    model = Model(job.prepared.schema, job.loss, networks, job.device)  # type: ignore[arg-type]
    own = assess.own_predictions(job.prepared, model, members)
    judged = assess.judge(job.prepared, model, members, own)
    folder.write_history(history.frame())
    folder.write_metrics(assess.metrics(job.prepared, model, members, judged, own))
    folder.write_analysis(assess.analysis(job.prepared, model, members, judged))
    interrupted = any(done.ended == "interrupted" for done in trained.finished)
    after = manifest(job, trained) | {
        "status": "interrupted" if interrupted else "finished",
        "epochs_done": max(done.epochs for done in trained.finished),
        "timing": {"read": read_seconds, "train": train_seconds, "evaluate": time.perf_counter() - began},
    }
    folder.finish(after, {index: to_arrays(network) for index, network in networks.items()})
