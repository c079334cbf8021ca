"""Families' layers whose two ways are kernels: the same modules, of a class that runs them as a part."""

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lockstep.engine.backprop.activations import Activation, activation
from lockstep.engine.native.parts import Draft, run
from lockstep.engine.native.structures import Cell
from lockstep.engine.native.toolchain import NoLibrary, library
from lockstep.engine.stack import Stack
from lockstep.engine.structure import dtype_of, is_the_libraries
from lockstep.network.families.cnn import ImageCnn, ImageStage
from lockstep.network.families.transformer import Block
from lockstep.network.layers.dropout import KeyedDropout
from lockstep.network.layers.images import ImageConv, ImageMax
from lockstep.network.layers.pooling import masked
from lockstep.network.layers.recurrent import GATES, Recurrent


class FusedBlock(Block):
    """A transformer's block as one part."""

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        width = h.shape[2]
        draft = Draft(width, h.shape[1], vector_length(self))
        draft.norm(self.norm1, "norm1")
        draft.linear(["self_attn.in_proj_weight"], ["self_attn.in_proj_bias"], 3 * width)
        draft.attention(self.self_attn.heads)
        draft.linear(["self_attn.out_proj.weight"], ["self_attn.out_proj.bias"], width)
        draft.dropout(self.dropout1, "dropout1")
        draft.around(0)
        middle = len(draft.steps)
        draft.norm(self.norm2, "norm2")
        draft.linear(["linear1.weight"], ["linear1.bias"], self.linear1.out_features)
        draft.activation(self.activation)
        draft.dropout(self.dropout, "dropout")
        draft.linear(["linear2.weight"], ["linear2.bias"], width)
        draft.dropout(self.dropout2, "dropout2")
        draft.around(middle)
        return run(self, draft, h, mask)


class FusedImageCnn(ImageCnn):
    """All stages of convolutions as one part, between what comes before and behind them."""

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        first, last = (
            pick(n for n, layer in enumerate(layers) if isinstance(layer, ImageStage)) for pick in (min, max)
        )
        for layer in layers[:first]:
            x = layer(x)
        x = self.stages(x, range(first, last + 1))
        for layer in layers[last + 1 :]:
            x = layer(x)
        return x

    def stages(self, x: Tensor, which: range) -> Tensor:
        B, C, height, width = x.shape
        draft = Draft(C, height * width, vector_length(self), height, width)
        for n in which:
            layers = [*self[n]._modules.items(), ("", None)]  # one module in two places is two layers
            for (name, layer), (_, after) in pairwise(layers):
                in_stage(draft, layer, f"{n}.{name}", pool=after.size if isinstance(after, ImageMax) else 1)
        y = run(self, draft, x.permute(0, 2, 3, 1).reshape(B, height * width, C))
        return y.view(B, draft.height, draft.width, draft.outputs).permute(0, 3, 1, 2)


def in_stage(draft: Draft, layer: nn.Module | None, name: str, pool: int) -> None:
    """``layer``, and the maximum over squares that follows it."""
    match layer:
        case ImageConv(kernel_size=(kernel, _)):
            draft.convolution(name, layer.out_channels, kernel, pool, bias=layer.bias is not None)
        case nn.BatchNorm2d():
            draft.norm(layer, name)
        case ImageMax() | nn.Identity() | None:
            pass
        case _:
            draft.activation(layer)


class FusedRecurrent(Recurrent):
    """Each layer of recurrence, the product for all steps' inputs included, as one part."""

    def _layer(self, x: Tensor, mask: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        ends = [f"l{layer}{direction}" for direction in self.directions]
        draft = Draft(x.shape[2], x.shape[1], vector_length(self))
        gates = GATES[self.cell] * self.hidden
        draft.linear([f"weight_ih_{end}" for end in ends], [f"bias_ih_{end}" for end in ends], len(ends) * gates)
        cell = Cell[f"elman_{self.nonlinearity}".upper() if self.cell == "elman" else self.cell.upper()]
        draft.recurrence(cell, [f"weight_hh_{e}" for e in ends], [f"bias_hh_{e}" for e in ends], self.hidden)
        states = run(self, draft, x, mask)
        last = [states[:, -1, : self.hidden], *([states[:, 0, self.hidden :]] if len(ends) > 1 else [])]
        return masked(states, mask), torch.cat(last, dim=1)


def has_kernels(module: nn.Module) -> bool:
    """Whether ``module`` is of a class that has a fused form, and holds only what that form knows."""
    if type(module) not in FORMS or not all(map(as_written, module.modules())):
        return False
    match module:
        case Block():
            kept = (module.dropout, module.dropout1, module.dropout2)
            return (
                isinstance(module.self_attn.dropout, nn.Identity)
                and module.self_attn.rotary is None
                and all(isinstance(norm, nn.LayerNorm | nn.RMSNorm) for norm in (module.norm1, module.norm2))
                and all(isinstance(layer, nn.Linear) for layer in (module.linear1, module.linear2))
                and isinstance(activation(module.activation), Activation)
                and all(isinstance(drop, nn.Identity | nn.Dropout) or by_element(drop) for drop in kept)
            )
        case ImageCnn():
            stages = [layer for layer in module if isinstance(layer, ImageStage)]
            return all(stage_has_kernels(stage) for stage in stages)
    return True


def as_written(module: nn.Module) -> bool:
    """Whether a layer is what torch or Lockstep made it, with all that its kernel reads.

    A class of the user's own, a hook or a forward of its own would not be run.
    """
    if not is_the_libraries(module):
        return False
    match module:
        case nn.LayerNorm() | nn.Linear():
            return module.weight is not None and module.bias is not None
        case nn.RMSNorm():
            return module.weight is not None
        case nn.BatchNorm2d():
            return module.affine and module.running_mean is not None and module.momentum is not None
    return True


def by_element(drop: nn.Module) -> bool:
    return isinstance(drop, KeyedDropout) and not drop.features


def stage_has_kernels(stage: ImageStage) -> bool:
    """The maximum over squares has one behind a convolution alone."""
    pairs = pairwise([nn.Identity(), *stage._modules.values()])
    return all(isinstance(before, ImageConv) if isinstance(layer, ImageMax) else layer_has_kernel(layer)
               for before, layer in pairs)  # fmt: skip


def layer_has_kernel(layer: nn.Module | None) -> bool:
    known = isinstance(layer, ImageConv | nn.Identity) or type(layer) is nn.BatchNorm2d
    return known or (layer is not None and isinstance(activation(layer), Activation))


FORMS: dict[type[nn.Module], type[nn.Module]] = {
    Block: FusedBlock,
    ImageCnn: FusedImageCnn,
    Recurrent: FusedRecurrent,
}


def fused(form: nn.Module) -> nn.Module:
    """A copy of a stack's form in which every layer that has kernels runs by them.

    A layer that its user keeps in eval mode while others train, or the other way round, stays as it is.
    """
    form = copy.deepcopy(form)
    for module in form.modules():
        if has_kernels(module) and all(inner.training == form.training for inner in module.modules()):
            module.__class__ = FORMS[type(module)]
    return form


def fused_stack(stack: Stack) -> Stack:
    return replace(stack, train_form=fused(stack.train_form), eval_form=fused(stack.eval_form))


def no_kernels(module: nn.Module, have: Callable[[torch.dtype, str], Any] = library) -> str | None:
    """Why no layer of ``module`` runs by kernels of its own; None where one does, once they are made. ``have`` makes
    them, or raises ``NoLibrary``."""
    if not any(map(has_kernels, module.modules())):
        return "none of its layers has kernels"
    try:
        have(dtype_of(module), "parts")
    except NoLibrary as reason:
        return str(reason)
    return None


def vector_length(module: nn.Module) -> int:
    return int(library(next(module.parameters()).dtype, "parts").vector_length())
