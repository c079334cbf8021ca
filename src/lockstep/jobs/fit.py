"""``lockstep fit``: a data file in; a trained, evaluated, reusable population of networks out."""

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lockstep.engine.loop import Problem, Progress
from lockstep.engine.plan import Plan, make_plan
from lockstep.engine.population import Member, Population, make_population
from lockstep.engine.records import EpochRecord
from lockstep.engine.stack import Stack
from lockstep.engine.step import Resident
from lockstep.engine.train import Trained, make_modules, pick_device, train_population
from lockstep.errors import TrainingError
from lockstep.findings import Finding
from lockstep.jobs import assess
from lockstep.jobs.interrupt import stop_on_interrupt
from lockstep.jobs.model import Model, shape_of
from lockstep.jobs.prepare import Prepared, prepare, settings_of
from lockstep.jobs.progress import Display, progress
from lockstep.jobs.run import Run
from lockstep.network.build import Network, build
from lockstep.network.heads import loss_for
from lockstep.network.losses import LOSSES
from lockstep.report import render
from lockstep.runs import History, RunFolder, create, default_folder
from lockstep.spec import FitSpec


@dataclass(frozen=True, eq=False)
class Job:
    """What is settled once the data is read: who is trained, as what, on what."""

    prepared: Prepared
    population: Population
    loss: str
    problem: Problem
    device: torch.device
    networks: list[Network]
    plan: Plan


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
    flags = {
        "recipe": recipe, "data.target": target, "data.header": header, "data.test_size": test_size,
        "population.folds": folds, "population.seeds": seeds, "population.seed": seed,
        "population.members": list(members) if isinstance(members, Sequence) and not isinstance(members, str) else members,
        "training.epochs": epochs,
    }  # fmt: skip
    settings = settings_of(spec, set, flags)
    with progress(quiet) as show, stop_on_interrupt(show.say) as stop:
        prepared = prepare(x, y, settings, valid=valid, test=test, show=show)
        job = make_job(prepared, device)
        folder = create(out or default_folder(prepared.sources[0].origin), overwrite=overwrite)
        try:
            read_seconds = time.perf_counter() - began
            trained, history = train(job, folder, show, stop)
            train_seconds = time.perf_counter() - began - read_seconds
            show.phase("Measuring")
            finish(job, folder, trained, history, read_seconds, train_seconds)
            show.phase("Writing the report")
            render(folder.path)
        except BaseException:
            if folder.epochs_done == 0:
                folder.discard()
            raise
    return Run(folder)


def make_job(prepared: Prepared, device_name: str) -> Job:
    """The population, its networks, and the data on the device."""
    spec, schema, device = prepared.spec, prepared.schema, pick_device(device_name)
    population = make_population(spec, [(fold.train, fold.valid) for fold in prepared.splits.folds])
    loss, shape = loss_for(schema.task, spec.loss.name), shape_of(schema)

    def network(member: Member) -> Network:
        assert isinstance(member.spec, FitSpec)
        own = assess.rows_of(prepared, member.train_rows)
        return build(member.spec, loss, shape, own, prepared.target[member.train_rows])

    networks = make_modules(network, population.training)
    target = prepared.target if schema.task != "regression" else prepared.target.astype(np.float32)
    resident = Resident(
        tuple(torch.from_numpy(x).to(device) for x in prepared.encoded.inputs), torch.from_numpy(target).to(device)
    )
    numbers = {name: number.to(device) for name, number in loss_numbers(prepared, population.training).items()}
    plan = make_plan(device, population, networks, resident)
    problem = Problem(
        resident, LOSSES[loss], loss, numbers, population.steps, population.batch_size, executor=plan.executor
    )
    return Job(prepared, population, loss, problem, device, networks, plan)


def loss_numbers(prepared: Prepared, members: Sequence[Member]) -> dict[str, torch.Tensor]:
    """What the loss needs to know of each member: smoothing, class weights, the spread of its training target."""
    schema, numbers = prepared.schema, {}
    if any(member.spec.loss.label_smoothing for member in members):
        numbers["label_smoothing"] = torch.tensor([float(member.spec.loss.label_smoothing) for member in members])
    if schema.task == "regression":
        spread = [float(np.std(prepared.target[member.train_rows])) for member in members]
        numbers["scale"] = torch.tensor([s if s > 0 else 1.0 for s in spread])
    weights = prepared.spec.loss.class_weights
    if weights == "balanced":
        numbers["class_weights"] = torch.tensor(np.array([balanced(prepared, member) for member in members])).float()
    elif weights is not None:
        if len(weights) != len(schema.classes):
            raise TrainingError(
                f"loss.class_weights must hold one weight per class ({', '.join(schema.classes)}), "
                f"however: {len(weights)} weights."
            )
        numbers["class_weights"] = torch.tensor(weights).repeat(len(members), 1)
    return numbers


def balanced(prepared: Prepared, member: Member) -> NDArray[np.float64]:
    """``N/(C·N_c)``: every class counts the same (King and Zeng 2001, scikit-learn's ``balanced``)."""
    counts = np.bincount(prepared.target[member.train_rows], minlength=len(prepared.schema.classes))
    return counts.sum() / (len(counts) * np.maximum(counts, 1))


def train(job: Job, folder: RunFolder, show: Display, stop: Any) -> tuple[Trained, History]:
    """Train the population; after an epoch the folder holds the best weights so far."""
    folder.write_spec(job.prepared.spec)
    folder.write_schema(job.prepared.schema.model_dump_json(indent=1))
    folder.write_manifest(manifest(job) | {"status": "training"})
    history = History(job.population.identities)
    keep = Keeper(folder, history)
    show.phase(f"Training {len(job.networks)} networks")
    trained = train_population(
        job.population, job.networks, job.problem, job.device, observers=[history, show, keep], keep=keep.hold, stop=stop
    )
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


class Keeper:
    """An observer that stores the best weights: after the first epoch, then as often as costs little."""

    SHARE = 0.05  # of the time, at most, goes into writing

    def __init__(self, folder: RunFolder, history: History) -> None:
        self.folder, self.history = folder, history
        self.stacks: dict[int, tuple[Stack, Sequence[Member], Progress]] = {}
        self.next_at = 0.0

    def hold(self, stack: Stack, members: Sequence[Member], progress: Progress) -> None:
        self.stacks[id(stack)] = (stack, members, progress)

    def __call__(self, record: EpochRecord) -> None:
        began = time.perf_counter()
        if began < self.next_at:
            return
        self.folder.write_checkpoint(record.epoch, self.arrays(), {"elapsed": record.elapsed}, self.history.frame())
        took = time.perf_counter() - began
        self.next_at = time.perf_counter() + took / self.SHARE

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The best weights of every member that has any, as ``<member>/<name>``."""
        arrays = {}
        for stack, members, progress in self.stacks.values():
            for position, done in progress.weights().items():
                if done.best_epoch > 0:
                    network = stack.taken_out(position, done.params, done.buffers)
                    arrays |= {f"{members[position].index}/{name}": a for name, a in to_arrays(network).items()}
        return arrays


def manifest(job: Job, trained: Trained | None = None) -> dict[str, Any]:
    """What the run is: the content of ``manifest.json`` but for status and timing."""
    prepared, spec, population = job.prepared, job.prepared.spec, job.population
    schema = prepared.schema
    ended = {} if trained is None else dict(zip((m.index for m in trained.members), trained.finished, strict=True))
    members = [
        {
            "member": m.index, "candidate": m.candidate, "fold": m.fold, "seed": m.seed, "choices": m.choices,
            "train_rows": len(m.train_rows), "valid_rows": len(m.valid_rows),
            "best_epoch": ended[m.index].best_epoch if m.index in ended else None,
            "epochs": ended[m.index].epochs if m.index in ended else None,
            "ended": ended[m.index].ended if m.index in ended else None,
        }
        for m in population.training
    ]  # fmt: skip
    test = prepared.sources[-1].origin if len(prepared.sources) > 1 and len(prepared.splits.test) else None
    return {
        "command": " ".join(["lockstep", *sys.argv[1:]]) if Path(sys.argv[0]).name == "lockstep" else None,
        "epochs": spec.training.epochs,
        "epochs_done": 0,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("torch", "numpy", "polars")}},
        "machine": machine(job.device),
        "seed": spec.population.seed,
        "task": schema.task, "kind": schema.kind, "target": schema.target, "classes": list(schema.classes),
        "data": {
            "origin": prepared.sources[0].origin, "rows": len(prepared.sources[0]),
            "fingerprint": prepared.sources[0].fingerprint, "test_origin": test,
        },
        "plan": [asdict(choice) for choice in job.plan.choices],
        "splits": {
            "how": prepared.splits.how,
            "train_rows": len(np.unique(np.concatenate([np.r_[f.train, f.valid] for f in prepared.splits.folds]))),
            "test_rows": len(prepared.splits.test),
        },
        "population": {
            "candidates": len({m.candidate for m in population.members}),
            "folds": len(prepared.splits.folds), "seeds": spec.population.seeds,
            "parameters": sum(p.numel() for p in job.networks[0].parameters()), "members": members,
        },
        "findings": [finding.to_dict() for finding in (*prepared.findings, *training_findings(job, trained))],
    }  # fmt: skip


def training_findings(job: Job, trained: Trained | None) -> list[Finding]:
    """What training itself showed: members that were set aside."""
    lost = [] if trained is None else [m for m, d in zip(trained.members, trained.finished, strict=True) if d.ended == "diverged"]
    return [
        Finding(
            severity="warning", code="member-diverged", subject=member.label,
            what="This network went to NaN or infinity and was set aside.",
            evidence=f"Its last good epoch is {trained.finished[trained.members.index(member)].best_epoch or 'none'}.",  # type: ignore[union-attr]
            remedy="Lower optimizer.lr, or set training.clip_norm.",
        )
        for member in lost
    ]  # fmt: skip


def machine(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "cpu": cpu_name(), "cores": torch.get_num_threads(), "memory_gb": memory_gb(),
        "os": f"{platform.system()} {platform.machine()}", "device": gpu,
    }  # fmt: skip


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


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


def to_arrays(network: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}
