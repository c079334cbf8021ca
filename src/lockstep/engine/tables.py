"""The numbers of an epoch's steps, as tables: every hyper-parameter, rate and key of every member.

Made on the host in float64 before the epoch starts, moved to the device once; the steps only look rows up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.engine.population import Member
from lockstep.engine.stack import Tensors
from lockstep.engine.step import Tables
from lockstep.network.layers.dropout import dropout_keys
from lockstep.optim import Plateau, Rule, after_epoch, epoch_momenta, epoch_rates, fresh_plateau
from lockstep.spec import Frozen, ReduceLROnPlateau, TrainSpec


def column(members: Sequence[Member], read: Callable[[TrainSpec], Any]) -> Tensor:
    """One number per member, ``[K]`` float64."""
    return torch.tensor([float(read(member.spec)) for member in members], dtype=torch.float64)


def numbers_of(members: Sequence[Member], part: Callable[[TrainSpec], Frozen]) -> dict[str, Tensor]:
    """Every float field of one part of the members' specs (the optimiser's, say), each ``[K]``."""
    names = [name for name, value in part(members[0].spec)._fields().items() if isinstance(value, float)]
    return {name: column(members, lambda spec, name=name: getattr(part(spec), name)) for name in names}  # type: ignore[misc]


def loss_numbers(
    members: Sequence[Member],
    module: nn.Module,
    device: torch.device,
    *,
    scale: NDArray[np.float64] | None = None,
    class_weights: NDArray[np.float64] | None = None,
) -> Tensors:
    """The loss's numbers, a row per member, in the module's precision: what the specs say and what the data says.

    ``scale`` ``[K]`` divides a regression's errors, ``class_weights`` is ``[K, C]``.
    """
    numbers: dict[str, Tensor] = {}
    smoothing = column(members, lambda spec: spec.loss.label_smoothing)
    if smoothing.any():
        numbers["label_smoothing"] = smoothing
    match members[0].spec.loss.name:
        case "huber":
            numbers["delta"] = column(members, lambda spec: spec.loss.delta)
        case "quantile":
            numbers["quantile"] = column(members, lambda spec: spec.loss.quantile)
    if scale is not None:
        numbers["scale"] = torch.from_numpy(scale)
    if class_weights is not None:
        numbers["class_weights"] = torch.from_numpy(class_weights)
    dtype = next(module.parameters()).dtype
    return {name: number.to(dtype).to(device) for name, number in numbers.items()}


def start_of_plateau(members: Sequence[Member]) -> Plateau | None:
    """What ``ReduceLROnPlateau`` starts from; None for other schedules."""
    if not isinstance(members[0].spec.schedule, ReduceLROnPlateau):
        return None
    return fresh_plateau(column(members, lambda spec: spec.optimizer.lr))


def next_plateau(plateau: Plateau | None, members: Sequence[Member], value: Tensor) -> Plateau | None:
    """What ``ReduceLROnPlateau`` makes of an epoch's value ``[K]``, smaller is better; None for other schedules."""
    schedule = members[0].spec.schedule
    if plateau is None or not isinstance(schedule, ReduceLROnPlateau):
        return None
    return after_epoch(schedule, numbers_of(members, lambda spec: spec.schedule), plateau, value.cpu().double())


def epoch_tables(
    members: Sequence[Member],
    rule: Rule,
    places: int,
    losses: dict[str, Tensor],
    epoch: int,
    steps: int,
    like: Tensor,
    plateau: Plateau | None = None,
) -> tuple[Tables, Tensor]:
    """The numbers of all steps of epoch ``epoch`` (from 0), typed and placed as ``like``; the rates ``[S, K]``.

    ``losses`` are the loss's numbers, which stay the same.
    """
    spec = members[0].spec
    optimizer = numbers_of(members, lambda spec: spec.optimizer)
    schedule = numbers_of(members, lambda spec: spec.schedule)
    schedule["lr"] = optimizer["lr"] if plateau is None else plateau.rate
    when = (epoch, spec.training.epochs, steps)
    rates, momenta = epoch_rates(spec.schedule, schedule, *when), epoch_momenta(spec.schedule, schedule, *when)
    if momenta is not None:
        optimizer["beta1" if "beta1" in optimizer else "momentum"] = momenta
    if spec.training.ema is not None:
        optimizer["ema"] = column(members, lambda spec: spec.training.ema)
    factors = rule.coefficients(optimizer, rates, epoch * steps)
    table = torch.stack(list(factors.values()), dim=1).to(like.device, like.dtype)
    seeds = np.array([member.seed for member in members])
    keys = torch.from_numpy(dropout_keys(seeds, epoch * steps + np.arange(steps), places)).to(like.device)
    clip = column(members, lambda spec: float("inf") if spec.training.clip_norm is None else spec.training.clip_norm)
    return Tables(losses, keys, tuple(factors), table, clip.to(like.device, like.dtype)), rates
