"""The step: gather a batch, loss and gradients, clip, update.

Where the gradients come from is the executor's part: by autograd, or by the chain rule written out. One executor, the
kernels of ``engine/native``, takes whole steps by itself; a ``Runner`` is what all of them give.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.linalg import vector_norm

from lockstep.engine.population import Rows
from lockstep.engine.refusals import in_stack
from lockstep.engine.stack import Stack, Tensors
from lockstep.engine.state import State
from lockstep.optim import Rule, clip_factors


@dataclass(frozen=True, eq=False)
class Resident:
    """The data, on the device once: ``inputs`` each ``[N, …]``, ``targets`` ``[N, …]``."""

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def batch(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The rows ``[K, B]`` as inputs and targets ``[K, B, …]``."""
        return tuple(gather(x, rows) for x in self.inputs), gather(self.targets, rows)


def gather(x: Tensor, rows: Tensor) -> Tensor:
    """The rows ``[K, B]`` of ``x`` ``[N, …]``, as ``[K, B, …]``."""
    return x.index_select(0, rows.reshape(-1)).view(*rows.shape, *x.shape[1:])


@dataclass(frozen=True, eq=False)
class Numbers:
    """What one step needs beside state and rows; every tensor has a row per member.

    ``loss`` are the loss's numbers ``[K, …]``, ``keys`` the dropouts' ``[K, places]``, ``factors`` the optimiser's
    ``[K, 1]``, ``clip`` the largest gradient norm ``[K]``.
    """

    loss: Tensors
    keys: Tensor
    factors: Tensors
    clip: Tensor


@dataclass(frozen=True, eq=False)
class Tables:
    """The numbers of ``S`` steps: ``keys`` ``[S, K, places]``, ``factors`` ``[S, F, K]`` with their ``names``, and what
    stays the same, ``loss`` and ``clip``."""

    loss: Tensors
    keys: Tensor
    names: tuple[str, ...]
    factors: Tensor
    clip: Tensor

    def of_step(self, s: int) -> Numbers:
        factors = dict(zip(self.names, self.factors[s].unsqueeze(-1).unbind(0), strict=True))
        return Numbers(self.loss, self.keys[s], factors, self.clip)

    def part(self, steps: slice) -> "Tables":
        return replace(self, keys=self.keys[steps], factors=self.factors[steps])


Gradients = Callable[
    [Tensor, Tensors, Tensor, tuple[Tensor, ...], Tensor, Tensors], tuple[Tensor, Tensor, Tensors]
]  # (params [K, P], buffers, keys, inputs, target, loss numbers) → (gradients [K, P], losses [K], new buffers)
Step = Callable[[State, Tensor, Numbers], tuple[Tensor, Tensor]]
Steps = Callable[[State, Tensor, Tables], tuple[Tensor, Tensor]]
Outputs = Callable[[Tensor, Tensors, Sequence[Rows]], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Runner:
    """How a stack is trained and measured.

    ``steps(state, rows [S, K, B], tables)`` takes ``S`` steps: it changes ``state`` and returns the losses ``[S, K]``
    and the norms ``[S, K, L]`` of the gradient of each parameter. ``outputs(params, buffers, rows)`` are each member's
    outputs ``[N_k, …]`` on its own rows in eval mode. ``at_once(batch)`` is how many steps of that many rows a call
    should take, so that an interruption is heard soon.
    """

    steps: Steps
    outputs: Outputs
    at_once: Callable[[int], int] = lambda _: 1


def make_step(stack: Stack, data: Resident, gradients: Gradients, rule: Rule) -> Step:
    """The step of a stack: ``step(state, rows [K, B], numbers)`` changes ``state`` and returns the losses ``[K]`` and
    the norms ``[K, L]`` of the gradient of each parameter."""

    def step(state: State, rows: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
        inputs, target = data.batch(rows)
        with in_stack(stack.train_form):
            flat, losses, state.buffers = gradients(
                state.params, state.buffers, numbers.keys, inputs, target, numbers.loss
            )
        with torch.no_grad():
            parts = flat.split(stack.layout.sizes, dim=1)
            norms = torch.stack([vector_norm(part, dim=1) for part in parts], dim=1)
            flat.mul_(clip_factors(vector_norm(norms, dim=1), numbers.clip)[:, None])
            rule.update(state.params, flat, state.moments, numbers.factors)
        return losses, norms

    return step


def one_by_one(step: Step) -> Steps:
    """Many steps as one after another."""

    def steps(state: State, rows: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
        taken = [step(state, rows[s], tables.of_step(s)) for s in range(len(rows))]
        losses, norms = zip(*taken, strict=True)
        return torch.stack(losses), torch.stack(norms)

    return steps
