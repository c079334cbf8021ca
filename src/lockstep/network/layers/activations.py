"""Activations by name: torch's own modules."""

from collections.abc import Callable

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(dim=-1),
    "identity": nn.Identity,
}


def activation(name: str, slope: float = 0.01) -> nn.Module:
    """The activation of that name, any shape → the same. ``slope`` is leaky ReLU's on the negative side.

    ``softmax`` is over the last axis.
    """
    if name == "leaky_relu":
        return nn.LeakyReLU(slope)
    return ACTIVATIONS[name]()
