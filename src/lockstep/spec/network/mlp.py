"""The multi-layer perceptron as data."""

from typing import Literal

from lockstep.spec.base import Frozen
from lockstep.spec.network.parts import Activation, Norm, Rate, Widths


class Mlp(Frozen):
    """(Linear, norm, activation, dropout) for each width in ``hidden``, then the output layer."""

    family: Literal["mlp"] = "mlp"
    hidden: Widths = (256, 256)
    activation: Activation = "relu"
    norm: Norm = "batch"
    dropout: Rate = 0.5
