"""What the loop tells its observers: one immutable record per epoch; and what is told of a halving."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of the members that trained in it. Arrays are ``[M]``, in the order of ``members``.

    ``epoch`` counts from 1 to ``epochs``; ``partial`` says it was cut short by an interruption. ``train_loss`` is the
    mean over the epoch's batches, ``valid_loss`` and ``valid_metric`` (called ``metric``) are measured at its end, NaN
    where there are no validation rows. ``lr`` is the rate of the epoch's last step. ``grad_norm`` is the norm of the
    member's whole gradient before clipping, ``layer_grad_norms`` ``[M, L]`` that of each parameter in ``layers``, both
    means over the epoch. ``best_epoch`` is each member's best so far; ``ended`` maps members that trained for the last
    time to the reason. ``seconds`` is this epoch's, ``elapsed`` the stack's so far; ``stack`` of ``stacks``, from 1,
    is the one that trains.
    """

    epoch: int
    epochs: int
    partial: bool
    members: NDArray[np.int64]
    metric: str
    train_loss: Floats
    valid_loss: Floats
    valid_metric: Floats
    lr: Floats
    grad_norm: Floats
    layers: tuple[str, ...]
    layer_grad_norms: Floats
    best_epoch: NDArray[np.int64]
    ended: dict[int, str]
    seconds: float
    elapsed: float
    stack: int = 1
    stacks: int = 1


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A halving after ``epoch``: of so many ``candidates`` those in ``going`` go on, the best first.

    ``ended`` maps the members that trained for the last time to the reason.
    """

    epoch: int
    candidates: int
    going: tuple[int, ...]
    ended: dict[int, str]


Observer = Callable[[EpochRecord], None]
