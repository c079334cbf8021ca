"""Which executors a case runs on, and how far apart two networks are."""

from typing import Any

import torch
from torch import nn

from lockstep.engine.executors import EXECUTORS, Objective
from lockstep.engine.step import Resident
from lockstep.network.losses import LOSSES


def able(module: nn.Module, loss: str, data: Resident) -> list[str]:
    """The executors of this machine that can train ``module``, and ``cudagraph``: by a tape, see conftest.py."""
    objective = Objective(loss, LOSSES[loss], data)
    return [
        name for name, executor in EXECUTORS.items()
        if name == "cudagraph" or executor.refusal(module, objective) is None
    ]  # fmt: skip


def distance(one: Any, other: Any) -> float:
    """Relative distance of two networks (modules or what their weights and buffers are) as whole vectors."""
    a, b = (own.state_dict() if isinstance(own, nn.Module) else own for own in (one, other))
    first, second = (torch.cat([own[name].double().reshape(-1) for name in sorted(b)]) for own in (a, b))
    return float((first - second).norm() / second.norm())


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks are the same bit for bit."""
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], own) for name, own in b.items())
