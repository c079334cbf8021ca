"""Gradients by plain autograd; and what ``vmap`` does for a stack, done for its only member, for what that refuses."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.errors import TrainingError


def one_alone(function: Callable[..., Any], in_dims: tuple[int | None, ...] | int) -> Callable[..., Any]:
    """``vmap(function, in_dims)`` for a leading axis of 1: taken off what goes in, put back on what comes out."""

    def call(*args: Any) -> Any:
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
        own = [arg if dim is None else over(arg, lambda x: x[0]) for arg, dim in zip(args, dims, strict=True)]
        return over(function(*own), lambda x: x[None])

    return call


def plain_gradient(loss: Callable[..., tuple[Tensor, Any]], axes: int) -> Callable[..., tuple[dict[str, Tensor], Any]]:
    """From ``(params, …) → (loss, rest)`` to ``(gradients, (loss, rest))`` by plain autograd, of one member (``axes``
    0) or of all, with losses ``[K]`` (1): a member's parameters are in its own loss alone, so the gradient of the sum
    holds each one's. Alone a member may have what ``vmap`` refuses: an autograd.Function of the older form, changes in
    place, parameters that the forward itself sets under ``no_grad``.

    ``vmap(grad_and_value(loss))`` says the same where ``Stack.plain`` does not hold, too. It goes down to each
    operation twice, and loads torch's compiler, which takes 1.6 s and 90 MB.
    """

    def gradient(params: dict[str, Tensor], *rest: Any) -> tuple[dict[str, Tensor], tuple[Tensor, Any]]:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        with torch.enable_grad():
            value, more = loss(leaves, *rest)
            if value.dim() > axes:
                raise TrainingError(SEVERAL)
            grads = torch.autograd.grad(value.sum(), list(leaves.values()), materialize_grads=True)
        for name, p in params.items():
            if leaves[name].data_ptr() != p.data_ptr():  # the forward did ``weight.data = …``
                p.copy_(leaves[name].detach())
        return dict(zip(leaves, grads, strict=True)), (value.detach(), over(more, Tensor.detach))

    return gradient


SEVERAL = "The loss must be one number per batch, however: it returns several. Take their mean."


def over(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``tree`` of dictionaries and tuples with each tensor changed."""
    match tree:
        case Tensor():
            return change(tree)
        case dict():
            return {name: over(part, change) for name, part in tree.items()}
        case tuple():
            return tuple(over(part, change) for part in tree)
    return tree


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, all that a forward may draw from (torch, numpy, Python) starts from ``seed``; after, it is as before."""
    ours = seed % 2**32
    others = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(ours)  # torch.manual_seed asks every kind of device: 5 ms a step
        if device.type == "cuda":
            torch.cuda.manual_seed(ours)
        random.seed(ours)
        np.random.seed(ours)
        try:
            yield
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])
