"""Multi-layer perceptron: ``h⁽ˡ⁾ = f(W⁽ˡ⁾h⁽ˡ⁻¹⁾ + b⁽ˡ⁾)``, with a norm before and dropout behind the activation."""

from torch import Tensor, nn

from lockstep.network.layers.activations import activation
from lockstep.network.layers.initialise import initialise
from lockstep.network.layers.norms import norm
from lockstep.spec import Mlp


def mlp(spec: Mlp, features: int) -> tuple[nn.Sequential, int]:
    """The body ``[B, D] → [B, H]`` and its width ``H``."""
    return residual_mlp(spec, features) if spec.residual else plain_mlp(spec, features)


def plain_mlp(spec: Mlp, features: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    for width, name in zip(spec.hidden, spec.activations, strict=True):
        layers.append(linear(spec, features, width, name))
        layers += norm_if_any(spec, width)
        layers.append(activation(name, spec.slope))
        layers.append(nn.Dropout(spec.dropout))
        features = width
    return nn.Sequential(*layers), features


class ResidualBlock(nn.Module):
    """``h + dropout(W₂ dropout(f(W₁ norm(h))))`` (Gorishniy et al. 2021); ``[B, H_in] → [B, H]``.

    Where the widths differ, the path around is a linear map (He et al. 2016).
    """

    def __init__(self, spec: Mlp, features: int, width: int, name: str) -> None:
        super().__init__()
        rate = spec.dropout
        self.inner = nn.Sequential(
            *norm_if_any(spec, features),
            linear(spec, features, width, name),
            activation(name, spec.slope),
            nn.Dropout(rate),
            linear(spec, width, width, "identity"),
            nn.Dropout(rate),
        )
        self.around = nn.Identity() if features == width else nn.Linear(features, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.around(h) + self.inner(h)  # type: ignore[no-any-return]


def residual_mlp(spec: Mlp, features: int) -> tuple[nn.Sequential, int]:
    """A linear layer, a block per width, and norm and activation behind the last block."""
    width, names = spec.hidden[0], spec.activations
    layers: list[nn.Module] = [linear(spec, features, width, "identity")]
    for own, name in zip(spec.hidden, names, strict=True):
        layers.append(ResidualBlock(spec, width, own, name))
        width = own
    layers += [*norm_if_any(spec, width), activation(names[-1], spec.slope)]
    return nn.Sequential(*layers), width


def linear(spec: Mlp, features: int, width: int, name: str) -> nn.Linear:
    """A linear layer with its weights drawn for the activation ``name`` behind it."""
    layer = nn.Linear(features, width)
    initialise(layer, spec.init, name, spec.slope)
    return layer


def norm_if_any(spec: Mlp, width: int) -> list[nn.Module]:
    layer = norm(spec.norm, width, groups=spec.groups)
    return [] if layer is None else [layer]
