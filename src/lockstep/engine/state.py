"""Everything that changes while a stack trains; one row per member."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lockstep.engine.stack import Layout, Stack, Tensors
from lockstep.optim import Rule, averaging, rule_for, sparing
from lockstep.spec import TrainSpec


@dataclass
class State:
    """``params`` ``[K, P]``, ``buffers`` ``[K, …]`` by name, the optimiser's ``moments`` ``[K, P]`` by name."""

    params: Tensor
    buffers: Tensors
    moments: Tensors

    @property
    def weights(self) -> Tensor:
        """What is validated, kept and taken out: the moving average where there is one, else the parameters."""
        return self.moments.get("average", self.params)

    def rows(self, keep: Tensor) -> "State":
        """The members at the given positions alone."""
        return State(
            self.params[keep],
            {name: buffer[keep] for name, buffer in self.buffers.items()},
            {name: moment[keep] for name, moment in self.moments.items()},
        )


@dataclass
class Best:
    """Each member's best weights so far, on the device, and how good they are (the monitor: smaller is better)."""

    params: Tensor
    buffers: Tensors
    monitor: Tensor
    epoch: Tensor

    def updated(self, better: Tensor, state: State, monitor: Tensor, epoch: int) -> "Best":
        """With the rows in ``better`` ``[K]`` replaced. A new object: an interruption leaves the old one whole."""
        return Best(
            choose(better, state.weights, self.params),
            {name: choose(better, state.buffers[name], old) for name, old in self.buffers.items()},
            torch.where(better, monitor, self.monitor),
            torch.where(better, epoch, self.epoch),
        )

    def rows(self, keep: Tensor) -> "Best":
        buffers = {name: buffer[keep] for name, buffer in self.buffers.items()}
        return Best(self.params[keep], buffers, self.monitor[keep], self.epoch[keep])


def choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Row by row: ``new`` where ``mask`` ``[K]``, else ``old``."""
    return torch.where(mask.view(-1, *(1,) * (new.dim() - 1)), new, old)


def rule_of(spec: TrainSpec, stack: Stack) -> Rule:
    """How the members of a stack are updated: their optimiser, sparing biases and norms its weight decay where the spec
    says so, and with a moving average of the weights where it asks for one."""
    rule = rule_for(spec.optimizer)
    if not spec.optimizer.decay_vectors:
        rule = sparing(rule, matrices(stack.layout).to(stack.params))
    return rule if spec.training.ema is None else averaging(rule)


def matrices(layout: Layout) -> Tensor:
    """``[P]``: 1 where a parameter of ONE network has two dimensions or more, 0 for biases and the gains of norms."""
    ones = [float(len(shape) > 1) for shape in layout.shapes]
    return torch.tensor(ones).repeat_interleave(torch.tensor(layout.sizes))


def fresh_state(stack: Stack, rule: Rule) -> State:
    return State(
        stack.params.clone(),
        {name: buffer.clone() for name, buffer in stack.buffers.items()},
        {name: torch.zeros_like(stack.params) for name in rule.moments},
    )


def fresh_best(stack: Stack) -> Best:
    K, device = len(stack.params), stack.params.device
    return Best(
        stack.params.clone(),
        {name: buffer.clone() for name, buffer in stack.buffers.items()},
        torch.full((K,), float("inf"), dtype=measured_dtype(device), device=device),
        torch.zeros(K, dtype=torch.int64, device=device),
    )


def measured_dtype(device: torch.device) -> torch.dtype:
    """The type of losses and metrics on ``device``: float64 where it has that."""
    return torch.float32 if device.type == "mps" else torch.float64
