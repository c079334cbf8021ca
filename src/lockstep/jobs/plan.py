"""``lockstep plan``: what a fit would do, with reasons and the expected time, without doing it."""

import time
from dataclasses import asdict, replace
from statistics import mean
from typing import Any

from lockstep.engine.machine import on_threads
from lockstep.engine.plan import Forced, share_trained
from lockstep.engine.train import train_population
from lockstep.jobs.job import Job, make_job
from lockstep.jobs.prepare import prepare, settings_of
from lockstep.jobs.progress import progress
from lockstep.spec.axes import parse_axes

PROBE_STEPS = 5


def plan(
    x: Any, y: Any = None, *, spec: Any = None, set: Any = (), valid: Any = None, test: Any = None,
    vary: Any = (), device: str = "auto", executor: str = "auto", precision: str = "auto", threads: int | None = None,
    at_once: int | None = None, quiet: bool = False, **flags: Any,
) -> list[dict[str, str]]:  # fmt: skip
    """The choices a fit with the same arguments would make, each as ``{"choice", "value", "reason"}``."""
    settings = settings_of(spec, set, valid=valid, test=test, **flags)
    forced = Forced(device, executor, precision, threads, at_once)
    axes = parse_axes(vary) or None
    with progress(quiet) as show, on_threads(threads):
        job = make_job(prepare(x, y, settings, valid=valid, test=test, show=show, axes=axes), forced)
        show.phase("Trying a few steps")
        step, measure = probe(job)
    epochs = max(member.spec.training.epochs for member in job.population.training)
    epoch = step * mean(member.steps for member in job.population.training) + measure
    time_choice = {
        "choice": "time",
        "value": f"{epoch:.2g} s an epoch, at most {epoch * epochs * share_trained(job.population):,.0f} s",
        "reason": f"measured on {PROBE_STEPS} steps; members that stop early make it shorter",
    }
    spec_choice = {
        "choice": "recipe",
        "value": job.prepared.spec.recipe,
        "reason": f"{job.prepared.schema.task} on {job.prepared.schema.rows:,} rows; {job.prepared.splits.how}",
    }
    return [spec_choice, *(asdict(choice) for choice in job.plan.choices), time_choice]


def probe(job: Job) -> tuple[float, float]:
    """Seconds per step and per validation of all stacks, each the better of two tries, on this data and machine."""
    times = []
    few = min(PROBE_STEPS, *(member.steps for member in job.population.members))
    for steps in (1, few, 1, few):
        short = tuple(
            replace(m, spec=m.spec.replace("training.epochs", 1), steps=steps) for m in job.population.members
        )
        population = replace(job.population, members=short, rungs=())
        began = time.perf_counter()
        train_population(population, job.networks, job.problem, job.device, job.plan.ways)
        times.append(time.perf_counter() - began)
    one, many = min(times[0], times[2]), min(times[1], times[3])
    step = max(many - one, 1e-6) / (few - 1) if few > 1 else one
    return step, max(one - step, 0.0)
