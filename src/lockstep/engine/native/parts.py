"""A part of a network, several layers in a row, as one operation of autograd whose two ways are kernels.

``Draft`` says layer by layer what a part does; ``run`` does it for one member, and under ``vmap`` for a whole stack in
one call. ``kernels/parts.cpp`` reads what is written here. First derivatives only.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.engine.backprop.activations import Activation, activation
from lockstep.engine.native.program import padded
from lockstep.engine.native.structures import (
    Cell,
    Function,
    Kind,
    Layer,
    Part,
    Piece,
    PieceKind,
    Step,
    array,
    pointer,
)
from lockstep.engine.native.toolchain import library
from lockstep.network.layers.dropout import KeyedDropout

Dims = tuple[int | None, ...]


@dataclass(eq=False)
class Draft:
    """The layers of a part so far, on samples of ``rows`` steps or pixels (``height`` × ``width``) of ``inputs``
    numbers; ``vector`` is how many numbers a vector has. Parameters, dropouts and batch norms are named as in the
    module."""

    inputs: int
    rows: int
    vector: int
    height: int = 1
    width: int = 1
    steps: list[Step] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    dropouts: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        return int(self.steps[-1].layer.outputs) if self.steps else self.inputs

    @property
    def rows_out(self) -> int:
        return int(self.steps[-1].rows_out) if self.steps else self.rows

    def sizes(self) -> tuple[int, int]:
        """How many numbers the parameters are, as they come and padded."""
        last = self.pieces[-1]
        return last.flat + last.rows * last.cols, last.place + last.size

    def piece(self, names: Sequence[str], rows: int, cols: int, kind: PieceKind) -> int:
        flat, place = self.sizes() if self.pieces else (0, 0)
        size = cols * padded(rows, self.vector)
        self.pieces.append(Piece(kind, rows, cols, flat, place, size, 0))
        self.parameters += names
        return place

    def matrix(self, *names: str, rows: int, cols: int) -> int:
        """Where a matrix will lie, whose rows are those of these parameters one after another."""
        return self.piece(names, rows, cols, PieceKind.MATRIX)

    def vector_of(self, *names: str, size: int) -> int:
        return self.piece(names, size, 1, PieceKind.VECTOR)

    def add(
        self, kind: Kind, outputs: int | None = None, rows_out: int | None = None, window: tuple[int, int] = (0, 0),
        **own: Any,
    ) -> None:  # fmt: skip
        outputs, rows = self.outputs if outputs is None else outputs, self.rows_out
        fields = {"kind": kind, "inputs": self.outputs, "outputs": outputs, "weight": -1, "bias": -1, "groups": 1} | own
        unpadded = kind == Kind.CONVOLUTION and not self.steps
        sizes = (rows if rows_out is None else rows_out, self.height, self.width, *window, unpadded)
        self.steps.append(Step(Layer(**fields), rows, *sizes))

    def linear(self, names: Sequence[str], biases: Sequence[str], outputs: int) -> None:
        weight = self.matrix(*names, rows=outputs, cols=self.outputs)
        bias = self.vector_of(*biases, size=outputs) if biases else -1
        self.add(Kind.LINEAR, outputs, weight=weight, bias=bias)

    def norm(self, module: nn.Module, name: str) -> None:
        match module:
            case nn.BatchNorm2d():
                self.norms.append(name)
                self.add(Kind.BATCH_NORM, eps=module.eps, momentum=module.momentum)
            case nn.LayerNorm():
                self.add(Kind.FEATURE_NORM, eps=module.eps)
            case nn.RMSNorm():
                eps = torch.finfo(module.weight.dtype).eps if module.eps is None else module.eps
                self.add(Kind.ROOT_MEAN_SQUARE, eps=eps)
        gain = self.vector_of(f"{name}.weight", size=self.outputs)
        shift = self.vector_of(f"{name}.bias", size=self.outputs) if hasattr(module, "bias") else -1
        self.add(Kind.AFFINE, weight=gain, bias=shift)

    def activation(self, module: nn.Module) -> None:
        written = activation(module)
        assert isinstance(written, Activation)
        self.add(Kind.ACTIVATION, function=Function[written.name.upper()], a=written.a, s=written.s)

    def dropout(self, module: nn.Module, name: str) -> None:
        if isinstance(module, KeyedDropout):
            self.dropouts.append(name)
            self.add(Kind.DROPOUT, place=len(self.dropouts) - 1)

    def attention(self, heads: int) -> None:
        self.add(Kind.ATTENTION, self.outputs // 3, groups=heads)

    def convolution(self, name: str, outputs: int, kernel: int, pool: int, *, bias: bool) -> None:
        """A convolution and the maximum over squares of ``pool`` pixels."""
        weight = self.matrix(f"{name}.weight", rows=outputs, cols=kernel**2 * self.outputs)
        shift = self.vector_of(f"{name}.bias", size=outputs) if bias else -1
        smaller = self.height // pool, self.width // pool
        self.add(Kind.CONVOLUTION, outputs, smaller[0] * smaller[1], (kernel, pool), weight=weight, bias=shift)
        self.height, self.width = smaller

    def recurrence(self, cell: Cell, weights: Sequence[str], biases: Sequence[str], hidden: int) -> None:
        directions, gates = len(weights), self.outputs // len(weights)
        places = [self.matrix(weight, rows=gates, cols=hidden) for weight in weights]
        bias = self.vector_of(*biases, size=directions * gates)
        self.add(Kind.RECURRENCE, directions * hidden, groups=directions, function=cell, weight=places[0], bias=bias)

    def around(self, start: int) -> None:
        """Add what went into the layer ``start`` to what came out of the last."""
        self.add(Kind.SUM, place=start)


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a part takes beside its input and parameters, of one member or stacked: ``mask`` ``[B, rows]`` of steps that
    are there (empty: all), for each dropout its key, threshold and scale, for each batch norm, one behind the other,
    the running means and variances."""

    mask: Tensor
    keys: Tensor
    thresholds: Tensor
    scales: Tensor
    mean: Tensor
    var: Tensor

    @property
    def all(self) -> tuple[Tensor, ...]:
        return self.mask, self.keys, self.thresholds, self.scales, self.mean, self.var


def run(module: nn.Module, draft: Draft, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The part of ``module`` that ``draft`` tells, ``[B, rows, inputs] → [B, rows_out, outputs]``.

    Raises ``ValueError`` where parameters or input are not what the draft says, or batch norm has one row alone.
    """
    B, rows, inputs = x.shape
    flat = torch.cat([channels_last(attrgetter(name)(module)).reshape(-1) for name in draft.parameters])
    if (rows, inputs, len(flat)) != (draft.rows, draft.inputs, draft.sizes()[0]):
        raise ValueError(f"{type(module).__name__} got an input {list(x.shape)} that its weights do not fit")
    if module.training and any(B * step.rows == 1 for step in draft.steps if step.layer.kind == Kind.BATCH_NORM):
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
    drops: list[KeyedDropout] = [attrgetter(name)(module) for name in draft.dropouts] if module.training else []
    norms: list[nn.BatchNorm2d] = [attrgetter(name)(module) for name in draft.norms]
    none = flat.new_zeros(0)
    numbers = Numbers(
        none.bool() if mask is None else mask.expand(B, rows),
        together([drop.next_key() for drop in drops], none.int()),
        together([drop.threshold for drop in drops], none.int()),
        together([drop.scale for drop in drops], none),
        joined([norm.running_mean for norm in norms], none),
        joined([norm.running_var for norm in norms], none),
    )
    y, mean, var = Whole.apply(x.to(flat.dtype), flat, *numbers.all, draft, module.training)  # type: ignore[no-untyped-call]
    if module.training and norms:
        sizes = [norm.num_features for norm in norms]
        for norm, new_mean, new_var in zip(norms, mean.split(sizes), var.split(sizes), strict=True):
            norm.running_mean, norm.running_var = new_mean, new_var
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked + 1
    return y  # type: ignore[no-any-return]


def channels_last(weight: Tensor) -> Tensor:
    """A convolution's ``[O, C, k, k]`` as ``[O, k, k, C]``; anything else as it is."""
    return weight.movedim(1, -1) if weight.dim() == 4 else weight


def joined(rows: Sequence[Tensor | None], none: Tensor) -> Tensor:
    return torch.cat([row for row in rows if row is not None]) if rows else none


def together(numbers: Sequence[Tensor], none: Tensor) -> Tensor:
    return torch.stack(tuple(numbers)) if numbers else none


class Whole(torch.autograd.Function):
    """(x, parameters, numbers, draft, training) → (y, running means, running variances), of one member or stacked."""

    @staticmethod
    def forward(x: Tensor, flat: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        *numbers, draft, training = rest
        if flat.dim() == 2:
            return forward(x, flat, Numbers(*numbers), draft, training)
        found = forward(x[None], flat[None], Numbers(*(own[None] for own in numbers)), draft, training)
        return tuple(each[0] for each in found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.draft, ctx.training = inputs
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.training
        of_x = ctx.needs_input_grad[0]
        to_x, to_flat = WholeBack.apply(grad, *ctx.saved_tensors, ctx.draft, of_x)  # type: ignore[no-untyped-call]
        return to_x if of_x else None, to_flat, *[None] * 8

    @staticmethod
    def vmap(info: Any, dims: Dims, *inputs: Any) -> tuple[Any, int]:
        *tensors, draft, training = inputs
        return Whole.apply(*stacked(tensors, dims, info.batch_size), draft, training), 0  # type: ignore[no-untyped-call]


class WholeBack(torch.autograd.Function):
    """(δ, x, parameters, numbers, draft, whether δ of x is wanted) → (δ of x, or nothing, gradients)."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        *tensors, draft, of_x = inputs
        grad, x, flat, *numbers = tensors
        if flat.dim() == 2:
            return backward(grad, x, flat, Numbers(*numbers), draft, of_x)
        grad, x, flat, *numbers = (own[None] for own in tensors)
        return tuple(each[0] for each in backward(grad, x, flat, Numbers(*numbers), draft, of_x))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Dims, *inputs: Any) -> tuple[Any, int]:
        *tensors, draft, of_x = inputs
        return WholeBack.apply(*stacked(tensors, dims, info.batch_size), draft, of_x), 0  # type: ignore[no-untyped-call]


def stacked(tensors: Sequence[Tensor], dims: Dims, members: int) -> list[Tensor]:
    """Each with the members along its first axis."""
    both = zip(tensors, dims, strict=False)
    return [x.expand(members, *x.shape) if dim is None else x.movedim(dim, 0) for x, dim in both]


def forward(x: Tensor, flat: Tensor, own: Numbers, draft: Draft, training: bool) -> tuple[Tensor, Tensor, Tensor]:
    K, B = x.shape[:2]
    y = x.new_empty(K, B, draft.rows_out, draft.outputs)
    own = replace(own, mean=own.mean.clone(memory_format=torch.contiguous_format),
                  var=own.var.clone(memory_format=torch.contiguous_format))  # fmt: skip
    if not x.numel():
        return y.zero_(), own.mean, own.var
    call("part_forward", x, flat, own, draft, training=training, learning=False, y=y)
    return y, own.mean, own.var


def backward(grad: Tensor, x: Tensor, flat: Tensor, own: Numbers, draft: Draft, of_x: bool) -> tuple[Tensor, Tensor]:
    to_x, to_flat = x.new_empty(x.shape if of_x else (len(x), 0)), flat.new_empty(flat.shape)
    if not x.numel():
        return to_x, to_flat.zero_()
    call("part_backward", x, flat, own, draft, training=True, learning=True, y=grad.contiguous(),
         to_x=to_x if of_x else None, to_params=to_flat)  # fmt: skip
    return to_x, to_flat


def call(
    name: str, x: Tensor, flat: Tensor, own: Numbers, draft: Draft, *, training: bool, learning: bool, y: Tensor,
    to_x: Tensor | None = None, to_params: Tensor | None = None,
) -> None:  # fmt: skip
    """Raises ``MemoryError`` where memory or threads run out."""
    K, B = x.shape[:2]
    held = [each.contiguous() for each in (x, flat, own.keys, own.mask)]
    by_place = [each.t().contiguous() for each in (own.thresholds, own.scales)]
    count = torch.zeros(K, dtype=torch.int64)
    steps = array(Step, draft.steps)
    begin = 0
    for i in range(len(draft.steps)):
        layer = steps[i].layer
        if layer.kind == Kind.DROPOUT:
            layer.first, layer.second = (row.data_ptr() + layer.place * K * row.itemsize for row in by_place)
        if layer.kind == Kind.BATCH_NORM:
            layer.first, layer.second = (row.data_ptr() + begin * row.itemsize for row in (own.mean, own.var))
            layer.stride, layer.count = own.mean.shape[1], None if learning else count.data_ptr()
            begin += layer.outputs
    steps[0].layer.lowest = learning and to_x is None
    pieces = array(Piece, draft.pieces)
    flat_size, size = draft.sizes()
    part = Part(
        K, B, draft.inputs, draft.outputs, flat_size, size, len(draft.steps), len(draft.pieces), own.keys.shape[1],
        bool(draft.norms) and training, training, torch.get_num_threads(), pointer(steps), pointer(pieces),
        held[0].data_ptr(), held[1].data_ptr(), held[2].data_ptr(), held[3].data_ptr() if own.mask.numel() else None,
        y.data_ptr(), *(None if each is None else each.data_ptr() for each in (to_x, to_params)),
    )  # fmt: skip
    kernel = getattr(library(x.dtype, "parts"), name)
    kernel.restype = ctypes.c_int64
    if not kernel(ctypes.byref(part)):
        raise MemoryError(
            f"There is not enough memory for a part's layers of one batch, or for {part.threads} threads."
        )
