"""``lockstep fit``: a data file in; a trained, evaluated, reusable population of networks out."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep.engine.machine import on_threads
from lockstep.engine.plan import Forced
from lockstep.engine.train import Trained, train_population
from lockstep.errors import LockstepError, TrainingError
from lockstep.jobs import assess, forecast
from lockstep.jobs.comparison import comparison
from lockstep.jobs.ensemble import combined, not_combined, record
from lockstep.jobs.interrupt import stop_on_interrupt
from lockstep.jobs.job import Job, make_job
from lockstep.jobs.keep import Keeper, to_arrays
from lockstep.jobs.manifest import manifest
from lockstep.jobs.model import Model, best_candidate
from lockstep.jobs.prepare import prepare, settings_of
from lockstep.jobs.progress import Display, progress
from lockstep.jobs.run import Run
from lockstep.report import render
from lockstep.runs import History, RunFolder, check_place, default_folder, reserved
from lockstep.spec import FitSpec
from lockstep.spec.axes import Axes


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
    halve: int | None = None,
    epochs: int | None = None,
    valid: Any = None,
    test: Any = None,
    test_size: float | None = None,
    header: bool | None = None,
    device: str = "auto",
    executor: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    at_once: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Train, evaluate and keep a population of networks on a table, pictures, series or text.

    ``x`` is a path (csv, tsv, parquet, npz, IDX, ``.ts``, a folder of pictures by class), ``sklearn:NAME``, a frame
    (pandas, polars, arrow), or arrays with ``y``. ``spec`` (a file or a ``FitSpec``), ``set`` and the keywords say the
    same settings; the later of these wins. How it is executed is the plan's to choose (``lockstep.plan``) unless it is
    given: ``executor`` is ``eager`` (autograd), ``backprop`` (the chain rule written out), ``compiled`` (the same in
    C++), ``fused`` (autograd, with layers in C++) or ``cudagraph`` (autograd, many steps per launch on a GPU),
    ``precision`` that of products: ``float32``, ``bfloat16`` or ``tf32``; ``threads`` of the processor, and ``at_once``
    how many networks of a stack train together. ``out`` is the run folder (``runs/<name>-<time>`` unless given). Ctrl-C
    ends training with the best so far.

    Raises ``DataError``, ``SpecError``, ``TrainingError`` and ``RunError``, each with the remedy.
    """
    settings = settings_of(
        spec, set, recipe=recipe, target=target, header=header, test_size=test_size, valid=valid, test=test,
        folds=folds, seeds=seeds, seed=seed, members=members, halve=halve, epochs=epochs,
    )  # fmt: skip
    forced = Forced(device, executor, precision, threads, at_once)
    return fitted(x, y, settings, forced, valid=valid, test=test, out=out, overwrite=overwrite, quiet=quiet)


def fitted(
    x: Any, y: Any, settings: dict[str, Any], forced: Forced, *, axes: Axes | None = None, valid: Any, test: Any,
    out: str | Path | None, overwrite: bool, quiet: bool,
) -> Run:  # fmt: skip
    """The run of the given settings, and of the axes laid over them where candidates are compared."""
    began = time.perf_counter()
    if out is not None:
        check_place(out, overwrite=overwrite)
    with progress(quiet) as show, stop_on_interrupt(show.say) as stop, on_threads(forced.threads):
        prepared = prepare(x, y, settings, valid=valid, test=test, show=show, axes=axes)
        with enough_memory(prepared.spec):
            job = make_job(prepared, forced)
        if stop():
            raise KeyboardInterrupt
        with reserved(out or default_folder(prepared.sources[0].origin), overwrite=overwrite) as folder:
            read_seconds = time.perf_counter() - began
            with enough_memory(prepared.spec):
                trained, history = train(job, folder, show, stop)
            train_seconds = time.perf_counter() - began - read_seconds
            show.phase("Measuring")
            finish(job, folder, trained, history, show, read_seconds, train_seconds)
            show.phase("Writing the report")
            render(folder.path)
    return Run(folder)


@contextlib.contextmanager
def enough_memory(spec: FitSpec) -> Iterator[None]:
    """Turns torch's failure to get memory into what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, LockstepError) or not ("memory" in str(error) or isinstance(error, MemoryError)):
            raise
        raise TrainingError(
            f"The networks must fit into memory, however they do not: {spec.model!r}, "
            f"{spec.population.folds} folds × {spec.population.seeds} seeds. "
            "Lower one of these or training.batch_size, or train some at a time with --members."
        ) from None


def train(job: Job, folder: RunFolder, show: Display, stop: Callable[[], bool]) -> tuple[Trained, History]:
    """Train the population; after an epoch the folder holds the best weights so far."""
    history = History(job.population.identities)
    keep = Keeper(job, folder, history)
    count = len(job.networks)
    if job.prepared.schema.kind == "forecast":
        show.say(
            "Errors while training (rmse, mae) are in the columns' own units; losses, and the scores at the end, have "
            f"{forecast.SCALE}."
        )
    show.phase(f"Training {count:,} network{'s' if count > 1 else ''}")
    trained = train_population(
        job.population,
        job.networks,
        job.problem,
        job.device,
        job.plan.ways,
        observers=[history, show, keep],
        keep=keep.hold,
        at_rung=show.rung,
        stop=stop,
    )  # fmt: skip
    if all(done.best_epoch == 0 for done in trained.finished):
        if any(done.ended == "interrupted" for done in trained.finished):
            raise KeyboardInterrupt
        raise TrainingError(
            "Every network went to NaN or infinity in its first epoch, so there is nothing to keep. "
            "Lower the rate: --set optimizer.lr=1e-4."
        )
    return trained, history


def finish(
    job: Job, folder: RunFolder, trained: Trained, history: History, show: Display, read_seconds: float,
    train_seconds: float,
) -> None:  # fmt: skip
    """Measure what was trained and write everything down; the manifest last."""
    began = time.perf_counter()
    good = [position for position, done in enumerate(trained.finished) if done.best_epoch > 0]
    networks = {trained.members[position].index: trained.module(position) for position in good}
    members = [m for p in good if (m := trained.members[p]).candidate not in trained.left_behind]
    everyone = Model(
        job.prepared.schema, {m.index: job.losses[m.candidate] for m in members},
        {m.index: networks[m.index] for m in members}, job.device,  # type: ignore[misc]
    )  # fmt: skip
    own = assess.own_predictions(job.prepared, everyone, members)
    table = assess.score_each(job.prepared, members, own)
    compared = comparison(
        job.population, trained, table, job.prepared.schema.task, next(iter(job.losses.values())), train_seconds,
        assess.quantile_of(job.prepared.spec),
    )  # fmt: skip
    winner = compared["winner"] if compared else None
    course = history.frame(trained.ended)
    winner = best_candidate(course) if winner is None else winner
    method = job.prepared.spec.ensemble.method
    mixed = combined(job.prepared, members, own, method)
    noticed = not_combined(method, mixed, members)
    for finding in noticed:
        show.finding(finding)
    used = mixed.members if mixed else {member.index for member in members if member.candidate == winner}
    chosen = [place for place, member in enumerate(members) if member.index in used]
    shipped = [members[place] for place in chosen]
    indices = [member.index for member in shipped]
    model = everyone.only(indices)
    model = model.combined(mixed.models, mixed.combination) if mixed else model
    judged = assess.judge(job.prepared, model, shipped, [own[place] for place in chosen], mixed)
    folder.write_history(course)
    metrics = assess.metrics(job.prepared, everyone, members, judged, table, averaged=[] if mixed else indices)
    ours = assess.spread([row for row in metrics["members"] if row["member"] in indices])
    folder.write_metrics(metrics | {"out_of_fold": ours})
    folder.write_analysis(assess.analysis(job.prepared, model, shipped, judged))
    if compared:
        folder.write_comparison(compared)
    interrupted = any(done.ended == "interrupted" for done in trained.finished)
    after = manifest(job, trained)
    after |= {
        "findings": after["findings"] + [finding.to_dict() for finding in noticed],
        "status": "interrupted" if interrupted else "finished",
        "winner": winner,
        "ensemble": record(mixed, job.prepared, members) if mixed else {"method": "mean", "members": indices},
        "epochs_done": max(done.epochs for done in trained.finished),
        "timing": {"read": read_seconds, "train": train_seconds, "evaluate": time.perf_counter() - began},
    }
    folder.finish(after, {index: to_arrays(network.state_dict()) for index, network in networks.items()})
