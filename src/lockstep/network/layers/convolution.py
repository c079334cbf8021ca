"""Convolution along time and batch norm for sequences of which some steps are not there."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SequenceConv(nn.Conv1d):
    """torch's 1-d convolution with ``padding="same"`` on ``[B, T, C] → [B, T, O]``, as one product over all windows.

    Under ``vmap`` torch's own is a grouped convolution, which is several times slower than the product.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(channels, out_channels, kernel, padding="same", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        (kernel,) = self.kernel_size
        padded = F.pad(x, (0, 0, (kernel - 1) // 2, kernel // 2))
        windows = torch.cat([padded[:, first : first + T] for first in range(kernel)], dim=-1)
        weight = self.weight.transpose(1, 2).reshape(self.out_channels, -1)
        return F.linear(windows.view(B * T, -1), weight, self.bias).view(B, T, -1)


class MaskedBatchNorm(nn.Module):
    """Batch norm over the steps that are there: ``x`` ``[B, T, C]``, ``mask`` ``[B, T]`` → ``[B, T, C]``.

    With every step there it is ``nn.BatchNorm1d`` over the flattened ``[B · T, C]``, running statistics too, and it has
    that layer's parameters and buffers.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean, variance = self._of_batch(x, mask) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return x * scale + (self.bias - mean * scale)

    def _of_batch(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over the steps that are there; moves the running ones."""
        there = mask.unsqueeze(-1).to(x.dtype)
        count = there.sum().clamp(min=1)
        mean = (x * there).sum((0, 1)) / count
        variance = ((x - mean).square() * there).sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked += 1
        return mean, variance
