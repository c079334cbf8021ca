"""The parts that the families share: activations, norms, rates and widths as data."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lockstep.spec.base import Number, in_range
from lockstep.spec.training import integers

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "elu", "selu", "leaky_relu", "mish", "identity"]
Norm = Annotated[Literal["none", "batch", "layer"], BeforeValidator(lambda norm: "none" if norm is None else norm)]
Rate = Annotated[Number, in_range(least=0, below=1)]
Width = Annotated[int, Field(ge=1)]


def widths(value: Any) -> Any:
    return integers(value)


Widths = Annotated[tuple[Width, ...], BeforeValidator(widths)]
