"""What training a stack takes of the device's memory, worked out before it starts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lockstep.engine.alone import seeded
from lockstep.engine.forward import chunk
from lockstep.engine.population import Member
from lockstep.engine.step import Resident
from lockstep.optim import rule_for

BETWEEN = 3  # tensors of a layer's size that live at once while one is worked out from another


@dataclass(frozen=True)
class Needs:
    """Bytes that a stack takes: ``shared`` however many networks it has, ``each`` network while it trains, and what is
    ``kept`` of each until the last stack is done."""

    shared: int
    each: int
    kept: int

    def of(self, at_once: int, networks: int) -> int:
        """The most that ``networks`` take, of which ``at_once`` train together."""
        return self.shared + self.each * at_once + self.kept * (networks - at_once)

    def most(self, left: int, networks: int) -> int:
        """How many of ``networks`` may train at once for all to take ``left`` bytes: 1 at least."""
        free = left - self.shared - self.kept * networks
        return max(1, min(networks, free // max(1, self.each - self.kept)))


@dataclass(frozen=True)
class Passing:
    """Bytes for one row on its way through one network: ``saved`` for the way back, and the ``widest`` layer."""

    saved: int
    widest: int


def needs(module: nn.Module, members: Sequence[Member], data: Resident, *, autograd: bool, features: int) -> Needs:
    """Of a stack of such modules. ``features`` are the bytes of those that its executor keeps of all rows."""
    member = members[0]
    sizes = [p.numel() for p in module.parameters() if p.requires_grad]
    real, P = next(module.parameters()).element_size(), sum(sizes)
    moments = len(rule_for(member.spec.optimizer).moments) + (member.spec.training.ema is not None)
    # weights as they were, as they are, and the best, which are for a moment there twice; the gradient, and its parts
    weights = (4 + moments + (2 if autograd else 1)) * real * P
    tables = member.steps * (member.batch_size * 8 + len(sizes) * real)
    passing = passing_of(module, data, min(member.batch_size, 256))
    there_and_back = member.batch_size * (passing.saved + BETWEEN * passing.widest)
    K = len(members)
    judged = BETWEEN * passing.widest * min(chunk(K), max(len(one.valid_rows) for one in members))
    outputs = max(len(one.valid_rows) for one in members) * real
    busy = max(there_and_back, judged) if autograd else 0
    return Needs(features, weights + tables + busy + outputs, real * P)


def passing_of(module: nn.Module, data: Resident, rows: int) -> Passing:
    """Measured on the first ``rows`` rows, by a copy of the module."""
    own = deepcopy(module).to(data.targets.device).train()
    inputs = tuple(x[:rows] for x in data.inputs)
    fixed = {tensor.data_ptr() for tensor in (*own.parameters(), *own.buffers())}
    widest = 0

    def look(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal widest
        if isinstance(output, Tensor):
            widest = max(widest, output.nbytes)

    hooks = [part.register_forward_hook(look) for part in own.modules()]
    with seeded(0, data.targets.device), saved(fixed) as seen, suppress(Exception):  # training will tell it better
        own(*inputs)
    for hook in hooks:
        hook.remove()
    count = len(inputs[0])
    return Passing(sum(seen.values()) // count, widest // count)


@contextmanager
def saved(but: set[int]) -> Iterator[dict[int, int]]:
    """Inside, what autograd keeps for the way back, but for tensors at these places: bytes by place."""
    seen: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no place is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in but:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        yield seen


def stored(data: Resident) -> int:
    """Bytes of the rows, once also where windows share them."""
    places = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in (*data.inputs, data.targets)}
    return sum(places.values())


def in_words(size: int) -> str:
    """``"82 MB"``, ``"1.2 GB"``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
