"""Convolution and maximum over images in the memory layout that is fast, in a stack too.

torch's own layers keep the layout they are given, images as they come have their channels outermost, and ``vmap``
cannot be asked for another. With channels innermost the maximum takes a quarter of the time and a convolution three
quarters, and a stack's members lie side by side as groups of channels, of which nothing is copied between the two.
docs/decisions/0006-families.md has the figures. First derivatives only.
"""

from typing import Any

import torch
from torch import Tensor, nn

Dims = tuple[int | None, ...]
aten = torch.ops.aten


class ImageConv(nn.Conv2d):
    """torch's 2-d convolution over an odd ``kernel`` with ``padding="same"``: ``[B, C, h, w] → [B, O, h, w]``."""

    def __init__(self, channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(channels, out_channels, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(x)
        out: Tensor = Convolve.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)


class ImageMax(nn.MaxPool2d):
    """torch's maximum over squares of ``size`` pixels: ``[B, C, h, w] → [B, C, h/size, w/size]``."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(x)  # type: ignore[no-any-return]
        return Maximum.apply(x, self.size)[0]  # type: ignore[no-untyped-call,no-any-return]


class ChannelsOutermost(nn.Module):
    """The same numbers with the channels outermost in memory, for what ``vmap`` cannot run on another layout."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous()


def inner(x: Tensor) -> Tensor:
    """With the channels innermost in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def side_by_side(x: Tensor, dim: int | None, members: int) -> Tensor:
    """Members' images ``[B, C, h, w]`` stacked at ``dim`` (None: one for all) as ``[B, K · C, h, w]``."""
    stacked = x.unsqueeze(1).expand(-1, members, -1, -1, -1) if dim is None else x.movedim(dim, 1)
    return stacked.flatten(1, 2)


def one_after_another(x: Tensor, dim: int | None, members: int) -> Tensor:
    """Members' weights ``[O, C, k, k]`` stacked at ``dim`` (None: one for all) as ``[K · O, C, k, k]``."""
    return (x.expand(members, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)


def apart(x: Tensor, members: int, dim: int) -> Tensor:
    """Axis ``dim`` as the members' own and what they had there."""
    shape = [*x.shape[:dim], members, x.shape[dim] // members, *x.shape[dim + 1 :]]
    return x.view(shape)


class Convolve(torch.autograd.Function):
    """(x ``[B, C, h, w]``, weight ``[O, C, k, k]``) → ``[B, O, h, w]``; a stack's as one convolution of K groups."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return torch.conv2d(inner(x), inner(weight), padding=weight.shape[-1] // 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        found = ConvolveBack.apply(x, weight, grad, ctx.needs_input_grad[0])  # type: ignore[no-untyped-call]
        return found if ctx.needs_input_grad[0] else (None, found)

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, weight: Tensor) -> tuple[Tensor, int]:
        K, pad = info.batch_size, weight.shape[-1] // 2
        kernels = inner(one_after_another(weight, dims[1], K))
        if dims[0] is None:  # the same images for all: no groups, and no copies
            out = torch.conv2d(inner(x), kernels, padding=pad)
        else:
            out = torch.conv2d(inner(side_by_side(x, dims[0], K)), kernels, padding=pad, groups=K)
        return apart(out, K, 1), 1


class ConvolveBack(torch.autograd.Function):
    """(x, weight, gradient of the output, whether that of x is wanted) → gradients of x, if wanted, and of weight."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, grad: Tensor, of_x: bool) -> tuple[Tensor, Tensor] | Tensor:
        return backward(x, weight, grad, of_x, groups=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, weight: Tensor, grad: Tensor, of_x: bool) -> tuple[Any, Any]:
        K = info.batch_size
        images, grads = side_by_side(x, dims[0], K), side_by_side(grad, dims[2], K)
        found = backward(images, one_after_another(weight, dims[1], K), grads, of_x, groups=K)
        if not isinstance(found, tuple):
            return apart(found, K, 0), 0
        return (apart(found[0], K, 1), apart(found[1], K, 0)), (1, 0)


def backward(x: Tensor, weight: Tensor, grad: Tensor, of_x: bool, groups: int) -> tuple[Tensor, Tensor] | Tensor:
    pad = weight.shape[-1] // 2
    to_x, to_weight, _ = aten.convolution_backward(
        inner(grad), inner(x), inner(weight), None, [1, 1], [pad, pad], [1, 1], False, [0, 0], groups,
        [of_x, True, False],
    )  # fmt: skip
    return (to_x, to_weight) if of_x else to_weight


class Maximum(torch.autograd.Function):
    """(x ``[B, C, h, w]``, size) → the maximum over squares, and where in its image each is."""

    @staticmethod
    def forward(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
        return aten.max_pool2d_with_indices(inner(x), [size, size])  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.size, (_, where) = inputs[1], output
        ctx.mark_non_differentiable(where)
        ctx.save_for_backward(inputs[0], where)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        return MaximumBack.apply(*ctx.saved_tensors, grad, ctx.size), None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        K = info.batch_size
        best, where = Maximum.forward(side_by_side(x, dims[0], K), size)
        return (apart(best, K, 1), apart(where, K, 1)), (1, 1)


class MaximumBack(torch.autograd.Function):
    """(x, where its maxima are, gradient at them, size) → gradient of x."""

    @staticmethod
    def forward(x: Tensor, where: Tensor, grad: Tensor, size: int) -> Tensor:
        square = [size, size]
        return aten.max_pool2d_with_indices_backward(  # type: ignore[no-any-return]
            inner(grad), inner(x), square, square, [0, 0], [1, 1], False, inner(where)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, where: Tensor, grad: Tensor, size: int) -> tuple[Tensor, int]:
        K = info.batch_size
        images, places, grads = (side_by_side(part, dims[n], K) for n, part in enumerate((x, where, grad)))
        return apart(MaximumBack.forward(images, places, grads, size), K, 1), 1
