"""The outputs of a stack that is not training, by the kernels that train it, where they are made already."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lockstep.engine.native.forms import fused_stack, no_kernels
from lockstep.engine.native.program import chain_of, refusal
from lockstep.engine.native.runner import Kernels
from lockstep.engine.native.toolchain import NoLibrary, is_made
from lockstep.engine.stack import Stack
from lockstep.engine.step import Resident
from lockstep.optim import rule_for
from lockstep.spec import SGD

Outputs = Callable[[Sequence[Tensor]], Tensor]


def native_outputs(stack: Stack, inputs: Sequence[Tensor]) -> Outputs | None:
    """From inputs such as these, each ``[N, …]``, to the outputs ``[K, N, …]``; None where kernels cannot or are not
    made. Nothing is compiled for it."""
    if stack.params.device.type != "cpu" or refusal(stack.originals[0], inputs, made) is not None:
        return None
    chain, rule, K = chain_of(stack.originals[0], inputs), rule_for(SGD()), len(stack.params)

    def outputs(inputs: Sequence[Tensor]) -> Tensor:
        N = len(inputs[0])
        kernels = Kernels(stack, Resident(tuple(inputs), torch.zeros(N)), "mse", rule, chain)
        return torch.stack(kernels.outputs(stack.params, stack.buffers, [np.arange(N)] * K))

    return outputs


def by_made_layers(stack: Stack) -> Stack:
    """``stack`` with the layers in it that have kernels run by them, where these are made."""
    on_cpu = stack.params.device.type == "cpu"
    return fused_stack(stack) if on_cpu and no_kernels(stack.originals[0], made) is None else stack


def made(dtype: torch.dtype, source: str) -> None:
    if not is_made(dtype, source):
        raise NoLibrary("its kernels are not made yet")
