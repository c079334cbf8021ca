"""One network as data: preprocessing and body. The head follows from the task."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from lockstep.spec.base import Frozen, Number, in_range
from lockstep.spec.training import integers

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "elu", "selu", "leaky_relu", "mish", "identity"]
Norm = Literal["none", "batch", "layer"]


class Preprocess(Frozen):
    """Raw columns or pixels to numbers, fitted on the training rows of the member's own fold.

    ``numbers``: ``standard`` is (x − mean)/std; ``robust`` is (x − median)/IQR with a smooth clip (RealMLP, Holzmüller
    et al. 2024); ``quantile`` maps ranks to a standard normal; ``piecewise`` gives each of ``bins`` quantile bins an
    input of its own (piecewise-linear encoding, Gorishniy et al. 2022) beside the standardised number.
    Categories of at most ``onehot_max`` values are one-hot, above that an embedding of ``embedding_size``.
    """

    numbers: Literal["standard", "robust", "quantile", "piecewise"] = "standard"
    bins: int = Field(default=32, ge=2)
    onehot_max: int = Field(default=64, ge=0)
    embedding_size: int = Field(default=8, ge=1)


class Mlp(Frozen):
    """(Linear, norm, activation, dropout) for each width in ``hidden``, then the output layer."""

    family: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(integers)] = (256, 256)
    activation: Activation = "relu"
    norm: Annotated[Norm, BeforeValidator(lambda norm: "none" if norm is None else norm)] = "batch"
    dropout: Annotated[Number, in_range(least=0, below=1)] = 0.5
