"""The oracle: one network, one plain torch loop, stock optimiser, schedule and clipping. Shares no code with the engine
but the order of the rows; the dropout masks are worked out again in numpy."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lockstep.engine.population import Member
from lockstep.engine.streams import batch_rows
from lockstep.network.layers.augment import Augment, changed
from lockstep.spec import SGD, Adam, AdamW, Constant, CosineAnnealingLR


@dataclass
class PlainResult:
    module: nn.Module
    train_losses: list[float]
    valid_losses: list[float]
    best: dict[str, torch.Tensor]
    best_epoch: int
    step_losses: list[float]


def splitmix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def key_of(seed: int, step: int, place: int) -> int:
    return splitmix(splitmix(splitmix(seed) ^ step) ^ (place << 32)) >> 32


def hashes(seed: int, step: int, place: int, call: int, size: int) -> np.ndarray:
    key = key_of(seed, step, place)
    x = np.arange(size, dtype=np.uint64) * 0x9E3779B9 & 0xFFFFFFFF ^ ((key + call * 40503) & 0xFFFFFFFF)
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    return x * 0x846CA68B & 0xFFFFFFFF


def mask(seed: int, step: int, place: int, call: int, size: int, p: float) -> np.ndarray:
    x = hashes(seed, step, place, call, size).astype(np.uint32).view(np.int32)
    return x >= min(round(p * 2**32) - 2**31, 2**31 - 1)


class GivenMask(nn.Module):
    """Dropout by the masks that the member's seed, the step and the place give."""

    def __init__(self, p: float, features: bool, seed: int, place: int) -> None:
        super().__init__()
        self.p, self.features, self.seed, self.place, self.step, self.call = p, features, seed, place, 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        shape = x.shape[:2] + (1,) * (x.dim() - 2) if self.features else x.shape
        kept = mask(self.seed, self.step, self.place, self.call, int(np.prod(shape)), self.p)
        self.call += 1
        return x * torch.from_numpy(kept).view(shape).to(x.dtype) / (1 - self.p)


class GivenChanges(nn.Module):
    """Augmentation by what the member's seed, the step and the place draw."""

    def __init__(self, like: Augment, seed: int, place: int) -> None:
        super().__init__()
        self.like, self.seed, self.place, self.step, self.call = like, seed, place, 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        drawn = hashes(self.seed, self.step, self.place, self.call, len(x) * 5).astype(np.int64) % 2**31
        return changed(x, torch.from_numpy(drawn).view(-1, 5), self.like.flip, self.like.shift, self.like.cutout)


def give_masks(module: nn.Module, seed: int) -> list[GivenMask | GivenChanges]:
    given = []
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.Dropout | nn.Dropout1d | nn.Dropout2d | Augment):
            new = (
                GivenChanges(child, seed, len(given))
                if isinstance(child, Augment)
                else GivenMask(child.p, not isinstance(child, nn.Dropout), seed, len(given))
            )
            parent = module.get_submodule(name.rpartition(".")[0]) if "." in name else module
            setattr(parent, name.rpartition(".")[2], new)
            given.append(new)
    return given


def torch_optimizer(spec, parameters):
    match spec:
        case AdamW():
            return torch.optim.AdamW(parameters, spec.lr, (spec.beta1, spec.beta2), spec.eps, spec.weight_decay)
        case Adam():
            return torch.optim.Adam(parameters, spec.lr, (spec.beta1, spec.beta2), spec.eps, spec.weight_decay)
        case SGD():
            return torch.optim.SGD(
                parameters, spec.lr, spec.momentum, spec.dampening, spec.weight_decay, nesterov=spec.nesterov
            )


def torch_schedule(spec, optimizer, epochs):
    match spec:
        case Constant():
            return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        case CosineAnnealingLR():
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.T_max or epochs, spec.eta_min)


def train_plainly(module: nn.Module, member: Member, inputs, y, loss) -> PlainResult:
    """Train ``module`` as ``member`` would be, the way a course text writes it."""
    module = copy.deepcopy(module)
    masks = give_masks(module, member.seed)
    training = member.spec.training
    optimizer = torch_optimizer(member.spec.optimizer, module.parameters())
    scheduler = torch_schedule(member.spec.schedule, optimizer, training.epochs)
    result = PlainResult(module, [], [], {}, 0, [])
    step = 0
    for epoch in range(training.epochs):
        module.train()
        losses = []
        for rows in batch_rows(member, epoch, member.steps, member.batch_size):
            for given in masks:
                given.step, given.call = step, 0
            torch.manual_seed(key_of(member.seed, step, len(masks)))  # for a forward that draws by itself
            optimizer.zero_grad()
            value = loss(module(*(x[rows] for x in inputs)), y[rows])
            value.backward()
            if training.clip_norm is not None:
                nn.utils.clip_grad_norm_(module.parameters(), training.clip_norm)
            optimizer.step()
            losses.append(value.item())
            step += 1
        scheduler.step()
        result.step_losses += losses
        result.train_losses.append(float(np.mean(losses)))
        module.eval()
        with torch.no_grad():
            rows = member.valid_rows
            result.valid_losses.append(loss(module(*(x[rows] for x in inputs)), y[rows]).item())
        if result.valid_losses[-1] < min(result.valid_losses[:-1], default=float("inf")):
            result.best = copy.deepcopy(module.state_dict())
            result.best_epoch = epoch + 1
        if training.patience and epoch + 1 - result.best_epoch >= training.patience:
            break
    return result
