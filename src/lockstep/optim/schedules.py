"""Learning-rate schedules: the rates of one epoch's steps, as a table."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lockstep.spec import (
    Constant,
    CosineAnnealingLR,
    CosineWarmup,
    Coslog4,
    ExponentialLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)

Numbers = dict[str, Tensor]


def epoch_rates(schedule: Schedule, numbers: Numbers, epoch: int, epochs: int, steps: int) -> Tensor:
    """The rates ``[S, K]`` (float64) of the ``steps`` steps of epoch ``epoch`` (from 0) of a run of ``epochs``.

    ``numbers`` holds the base rate ``lr`` (for ``ReduceLROnPlateau`` what it has come down to) and the schedule's own
    numbers, each ``[K]``.
    """
    lr, at, total = numbers["lr"], steps_of(epoch, steps), epochs * steps
    match schedule:
        case Constant() | ReduceLROnPlateau():
            rate = lr
        case StepLR(step_size=step_size):
            rate = lr * numbers["gamma"] ** (epoch // step_size)
        case ExponentialLR():
            rate = lr * numbers["gamma"] ** epoch
        case CosineAnnealingLR(T_max=T_max):
            rate = _cosine(lr, numbers["eta_min"], torch.tensor(epoch / (T_max or epochs), dtype=torch.float64))
        case CosineWarmup():
            rate = _cosine_warmup(lr, numbers["eta_min"], numbers["warmup"], at, total)
        case OneCycleLR(total_steps=total_steps):
            rate = _one_cycle(schedule, _one_cycle_rates(schedule, numbers), numbers, at, total_steps or total)
        case Coslog4():
            rate = lr * (1 - torch.cos(2 * math.pi * torch.log2(1 + 15 * at / total))) / 2
        case _:
            raise AssertionError(f"no rates for {schedule!r}")
    return rate.expand(steps, -1).to(torch.float64)


def epoch_momenta(schedule: Schedule, numbers: Numbers, epoch: int, epochs: int, steps: int) -> Tensor | None:
    """The momentum (Adam: beta1) ``[S, K]`` of the steps of an epoch; None where it is left to the optimiser."""
    match schedule:
        case OneCycleLR(cycle_momentum=True, total_steps=total_steps, three_phase=three_phase):
            most, base = numbers["max_momentum"], numbers["base_momentum"]
            knots = (most, base, most, most) if three_phase else (most, base, most)
            return _one_cycle(schedule, knots, numbers, steps_of(epoch, steps), total_steps or epochs * steps)
    return None


def unfinished(schedule: Schedule, epochs: int, steps: int) -> str | None:
    """What says that a schedule is longer than the run, as ``"T_max=200, and the run has 100 epochs"``; else None.

    ``steps`` are those of an epoch.
    """
    match schedule:
        case CosineAnnealingLR(T_max=int(T_max)) if T_max > epochs:
            return f"T_max={T_max}, and the run has {epochs:,} epochs"
        case StepLR(step_size=step_size) if step_size >= epochs:
            return f"step_size={step_size}, and the run has {epochs:,} epochs"
        case OneCycleLR(total_steps=int(total_steps)) if total_steps > epochs * steps:
            return f"total_steps={total_steps}, and the run has {epochs * steps:,} steps"
        case ReduceLROnPlateau(patience=patience) if patience + 2 >= epochs:
            return f"patience={patience}, and the run has {epochs:,} epochs"
    return None


def steps_of(epoch: int, steps: int) -> Tensor:
    """The numbers ``[S, 1]`` of an epoch's steps, counted from 0 over the whole run."""
    return torch.arange(epoch * steps, (epoch + 1) * steps, dtype=torch.float64)[:, None]


def _cosine(lr: Tensor, eta_min: Tensor, share: Tensor) -> Tensor:
    """``η_min + (η − η_min)(1 + cos(π t/T))/2``: torch's closed form; ``share`` is ``t/T``."""
    return eta_min + (lr - eta_min) * (1 + torch.cos(math.pi * share)) / 2


def _cosine_warmup(lr: Tensor, eta_min: Tensor, warmup: Tensor, at: Tensor, total: int) -> Tensor:
    """``η(t + 1)/(W + 1)`` for ``t < W``, then the cosine over the other ``N − W`` steps."""
    rising = (warmup * total).round().clamp(max=total - 1)
    return torch.where(
        at < rising, lr * (at + 1) / (rising + 1), _cosine(lr, eta_min, (at - rising) / (total - rising))
    )


def _one_cycle_rates(schedule: OneCycleLR, numbers: Numbers) -> tuple[Tensor, ...]:
    most = numbers.get("max_lr", numbers["lr"])
    first = most / numbers["div_factor"]
    last = first / numbers["final_div_factor"]
    return (first, most, first, last) if schedule.three_phase else (first, most, last)


def _one_cycle(schedule: OneCycleLR, knots: Sequence[Tensor], numbers: Numbers, at: Tensor, total: int) -> Tensor:
    """From knot ``[K]`` to knot over the phases of ``total`` steps, as torch counts them; ``[S, K]``."""
    up = numbers["pct_start"] * total
    end = torch.full_like(up, total - 1)
    ends = (up - 1, 2 * up - 2, end) if schedule.three_phase else (up - 1, end)
    anneal = _by_cosine if schedule.anneal_strategy == "cos" else torch.lerp
    at = at.clamp(max=total - 1)
    start, phases = torch.zeros_like(up), []
    for (low, high), end in zip(pairwise(knots), ends, strict=True):
        share = torch.where(end > start, (at - start) / (end - start), 1.0)  # a phase of no length is over
        phases.append(anneal(low.expand_as(share), high.expand_as(share), share))
        start = end
    *earlier, value = phases
    for phase, end in reversed(list(zip(earlier, ends[:-1], strict=True))):
        value = torch.where(at <= end, phase, value)
    return value


def _by_cosine(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    return high + (low - high) / 2 * (1 + torch.cos(math.pi * share))
