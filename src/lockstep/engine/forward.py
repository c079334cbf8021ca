"""A stack's outputs without training: for validation, prediction and tests."""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.engine.living import Living
from lockstep.engine.native import by_made_layers, native_outputs
from lockstep.engine.population import Rows
from lockstep.engine.refusals import in_stack
from lockstep.engine.stack import Stack, Tensors, lift_groups
from lockstep.engine.step import Resident, gather

FEWEST, MOST = 64, 16_384  # rows that go through at once: of each member, and of all
HELD = 2**26  # bytes that a pass of more than the fewest may hold
_OF_A_ROW: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()  # bytes that a pass holds, by a stack's form


@torch.no_grad()
def outputs_on_own_rows(
    stack: Stack, data: Resident, params: Tensor, buffers: Tensors, rows: Sequence[Rows]
) -> list[Tensor]:
    """Each member's outputs ``[N_k, …]`` on its own rows, all members at once, in chunks of rows."""
    longest = max(len(own) for own in rows)
    padded = torch.from_numpy(np.stack([np.resize(own, longest) for own in rows])).to(params.device)
    views = stack.layout.views(params)
    forward = stack.each(lambda p, b, inputs: stack.call(p, b, inputs, training=False))
    with in_stack(stack.eval_form), stack.drawing():
        outputs = in_passes(
            lambda part: forward(views, buffers, tuple(gather(x, padded[:, part]) for x in data.inputs)),
            longest, len(rows), stack.eval_form,
        )  # fmt: skip
    return [output[: len(own)] for output, own in zip(outputs, rows, strict=True)]


@torch.no_grad()
def outputs_on_all_rows(stack: Stack, params: Tensor, buffers: Tensors, inputs: tuple[Tensor, ...]) -> Tensor:
    """Every member's outputs ``[K, N, …]`` on the same rows."""
    views = stack.layout.views(params)
    forward = stack.each(lambda p, b, x: stack.call(p, b, x, training=False), in_dims=(0, 0, None))
    with in_stack(stack.eval_form), stack.drawing():
        return in_passes(
            lambda part: forward(views, buffers, tuple(x[part] for x in inputs)),
            len(inputs[0]), len(params), stack.eval_form,
        )  # fmt: skip


def in_passes(outputs: Callable[[slice], Tensor], rows: int, members: int, form: nn.Module) -> Tensor:
    """``outputs`` ``[K, N, …]`` of so many rows of each member: of few in the first pass that ``form`` ever takes, and
    then of as many as ``HELD`` allows for what that held of every layer, for a row may be ten numbers or an image."""
    parts: list[Tensor] = []
    if form not in _OF_A_ROW and rows > FEWEST:
        with Living() as living:
            parts.append(outputs(slice(0, FEWEST)))
        _OF_A_ROW[form] = living.most / (FEWEST * members)
    size = max(FEWEST, int(min(MOST, HELD / max(_OF_A_ROW.get(form, 0), 1)) / members))
    starts = range(FEWEST if parts else 0, max(rows, 1), size)
    return torch.cat([*parts, *(outputs(slice(start, start + size)) for start in starts)], dim=1)


def by_torch(stack: Stack) -> Callable[[tuple[Tensor, ...]], Tensor]:
    return lambda inputs: outputs_on_all_rows(stack, stack.params, stack.buffers, inputs)


class Lifted:
    """Plain modules stacked to be asked for their outputs together."""

    def __init__(self, modules: Sequence[nn.Module], device: torch.device) -> None:
        self._like = next(modules[0].parameters()).detach()
        self._stacks = list(lift_groups(modules, device))
        self._device = device
        self._ways: list[Callable[[tuple[Tensor, ...]], Tensor]] = []

    def outputs(self, inputs: Sequence[Any]) -> NDArray[Any]:
        """The outputs ``[K, N, …]`` in eval mode, on the same rows.

        Floats among ``inputs`` are taken in the modules' own precision, other types as they are.
        """
        placed = tuple(as_input(x, self._like, self._device) for x in inputs)
        if not self._ways:
            self._ways = [native_outputs(stack, placed) or by_torch(by_made_layers(stack)) for stack, _ in self._stacks]
        outputs: dict[int, NDArray[Any]] = {}
        for (_, positions), way in zip(self._stacks, self._ways, strict=True):
            outputs |= dict(zip(positions, way(placed).cpu().numpy(), strict=True))
        return np.stack([outputs[position] for position in range(len(outputs))])


def as_input(x: Any, like: Tensor, device: torch.device) -> Tensor:
    """On the device; floats in the precision of ``like``, other types as they are."""
    tensor: Tensor = torch.as_tensor(x)
    return tensor.to(device, like.dtype) if tensor.is_floating_point() else tensor.to(device)
