"""From a module of torch to its written-out layers: which kinds there are, and what shapes they take."""

from math import prod

import torch
from torch import nn

from lockstep.engine.backprop.activations import activation
from lockstep.engine.backprop.dropout import Dropout
from lockstep.engine.backprop.layer import Layer
from lockstep.engine.backprop.linear import Linear, Reshape
from lockstep.engine.backprop.norms import Affine, BatchNorm, FeatureNorm, RootMeanSquare
from lockstep.network.heads import Logits
from lockstep.network.layers.linear import Linear as LinearOfMoreAxes

Shape = tuple[int, ...]

# Exactly these: a subclass may do something else.
LINEAR = (nn.Linear, Logits, LinearOfMoreAxes)
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Softmax,
)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
LAYERS = (*LINEAR, *ACTIVATIONS, *NORMS, nn.Dropout, nn.Flatten, nn.Identity)


class NotWritten(Exception):  # noqa: N818  (no error: a reason)
    """Why a network has no written-out form."""


def layers_of(module: nn.Module, name: str, shape: Shape) -> tuple[list[Layer], Shape]:
    """The layers of ``module``, called ``name`` in the network, on samples of ``shape``, and the shape that comes out.

    Raises ``NotWritten``.
    """
    if type(module) not in LAYERS:
        raise NotWritten(f"{name} ({type(module).__name__}) has no written-out form")
    match module:
        case nn.Identity():
            return [], shape
        case nn.Flatten(start_dim=1, end_dim=-1):
            return ([], shape) if len(shape) == 1 else flattened(shape)
        case nn.Dropout():
            return [Dropout(name)], shape
        case nn.Linear(in_features=features) if shape == (features,):
            weight = f"{name}.weight" if name else "weight"
            return [Linear(weight, parameter(module, name, "bias"))], (module.out_features,)
    if len(shape) == 1:
        if (function := activation(module)) is not None:
            return [function], shape
        if isinstance(module, NORMS):
            return norm(module, name), shape
    elif (function := activation(module)) is not None and not isinstance(module, nn.Softmax):
        return [function], shape
    sizes = ", ".join(map(str, shape))
    raise NotWritten(f"{name} ({module}) on samples of shape [{sizes}] has no written-out form")


def norm(module: nn.Module, name: str) -> list[Layer]:
    """A norm over samples of one axis."""
    affine = Affine(parameter(module, name, "weight"), parameter(module, name, "bias"))
    last: list[Layer] = [affine] if affine.weight else []
    match module:
        case nn.BatchNorm1d(momentum=float(momentum)):
            return [BatchNorm(name, module.eps, momentum, module.running_mean is not None), *last]
        case nn.LayerNorm():
            return [FeatureNorm(module.eps), *last]
        case nn.GroupNorm(num_groups=groups):
            return [FeatureNorm(module.eps, groups), *last]
        case nn.RMSNorm(eps=eps) if eps is not None or module.weight is not None:  # the eps of what type, else?
            return [RootMeanSquare(torch.finfo(module.weight.dtype).eps if eps is None else eps), *last]
    raise NotWritten(f"{name} ({module}) has no written-out form")


def parameter(module: nn.Module, name: str, own: str) -> str | None:
    """The name in the network of a module's own parameter; None where it has none."""
    return None if getattr(module, own, None) is None else f"{name}.{own}" if name else own


def flattened(shape: Shape) -> tuple[list[Layer], Shape]:
    return [Reshape((prod(shape),))], (prod(shape),)
