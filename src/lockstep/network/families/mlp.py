"""Multi-layer perceptron: ``h⁽ˡ⁾ = f(W⁽ˡ⁾h⁽ˡ⁻¹⁾ + b⁽ˡ⁾)``, with a norm before and dropout behind the activation."""

from torch import nn

from lockstep.spec import Mlp

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
    "identity": nn.Identity,
}


def mlp(spec: Mlp, features: int) -> tuple[nn.Sequential, int]:
    """The body ``[B, D] → [B, H]`` and its width ``H``."""
    layers: list[nn.Module] = []
    for width in spec.hidden:
        layers.append(nn.Linear(features, width))
        match spec.norm:
            case "batch":
                layers.append(nn.BatchNorm1d(width))
            case "layer":
                layers.append(nn.LayerNorm(width))
        layers.append(ACTIVATIONS[spec.activation]())
        layers.append(nn.Dropout(float(spec.dropout)))  # type: ignore[arg-type]
        features = width
    return nn.Sequential(*layers), features
