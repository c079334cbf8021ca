"""The parts that the families share: activations, norms, initialisations, rates and widths as data."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from lockstep.spec.base import Number, in_range
from lockstep.spec.training import integers

ActivationName = Literal[
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softmax", "identity"
]
NormName = Literal["none", "batch", "layer", "group", "rms"]
InitName = Literal[
    "torch", "auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
    "orthogonal",
]  # fmt: skip
ALSO_CALLED = {
    "swish": "silu", "linear": "identity", "glorot": "glorot_uniform", "xavier": "glorot_uniform", "he": "he_normal",
    "kaiming": "he_normal", "lecun": "lecun_normal", "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal", "kaiming_uniform": "he_uniform", "kaiming_normal": "he_normal",
}  # fmt: skip


def same_name(value: Any) -> Any:
    """The name that is used here for what others call otherwise: ``swish`` is ``silu``, ``xavier`` ``glorot``."""
    return ALSO_CALLED.get(value, value) if isinstance(value, str) else value


def names_by_layer(value: Any) -> Any:
    """One activation for all layers, or a list with one per layer."""
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        return same_name(value)
    found = tuple(map(same_name, value))
    if unknown := [name for name in found if name not in get_args(ActivationName)]:
        raise ValueError(f"must be among {', '.join(get_args(ActivationName))}, however: {unknown[0]!r}")
    return found


def none_in_words(value: Any) -> Any:
    return "none" if value is None else value


Activation = Annotated[ActivationName, BeforeValidator(same_name)]
Activations = Annotated[ActivationName | tuple[ActivationName, ...], BeforeValidator(names_by_layer)]
Norm = Annotated[NormName, BeforeValidator(none_in_words)]
Init = Annotated[InitName, BeforeValidator(same_name)]
Groups = Annotated[int, Field(ge=1)] | None
Slope = Annotated[Number, in_range(least=0)]
Rate = Annotated[Number, in_range(least=0, below=1)]
Width = Annotated[int, Field(ge=1)]


Widths = Annotated[tuple[Width, ...], BeforeValidator(integers)]
