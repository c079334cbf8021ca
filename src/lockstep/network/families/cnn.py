"""Convolutional network: stages of convolutions over images, or along the steps of sequences, and a pooled row."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.errors import SpecError
from lockstep.network.layers.activations import activation
from lockstep.network.layers.augment import Augment
from lockstep.network.layers.convolution import MaskedBatchNorm, SequenceConv
from lockstep.network.layers.dropout import dropout_layer
from lockstep.network.layers.images import ChannelsOutermost, ImageConv, ImageMax
from lockstep.network.layers.initialise import initialise
from lockstep.network.layers.linear import Linear
from lockstep.network.layers.norms import norm
from lockstep.network.layers.pooling import masked, masked_max, masked_mean
from lockstep.network.shapes import Grid, Sequence
from lockstep.spec.network import Cnn

# ---------------------------------------------------------------------------------------------------------- images


def image_cnn(spec: Cnn, shape: Grid) -> tuple[nn.Module, int]:
    """The body ``[B, C, height, width] → [B, H]`` and its width ``H``."""
    if spec.layout == "parallel":
        raise SpecError("Parallel branches are for series and texts, however: images. Set model.layout=stages.")
    if even := [kernel for kernel in spec.kernels if kernel % 2 == 0]:
        raise SpecError(
            "Over images a kernel has its centre on a pixel, so it has an odd width, "
            f"however: {even[0]}. Set model.kernel to 3 or 5."
        )
    height, width = (side // spec.pool ** len(spec.channels) for side in (shape.height, shape.width))
    if min(height, width) < 1:
        raise SpecError(
            "Images must be large enough for the pooling of all stages, however: "
            f"{shape.height} × {shape.width} pixels, {len(spec.channels)} stages, pool={spec.pool}. "
            "Set model.channels to fewer stages, or model.pool=1."
        )
    drawn = spec.augment
    changes = [Augment(drawn.flip, drawn.shift, drawn.cutout)] if drawn.flip or drawn.shift or drawn.cutout else []
    inputs = (shape.channels, *spec.channels)
    stages = [ImageStage(spec, *sizes) for sizes in zip(inputs, spec.channels, spec.kernels, strict=False)]
    per_channel = {"mean": 1, "max": 1, "mean_max": 2, "flatten": height * width}[spec.pooling]
    body = ImageCnn(*changes, *stages, ImagePooling(spec.pooling), dropout_layer(spec.dropout))
    return body, spec.channels[-1] * per_channel


class ImageCnn(nn.Sequential):
    """Augmentation, if any, stages, pooling, dropout."""


class ImageStage(nn.Sequential):
    """(convolution, norm, activation) × ``convs`` with a maximum over squares of ``pool`` pixels; ``[B, C, h, w]`` →
    ``[B, O, h/pool, w/pool]``.

    The maximum stands right behind the last convolution, where norm and activation then have a quarter of the work;
    with a path around the stage it comes last.
    """

    def __init__(self, spec: Cnn, channels: int, out_channels: int, kernel: int) -> None:
        pool = [ImageMax(spec.pool)] if spec.pool > 1 else []
        layers: list[nn.Module] = []
        for place in range(spec.convs):
            width, last = channels if place == 0 else out_channels, place == spec.convs - 1
            layers.append(image_conv(spec, width, out_channels, kernel))
            layers += pool if last and not spec.residual else []
            layers += image_norm(spec, out_channels)
            layers += [] if last and spec.residual else [activation(spec.activation, spec.slope)]
        if spec.residual:
            around = nn.Identity() if channels == out_channels else ImageConv(channels, out_channels, 1, bias=False)
            layers = [Around(nn.Sequential(*layers), around), activation(spec.activation, spec.slope), *pool]
        super().__init__(*layers)


class Around(nn.Module):
    """``inner(x) + around(x)`` (He et al. 2016)."""

    def __init__(self, inner: nn.Module, around: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.around = around

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.around(x)  # type: ignore[no-any-return]


class ImagePooling(nn.Module):
    """``[B, C, h, w]`` to a row: the mean or maximum of each channel, both, or everything."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        match self.pooling:
            case "mean":
                return x.mean((2, 3))
            case "max":
                return x.amax((2, 3))
            case "mean_max":
                return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return x.flatten(1)


def image_conv(spec: Cnn, channels: int, out_channels: int, kernel: int) -> ImageConv:
    layer = ImageConv(channels, out_channels, kernel, bias=spec.norm != "batch")
    initialise(layer, spec.init, spec.activation, spec.slope)
    return layer


def image_norm(spec: Cnn, channels: int) -> list[nn.Module]:
    layer = norm(spec.norm, channels, groups=spec.groups, axes=2)
    if isinstance(layer, nn.GroupNorm):
        return [ChannelsOutermost(), layer]
    return [] if layer is None else [layer]


# ------------------------------------------------------------------------------------------------------- sequences


def sequence_cnn(spec: Cnn, shape: Sequence) -> tuple[nn.Module, int]:
    """The body ``([B, T, E], mask [B, T]) → [B, H]`` and its width ``H``."""
    check_sequence(spec)
    body = SequenceCnn(spec, shape.width)
    return body, body.width


def check_sequence(spec: Cnn) -> None:
    """Raises ``SpecError`` for what is for images only."""
    drawn = spec.augment
    if drawn.flip or drawn.shift or drawn.cutout:
        raise SpecError("Augmentation is for images, however: a sequence. Leave model.augment out.")
    if spec.pooling == "flatten":
        raise SpecError(
            "Sequences differ in length, so they are pooled over time, however: model.pooling=flatten. "
            "Set it to mean, max or mean_max."
        )
    if spec.norm == "group":
        raise SpecError(
            "Along a sequence a norm is over a step's features or over the batch, however: model.norm=group. "
            "Set it to batch, layer, rms or none."
        )


class SequenceCnn(nn.Module):
    """Stages one after another, or branches side by side, then pooling over the steps that are there, then dropout.

    What stands at steps that are not there, and how many of them there are, changes nothing.
    """

    def __init__(self, spec: Cnn, channels: int) -> None:
        super().__init__()
        widths = spec.channels
        if spec.layout == "stages":
            sizes = list(zip((channels, *widths), widths, spec.kernels, strict=False))
            self.branches = nn.ModuleList([nn.ModuleList(SequenceStage(spec, *own) for own in sizes)])
        else:
            alone = [SequenceStage(spec, channels, widths[0], kernel) for kernel in spec.kernels]
            self.branches = nn.ModuleList(nn.ModuleList([stage]) for stage in alone)
        self.pooling = spec.pooling
        self.dropout = dropout_layer(spec.dropout)
        self.width = widths[-1] * len(self.branches) * (2 if spec.pooling == "mean_max" else 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = masked(x, mask)
        return self.dropout(torch.cat(list(self._rows(x, mask)), dim=1))  # type: ignore[no-any-return]

    def _rows(self, x: Tensor, mask: Tensor) -> Iterator[Tensor]:
        for branch in self.branches:
            h, there = x, mask
            for stage in branch:  # type: ignore[attr-defined]
                h, there = stage(h, there)
            if self.pooling != "max":
                yield masked_mean(h, there)
            if self.pooling != "mean":
                yield masked_max(h, there)


class SequenceStage(nn.Module):
    """(convolution, norm, activation) × ``convs``, then the maximum over every ``pool`` steps: ``([B, T, C], mask)`` →
    ``([B, T/pool, O], mask)``. ``T`` is rounded up, and a step that is not there is 0 before every convolution."""

    def __init__(self, spec: Cnn, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for place in range(spec.convs):
            width = channels if place == 0 else out_channels
            self.convs.append(SequenceConv(width, out_channels, kernel, bias=spec.norm != "batch"))
            self.norms.append(SequenceNorm(spec.norm, out_channels))
        initialise(self.convs, spec.init, spec.activation, spec.slope)
        self.activation = activation(spec.activation, spec.slope)
        self.around: nn.Module | None = None
        if spec.residual:
            self.around = nn.Identity() if channels == out_channels else Linear(channels, out_channels, bias=False)
        self.pool = spec.pool

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        h = x
        for conv, own_norm in zip(self.convs, self.norms, strict=True):
            h = own_norm(conv(h), mask)
            if own_norm is self.norms[-1] and self.around is not None:
                h = h + self.around(x)
            h = masked(self.activation(h), mask)
        return max_over(h, mask, self.pool)


class SequenceNorm(nn.Module):
    """Batch norm over the steps that are there, or a norm of each step's features by itself."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.inner = MaskedBatchNorm(channels) if name == "batch" else norm(name, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if isinstance(self.inner, MaskedBatchNorm):
            return self.inner(x, mask)  # type: ignore[no-any-return]
        return x if self.inner is None else self.inner(x)


def max_over(x: Tensor, mask: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    """The maximum of every ``pool`` steps, of those that are there; 0 where there is none."""
    if pool == 1:
        return x, mask
    missing = -x.shape[1] % pool
    there = F.pad(mask, (0, missing)).unflatten(1, (-1, pool))
    steps = F.pad(x, (0, 0, 0, missing)).unflatten(1, (-1, pool))
    best = steps.masked_fill(~there.unsqueeze(-1), float("-inf")).amax(2)
    return masked(best, there.any(2)), there.any(2)
