"""Initial weights by name, with ``torch.nn.init``: chosen by the activation behind the layer unless set."""

from torch import Tensor, nn

RECTIFIED = ("relu", "leaky_relu", "elu", "gelu", "silu", "mish")
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def scheme_for(activation: str) -> str:
    """He for what rectifies (He et al. 2015), LeCun for SELU (Klambauer et al. 2017), Glorot for what saturates, for
    softmax and for no activation (Glorot and Bengio 2010)."""
    if activation in RECTIFIED:
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "glorot_uniform"


def initialise(module: nn.Module, scheme: str, activation: str = "identity", slope: float = 0.01) -> None:
    """Draw the weights of every linear and convolutional layer in ``module`` anew, from torch's global stream.

    ``activation`` is what follows these layers. Var(w) is 2/(fan_in + fan_out) for Glorot, g²/fan_in for He with
    g² = 2/(1 + slope²), 1/fan_in for LeCun; orthogonal has gain √2 before what rectifies. Biases are 0. ``auto`` takes
    ``scheme_for(activation)``, and ``torch`` leaves everything as torch made it.
    """
    if scheme == "torch":
        return
    name = scheme_for(activation) if scheme == "auto" else scheme
    negative = slope if activation == "leaky_relu" else 0.0
    for layer in module.modules():
        if isinstance(layer, LAYERS):
            draw(layer.weight, name, rectified=activation in RECTIFIED, slope=negative)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def draw(weight: Tensor, name: str, *, rectified: bool, slope: float) -> None:
    """Fill one weight tensor in place."""
    match name:
        case "glorot_uniform":
            nn.init.xavier_uniform_(weight)
        case "glorot_normal":
            nn.init.xavier_normal_(weight)
        case "he_uniform":
            nn.init.kaiming_uniform_(weight, a=slope)
        case "he_normal":
            nn.init.kaiming_normal_(weight, a=slope)
        case "lecun_uniform":
            nn.init.kaiming_uniform_(weight, nonlinearity="linear")
        case "lecun_normal":
            nn.init.kaiming_normal_(weight, nonlinearity="linear")
        case "orthogonal":
            nn.init.orthogonal_(weight, gain=nn.init.calculate_gain("leaky_relu", slope) if rectified else 1.0)
        case _:
            raise AssertionError(f"no initialisation {name!r}")
