"""Recurrent networks as data."""

from typing import Annotated, Literal

from pydantic import Field

from lockstep.spec.base import Frozen, Number, in_range
from lockstep.spec.network.parts import Rate


class Rnn(Frozen):
    """A recurrent network along the steps of a series or a text: Elman's, LSTM or GRU, with torch's formulas.

    ``nonlinearity`` is the Elman cell's. ``pooling`` makes features of the states: the ``last`` of each direction, or
    ``mean`` or ``max`` over the steps that are there. ``dropout`` is between layers and before the output.
    ``forget_bias`` is the LSTM's forget gate's bias at the start (Gers et al. 2000; Jozefowicz et al. 2015).
    """

    family: Literal["rnn"] = "rnn"
    cell: Literal["elman", "lstm", "gru"] = "gru"
    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=1, ge=1)
    bidirectional: bool = True
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    pooling: Literal["last", "mean", "max"] = "last"
    dropout: Rate = 0.0
    forget_bias: Annotated[Number, in_range()] = 1.0
