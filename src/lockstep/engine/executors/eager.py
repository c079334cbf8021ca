"""Gradients by autograd of one network's loss, mapped over the members. Starts at once, runs everywhere."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lockstep.engine.stack import Stack, Tensors
from lockstep.engine.step import Gradients
from lockstep.network.losses import LossFunction


class RoundedProducts(TorchFunctionMode):
    """Inside, products of float32 numbers are those of the numbers rounded to bfloat16; what comes out is float32, and
    so is all else: weights, sums, norms, losses. (torch's autocast lets bfloat16 into batch norm, which under ``vmap``
    refuses it.)"""

    OF = frozenset({
        F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.scaled_dot_product_attention, torch.matmul, torch.mm,
        torch.bmm, torch.addmm, torch.baddbmm, torch.einsum, Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__,
    })  # fmt: skip

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self.OF:
            return func(*args, **kwargs)
        return func(*map(rounded, args), **{name: rounded(arg) for name, arg in kwargs.items()}).float()


def rounded(arg: Any) -> Any:
    return arg.bfloat16() if isinstance(arg, Tensor) and arg.dtype == torch.float32 else arg


def autograd_gradients(
    stack: Stack, loss: LossFunction, precision: str = "float32", *, plain: bool = False
) -> Gradients:
    """``plain`` says that the loss is none of a user's own, see ``Stack.backward``."""
    products = RoundedProducts if precision == "bfloat16" else nullcontext

    def member_loss(
        params: Tensors, buffers: Tensors, keys: Tensor, inputs: tuple[Tensor, ...], target: Tensor, numbers: Tensors
    ) -> tuple[Tensor, Tensors]:
        buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        keyed = {f"{name}.key": keys[place] for place, name in enumerate(stack.dropouts)}
        now = buffers | keyed
        with products():
            output = stack.call(params, now, inputs, training=True)
        became = {name: now[name] for name in buffers if name not in keyed}
        return loss(output, target, numbers), buffers | became

    backward = stack.backward(member_loss, plain=plain)

    def gradients(
        params: Tensor, buffers: Tensors, keys: Tensor, inputs: tuple[Tensor, ...], target: Tensor, numbers: Tensors
    ) -> tuple[Tensor, Tensor, Tensors]:
        with stack.drawing(keys):
            grads, (losses, became) = backward(stack.layout.views(params), buffers, keys, inputs, target, numbers)
        return stack.layout.join(grads), losses, became

    return gradients
