"""The transformer's encoder as data."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from lockstep.spec.base import Frozen, rule
from lockstep.spec.network.parts import Activation, Rate, same_name


class Transformer(Frozen):
    """A pre-norm encoder (Vaswani et al. 2017; Xiong et al. 2020) over tokens, pieces of a series or columns.

    ``feedforward`` is the width inside a block. ``patch`` steps of a series make one token, a new one every ``stride``
    (unless given: one after another). ``positions``: ``learned``, ``rotary`` (Su et al. 2021) or ``none``; ``auto`` is
    learned for what has an order and none for columns. ``pooling``: the ``mean`` of the tokens, or a ``cls`` token's
    state. ``dropout`` is on what each part adds and inside the feed-forward, ``attention_dropout`` on the weights.
    """

    family: Literal["transformer"] = "transformer"
    width: int = Field(default=64, ge=1)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=2, ge=1)
    feedforward: int = Field(default=128, ge=1)
    activation: Activation = "gelu"
    norm: Annotated[Literal["layer", "rms"], BeforeValidator(same_name)] = "layer"
    positions: Literal["auto", "learned", "rotary", "none"] = "auto"
    pooling: Literal["mean", "cls"] = "mean"
    patch: int = Field(default=1, ge=1)
    stride: int | None = Field(default=None, ge=1)
    dropout: Rate = 0.1
    attention_dropout: Rate = 0.0

    @rule
    def _heads_share_the_width(self) -> None:
        if self.width % self.heads:
            raise ValueError(
                f"heads must divide the width, however: {self.heads} heads of width {self.width}. "
                "Set model.width to a multiple of model.heads."
            )
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise ValueError(
                "Rotary positions turn pairs, so a head must have an even width, however: "
                f"{self.width // self.heads}. Set model.width to an even multiple of model.heads."
            )

    @rule
    def _no_step_between_patches(self) -> None:
        if self.stride is not None and self.stride > self.patch:
            raise ValueError(
                f"stride must be at most the patch, however: stride={self.stride}, patch={self.patch}, which leaves "
                "steps out. Set model.stride."
            )
