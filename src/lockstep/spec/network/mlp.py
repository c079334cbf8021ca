"""The multi-layer perceptron as data."""

from typing import Literal

from lockstep.spec.base import Frozen, rule
from lockstep.spec.network.parts import Activations, Groups, Init, Norm, Rate, Slope, Widths


class Mlp(Frozen):
    """(Linear, norm, activation, dropout) for each width in ``hidden``, then the output layer.

    ``activation`` is one for all hidden layers or a list with one per layer; ``slope`` is leaky ReLU's. ``residual``
    makes each width a block that adds to what came in: ``h + dropout(Linear(dropout(f(Linear(norm(h))))))``, with a
    linear layer before the first and norm and activation behind the last (the ResNet of Gorishniy et al. 2021).
    ``groups`` is group norm's; ``init`` the weights' first draw, ``auto`` by activation, ``torch`` torch's own.
    """

    family: Literal["mlp"] = "mlp"
    hidden: Widths = (256, 256)
    activation: Activations = "relu"
    slope: Slope = 0.01
    norm: Norm = "batch"
    groups: Groups = None
    dropout: Rate = 0.5
    residual: bool = False
    init: Init = "torch"

    @property
    def activations(self) -> tuple[str, ...]:
        """The activation of each hidden layer."""
        return (self.activation,) * len(self.hidden) if isinstance(self.activation, str) else self.activation

    @rule
    def _an_activation_for_each_layer(self) -> None:
        if isinstance(self.activation, tuple) and len(self.activation) != len(self.hidden):
            raise ValueError(
                "activation must be one for all hidden layers or one for each, however: "
                f"{len(self.activation)} activations, {len(self.hidden)} hidden layers. Set model.activation."
            )

    @rule
    def _blocks_have_a_width(self) -> None:
        if self.residual and not self.hidden:
            raise ValueError("residual needs blocks, however: hidden is empty. Set model.hidden, one width per block.")
